"""A tiny random model three ways: plain torch (`zoo.attn_only`), lowered, and torch by hand with separate inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import scrub as rc
from scrub.graph import Expr
from zoo.attn_only import AttnOnlyConfig, AttnOnlyTransformer, causal_pattern

SIZES = {"n_layers": 2, "n_heads": 4, "d_model": 12, "d_head": 3, "d_vocab": 11, "n_ctx": 8}


@dataclass(frozen=True)
class Tiny:
    """The oracle, and what the library made of its weights."""

    oracle: AttnOnlyTransformer
    weights: Mapping[str, Tensor]
    config: AttnOnlyConfig
    loaded: rc.LoadedModel
    model: Expr

    def logits(self, tokens: Tensor) -> Tensor:
        """Of the oracle, [batch, pos, d_vocab]."""
        with torch.no_grad():
            return self.oracle(tokens)

    def call(self, tokens: Tensor | Expr, model: Expr | None = None) -> rc.Module:
        """The lowered model, or a rewritten one, called on tokens [pos]."""
        return self.loaded.call(tokens, model=self.model if model is None else model)


def make(*, seed: int = 0, dtype: torch.dtype = torch.float64, seq_len: int = 6, **sizes: int) -> Tiny:
    """A model whose norms have weights and biases, and whose attention is far from uniform."""
    config = AttnOnlyConfig(**(SIZES | sizes))
    oracle = AttnOnlyTransformer(config, seed=seed).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in oracle.named_parameters():
            if ".ln" in name or name.startswith("ln") or "W_pos" in name:
                weight.add_(torch.randn(weight.shape, generator=generator).to(dtype) / 2)
            elif "W_Q" in name or "W_K" in name:
                weight.mul_(4)
            elif "W_U" in name:
                weight.mul_(30)
    weights = {name: weight.detach() for name, weight in oracle.named_parameters()}
    loaded = rc.from_transformer_lens(weights, lens_config(config))
    return Tiny(oracle, weights, config, loaded, loaded.lower(seq_len=seq_len)["t.bind_w"])


def lens_config(config: AttnOnlyConfig) -> dict[str, Any]:
    """The config as TransformerLens writes it."""
    sizes = dataclasses.asdict(config)
    eps = sizes.pop("norm_eps")
    return sizes | {"eps": eps, "attn_only": True, "positional_embedding_type": "shortformer"}


def random_tokens(*shape: int, seed: int = 0, d_vocab: int = SIZES["d_vocab"]) -> Tensor:
    return torch.randint(d_vocab, shape, generator=torch.Generator().manual_seed(seed))


def logits_by_hand(
    tiny: Tiny, tokens: Tensor, other: Tensor, scrubbed: Collection[tuple[int, str]], *, kept: Tensor | float = 0.0
) -> Tensor:
    """Logits [pos, d_vocab] of a two-layer model where some inputs of layer 1 come from `other`.

    Args:
        scrubbed: (head, part) of layer 1, part "q", "k" or "v".
        kept: [query, key], 1 where a scrubbed value input still reads `tokens`.
    """
    w, config = tiny.weights, tiny.config

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return (
            centred / (centred.pow(2).mean(-1, keepdim=True) + config.norm_eps).sqrt() * w[f"{name}.w"] + w[f"{name}.b"]
        )

    def heads(layer: int, of: Mapping[tuple[int, str] | str, Tensor]) -> Tensor:
        total = torch.zeros_like(of["own"])
        for h in range(config.n_heads):
            pos = w["pos_embed.W_pos"][: len(tokens)]
            q, k, v = (
                (of[h, part] + (pos if part in "qk" else 0)) @ w[f"blocks.{layer}.attn.W_{part.upper()}"][h]
                for part in "qkv"
            )
            pattern, own = causal_pattern(q, k), of["own"] @ w[f"blocks.{layer}.attn.W_V"][h]
            total = total + ((pattern * kept) @ own + (pattern * (1 - kept)) @ v) @ w[f"blocks.{layer}.attn.W_O"][h]
        return total

    every = [(h, part) for h in range(config.n_heads) for part in "qkv"]
    after_first = {}
    for name, sequence in (("tokens", tokens), ("other", other)):
        embedded = w["embed.W_E"][sequence]
        normed = norm(embedded, "blocks.0.ln1")
        after_first[name] = embedded + heads(0, dict.fromkeys([*every, "own"], normed))
    normed = {name: norm(x, "blocks.1.ln1") for name, x in after_first.items()}
    read: dict[tuple[int, str] | str, Tensor] = {key: normed["other" if key in scrubbed else "tokens"] for key in every}
    read |= {"own": normed["tokens"]}
    return norm(after_first["tokens"] + heads(1, read), "ln_final") @ w["unembed.W_U"]
