"""The parentheses classifier as a plain torch module: what it is trained with, and an independent oracle for the
library's tests (it shares no code with the library).

A bidirectional transformer with LayerNorm before attention and MLP, learned positions, and no biases in attention. With
residual stream x, for every layer:

    n = LN(x);  x <- x + sum_h softmax(shown(n W_Q[h] (n W_K[h])^T / sqrt(d_head))) n W_V[h] W_O[h]
    x <- x + relu(LN(x) W_in + b_in) W_out + b_out

where `shown` hides keys that are padding; and logits = LN(x[0]) W_U + b_U. Parameter names and layouts are those of
TransformerLens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.attn_only import LayerNorm


@dataclass(frozen=True, kw_only=True)
class ParensConfig:
    """Sizes of a `ParensTransformer`.

    >>> ParensConfig(n_layers=2).n_heads
    2
    """

    n_layers: int = 3
    n_heads: int = 2
    d_model: int = 56
    d_head: int = 28
    d_mlp: int = 56
    d_vocab: int = 5
    d_vocab_out: int = 2
    n_ctx: int = 42
    norm_eps: float = 1e-5


EMBEDDING_STD = 0.5
"""Of tokens and positions at the start."""


@dataclass
class Trace:
    """Filled by a forward pass that is given one.

    patterns: attention probabilities, one [batch, head, query, key] per layer, of query 0 alone in the last one.
    terms: what the final norm reads at position 0, term by term [batch, d_model]: the embeddings, and for every layer
        its heads and its MLP. They are named in `term_names`.
    """

    patterns: list[Tensor] = field(default_factory=list[Tensor])
    terms: list[Tensor] = field(default_factory=list[Tensor])


class Table(nn.Module):
    """One matrix under a name of its own: embedding, positions."""

    def __init__(self, name: str, shape: tuple[int, ...], std: float, generator: torch.Generator) -> None:
        super().__init__()
        self.register_parameter(name, _normal(shape, std, generator))


class Unembed(nn.Module):
    """Unembedding `W_U` [d_model, d_vocab_out] with bias `b_U`."""

    def __init__(self, config: ParensConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.W_U = _normal((config.d_model, config.d_vocab_out), 0.02, generator)
        self.b_U = nn.Parameter(torch.zeros(config.d_vocab_out))


class Attention(nn.Module):
    """All heads of one layer: `W_Q`, `W_K`, `W_V` [head, d_model, d_head] and `W_O` [head, d_head, d_model]."""

    def __init__(self, config: ParensConfig, generator: torch.Generator) -> None:
        super().__init__()
        inward = (config.n_heads, config.d_model, config.d_head)
        std = config.d_model**-0.5
        self.W_Q = _normal(inward, std, generator)
        self.W_K = _normal(inward, std, generator)
        self.W_V = _normal(inward, std, generator)
        self.W_O = _normal((config.n_heads, config.d_head, config.d_model), std, generator)

    def forward(self, x: Tensor, shown: Tensor, *, n_queries: int | None = None) -> tuple[Tensor, Tensor]:
        """Attention [batch, head, query, key] and mixed values [batch, head, query, d_head], of the first queries."""
        query, key, value = _by_head(x[:, :n_queries], self.W_Q), _by_head(x, self.W_K), _by_head(x, self.W_V)
        scores = query @ key.transpose(-1, -2) / math.sqrt(self.W_Q.shape[-1])
        pattern = scores.masked_fill(~shown[:, None, None, :], -torch.inf).softmax(-1)
        return pattern, pattern @ value


class MLP(nn.Module):
    """`W_in` [d_model, d_mlp], ReLU, `W_out` [d_mlp, d_model]."""

    def __init__(self, config: ParensConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.W_in = _normal((config.d_model, config.d_mlp), config.d_model**-0.5, generator)
        self.b_in = nn.Parameter(torch.zeros(config.d_mlp))
        self.W_out = _normal((config.d_mlp, config.d_model), config.d_mlp**-0.5, generator)
        self.b_out = nn.Parameter(torch.zeros(config.d_model))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x @ self.W_in + self.b_in) @ self.W_out + self.b_out


class Block(nn.Module):
    """Norm, attention, norm, MLP."""

    def __init__(self, config: ParensConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.ln1 = LayerNorm(config.d_model, eps=config.norm_eps)
        self.attn = Attention(config, generator)
        self.ln2 = LayerNorm(config.d_model, eps=config.norm_eps)
        self.mlp = MLP(config, generator)


class ParensTransformer(nn.Module):
    """Logits [batch, 2], not balanced and balanced, of tokens [batch, pos].

    >>> model = ParensTransformer(ParensConfig(), seed=0)
    >>> model(torch.tensor([[0, 3, 4, 2, 1]]), torch.tensor([[True, True, True, True, False]])).shape
    torch.Size([1, 2])
    """

    def __init__(self, config: ParensConfig, *, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.config = config
        self.embed = Table("W_E", (config.d_vocab, config.d_model), EMBEDDING_STD, generator)
        self.pos_embed = Table("W_pos", (config.n_ctx, config.d_model), EMBEDDING_STD, generator)
        self.blocks = nn.ModuleList(Block(config, generator) for _ in range(config.n_layers))
        self.ln_final = LayerNorm(config.d_model, eps=config.norm_eps)
        self.unembed = Unembed(config, generator)

    def forward(self, tokens: Tensor, mask: Tensor, *, trace: Trace | None = None) -> Tensor:
        """Logits [batch, 2].

        Args:
            tokens: [batch, pos].
            mask: [batch, pos], true or 1 where there is no padding.
            trace: filled with attention patterns and with what is written to position 0.
        """
        shown = mask.bool()
        x = cast(Tensor, self.embed.W_E)[tokens] + cast(Tensor, self.pos_embed.W_pos)[: tokens.shape[1]]
        trace_terms = [x[:, 0]]
        for layer, block in enumerate(self.layers):
            n_queries = 1 if layer == len(self.layers) - 1 else x.shape[1]  # only position 0 is read in the end
            pattern, mixed = block.attn(block.ln1(x), shown, n_queries=n_queries)
            x = x[:, :n_queries] + mixed.transpose(1, 2).flatten(2) @ block.attn.W_O.flatten(0, 1)
            written = block.mlp(block.ln2(x))
            x = x + written
            if trace is not None:
                trace.patterns.append(pattern)
                trace_terms += [*(mixed[:, :, None, 0] @ block.attn.W_O).squeeze(2).unbind(1), written[:, 0]]
        if trace is not None:
            trace.terms.extend(trace_terms)
        return self.read_out(x[:, 0])

    def read_out(self, first: Tensor) -> Tensor:
        """Logits [batch, 2] of the residual stream at position 0 [batch, d_model], the sum of a trace's terms."""
        return self.ln_final(first) @ self.unembed.W_U + self.unembed.b_U

    def term_names(self) -> list[str]:
        """Of a trace's terms: embed, 0.0, 0.1, mlp0, 1.0, ..."""
        heads = range(self.config.n_heads)
        return ["embed"] + [
            name for layer in range(self.config.n_layers) for name in (*(f"{layer}.{h}" for h in heads), f"mlp{layer}")
        ]

    @property
    def layers(self) -> list[Block]:
        """The blocks, by layer."""
        return [cast(Block, block) for block in self.blocks]


def _by_head(x: Tensor, w: Tensor) -> Tensor:
    """[batch, pos, d_model] times [head, d_model, d_head], as [batch, head, pos, d_head]; one product of matrices."""
    product = x @ w.transpose(0, 1).flatten(1)
    return product.view(*x.shape[:2], *w.shape[::2]).transpose(1, 2)


def _normal(shape: tuple[int, ...], std: float, generator: torch.Generator) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape, generator=generator) * std)
