"""The blocks of GPT-2 and Llama with random weights, as expressions of what their first block reads."""

from __future__ import annotations

from dataclasses import dataclass

import torch

import scrub as rc
from scrub.graph import Expr
from scrub.models import Architecture, Attention, Layer, LoadedModel, Mlp, Norm, Readout, RotaryTable, weight_symbols
from scrub.models.inputs import attention_inputs
from scrub.models.tables import plain_frequencies


@dataclass(frozen=True)
class Shape:
    """Sizes of a transformer; the family is "gpt2" or "llama"."""

    family: str = "gpt2"
    n_layers: int = 2
    n_heads: int = 4
    n_key_value_heads: int = 4
    d_model: int = 8
    d_head: int = 4
    d_mlp: int = 12
    d_vocab: int = 11
    seq: int = 5

    @property
    def architecture(self) -> Architecture:
        """As the family has it: LayerNorm, biases and GELU, or RMSNorm, rotary positions and gated MLPs."""
        sizes = (self.n_heads, self.n_key_value_heads, self.d_head, self.d_head**-0.5)
        if self.family == "gpt2":
            norm = Norm("ln")
            layer = Layer(Attention(*sizes, bias="qkvo"), Mlp(self.d_mlp, "gelu_new"), a_norm=norm, m_norm=norm)
        else:
            norm = Norm("rms")
            rotary = RotaryTable("rope", self.d_head, plain_frequencies(100.0, self.d_head))
            mlp = Mlp(self.d_mlp, "silu", is_gated=True, bias_in=False, bias_out=False)
            layer = Layer(Attention(*sizes, rotary=rotary), mlp, a_norm=norm, m_norm=norm)
        return Architecture(self.d_model, self.d_vocab, None, (layer,) * self.n_layers, readout=Readout(norm))


def random_model(shape: Shape, *, std: float = 0.8, dtype: torch.dtype = torch.float64) -> LoadedModel:
    """A model with random weights, by default of a size that leaves attention far from uniform."""

    def weight(symbol: rc.Symbol) -> torch.Tensor:
        name = str(symbol.name)
        generator = torch.Generator().manual_seed(sum(i * ord(c) for i, c in enumerate(name)))
        value = torch.randn(tuple(map(int, symbol.shape)), generator=generator, dtype=dtype) * std
        return value + 1 if "norm.w" in name else value

    architecture = shape.architecture
    return LoadedModel(architecture, {str(s.name): weight(s) for s in weight_symbols(architecture)})


def lowered(model: LoadedModel, seq: int, *, split: bool = False) -> Expr:
    """The logits of `t.input` [seq, d_model]; split, every head is a call of its own. Masks and angles are free."""
    expr = model.lower(seq_len=seq)["t.bind_w"]
    if split:
        expr = rc.configure_transformer(expr, split_by_head_config="full", use_pull_up_head_split=True)
    return rc.substitute(expr)


def on_embedded(model: LoadedModel, seq: int, *, split: bool = False) -> tuple[Expr, rc.Symbol]:
    """The same with masks and angles in it, and `t.input`, the one symbol left."""
    expr = lowered(model, seq, split=split)
    given = attention_inputs(model.architecture, {}, seq, None, None, dtype=model.dtype, device=model.device)
    x = symbol_named(expr, "t.input")
    return rc.bind(expr, {s: given[str(s.name)] for s in expr.free_symbols if s is not x}), x


def symbol_named(expr: Expr, name: str) -> rc.Symbol:
    """The free symbol of that name."""
    (symbol,) = (s for s in expr.free_symbols if s.name == name)
    return symbol
