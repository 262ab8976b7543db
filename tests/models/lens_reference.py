"""TransformerLens' own models with random weights, to compare ours with."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import pytest
import torch

pytest.importorskip("transformer_lens", reason="TransformerLens is not installed: an extra, `scrub-interp[bench]`")

import transformer_lens

import scrub as rc

SIZES: dict[str, Any] = {
    "n_layers": 2,
    "d_model": 16,
    "d_head": 4,
    "n_heads": 4,
    "n_ctx": 10,
    "d_vocab": 11,
    "d_mlp": 16,
    "act_fn": "gelu_new",
    "device": "cpu",
    "init_weights": False,
}


def hooked(fields: Mapping[str, Any] = {}, *, dtype: torch.dtype = torch.float32, seed: int = 0) -> Any:
    """A `HookedTransformer` with all its parameters random: norm weights around 1, biases too."""
    generator = torch.Generator().manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = transformer_lens.HookedTransformerConfig(**{**SIZES, "dtype": dtype, **fields})
        model = transformer_lens.HookedTransformer(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(noise * 0.35 + name.endswith(".w"))
    return model


def random_tokens(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(0, SIZES["d_vocab"], shape, generator=torch.Generator().manual_seed(seed))


def logits_of(model: Any, tokens: torch.Tensor, **options: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(tokens, **options)


def error(got: torch.Tensor, want: torch.Tensor) -> float:
    """Largest difference, relative to the largest value where that is above 1."""
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    return float((got - want).abs().max()) / max(1.0, float(want.abs().max()))


def tolerance(dtype: torch.dtype) -> float:
    return 1e-10 if dtype == torch.float64 else 1e-5


def configured(loaded: rc.models.LoadedModel, seq: int, to: rc.To, *, is_split: bool) -> rc.Expr:
    """Rewritten by `configure_transformer`, with heads in groups of their own and the residual stream flat, or not."""
    return rc.configure_transformer(
        loaded.lower(seq_len=seq)["t.bind_w"],
        to=to,
        split_by_head_config={0: [(0, "one"), (rc.S[1:], "rest")], 1: [([0, 2], "even"), ([1, 3], "odd")]}
        if is_split
        else None,
        use_pull_up_head_split=is_split,
        use_flatten_res=is_split,
    )
