"""An attention-only transformer as a plain torch module: what the shipped model is trained with, and an independent
oracle for the library's tests (it shares no code with the library).

Positions are "shortformer" (Press et al. 2021): they are added to the inputs of queries and keys after the LayerNorm,
never to values or to the residual stream. For one layer with residual x:

    n = LN(x);  q_h = (n + pos) W_Q[h];  k_h = (n + pos) W_K[h];  v_h = n W_V[h]
    x <- x + sum_h softmax(causal(q_h k_h^T / sqrt(d_head))) v_h W_O[h]

and logits = LN(x) W_U. Parameter names and layouts are those of TransformerLens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

Ablations = Mapping[tuple[int, int], Tensor]


@dataclass(frozen=True, kw_only=True)
class AttnOnlyConfig:
    """Sizes of an `AttnOnlyTransformer`.

    >>> AttnOnlyConfig(n_layers=2, n_heads=8, d_model=256, d_head=32, d_vocab=2048, n_ctx=256).norm_eps
    1e-05
    """

    n_layers: int = 2
    n_heads: int = 8
    d_model: int = 256
    d_head: int = 32
    d_vocab: int = 2048
    n_ctx: int = 256
    norm_eps: float = 1e-5


@dataclass
class Trace:
    """Filled by a forward pass that is given one: one entry per layer.

    patterns: attention probabilities [batch, head, query, key].
    mixed_values: what each head read, before W_O [batch, head, pos, d_head].
    """

    patterns: list[Tensor] = field(default_factory=list[Tensor])
    mixed_values: list[Tensor] = field(default_factory=list[Tensor])


class LayerNorm(nn.Module):
    """LayerNorm over the last axis, with weight `w` and bias `b`."""

    def __init__(self, d_model: int, *, eps: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(d_model))
        self.b = nn.Parameter(torch.zeros(d_model))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, self.w.shape, self.w, self.b, self.eps)


class Embed(nn.Module):
    """Token embeddings `W_E` [d_vocab, d_model]."""

    def __init__(self, config: AttnOnlyConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.W_E = _normal((config.d_vocab, config.d_model), 0.1, generator)


class PosEmbed(nn.Module):
    """Position embeddings `W_pos` [n_ctx, d_model], starting as sinusoids (after Vaswani et al. 2017) of amplitude 1.

    Wave rates run geometrically from 2 radians a position down to a wave of 1,024 positions. Large and fast waves make
    "one position back" a rotation that a head can learn early.
    """

    def __init__(self, config: AttnOnlyConfig) -> None:
        super().__init__()
        positions = torch.arange(config.n_ctx, dtype=torch.float64)[:, None]
        fraction = torch.arange(config.d_model // 2, dtype=torch.float64) / (config.d_model // 2)
        angles = positions * 2 * (math.pi / 1024) ** fraction
        waves = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
        self.W_pos = nn.Parameter(waves.float())


class Unembed(nn.Module):
    """Unembedding `W_U` [d_model, d_vocab], untied, without bias."""

    def __init__(self, config: AttnOnlyConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.W_U = _normal((config.d_model, config.d_vocab), 0.02, generator)


class Attention(nn.Module):
    """All heads of one layer: `W_Q`, `W_K`, `W_V` [head, d_model, d_head] and `W_O` [head, d_head, d_model]."""

    def __init__(self, config: AttnOnlyConfig, generator: torch.Generator) -> None:
        super().__init__()
        inward = (config.n_heads, config.d_model, config.d_head)
        std = config.d_model**-0.5
        self.W_Q = _normal(inward, std / 2, generator)
        self.W_K = _normal(inward, std / 2, generator)
        self.W_V = _normal(inward, std, generator)
        self.W_O = _normal((config.n_heads, config.d_head, config.d_model), std / 2, generator)

    def forward(self, x: Tensor, pos: Tensor, ablated: Mapping[int, Tensor], trace: Trace | None) -> Tensor:
        query = torch.einsum("bpm,hmd->bhpd", x + pos, self.W_Q)
        key = torch.einsum("bpm,hmd->bhpd", x + pos, self.W_K)
        value = torch.einsum("bpm,hmd->bhpd", x, self.W_V)
        if trace is None:
            mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        else:
            pattern = causal_pattern(query, key)
            mixed = pattern @ value
            trace.patterns.append(pattern)
            trace.mixed_values.append(mixed)
        out = torch.einsum("bhpd,hdm->bpm", mixed, self.W_O)
        for head, replacement in ablated.items():
            out = out - mixed[:, head] @ self.W_O[head] + replacement
        return out


class Block(nn.Module):
    """One layer: attention over the normalised residual stream."""

    def __init__(self, config: AttnOnlyConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.ln1 = LayerNorm(config.d_model, eps=config.norm_eps)
        self.attn = Attention(config, generator)


class AttnOnlyTransformer(nn.Module):
    """The model. `forward` gives logits; `patterns` the attention of every head.

    >>> model = AttnOnlyTransformer(AttnOnlyConfig(), seed=0)
    >>> model(torch.zeros(1, 5, dtype=torch.int64)).shape
    torch.Size([1, 5, 2048])
    """

    def __init__(self, config: AttnOnlyConfig, *, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.config = config
        self.embed = Embed(config, generator)
        self.pos_embed = PosEmbed(config)
        self.blocks = nn.ModuleList(Block(config, generator) for _ in range(config.n_layers))
        self.ln_final = LayerNorm(config.d_model, eps=config.norm_eps)
        self.unembed = Unembed(config, generator)

    def forward(self, tokens: Tensor, *, ablations: Ablations | None = None, trace: Trace | None = None) -> Tensor:
        """Logits [batch, pos, d_vocab] for tokens [batch, pos].

        Args:
            ablations: by (layer, head), what to put in place of that head's output, broadcast to [batch, pos, d_model].
            trace: filled with every layer's attention patterns and mixed values.
        """
        return self.final_residual(tokens, ablations=ablations, trace=trace) @ self.unembed.W_U

    def final_residual(
        self, tokens: Tensor, *, ablations: Ablations | None = None, trace: Trace | None = None
    ) -> Tensor:
        """What the unembedding reads, [batch, pos, d_model]: the residual stream after the last LayerNorm."""
        residual = self.embed.W_E[tokens]
        pos = self.pos_embed.W_pos[: tokens.shape[1]]
        for index, block in enumerate(self.layers):
            ablated = {head: out for (layer, head), out in (ablations or {}).items() if layer == index}
            residual = residual + block.attn(block.ln1(residual), pos, ablated, trace)
        return self.ln_final(residual)

    @property
    def layers(self) -> list[Block]:
        """The blocks, by layer."""
        return [cast(Block, block) for block in self.blocks]

    def patterns(self, tokens: Tensor) -> list[Tensor]:
        """Attention probabilities, one tensor [batch, head, query, key] per layer."""
        trace = Trace()
        self(tokens, trace=trace)
        return trace.patterns


def causal_pattern(query: Tensor, key: Tensor) -> Tensor:
    """Attention probabilities [batch, head, query, key] from queries and keys [batch, head, pos, d_head]."""
    scores = query / math.sqrt(query.shape[-1]) @ key.transpose(-1, -2)
    future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
    return scores.masked_fill(future, -torch.inf).softmax(-1)


def _normal(shape: tuple[int, ...], std: float, generator: torch.Generator) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape, generator=generator) * std)
