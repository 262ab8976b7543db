"""Operators that move values and do not change them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from scrub.graph import Concat, Expr, Rearrange, Scalar, Scatter
from scrub.models.exported.axes import expand, permute, reshape, squeeze, take, unsqueeze
from scrub.models.exported.call import Call, Number, Operand, axis_of, no_dropout
from scrub.models.exported.registry import aten


@aten("aten.clone.default", "aten.alias.default", "aten.lift_fresh_copy.default")
def same(call: Call, x: Operand, *_: object, **__: object) -> Expr:
    """The value itself."""
    return x.expr


@aten("aten.native_dropout.default", keep=True)
def dropout(call: Call, x: Operand, p: float, train: bool | None = False) -> tuple[Expr | None, ...]:
    """Nothing, as at inference."""
    no_dropout(call, p if train else 0.0)
    return x.expr, None


@aten("aten.view.default")
def view(call: Call, x: Operand, *_: object) -> Expr:
    """Another shape for the same values in row-major order."""
    return reshape(x.expr, call.shape)


@aten("aten.permute.default")
def permute_(call: Call, x: Operand, dims: Sequence[int]) -> Expr:
    """Axes in another order."""
    return permute(x.expr, dims) if x.ndim else x.expr


@aten("aten.unsqueeze.default")
def unsqueeze_(call: Call, x: Operand, dim: int) -> Expr:
    """One more axis of size 1."""
    return unsqueeze(x.expr, dim)


@aten("aten.squeeze.dims")
def squeeze_(call: Call, x: Operand, dims: Sequence[int]) -> Expr:
    """Without those of the axes that have size 1."""
    return squeeze(x.expr, *(d for d in dims if x.ndim and x.shape[d] == 1))


@aten("aten.expand.default")
def expand_(call: Call, x: Operand, *_: object, implicit: bool = False) -> Expr:
    """Repeated along axes of size 1 and new leading axes."""
    return expand(x.expr, call.shape)


@aten("aten.repeat.default")
def repeat(call: Call, x: Operand, repeats: Sequence[int]) -> Expr:
    """Copies side by side along each axis."""
    ndim = len(repeats)
    full = unsqueeze(x.expr, *range(ndim - x.ndim))
    left = tuple((axis,) for axis in range(ndim))
    right = tuple((ndim + axis, axis) for axis in range(ndim))
    sizes = {ndim + axis: count for axis, count in enumerate(repeats)}
    return Rearrange.from_groups(full, left, right, sizes)


@aten("aten.repeat_interleave.self_int", keep=True)
def repeat_interleave(call: Call, x: Operand, repeats: int, dim: int | None = None, output_size: int = 0) -> Expr:
    """Each entry along an axis so many times in a row: query heads for each key head."""
    value = reshape(x.expr, [_count(x.shape)]) if dim is None else x.expr
    axis = axis_of(dim or 0, value.ndim)
    left = tuple((i,) for i in range(value.ndim))
    right = tuple((i, value.ndim) if i == axis else (i,) for i in range(value.ndim))
    return Rearrange.from_groups(value, left, right, {value.ndim: repeats})


@aten("aten.cat.default")
def cat(call: Call, tensors: Sequence[Operand], dim: int = 0) -> Expr:
    """One after the other along an axis."""
    ndim = len(call.shape)
    parts = [part for part in tensors if part.ndim == ndim and part.shape[axis_of(dim, ndim)]]
    if not parts:
        return Scalar(0.0, call.shape)
    values = [call.operand(part) for part in parts]
    return values[0] if len(values) == 1 else Concat(*values, axis=axis_of(dim, ndim))


@aten("aten.stack.default", keep=True)
def stack(call: Call, tensors: Sequence[Operand], dim: int = 0) -> Expr:
    """One after the other along a new axis."""
    return Concat.stack(*(call.operand(part) for part in tensors), axis=axis_of(dim, len(call.shape)))


@aten("aten.split_with_sizes.default", "aten.split.Tensor", "aten.unbind.int", keep=True)
def split(call: Call, x: Operand, *arguments: object, dim: int = 0) -> tuple[Expr, ...]:
    """An axis in stretches; `unbind` takes it apart position by position."""
    is_unbind = call.operator == "aten.unbind.int"
    given = arguments[-1] if len(arguments) == (1 if is_unbind else 2) else dim
    assert isinstance(given, int)
    axis = axis_of(given, x.ndim)
    if is_unbind:
        return tuple(take(x.expr, axis, i) for i in range(x.shape[axis]))
    ends = list(itertools.accumulate(shape[axis] for shape in call.shapes))
    return tuple(take(x.expr, axis, slice(end - s[axis], end)) for end, s in zip(ends, call.shapes, strict=True))


@aten("aten.flip.default")
def flip(call: Call, x: Operand, dims: Sequence[int]) -> Expr:
    """Axes the other way round."""
    result = x.expr
    for dim in dims:
        result = take(result, dim, range(x.shape[dim])[::-1])
    return result


@aten("aten.roll.default", keep=True)
def roll(call: Call, x: Operand, shifts: Sequence[int], dims: Sequence[int] = ()) -> Expr:
    """Positions moved on, those at the end coming back at the beginning."""
    if not dims:
        flat = reshape(x.expr, [_count(x.shape)])
        return reshape(_rolled(flat, shifts[0], 0), call.shape)
    result = x.expr
    for shift, dim in zip(shifts, dims, strict=True):
        result = _rolled(result, shift, axis_of(dim, x.ndim))
    return result


@aten("aten.constant_pad_nd.default", "aten.pad.default", keep=True)
def pad(call: Call, x: Operand, widths: Sequence[int], *mode_and_value: object) -> Expr:
    """A number around the values, or what `mode` says; negative widths cut off. Widths are of the last axis first."""
    mode, value = _pad_mode(mode_and_value)
    pairs = [(widths[2 * i], widths[2 * i + 1]) for i in range(len(widths) // 2)]
    sides = {x.ndim - 1 - i: pair for i, pair in enumerate(pairs)}
    result = x.expr
    for axis, (before, after) in sides.items():
        size = x.shape[axis]
        result = take(result, axis, slice(max(0, -before), size + min(0, after)))
        sides[axis] = max(0, before), max(0, after)
    if mode != "constant":
        for axis, (before, after) in sides.items():
            result = take(result, axis, _mirrored(result.shape[axis], before, after, mode))
        return result
    if not any(any(pair) for pair in sides.values()):
        return result
    if value:
        return _pad_with(call, result, sides, value)
    idx = [
        slice(before, call.shape[axis] - after) if (before, after) != (0, 0) else slice(None)
        for axis, (before, after) in ((axis, sides.get(axis, (0, 0))) for axis in range(x.ndim))
    ]
    return Scatter(result, idx, call.shape)


def _pad_mode(mode_and_value: Sequence[object]) -> tuple[str, Number]:
    """`constant_pad_nd` has the number only, `pad` the mode and the number."""
    mode = next((given for given in mode_and_value if isinstance(given, str)), "constant")
    value = next((given for given in mode_and_value if isinstance(given, int | float)), 0)
    return mode, value


def _pad_with(call: Call, result: Expr, sides: dict[int, tuple[int, int]], value: Number) -> Expr:
    number = float(value) if call.dtype.is_floating_point else value
    for axis, pair in sides.items():
        shape = list(result.shape)
        blocks = [Scalar(number, (*shape[:axis], width, *shape[axis + 1 :])) for width in pair]
        parts = [*blocks[: bool(pair[0])], result, *blocks[1 : 1 + bool(pair[1])]]
        result = Concat(*parts, axis=axis) if len(parts) > 1 else result
    return result


def _mirrored(size: object, before: int, after: int, mode: str) -> list[int]:
    """Positions from which padding takes its values."""
    assert isinstance(size, int)
    if mode == "circular":
        return [i % size for i in range(-before, size + after)]
    if mode == "replicate":
        return [min(max(i, 0), size - 1) for i in range(-before, size + after)]
    period = max(2 * size - 2, 1)
    return [(size - 1) - abs((size - 1) - i % period) for i in range(-before, size + after)]


def _rolled(expr: Expr, shift: int, axis: int) -> Expr:
    size = expr.shape[axis]
    assert isinstance(size, int)
    cut = size - shift % size if size else 0
    if cut in (0, size):
        return expr
    return Concat(take(expr, axis, slice(cut, size)), take(expr, axis, slice(0, cut)), axis=axis)


def _count(shape: Sequence[int]) -> int:
    result = 1
    for size in shape:
        result *= size
    return result
