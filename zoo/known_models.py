"""Models whose circuits or heads are known, from the folder beside the repository that its SOURCES.md describes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]

import scrub as rc
from scrub.discovery.components import ComponentGraph
from scrub.graph import FileError
from scrub.models import LoadedModel

DATA = Path(__file__).parents[1].parent / "shared" / "data"
COMPILED = ("hist", "length", "count_less_freq", "sort", "reverse")
_PARTS = {"W_in": "mlp.W_in", "b_in": "mlp.b_in", "W_out": "mlp.W_out", "b_out": "mlp.b_out"}
_WRITERS = {"embed": "input.tokens", "pos_embed": "input.positions"}
_EFFECTS = {"zero": 0, "resample": 1, "mean": 2}


@dataclass(frozen=True)
class Compiled:
    """A program compiled to a transformer by tracr, and the circuit that it has.

    Attributes:
        name: of the program.
        model: the transformer: no norms, not causal.
        inputs: token ids of the inputs of its domain, the start token first, those of one length in one tensor
            [n, seq]: length -> inputs.
        circuit: what is known of its edges.
    """

    name: str
    model: LoadedModel
    inputs: dict[int, torch.Tensor]
    circuit: dict[str, Any]

    def truth(self, graph: ComponentGraph, ablation: str) -> torch.Tensor:
        """Edges whose ablation alone changes an output somewhere in the domain, bool [n_readers, n_writers].

        Args:
            graph: with embeddings of tokens and positions apart.
            ablation: "zero", "mean" or "resample".
        """
        return _edges(graph, self.circuit[f"causal_{ablation}"])

    def below_tolerance(self, graph: ComponentGraph, ablation: str) -> torch.Tensor:
        """Edges whose measured effect is not zero, but too small to count as one, bool [n_readers, n_writers]."""
        effects: dict[str, list[float]] = self.circuit["effects"]
        size = {edge: values[_EFFECTS[ablation]] for edge, values in effects.items()}
        return _edges(graph, [edge for edge, value in size.items() if 0 < value <= self.circuit["tol"]])


def load_compiled(name: str, folder: Path = DATA, *, dtype: torch.dtype = torch.float32) -> Compiled:
    """A compiled program.

    Raises:
        FileError: the folder does not hold it.
    """
    at = folder / "tracr"
    if not (at / f"{name}.npz").is_file():
        raise FileError(f"there is no compiled program {name!r} in {at}", expected=COMPILED, found=name)
    config, circuit = (json.loads((at / f"{name}.{kind}").read_text()) for kind in ("json", "circuit.json"))
    with np.load(at / f"{name}.npz") as arrays:
        stored = {key: torch.from_numpy(arrays[key]).to(dtype) for key in arrays}
    weights = {"embed.W_E": stored["W_E"], "pos_embed.W_pos": stored["W_pos"], "unembed.W_U": stored["unembed"]}
    for key, weight in stored.items():
        if key.startswith("L"):
            number, part = key[1:].split(".")
            weights[f"blocks.{number}.{_PARTS.get(part, f'attn.{part}')}"] = weight
    same = ("n_layers", "n_heads", "d_head", "d_mlp", "d_model", "n_ctx", "d_vocab")
    fields = {field: config[field] for field in same} | {
        "d_vocab_out": len(config["output_labels"]),
        "act_fn": config["act"],
        "normalization_type": "LN" if config["layer_norm"] else None,
        "attention_dir": "causal" if config["causal"] else "bidirectional",
    }
    rows: dict[int, list[list[int]]] = {}
    for row in config["input_ids"]:
        rows.setdefault(len(row), []).append(row)
    inputs = {length: torch.tensor(rows[length]) for length in sorted(rows)}
    return Compiled(name, rc.from_transformer_lens(weights, fields), inputs, circuit)


def load_trained(name: str, folder: Path = DATA) -> LoadedModel:
    """A small trained model, such as "palindrome_july23".

    Raises:
        FileError: the folder does not hold it.
    """
    file = folder / "trained" / f"{name}.safetensors"
    if not file.is_file():
        raise FileError(f"there is no trained model {name!r} in {folder}", expected=f"{name}.safetensors", found=name)
    config = json.loads(file.with_suffix(".json").read_text())
    same = ("n_layers", "n_heads", "d_model", "d_head", "n_ctx", "d_vocab", "d_vocab_out", "eps")
    fields = {field: config[field] for field in same} | {
        "attn_only": config["d_mlp"] is None,
        "attention_dir": config["attn_dir"],
        "normalization_type": "LN" if config["ln"] else None,
        "act_fn": config["act"],
    }
    return rc.from_transformer_lens(load_file(file), fields)


def _edges(graph: ComponentGraph, names: list[str]) -> torch.Tensor:
    mask = torch.zeros(graph.exists.shape, dtype=torch.bool)
    for name in names:
        writer, reader = name.split("->")
        mask[graph.index((_WRITERS.get(writer, writer), reader))] = True
    return mask
