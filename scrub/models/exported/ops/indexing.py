"""Operators that pick values, or put them in places."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from scrub.graph import Add, CheckpointError, Concat, Einsum, Expr, GeneralFunction, Scalar, Scatter, cast_to
from scrub.graph.functions.binary import Binary
from scrub.graph.functions.where import Where
from scrub.models.exported.axes import (
    broadcast,
    expand,
    ints,
    move_from_last,
    move_last,
    multiply,
    permute,
    reshape,
    take,
    unsqueeze,
)
from scrub.models.exported.call import Call, Operand, axis_of, constant_expr
from scrub.models.exported.registry import aten


@aten("aten.slice.Tensor")
def slice_(
    call: Call, x: Operand, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Expr:
    """Every `step`-th position of an axis from `start` to before `end`."""
    axis = axis_of(dim, x.ndim)
    return take(x.expr, axis, range(x.shape[axis])[slice(start, end, step)])


@aten("aten.select.int")
def select(call: Call, x: Operand, dim: int, index: int) -> Expr:
    """One position of an axis, which goes."""
    axis = axis_of(dim, x.ndim)
    return take(x.expr, axis, index % x.shape[axis])


@aten("aten.diagonal.default")
def diagonal(call: Call, x: Operand, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Expr:
    """The diagonal of two axes, as the last axis."""
    first, second = axis_of(dim1, x.ndim), axis_of(dim2, x.ndim)
    length = call.shape[-1]
    start = (max(0, -offset), max(0, offset))
    square = take(take(x.expr, first, slice(start[0], start[0] + length)), second, slice(start[1], start[1] + length))
    axes = [first if axis == second else axis for axis in range(x.ndim)]
    return Einsum((square, axes), out_axes=(*(a for a in axes if a != first), first))


@aten("aten.embedding.default")
def embedding(call: Call, weight: Operand, indices: Operand, *_: object) -> Expr:
    """Rows of a table."""
    if indices.constant is not None and indices.ndim == 1:
        return take(weight.expr, 0, to_list(indices.constant))
    return GeneralFunction.gen_index(weight.expr, _positions(indices), index_dim=0)


@aten("aten.index_select.default")
def index_select(call: Call, x: Operand, dim: int, index: Operand) -> Expr:
    """Positions along one axis."""
    axis = axis_of(dim, x.ndim)
    if index.constant is not None and x.ndim:
        return take(x.expr, axis, to_list(index.constant.reshape(-1)))
    picked = GeneralFunction.gen_index(x.expr, _positions(index), index_dim=axis)
    return permute(picked, [*range(1, axis + 1), 0, *range(axis + 1, x.ndim)])


@aten("aten.index.Tensor")
def index(call: Call, x: Operand, indices: Sequence[Operand | None]) -> Expr:
    """Positions along several axes, broadcast against each other, as numpy's advanced indexing."""
    at = [axis for axis, entry in enumerate(indices) if entry is not None]
    given = [entry for entry in indices if entry is not None]
    if any(entry.dtype in (torch.bool, torch.uint8) for entry in given):
        raise CheckpointError(
            f"{call.operator} ({call.name!r}) picks by a mask, so that the size of the result depends on the data",
            expected="positions",
            found=torch.bool,
            hint="write it with torch.where(mask, x, other)",
        )
    if len(given) == 1 and given[0].constant is not None and given[0].ndim == 1:
        return take(x.expr, at[0], to_list(_counted(given[0].constant, x.shape[at[0]])))
    sizes = [x.shape[axis] for axis in at]
    position = _flat_position(given, sizes)
    rest = [axis for axis in range(x.ndim) if axis not in at]
    table = reshape(permute(x.expr, [*at, *rest]), [math.prod(sizes), *(x.shape[axis] for axis in rest)])
    picked = GeneralFunction.gen_index(table, position, index_dim=0)
    is_together = at == list(range(at[0], at[0] + len(at)))
    if not is_together or at[0] == 0:
        return picked
    num = position.ndim  # the axes of the index stand where those indexed were
    return permute(picked, [*range(num, num + at[0]), *range(num), *range(num + at[0], picked.ndim)])


@aten("aten.gather.default")
def gather(call: Call, x: Operand, dim: int, index: Operand, sparse_grad: bool = False) -> Expr:
    """Along one axis, the position that the index says, everywhere else the same place."""
    if not x.ndim:
        return x.expr
    axis = axis_of(dim, x.ndim)
    source = x.expr
    for other in range(x.ndim):
        if other != axis:
            source = take(source, other, slice(0, index.shape[other]))
    values, positions = move_last(source, axis), move_last(_positions(index), axis)
    wanted = ints(positions.shape)
    spread = expand(unsqueeze(values, -2), (*wanted, x.shape[axis]))
    return move_from_last(GeneralFunction.gen_index(spread, positions, index_dim=0, batch_x=True), axis)


@aten("aten.slice_scatter.default")
def slice_scatter(
    call: Call, x: Operand, src: Operand, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Expr:
    """x with other values in a slice of an axis."""
    axis = axis_of(dim, x.ndim)
    positions = list(range(x.shape[axis])[slice(start, end, step)])
    return _put(x, call.operand(src), axis, positions)


@aten("aten.select_scatter.default", keep=True)
def select_scatter(call: Call, x: Operand, src: Operand, dim: int, index: int) -> Expr:
    """x with other values at one position of an axis."""
    axis = axis_of(dim, x.ndim)
    return _put(x, unsqueeze(call.operand(src), axis), axis, [index % x.shape[axis]])


@aten("aten.index_put.default")
def index_put(
    call: Call, x: Operand, indices: Sequence[Operand | None], values: Operand, accumulate: bool = False
) -> Expr:
    """x with other values at positions along several axes, which must be known; or with these added to it."""
    at = [axis for axis, entry in enumerate(indices) if entry is not None]
    given = [entry for entry in indices if entry is not None]
    if given[0].dtype == torch.bool and given[0].shape == x.shape and not values.ndim and not accumulate:
        return GeneralFunction(given[0].expr, call.whole(values), x.expr, spec=Where())
    if any(entry.constant is None or entry.dtype == torch.bool for entry in given):
        raise CheckpointError(
            f"{call.operator} ({call.name!r}) puts values where the data say",
            expected="positions that are known when the model is exported",
            found=[(entry.dtype, entry.shape) for entry in given],
            hint="write it with torch.where or torch.scatter, or register a lowering of your own",
        )
    sizes = [x.shape[axis] for axis in at]
    rest = [axis for axis in range(x.ndim) if axis not in at]
    table = reshape(permute(x.expr, [*at, *rest]), [math.prod(sizes), *(x.shape[axis] for axis in rest)])
    positions = _flat_known(given, sizes)
    placed = _placed_first(call.operand(values), at, rest, positions, x.shape)
    flat = to_list(positions.reshape(-1))
    if accumulate:
        hits = torch.nn.functional.one_hot(positions.reshape(-1), math.prod(sizes)).to(x.dtype)
        axes = tuple(range(1, table.ndim))
        table = Add(
            table, Einsum((placed, (0, *axes)), (constant_expr(hits), (0, table.ndim)), out_axes=(table.ndim, *axes))
        )
    else:
        table = _put(Operand(table, x.dtype), placed, 0, flat)
    back = reshape(table, [*sizes, *(x.shape[axis] for axis in rest)])
    order = [*at, *rest]
    return permute(back, [order.index(axis) for axis in range(x.ndim)])


@aten("aten.tril.default", "aten.triu.default", keep=True)
def triangle(call: Call, x: Operand, diagonal: int = 0) -> Expr:
    """The values on and below (above) a diagonal of the last two axes, zeros elsewhere."""
    kind = torch.tril if "tril" in call.operator else torch.triu
    kept = kind(torch.ones(x.shape[-2:], dtype=torch.bool), diagonal)
    if x.dtype == torch.bool:
        return GeneralFunction(x.expr, expand(constant_expr(kept), call.shape), spec=Binary("bitwise_and"))
    return multiply(x.expr, constant_expr(kept.to(x.dtype)))


def _put(x: Operand, part: Expr, axis: int, positions: list[int]) -> Expr:
    """x with a part in place of these positions of an axis."""
    size = x.shape[axis]
    if len(positions) == size and positions == list(range(size)):
        return part
    if isinstance(x.expr, Scalar) and x.expr.value == 0:
        where: list[object] = [slice(None)] * axis
        is_stretch = positions == list(range(positions[0], positions[0] + len(positions))) if positions else True
        start = positions[0] if positions else 0
        idx = slice(start, start + len(positions)) if is_stretch else torch.tensor(positions)
        return Scatter(part, [*where, idx], x.shape)  # pyright: ignore[reportArgumentType]
    order = sorted(set(range(size)) - set(positions))
    joined = Concat(take(x.expr, axis, order), part, axis=axis)
    came_from = {position: i for i, position in enumerate([*order, *positions])}
    return take(joined, axis, [came_from[position] for position in range(size)])


def _flat_position(given: Sequence[Operand], sizes: Sequence[int]) -> Expr:
    """Positions along several axes as one position along these axes merged."""
    if all(entry.constant is not None for entry in given):
        return constant_expr(_flat_known(given, sizes))
    total_expr: Expr | None = None
    for entry, size in zip(given, sizes, strict=True):
        part = GeneralFunction(_positions(entry), Scalar(size, entry.shape), spec=Binary("remainder"))
        total_expr = part if total_expr is None else Add(multiply(total_expr, Scalar(size)), part)
    assert total_expr is not None
    return expand(total_expr, broadcast(*(entry.shape for entry in given)))


def _flat_known(given: Sequence[Operand], sizes: Sequence[int]) -> torch.Tensor:
    """The same where all positions are known."""
    shape = broadcast(*(entry.shape for entry in given))
    total = torch.zeros(shape, dtype=torch.int64)
    for entry, size in zip(given, sizes, strict=True):
        assert entry.constant is not None
        total = total.to(entry.constant.device) * size + _counted(entry.constant, size)
    return total


def _placed_first(
    values: Expr, at: Sequence[int], rest: Sequence[int], positions: torch.Tensor, shape: Sequence[int]
) -> Expr:
    """Values for indexed axes as [position, *rest]; they come in the shape that indexing there gives."""
    own, others = list(positions.shape), [shape[axis] for axis in rest]
    is_together = list(at) == list(range(at[0], at[0] + len(at)))
    first = at[0] if is_together else 0
    whole = expand(values, [*others[:first], *own, *others[first:]])
    num = len(own)
    moved = permute(whole, [*range(first, first + num), *range(first), *range(first + num, whole.ndim)])
    return reshape(moved, [positions.numel(), *others])


def _counted(positions: torch.Tensor, size: int) -> torch.Tensor:
    """Positions counted from 0, where negative ones count from the end."""
    positions = positions.to(torch.int64)
    return torch.where(positions < 0, positions + size, positions)


def _positions(operand: Operand) -> Expr:
    """Positions in the dtype that `gen_index` takes."""
    if operand.dtype == torch.int64:
        return operand.expr
    if operand.constant is not None:
        return constant_expr(operand.constant.to(torch.int64))
    return cast_to(operand.expr, torch.int64)


def to_list(positions: torch.Tensor) -> list[int]:
    """One-dimensional positions as numbers."""
    return [int(position) for position in positions.tolist()]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
