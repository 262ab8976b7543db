"""Scaled dot-product attention, taken apart: scores, mask, pattern, values."""

from __future__ import annotations

import math

import torch

from scrub.graph import Add, Expr, GeneralFunction, Rearrange, Scalar, softmax
from scrub.graph.functions.reduce import Max
from scrub.graph.functions.where import Where
from scrub.models.exported.axes import broadcast, expand, multiply, product, unsqueeze
from scrub.models.exported.call import Call, Operand, constant_expr, no_dropout, small
from scrub.models.exported.registry import aten
from scrub.models.parts.attention import masked_score


@aten("aten.scaled_dot_product_attention.default", keep=True)
def attention(
    call: Call,
    query: Operand,
    key: Operand,
    value: Operand,
    attn_mask: Operand | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Expr:
    """softmax(q k^T scale + mask) v, all of [..., position, d_head].

    Where a mask of booleans hides a key from a query, `masked_score` is added to the score. A query from which all
    keys are hidden gets zeros, as torch gives it.
    """
    no_dropout(call, dropout_p)
    scale = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    keys, values = (_repeat_heads(x.expr, query.shape, call) if enable_gqa else x.expr for x in (key, value))
    num = max(query.ndim, keys.ndim) - 2
    q_pos, k_pos, d_head = num, num + 1, num + 2
    batch = tuple(range(num))
    scores: Expr = product(
        query.expr,
        keys,
        Scalar(scale, name=call.named("scale")),
        axes=[(*batch[num - query.ndim + 2 :], q_pos, d_head), (*batch[num - keys.ndim + 2 :], k_pos, d_head), ()],
        out=(*batch, q_pos, k_pos),
        name=call.named("scores"),
    )
    shown: Operand | None = None
    if is_causal:
        causal = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=_device(query, key)).tril()
        attn_mask = Operand(None, torch.bool, causal)
    if attn_mask is not None:
        bias, shown = _bias(call, attn_mask, query.dtype)
        shape = broadcast(scores.shape, bias.shape)  # pyright: ignore[reportArgumentType]
        scores = expand(Add(scores, bias, name=call.named("masked_scores")), shape)
    probs: Expr = softmax(scores, call.named("probs"))
    if shown is not None:
        probs = multiply(probs, call.operand(shown), name=call.named("shown_probs"))
    own = num - values.ndim + 2
    return product(
        probs,
        values,
        axes=[(*batch, q_pos, k_pos), (*batch[own:], k_pos, d_head)],
        out=(*batch, q_pos, d_head),
    )


def _bias(call: Call, mask: Operand, dtype: torch.dtype) -> tuple[Expr, Operand | None]:
    """What is added to the scores; and which queries see something, [..., q, 1], where some may not."""
    if mask.dtype != torch.bool:
        return call.factor(mask, dtype), None
    if mask.constant is not None:
        seen = mask.constant.any(-1, keepdim=True) if mask.shape[-1] else mask.constant.new_zeros((*mask.shape[:-1], 1))
        blind = not mask.constant.is_meta and not bool(seen.all())
        hidden = ~small(mask.constant)
        added = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill(hidden, masked_score(dtype))
        return constant_expr(added, call.named("mask")), Operand(None, torch.bool, small(seen)) if blind else None
    bias = GeneralFunction(mask.expr, Scalar(0.0, mask.shape), Scalar(masked_score(dtype), mask.shape), spec=Where())
    seen_expr = unsqueeze(GeneralFunction(mask.expr, spec=Max()), -1)
    return call.operand(Operand(bias, torch.float64), dtype), Operand(seen_expr, torch.bool)


def _repeat_heads(expr: Expr, query_shape: tuple[int, ...], call: Call) -> Expr:
    """Each head so many times in a row as there are query heads for it."""
    axis = expr.ndim - 3
    heads = expr.shape[axis]
    assert isinstance(heads, int)
    times = query_shape[-3] // heads
    if times == 1:
        return expr
    left = tuple((i,) for i in range(expr.ndim))
    right = tuple((i, expr.ndim) if i == axis else (i,) for i in range(expr.ndim))
    return Rearrange.from_groups(expr, left, right, {expr.ndim: times}, name=call.named("repeated"))


def _device(*operands: Operand) -> torch.device | None:
    return next((operand.expr.device for operand in operands if operand.expr.device is not None), None)
