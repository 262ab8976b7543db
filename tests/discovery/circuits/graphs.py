"""Component graphs built from sizes, and scores on them."""

from __future__ import annotations

from typing import Any

import torch

from scrub.discovery.components import Component, ComponentGraph
from scrub.discovery.scores import Scores


def transformer(
    n_layers: int, n_heads: int, *, mlps: bool = True, parallel: bool = False, split_qkv: bool = True, inputs: int = 1
) -> ComponentGraph:
    """The graph of a decoder; "stage" is the time at which a part reads, it writes half a step later."""
    names = ["input"] if inputs == 1 else ["embed", "pos_embed"][:inputs]
    parts = [(Component(name, "input"), -1.0) for name in names]
    for layer in range(n_layers):
        parts += [(Component(f"a{layer}.h{i}", "head", layer, i), 2.0 * layer) for i in range(n_heads)]
        if mlps:
            parts.append((Component(f"m{layer}", "mlp", layer), 2.0 * layer + (not parallel)))
    parts.append((Component("logits", "logits"), 2.0 * n_layers))
    writers = [(c.name, time + 0.5) for c, time in parts if c.kind != "logits"]
    readers: list[tuple[str, str, float]] = []
    for c, time in parts:
        if c.kind == "head" and split_qkv:
            readers += [(f"{c.name}.{letter}", c.name, time) for letter in "qkv"]
        elif c.kind != "input":
            readers.append((c.name, c.name, time))
    return ComponentGraph(
        components=tuple(c for c, _ in parts),
        writers=tuple(name for name, _ in writers),
        readers=tuple(name for name, _, _ in readers),
        owners=tuple(owner for _, owner, _ in readers),
        exists=torch.tensor([[written < read for _, written in writers] for _, _, read in readers]),
        other_names={
            c.name: {"transformer_lens": f"lens.{c.name}", "hugging_face": f"model.{c.name}"} for c, _ in parts
        },
        shape={"n_layers": n_layers, "n_heads": n_heads, "d_model": 8},
    )


def edge_scores(graph: ComponentGraph, values: torch.Tensor, **facts: Any) -> Scores:
    """Scores of edges (or of another level) with plain facts."""
    plain = {
        "level": "edge",
        "method": "EAP",
        "metric": "logit_difference",
        "larger_is_better": True,
        "ablation": "counterfactual",
        "n_examples": 16,
    }
    return Scores(graph, values, **(plain | facts))


def random_scores(graph: ComponentGraph, seed: int, *, decimals: int | None = None, **facts: Any) -> Scores:
    """Normal scores of edges; rounded to few decimals there are ties."""
    values = torch.randn(graph.exists.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return edge_scores(graph, values if decimals is None else values.round(decimals=decimals), **facts)
