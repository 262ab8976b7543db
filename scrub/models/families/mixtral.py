"""Mixtral: Mistral's attention, and for each token a mixture of the gated MLPs that a router scores highest.

Source: Jiang et al. 2024; weights as in `transformers.MixtralForCausalLM`, whose experts are fused along a first axis,
gate above up. Files hold each expert by itself (w1 the gate, w3 up, w2 down). Where these lie in a file at equal
distances, as `save_pretrained` writes up to ten of them, their stack is a view of the file. Where they do not (more
than ten experts, which files sort as text, or the experts of a layer in several files) it has to be a copy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import torch

from scrub.graph import CheckpointError
from scrub.models.architecture import Architecture, Experts, Layer, Norm, Readout
from scrub.models.families.config_reader import ConfigReader
from scrub.models.families.family import Family, Source, View, register
from scrub.models.families.llama import COMPONENTS, IGNORED, SOURCES, decoder, gated_mlp, grouped_attention, window
from scrub.models.families.views import linear

_EXPERT = re.compile(r"^(.*\.mlp\.experts)\.(\d+)\.(w[123])\.weight$")


def architecture(config: ConfigReader, class_name: str) -> Architecture:
    """From `transformers.MixtralConfig`."""
    norm = Norm("rms", config.rms_norm_eps)
    if config.head_dim is not None and config.head_dim % 2:
        config.refuse("head_dim", expected="an even number, since features are rotated in pairs")
    attention = grouped_attention(config)
    if config.sliding_window is not None:
        attention = replace(attention, window=window(config))
    if not 1 <= config.num_experts_per_tok <= config.num_local_experts:
        config.refuse("num_experts_per_tok", expected=f"1 to num_local_experts={config.num_local_experts}")
    mlp = Experts(gated_mlp(config), config.num_local_experts, config.num_experts_per_tok)
    return decoder(config, [Layer(attention, mlp, a_norm=norm, m_norm=norm)] * config.num_hidden_layers, Readout(norm))


def gate_or_up(part: int) -> View:
    """The view of one of gate and up, stored [experts, (2 d_mlp), d_model] or [experts, 2, d_mlp, d_model]."""

    def see(w: torch.Tensor, layer: Layer) -> torch.Tensor:
        half = w.shape[1] // 2
        chosen = w[:, part] if w.ndim == 4 else w[:, part * half : (part + 1) * half]
        return chosen.transpose(-1, -2)

    return see


def with_experts_stacked(stored: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of files with `gate_up_proj` [experts, 2, d_mlp, d_model] and `down_proj` in place of single experts.

    Raises:
        CheckpointError: an expert of which there are some weights lacks another.
    """
    alone = {name: match for name in stored if (match := _EXPERT.match(name))}
    weights = {name: tensor for name, tensor in stored.items() if name not in alone}
    numbers: dict[str, set[int]] = {}
    for match in alone.values():
        numbers.setdefault(match[1], set()).add(int(match[2]))
    missing = [
        name
        for prefix, experts in numbers.items()
        for expert in range(max(experts) + 1)
        for part in ("w1", "w2", "w3")
        if (name := f"{prefix}.{expert}.{part}.weight") not in stored
    ]
    if missing:
        raise CheckpointError(
            "the weights of mixtral are incomplete:\n    " + "\n    ".join(f"{name} is missing" for name in missing),
            expected="w1, w2 and w3 of every expert",
            found=sorted(alone),
        )
    for prefix, experts in numbers.items():
        gate, down, up = (
            stacked([stored[f"{prefix}.{expert}.{part}.weight"] for expert in sorted(experts)])
            for part in ("w1", "w2", "w3")
        )
        weights[f"{prefix}.gate_up_proj"] = stacked([gate, up]).transpose(0, 1)
        weights[f"{prefix}.down_proj"] = down
    return weights


def stacked(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """The tensors along a first axis: a view if they lie in one storage at equal distances, else a copy.

    >>> one = torch.arange(6.0)
    >>> both = stacked([one[:2], one[3:5]])
    >>> both.tolist(), both.data_ptr() == one.data_ptr()
    ([[0.0, 1.0], [3.0, 4.0]], True)
    """
    first, *others = tensors
    starts = [tensor.storage_offset() for tensor in tensors]
    step = starts[1] - starts[0] if others else first.numel()
    are_alike = all(
        tensor.shape == first.shape
        and tensor.stride() == first.stride()
        and tensor.dtype == first.dtype
        and tensor.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        for tensor in others
    )
    if not are_alike or step <= 0 or any(b - a != step for a, b in pairwise(starts)):
        return torch.stack(list(tensors))
    return first.as_strided((len(tensors), *first.shape), (step, *first.stride()))


_MLP = "model.layers.{l}.mlp"
_OF_ONE_MLP = ("m.gate.pre", "m.gate", "m.pre")
register(
    Family(
        "mixtral",
        ("MixtralForCausalLM",),
        architecture,
        SOURCES
        | {
            "m.w.router": Source(f"{_MLP}.gate.weight", linear),
            "m.w.gate": Source(f"{_MLP}.experts.gate_up_proj", gate_or_up(0)),
            "m.w.in": Source(f"{_MLP}.experts.gate_up_proj", gate_or_up(1)),
            "m.w.out": Source(f"{_MLP}.experts.down_proj", linear),
        },
        {name: module for name, module in COMPONENTS.items() if name not in _OF_ONE_MLP},
        base_prefix="model.",
        ignored=IGNORED,
        renamed={r"\.block_sparse_moe\.": ".mlp."},
        harmless=frozenset(("tie_word_embeddings", "output_router_logits")),
        regrouped=with_experts_stacked,
    )
)
