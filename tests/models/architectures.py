"""Random architectures, weights and inputs: every option of every part, in any combination that means something."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from hypothesis import strategies as st
from torch import Tensor

import scrub as rc
from scrub.models import LoadedModel, weight_symbols
from scrub.models.architecture import (
    Architecture,
    Attention,
    Embedding,
    Experts,
    Layer,
    Mlp,
    Norm,
    Readout,
    RotaryTable,
    Transform,
)
from tests.models import by_hand

N_CTX = 7
ACTS = ("relu", "silu", "gelu", "tanh")


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


@functools.cache
def frequencies(width: int) -> Callable[[int], tuple[Tensor, float]]:
    """In double precision, so that nothing is rounded; layers that rotate alike have the same function."""
    angles = 30.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    return lambda _seq_len: (angles, 1.25)


def norms(*, kinds: tuple[Literal["ln", "rms"], ...] = ("ln", "rms")) -> st.SearchStrategy[Norm]:
    flags = st.booleans()
    return st.builds(Norm, st.sampled_from(kinds), st.sampled_from([1e-5, 0.3]), flags, flags, flags)


@st.composite
def rotary_tables(draw: st.DrawFn, d_head: int) -> RotaryTable:
    width = draw(st.sampled_from(range(2, d_head + 1, 2)))
    is_interleaved = draw(st.booleans())
    return RotaryTable(f"rope_{d_head}_{width}_{is_interleaved}", width, frequencies(width), is_interleaved)


@st.composite
def attentions(draw: st.DrawFn, *, is_causal: bool, shortformer: bool) -> Attention:
    """Heads, shared or not, with everything that attention may have."""
    groups, per_group = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    d_head = draw(st.integers(2, 5))
    qk_norm, over_all = draw(maybe(norms())), False
    if qk_norm is None:
        qk_norm = draw(maybe(norms(kinds=("rms",))))
        over_all = qk_norm is not None
    slopes = st.tuples(*[st.floats(-0.5, 1.0)] * (groups * per_group))
    return Attention(
        groups * per_group,
        groups,
        d_head,
        scale=draw(st.sampled_from([1.0, 2.0, -0.5])),
        bias="".join(part for part in "qkvo" if draw(st.booleans())),
        qk_norm=qk_norm,
        qk_norm_over="all" if over_all else "head",
        rotary=draw(maybe(rotary_tables(d_head))),
        alibi_slopes=draw(maybe(slopes)),
        softcap=draw(maybe(st.sampled_from([0.7, 3.0]))),
        is_causal=is_causal,
        window=draw(maybe(st.integers(1, 4))),
        shortformer=shortformer and draw(st.booleans()),
    )


@st.composite
def mlps(draw: st.DrawFn) -> Mlp:
    is_gated = draw(st.booleans())
    return Mlp(
        draw(st.integers(2, 6)),
        draw(st.sampled_from([*ACTS, "solu"])),
        is_gated,
        bias_in=draw(st.booleans()),
        bias_out=draw(st.booleans()),
        bias_after_gate=is_gated and draw(st.booleans()),
        post_norm=draw(maybe(norms())),
    )


@st.composite
def experts(draw: st.DrawFn) -> Experts:
    n_experts = draw(st.integers(1, 4))
    expert = replace(draw(mlps()), bias_in=False, bias_out=False, bias_after_gate=False)
    return Experts(expert, n_experts, draw(st.integers(1, n_experts)), draw(st.booleans()))


@st.composite
def layers(draw: st.DrawFn, *, is_causal: bool, shortformer: bool) -> Layer:
    """A block of any wiring; norms only where they have a place."""
    flow = draw(st.sampled_from(["attention only", "sequential", "parallel", "shares norm", "adds to normed"]))
    has_mlp, is_parallel = flow != "attention only", flow in ("parallel", "shares norm")
    return Layer(
        draw(attentions(is_causal=is_causal, shortformer=shortformer)),
        draw(mlps() | experts()) if has_mlp else None,
        a_norm=draw(maybe(norms())),
        a_out_norm=draw(maybe(norms())),
        mid_norm=draw(maybe(norms())) if has_mlp and not is_parallel else None,
        m_norm=draw(maybe(norms())) if has_mlp and flow != "shares norm" else None,
        m_out_norm=draw(maybe(norms())) if has_mlp else None,
        out_norm=draw(maybe(norms())),
        is_parallel=is_parallel,
        adds_to_normed=flow == "adds to normed",
        shares_norm=flow == "shares norm",
    )


@st.composite
def embeddings(draw: st.DrawFn) -> Embedding:
    positions: Any = draw(st.sampled_from(["none", "learned", "shortformer"]))
    offset = draw(st.integers(0, 3))
    return Embedding(
        positions,
        n_positions=N_CTX + offset,
        position_offset=offset,
        positions_from_mask=draw(st.booleans()),
        scale=draw(st.sampled_from([1.0, 3.3])),
        n_token_types=draw(st.sampled_from([0, 2])),
        norm=draw(maybe(norms())),
        d_embed=draw(maybe(st.integers(2, 4))),
    )


@st.composite
def readouts(draw: st.DrawFn) -> Readout:
    return Readout(
        draw(maybe(norms())),
        reads_first=draw(st.booleans()),
        d_embed=draw(maybe(st.integers(2, 4))),
        transform=draw(maybe(st.builds(Transform, st.sampled_from(ACTS), maybe(norms())))),
        has_bias=draw(st.booleans()),
        softcap=draw(maybe(st.just(2.5))),
    )


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    """One to three layers, some of them alike."""
    embedding, is_causal = draw(embeddings()), draw(st.booleans())
    kinds = draw(
        st.lists(layers(is_causal=is_causal, shortformer=embedding.positions == "shortformer"), min_size=1, max_size=2)
    )
    chosen = tuple(draw(st.sampled_from(kinds)) for _ in range(draw(st.integers(1, 3))))
    d_model, d_out = draw(st.integers(3, 6)), draw(maybe(st.integers(1, 4)))
    return Architecture(d_model, 9, draw(maybe(st.just(N_CTX))), chosen, embedding, draw(readouts()), d_out)


@dataclass(frozen=True)
class Case:
    """A model, and a batch of inputs to it."""

    model: LoadedModel
    tokens: Tensor
    others: dict[str, Any]

    def call(self, bind_w: rc.Expr | None = None) -> rc.Module:
        """The expression of the logits."""
        return self.model.call(self.tokens, **self.others, model=bind_w)

    def call_of_symbols(self) -> rc.Expr:
        """The same, made for inputs that are not known, to which they are then bound."""
        values = {"tokens": self.tokens, **self.others}
        symbols = {name: rc.Symbol.new_from_name(tuple(value.shape), name) for name, value in values.items()}
        others: Any = {name: symbol for name, symbol in symbols.items() if name != "tokens"}
        call = self.model.call(symbols["tokens"], **others)
        return rc.bind(call, {symbol: rc.Array(values[name], name) for name, symbol in symbols.items()})

    def by_hand(self) -> Tensor:
        """The logits, in plain torch."""
        rows = [
            by_hand.transformer(
                self.model.architecture,
                weights_of(self.model),
                [int(token) for token in self.tokens[row]],
                shown=self._row("attention_mask", row),
                positions=self._row("position_ids", row),
                types=self._row("token_type_ids", row),
            )
            for row in range(len(self.tokens))
        ]
        return torch.stack(rows)

    def _row(self, name: str, row: int) -> list[int] | None:
        value: Any = self.others.get(name)
        return None if value is None else value[row].tolist()

    def compared(self, logits: Tensor) -> Tensor:
        """Those that mean something: not at padding."""
        shown = self.others.get("attention_mask", torch.ones_like(self.tokens)).bool()
        return logits[shown[:, 0]] if self.model.architecture.readout.reads_first else logits[shown]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A random model with random weights, and inputs with and without padding, positions, token types."""
    architecture = draw(architectures())
    seed = draw(st.integers(0, 1000))
    model, generator = random_model(architecture, seed), torch.Generator().manual_seed(seed + 1)
    shape = (draw(st.sampled_from([2, 3, 1])), draw(st.sampled_from([5, 3, 7, 1, 2, 6, 4])))

    def ints(high: int) -> Tensor:
        return torch.randint(high, shape, generator=generator)

    others: dict[str, Any] = {}
    if draw(st.booleans()):
        others["attention_mask"] = ints(4).clamp(max=1)  # three of four tokens are shown
        others["attention_mask"][:, draw(st.integers(0, shape[1] - 1))] = 1
    takes_positions = architecture.embedding.positions != "none" or any(
        layer.attention.rotary is not None for layer in architecture.layers
    )
    if takes_positions and draw(st.booleans()):
        others["position_ids"] = ints(architecture.n_ctx or shape[1])
    if architecture.embedding.n_token_types and draw(st.booleans()):
        others["token_type_ids"] = ints(2)
    return Case(model, ints(architecture.d_vocab), others)


def random_model(architecture: Architecture, seed: int = 0) -> LoadedModel:
    """Every weight is drawn, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    weights = {str(s.name): _weight(s, generator) for s in weight_symbols(architecture)}
    for number, layer in enumerate(architecture.layers):
        if layer.attention.alibi_slopes is not None:
            weights[f"a{number}.alibi.slopes"] = _slopes(layer.attention)
    return LoadedModel(architecture, weights)


def weights_of(model: LoadedModel) -> dict[str, Tensor]:
    """Its weights, as tensors."""
    return {name: weight for name, weight in model.weights.items() if isinstance(weight, Tensor)}


def _weight(symbol: rc.Symbol, generator: torch.Generator) -> Tensor:
    """Such that what is multiplied by it keeps its size."""
    shape = [int(size) for size in symbol.shape]
    fan_in = shape[-2] if ".w." in str(symbol.name) and len(shape) > 1 else 1
    return torch.randn(shape, dtype=torch.float64, generator=generator) / fan_in**0.5


def _slopes(attention: Attention) -> Tensor:
    """Those of the architecture, where the expression looks for them: query head `g * n + i` is entry [i, g]."""
    of_heads, n_groups = list(attention.alibi_slopes or ()), attention.n_key_value_heads
    per_group = len(of_heads) // n_groups
    if per_group > 1:
        by_axes = [[of_heads[group * per_group + i] for group in range(n_groups)] for i in range(per_group)]
        return torch.tensor(by_axes, dtype=torch.float64)
    return torch.tensor(of_heads, dtype=torch.float64)


ROPE = RotaryTable("rope", 4, frequencies(4))
GROUPED = Attention(6, 2, 4, 0.5, bias="qkvo", rotary=ROPE)
LN = Norm("ln", 1e-3)
FULL = Layer(GROUPED, Mlp(7, "gelu"), a_norm=LN, m_norm=LN)
WINDOW = replace(FULL, attention=replace(GROUPED, window=2))


def model_of(*layers: Layer) -> LoadedModel:
    """A random model of these layers, for up to 9 tokens of 11."""
    return random_model(Architecture(8, 11, 9, layers, readout=Readout(LN)))


def wanted_logits(model: LoadedModel, tokens: Tensor) -> Tensor:
    """In plain torch; tokens [seq] or [batch, seq]."""
    if tokens.ndim == 2:
        return torch.stack([wanted_logits(model, row) for row in tokens])
    return by_hand.transformer(model.architecture, weights_of(model), [int(token) for token in tokens])
