"""Attention as modules: one head, and the sum of a layer's heads.

Parameters of a module are symbols named after what they take, and hypotheses are written against them: `a.q.input`,
`a.k.input`, `a.v.input`. Masks, rotary tables and positions stay free, to be bound for the whole model at once.
"""

from __future__ import annotations

import math

import torch

from scrub.graph import (
    Add,
    CheckpointError,
    Concat,
    Einsum,
    Expr,
    I,
    Module,
    ModuleSpec,
    Scalar,
    Size,
    Symbol,
    elementwise,
    softmax,
)
from scrub.graph.rearrange import insert_axes
from scrub.models.architecture import Attention, RotaryTable
from scrub.models.parts.norms import call, norm_spec, norm_weights, weight_factor

MASKED_SCORE = -1e9
"""Added to attention scores that are masked: far below any score."""


def masked_score(dtype: torch.dtype | None) -> float:
    """What is added to attention scores that are masked, finite in a model of this dtype: -3e4 in half precision.

    >>> masked_score(torch.float32), masked_score(torch.float16)
    (-1000000000.0, -30000.0)
    """
    return -3e4 if dtype == torch.float16 else MASKED_SCORE


def attention_weights(attention: Attention, d_model: int) -> list[Symbol]:
    """Symbols of a layer's attention weights, all heads, in the order in which the modules take them."""
    queries, groups, d_head = attention.query_axes, (attention.n_key_value_heads,), attention.d_head
    axes = {"q": queries, "k": groups, "v": groups}
    shapes: dict[str, tuple[int, ...]] = {f"a.w.{p}": (*batch, d_model, d_head) for p, batch in axes.items()}
    shapes["a.w.o"] = (*queries, d_head, d_model)
    shapes |= {f"a.b.{part}": (*axes[part], d_head) for part in "qkv" if part in attention.bias}
    over_all = attention.qk_norm_over == "all"
    for part in "qk" if attention.qk_norm else "":
        for weight in norm_weights(attention.qk_norm, f"a.{part}.norm", d_head):
            shapes[str(weight.name)] = (*(axes[part] if over_all else ()), d_head)
    if attention.alibi_slopes is not None:
        shapes["a.alibi.slopes"] = queries
    return [Symbol.new_from_name(shape, name) for name, shape in shapes.items()]


def head_spec(attention: Attention, seq: Size, d_model: int, *, masked: float = MASKED_SCORE) -> ModuleSpec:
    """One head of separate query, key and value inputs [seq, d_model]; what it adds to the residual stream."""
    inputs = {part: Symbol.new_from_name((seq, d_model), f"a.{part}.input") for part in "qkv"}
    weights = {str(s.name): s for s in _one_head(attention, d_model)}
    scales = _rms_symbols(attention, seq)
    projected: dict[str, Expr] = {}
    for part, x in inputs.items():
        projected[part] = _project(x, weights[f"a.w.{part}_h"], weights.get(f"a.b.{part}_h"), part)
        if part != "v":
            projected[part] = _rotated(
                _qk_normed(attention, projected[part], part, weights, scales), part, attention.rotary
            )
    probs = softmax(_scores(attention, projected["q"], projected["k"], weights, seq, masked), name="a.attn_probs")
    comb_v = Einsum.from_string("q k, k e -> q e", probs, projected["v"], name="a.comb_v")
    out = Einsum.from_string("q e, e d -> q d", comb_v, weights["a.w.o_h"], name="a.head")
    return ModuleSpec(out, [*inputs.values(), *weights.values(), *scales.values()])


def attention_spec(attention: Attention, seq: Size, d_model: int, *, masked: float = MASKED_SCORE) -> ModuleSpec:
    """All heads of a layer on `a.input`, summed. Its bias, if any, is added outside."""
    x = Symbol.new_from_name((seq, d_model), "a.input")
    qk_input = Add(x, positions_symbol(seq, d_model), name="a.qk_input") if attention.shortformer else x
    weights = attention_weights(attention, d_model)
    scales = {
        f"a.{part}.recip_rms": _recip_rms_over_heads(attention, part, qk_input, {str(s.name): s for s in weights})
        for part in ("qk" if _norms_over_heads(attention) else "")
    }
    heads = Module(
        head_spec(attention, seq, d_model, masked=masked),
        "a.head.on_inp",
        **{"a.q.input": qk_input, "a.k.input": qk_input, "a.v.input": x},
        **{f"{weight.name}_h": weight for weight in weights},
        **scales,
    )
    axes = "h" if len(attention.query_axes) == 1 else "i g"
    return ModuleSpec(Einsum.from_string(f"{axes} s d -> s d", heads, name="a.sum"), [x, *weights])


def mask_symbol(attention: Attention, seq: Size) -> Symbol:
    """`a.mask` [query, key]: 1 where a query may attend to a key, 0 elsewhere."""
    return Symbol.new_from_name((seq, seq), attention.mask_name)


def positions_symbol(seq: Size, d_model: int) -> Symbol:
    """`a.pos_input` [seq, d_model]: position embeddings, where attention itself adds them (shortformer)."""
    return Symbol.new_from_name((seq, d_model), "a.pos_input")


def rotary_symbols(rotary: RotaryTable, seq: Size, d_head: int) -> tuple[Symbol, Symbol]:
    """`a.{name}.cos`, `a.{name}.sin` [seq, d_head]; see `scrub.models.tables.cos_and_sin`."""
    cos, sin = (Symbol.new_from_name((seq, d_head), f"a.{rotary.name}.{part}") for part in ("cos", "sin"))
    return cos, sin


def alibi_symbol(seq: Size) -> Symbol:
    """`a.alibi.positions` [key]: what the slope of a head is multiplied by."""
    return Symbol.new_from_name((seq,), "a.alibi.positions")


def _one_head(attention: Attention, d_model: int) -> list[Symbol]:
    """The weights as one head sees them."""
    n_axes = {"q": len(attention.query_axes), "o": len(attention.query_axes), "k": 1, "v": 1}
    per_head: list[Symbol] = []
    for symbol in attention_weights(attention, d_model):
        _, kind, part, *_ = f"{symbol.name}..".split(".")
        if kind in ("w", "b"):
            drop = n_axes[part]
        elif kind == "alibi":
            drop = n_axes["q"]
        else:
            drop = n_axes[kind] if attention.qk_norm_over == "all" else 0
        per_head.append(Symbol.new_from_name(symbol.shape[drop:], f"{symbol.name}_h"))
    return per_head


def _project(x: Expr, w: Expr, b: Expr | None, part: str) -> Expr:
    out = Einsum.from_string("s d, d e -> s e", x, w, name=f"a.{part}" if b is None else f"a.{part}.lin")
    return out if b is None else Add(out, b, name=f"a.{part}")


def _norms_over_heads(attention: Attention) -> bool:
    return attention.qk_norm is not None and attention.qk_norm_over == "all"


def _rms_symbols(attention: Attention, seq: Size) -> dict[str, Symbol]:
    names = [f"a.{part}.recip_rms" for part in "qk"] if _norms_over_heads(attention) else []
    return {name: Symbol.new_from_name((seq,), name) for name in names}


def _recip_rms_over_heads(attention: Attention, part: str, x: Expr, weights: dict[str, Symbol]) -> Expr:
    """1 / root mean square of the queries (keys) of all heads together, [seq]."""
    norm = attention.qk_norm
    if norm is None or norm.kind != "rms":
        raise CheckpointError("a norm over all heads together is one of root mean squares", found=norm)
    w, bias = weights[f"a.w.{part}"], weights.get(f"a.b.{part}")
    axes = "i g" if w.ndim == 4 else "h"
    name = f"a.{part}.all_heads"
    every: Expr = Einsum.from_string(f"s d, {axes} d e -> {axes} s e", x, w, name=name if bias is None else None)
    if bias is not None:
        every = Add(every, insert_axes(bias, at=bias.ndim - 1, count=1), name=name)
    n_features = attention.d_head * math.prod(w.shape[:-2])
    mean_square = Einsum.from_string(f"{axes} s e, {axes} s e,  -> s", every, every, Scalar(1.0 / n_features))
    return elementwise("rsqrt", Add(mean_square, Scalar(norm.eps)), name=f"a.{part}.recip_rms")


def _qk_normed(attention: Attention, x: Expr, part: str, weights: dict[str, Symbol], scales: dict[str, Symbol]) -> Expr:
    norm = attention.qk_norm
    if norm is None:
        return x
    name = f"a.{part}.norm"
    if attention.qk_norm_over == "head":
        spec = norm_spec(norm, *x.shape)
        args = [weights[f"{w.name}_h"] for w in norm_weights(norm, name, attention.d_head)]
        return call(spec, name, x, *args)
    factors: list[tuple[Expr, tuple[int, ...]]] = [(x, (0, 1)), (scales[f"a.{part}.recip_rms"], (0,))]
    if norm.weight:
        factors.append((weight_factor(norm, weights[f"{name}.w_h"]), (1,)))
    return Einsum(*factors, out_axes=(0, 1), name=name)


def _rotated(x: Expr, part: str, rotary: RotaryTable | None) -> Expr:
    """x cos + partner(x) sin: the signs are in the table, and where nothing is rotated cos is 1 and sin 0."""
    if rotary is None:
        return x
    seq, d_head = x.shape
    cos, sin = rotary_symbols(rotary, seq, d_head)
    if rotary.is_interleaved:
        partner: Expr = x.index(I[:, [i + 1 - 2 * (i % 2) for i in range(rotary.width)]])
    else:
        half = rotary.width // 2
        partner = Concat(x.index(I[:, half : rotary.width]), x.index(I[:, :half]), axis=1)
    if rotary.width < d_head:
        partner = Concat(partner, x.index(I[:, rotary.width :]), axis=1)
    turned = [Einsum.from_string("s e, s e -> s e", *pair) for pair in ((x, cos), (partner, sin))]
    return Add(*turned, name=f"a.rot_{part}")


def _scores(attention: Attention, q: Expr, k: Expr, weights: dict[str, Symbol], seq: Size, masked: float) -> Expr:
    scale = Scalar(attention.scale, name="a.scale")
    scores: Expr = Einsum.from_string("q e, k e,  -> q k", q, k, scale, name="a.scores")
    if attention.softcap is not None:
        capped = elementwise("tanh", scores.scale(1.0 / attention.softcap))
        scores = capped.scale(attention.softcap, name="a.capped_scores")
    terms = [scores]
    if attention.alibi_slopes is not None:
        bias = Einsum.from_string("k,  -> k", alibi_symbol(seq), weights["a.alibi.slopes_h"], name="a.alibi")
        terms.append(insert_axes(bias, at=0, count=1))
    allowed = Add(mask_symbol(attention, seq), Scalar(-1.0))
    terms.append(Einsum.from_string("q k,  -> q k", allowed, Scalar(-masked), name="a.mask_bias"))
    return Add(*terms, name="a.masked_scores")
