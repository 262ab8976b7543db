"""Operators that put values at positions that are themselves computed."""

from __future__ import annotations

import torch

from scrub.graph import Add, Concat, Einsum, Expr, GeneralFunction, Scalar, cast_to
from scrub.graph.functions.binary import Binary
from scrub.graph.functions.reduce import Argmax, Max
from scrub.graph.functions.where import Where
from scrub.models.exported.axes import expand, ints, move_from_last, move_last, multiply, take, unsqueeze
from scrub.models.exported.call import Call, Number, Operand, axis_of, constant_expr
from scrub.models.exported.registry import aten


@aten("aten.scatter.src", "aten.scatter.value", "aten.scatter_add.default")
def scatter(call: Call, x: Operand, dim: int, index: Operand, src: Operand | Number) -> Expr:
    """Along an axis, values put where the index says, or added there. Of several for one place the last counts."""
    axis = axis_of(dim, x.ndim)
    size = x.shape[axis]
    if any(index.shape[other] != x.shape[other] for other in range(x.ndim) if other != axis):
        return _in_part(call, x, axis, index, src)
    part = move_last(x.expr, axis)
    hits = _hits(index, axis, size)  # [..., entry, place]
    if "scatter_add" in call.operator:
        values = move_last(_values(call, index, src), axis)
        rest = tuple(range(values.ndim))
        there = cast_to(hits, call.dtype)
        added = Einsum((values, rest), (there, (*rest, values.ndim)), out_axes=(*rest[:-1], values.ndim))
        return Add(x.expr, move_from_last(added, axis))
    swapped = move_last(hits, -2)  # [..., place, entry]
    is_hit = GeneralFunction(swapped, spec=Max())
    new: Expr = call.operand(0 if isinstance(src, Operand) else src)
    if isinstance(src, Operand):
        order = constant_expr(torch.arange(1, index.shape[axis] + 1, device=x.expr.device))
        ranked = multiply(cast_to(swapped, torch.int64), order)
        last = GeneralFunction(ranked, spec=Argmax())
        values = move_last(_values(call, index, src), axis)
        spread = expand(unsqueeze(values, -2), (*ints(last.shape), ints(values.shape)[-1]))
        new = GeneralFunction.gen_index(spread, last, index_dim=0, batch_x=True)
    chosen = GeneralFunction(is_hit, expand(new, ints(part.shape)), part, spec=Where())
    return move_from_last(chosen, axis)


@aten("aten.index_add.default", keep=True)
def index_add(call: Call, x: Operand, dim: int, index: Operand, source: Operand, *, alpha: Number = 1) -> Expr:
    """Slices added at positions of an axis."""
    axis = axis_of(dim, x.ndim)
    places = constant_expr(torch.arange(x.shape[axis], device=x.expr.device))
    entries = index.shape[0] if index.ndim else 1
    position = expand(unsqueeze(_int64(index), -1), (entries, x.shape[axis]))
    hits = cast_to(GeneralFunction(position, expand(places, (entries, x.shape[axis])), spec=Binary("eq")), call.dtype)
    axes = tuple(range(x.ndim))
    out = tuple(x.ndim if i == axis else i for i in axes)
    factors: list[tuple[Expr, tuple[int, ...]]] = [(source.expr, axes), (hits, (axis, x.ndim))]
    if alpha != 1:
        factors.append((Scalar(alpha), ()))
    return Add(x.expr, Einsum(*factors, out_axes=out))


def _in_part(call: Call, x: Operand, axis: int, index: Operand, src: Operand | Number) -> Expr:
    """The same where the index is smaller than x along other axes: done in that corner, the rest put around it."""
    corner = x.expr
    for other in range(x.ndim):
        if other != axis:
            corner = take(corner, other, slice(0, index.shape[other]))
    inner = Call(call.operator, call.name, (ints(corner.shape),), call.dtypes)
    result = scatter(inner, Operand(corner, x.dtype), axis, index, src)
    for other in reversed(range(x.ndim)):
        if other != axis and index.shape[other] != x.shape[other]:
            rest = x.expr
            for before in range(other):
                if before != axis:
                    rest = take(rest, before, slice(0, index.shape[before]))
            rest = take(rest, other, slice(index.shape[other], x.shape[other]))
            result = Concat(result, rest, axis=other)
    return result


def _hits(index: Operand, axis: int, size: int) -> Expr:
    """[..., entry, place]: whether an entry of the index is that place."""
    positions = move_last(_int64(index), axis)
    shape = (*ints(positions.shape), size)
    places = constant_expr(torch.arange(size, device=index.expr.device))
    return GeneralFunction(expand(unsqueeze(positions, -1), shape), expand(places, shape), spec=Binary("eq"))


def _values(call: Call, index: Operand, src: Operand | Number) -> Expr:
    """The part of the source that the index covers."""
    value = call.operand(src)
    for axis, size in enumerate(index.shape):
        if ints(value.shape)[axis] != size:
            value = take(value, axis, slice(0, size))
    return value


def _int64(index: Operand) -> Expr:
    return index.expr if index.dtype == torch.int64 else cast_to(index.expr, torch.int64)
