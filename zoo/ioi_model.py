"""A small transformer of GPT-2's kind as a plain torch module: what the model of indirect objects is trained with, and
an independent oracle for the library's tests (it shares no code with the library).

Learned positions, LayerNorm before attention and before the MLP, biases everywhere but in the unembedding. With
residual stream x, for every layer:

    n = LN(x);  x <- x + sum_h softmax(causal(q_h k_h^T / sqrt(d_head))) v_h W_O[h] + b_O
    x <- x + gelu(LN(x) W_in + b_in) W_out + b_out

where q_h = n W_Q[h] + b_Q[h], and k_h and v_h likewise; gelu is the approximation by tanh; and logits = LN(x) W_U.
Parameter names and layouts are those of TransformerLens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.attn_only import LayerNorm, causal_pattern
from zoo.parens_model import Table


@dataclass(frozen=True, kw_only=True)
class IoiConfig:
    """Sizes of an `IoiTransformer`.

    >>> IoiConfig(n_layers=2).d_mlp
    512
    """

    n_layers: int = 3
    n_heads: int = 4
    d_model: int = 128
    d_head: int = 32
    d_mlp: int = 512
    d_vocab: int = 2048
    n_ctx: int = 64
    norm_eps: float = 1e-5


Component = tuple[int, int | None]
"""(layer, head) of a head, (layer, None) of an MLP."""


@dataclass
class Trace:
    """Filled by a forward pass that is given one.

    patterns: attention probabilities [batch, head, query, key], one tensor per layer.
    written: by component, what it wrote: a head's mixed values, before W_O, [batch, pos, d_head]; an MLP's output
        [batch, pos, d_model].
    """

    patterns: list[Tensor] = field(default_factory=list[Tensor])
    written: dict[Component, Tensor] = field(default_factory=dict[Component, Tensor])


class Attention(nn.Module):
    """All heads of a layer: `W_Q`, `W_K`, `W_V` [head, d_model, d_head], `W_O` [head, d_head, d_model], and biases."""

    def __init__(self, config: IoiConfig, generator: torch.Generator) -> None:
        super().__init__()
        for name in "QKV":
            weight = _normal((config.n_heads, config.d_model, config.d_head), config.d_model**-0.5, generator)
            self.register_parameter(f"W_{name}", weight)
            self.register_parameter(f"b_{name}", nn.Parameter(torch.zeros(config.n_heads, config.d_head)))
        std = (2 * config.n_layers * config.d_model) ** -0.5
        self.W_O = _normal((config.n_heads, config.d_head, config.d_model), std, generator)
        self.b_O = nn.Parameter(torch.zeros(config.d_model))

    def forward(self, x: Tensor, trace: Trace | None) -> Tensor:
        """Mixed values [batch, head, pos, d_head]."""
        query, key, value = (self._by_head(x, name) for name in "QKV")
        if trace is None:
            return functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        trace.patterns.append(causal_pattern(query, key))
        return trace.patterns[-1] @ value

    def write(self, mixed: Tensor) -> Tensor:
        """What mixed values add to the residual stream [batch, pos, d_model]."""
        return mixed.transpose(1, 2).flatten(2) @ self.W_O.flatten(0, 1) + self.b_O

    def _by_head(self, x: Tensor, name: str) -> Tensor:
        """Queries, keys or values [batch, head, pos, d_head]."""
        weight, bias = self.get_parameter(f"W_{name}"), self.get_parameter(f"b_{name}")
        product = x @ weight.transpose(0, 1).flatten(1) + bias.flatten()
        return product.view(*x.shape[:2], *bias.shape).transpose(1, 2)


class MLP(nn.Module):
    """`W_in` [d_model, d_mlp], gelu, `W_out` [d_mlp, d_model], and biases."""

    def __init__(self, config: IoiConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.W_in = _normal((config.d_model, config.d_mlp), config.d_model**-0.5, generator)
        self.b_in = nn.Parameter(torch.zeros(config.d_mlp))
        self.W_out = _normal((config.d_mlp, config.d_model), (2 * config.n_layers * config.d_mlp) ** -0.5, generator)
        self.b_out = nn.Parameter(torch.zeros(config.d_model))

    def forward(self, x: Tensor) -> Tensor:
        return functional.gelu(x @ self.W_in + self.b_in, approximate="tanh") @ self.W_out + self.b_out


class Block(nn.Module):
    """Norm, attention, norm, MLP."""

    def __init__(self, config: IoiConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.ln1 = LayerNorm(config.d_model, eps=config.norm_eps)
        self.attn = Attention(config, generator)
        self.ln2 = LayerNorm(config.d_model, eps=config.norm_eps)
        self.mlp = MLP(config, generator)


class IoiTransformer(nn.Module):
    """The model; its forward pass gives logits.

    >>> model = IoiTransformer(IoiConfig(), seed=0)
    >>> model(torch.zeros(1, 5, dtype=torch.int64)).shape
    torch.Size([1, 5, 2048])
    """

    def __init__(self, config: IoiConfig, *, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.config = config
        self.embed = Table("W_E", (config.d_vocab, config.d_model), 0.1, generator)
        self.pos_embed = Table("W_pos", (config.n_ctx, config.d_model), 0.1, generator)
        self.blocks = nn.ModuleList(Block(config, generator) for _ in range(config.n_layers))
        self.ln_final = LayerNorm(config.d_model, eps=config.norm_eps)
        self.unembed = Table("W_U", (config.d_model, config.d_vocab), 0.02, generator)

    def forward(
        self, tokens: Tensor, *, replaced: Mapping[Component, Tensor] | None = None, trace: Trace | None = None
    ) -> Tensor:
        """Logits [batch, pos, d_vocab] of tokens [batch, pos].

        Args:
            tokens: [batch, pos], at most n_ctx of them in a row.
            replaced: by component, what it writes instead, as in `Trace.written`.
            trace: filled with attention patterns and with what components wrote.
        """
        instead: dict[Component, Tensor] = dict(replaced or {})
        x = cast(Tensor, self.embed.W_E)[tokens] + cast(Tensor, self.pos_embed.W_pos)[: tokens.shape[1]]
        for layer, block in enumerate(self.layers):
            mixed: Tensor = block.attn(block.ln1(x), trace)
            if replaced is not None:
                heads = [instead.get((layer, head), values) for head, values in enumerate(mixed.unbind(1))]
                mixed = torch.stack(heads, dim=1)
            x = x + block.attn.write(mixed)
            written = instead[layer, None] if (layer, None) in instead else cast(Tensor, block.mlp(block.ln2(x)))
            x = x + written
            if trace is not None:
                trace.written.update({(layer, head): values for head, values in enumerate(mixed.unbind(1))})
                trace.written[layer, None] = written
        return self.ln_final(x) @ cast(Tensor, self.unembed.W_U)

    @property
    def layers(self) -> list[Block]:
        """The blocks, by layer."""
        return [cast(Block, block) for block in self.blocks]


def _normal(shape: tuple[int, ...], std: float, generator: torch.Generator) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape, generator=generator) * std)
