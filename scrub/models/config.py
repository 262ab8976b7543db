"""Sizes and options of a transformer, and the check of its weights against them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from scrub.graph import CheckpointError


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes and options of an attention-only, pre-norm transformer.

    Attributes:
        n_layers, n_heads, d_model, d_head, d_vocab, n_ctx: sizes, in the field's usual names.
        positions: "shortformer": learned positions added to the query and key inputs of every layer, after the norm,
            and to nothing else (Press et al. 2021, "Shortformer").
        normalization: "ln": LayerNorm with weight and bias.
        norm_eps: added to the variance.

    >>> TransformerConfig(n_layers=2, n_heads=8, d_model=256, d_head=32, d_vocab=2048, n_ctx=256).positions
    'shortformer'
    """

    n_layers: int
    n_heads: int
    d_model: int
    d_head: int
    d_vocab: int
    n_ctx: int
    positions: str = "shortformer"
    normalization: str = "ln"
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        for field, supported in {"positions": ("shortformer",), "normalization": ("ln",)}.items():
            if getattr(self, field) not in supported:
                raise CheckpointError(
                    f"config field {field!r} is {getattr(self, field)!r}, which is not supported",
                    expected=supported,
                    found=getattr(self, field),
                )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TransformerConfig:
        """From a mapping that has these fields; a missing one is an error, and so is one this class does not know."""
        fields = {field.name: field for field in dataclasses.fields(cls)}
        required = [n for n, f in fields.items() if f.default is dataclasses.MISSING]
        missing = [name for name in required if name not in values]
        unknown = [name for name in values if name not in fields]
        if missing or unknown:
            problem = f"lacks {missing}" if missing else f"has fields that are not supported: {unknown}"
            raise CheckpointError(f"the config {problem}", expected=list(fields), found=list(values))
        return cls(**values)

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every weight, in TransformerLens' layout."""
        heads = (self.n_heads, self.d_model, self.d_head)
        shapes: dict[str, tuple[int, ...]] = {
            "embed.W_E": (self.d_vocab, self.d_model),
            "pos_embed.W_pos": (self.n_ctx, self.d_model),
        }
        for layer in range(self.n_layers):
            block = f"blocks.{layer}"
            shapes |= {f"{block}.ln1.w": (self.d_model,), f"{block}.ln1.b": (self.d_model,)}
            shapes |= {f"{block}.attn.W_{part}": heads for part in "QKV"}
            shapes[f"{block}.attn.W_O"] = (self.n_heads, self.d_head, self.d_model)
        shapes |= {"ln_final.w": (self.d_model,), "ln_final.b": (self.d_model,)}
        shapes["unembed.W_U"] = (self.d_model, self.d_vocab)
        return shapes

    def check_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Raise a `CheckpointError` that names every weight that is missing, unknown or of the wrong shape."""
        shapes = self.weight_shapes()
        problems = [f"{name} is missing" for name in shapes if name not in weights]
        problems += [f"{name} is not a weight of this model" for name in weights if name not in shapes]
        problems += [
            f"{name} has shape {tuple(weights[name].shape)} instead of {shape}"
            for name, shape in shapes.items()
            if name in weights and tuple(weights[name].shape) != shape
        ]
        if problems:
            raise CheckpointError(
                "the weights do not fit the config:\n    " + "\n    ".join(problems),
                expected=shapes,
                found={name: tuple(weight.shape) for name, weight in weights.items()},
            )
