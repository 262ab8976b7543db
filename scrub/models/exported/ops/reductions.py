"""Operators that sum over axes, take extremes along them, or run along them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from scrub.graph import Add, Einsum, Expr, GeneralFunction, Scalar, cast_to, elementwise, log_softmax, softmax
from scrub.graph.functions.accumulate import Cumprod, Cumsum, Prod
from scrub.graph.functions.base import Function
from scrub.graph.functions.power import Pow
from scrub.graph.functions.reduce import Argmax, Max, Min
from scrub.graph.functions.sorting import Argsort, Sort
from scrub.models.exported.axes import ints, move_from_last, move_last, multiply, permute, reshape, take, unsqueeze
from scrub.models.exported.call import Call, Number, Operand, axes_of, axis_of
from scrub.models.exported.ops.comparison import truth
from scrub.models.exported.registry import aten

Dims = Sequence[int] | int | None


@aten("aten.sum.dim_IntList")
def sum_(call: Call, x: Operand, dim: Dims = None, keepdim: bool = False, *, dtype: object = None) -> Expr:
    """Sums over axes."""
    return _summed(call.operand(x), axes_of(dim, x.ndim), keepdim, None)


@aten("aten.mean.dim", "aten.mean.default")
def mean(call: Call, x: Operand, dim: Dims = None, keepdim: bool = False, *, dtype: object = None) -> Expr:
    """Means over axes."""
    return mean_of(call.operand(x), axes_of(dim, x.ndim), keepdim=keepdim)


@aten("aten.var.correction", "aten.var_mean.correction", "aten.std.correction", keep=True)
def variance(
    call: Call, x: Operand, dim: Dims = None, *, correction: Number | None = 1, keepdim: bool = False
) -> Expr | tuple[Expr, Expr]:
    """Variances, by n - correction; their roots; or means beside them."""
    axes = axes_of(dim, x.ndim)
    average = mean_of(x.expr, axes, keepdim=True, name=call.named("mean"))
    centred = Add(x.expr, multiply(average, Scalar(-1.0)), name=call.named("centred"))
    count = math.prod(x.shape[axis] for axis in axes) - (1 if correction is None else correction)
    kept = tuple(axis for axis in range(x.ndim) if axis not in axes)
    every = tuple(range(x.ndim))
    factor = Scalar(1.0 / count) if count > 0 else Scalar(float("nan"))
    result: Expr = Einsum((centred, every), (centred, every), (factor, ()), out_axes=kept)
    result = unsqueeze(result, *axes) if keepdim else result
    if call.operator == "aten.std.correction":
        return elementwise("sqrt", result)
    if call.operator == "aten.var.correction":
        return result
    return result, average if keepdim else mean_of(x.expr, axes)


@aten("aten.linalg_vector_norm.default")
def vector_norm(
    call: Call, x: Operand, order: Number | None = 2, dim: Dims = None, keepdim: bool = False, *, dtype: object = None
) -> Expr:
    """(sum of |x|^order)^(1 / order)."""
    axes = axes_of(dim, x.ndim)
    value = call.operand(x)
    order = 2 if order is None else order
    if math.isinf(order):
        spec = Max() if order > 0 else Min()
        return _over_merged(elementwise("abs", value), axes, spec, keepdim)
    if order == 2:
        return elementwise("sqrt", _squares(value, axes, keepdim))
    if order == 1:
        return _summed(elementwise("abs", value), axes, keepdim, None)
    powers = GeneralFunction(elementwise("abs", value), Scalar(float(order)), spec=Pow())
    return GeneralFunction(_summed(powers, axes, keepdim, None), Scalar(1.0 / order), spec=Pow())


@aten("aten.amax.default", "aten.amin.default", "aten.max.default", "aten.min.default")
def extreme(call: Call, x: Operand, dim: Dims = None, keepdim: bool = False) -> Expr:
    """The largest or smallest value over axes."""
    spec = Max() if "max" in call.operator else Min()
    return _over_merged(x.expr, axes_of(dim, x.ndim), spec, keepdim)


@aten("aten.max.dim", "aten.min.dim")
def extreme_and_position(call: Call, x: Operand, dim: int, keepdim: bool = False) -> tuple[Expr, Expr]:
    """The largest or smallest value along an axis, and its position."""
    if not x.ndim:
        return x.expr, Scalar(0)
    is_max = "max" in call.operator
    values = _over_merged(x.expr, [axis_of(dim, x.ndim)], Max() if is_max else Min(), keepdim)
    return values, _position(x, dim, keepdim, largest=is_max)


@aten("aten.argmax.default", "aten.argmin.default")
def position(call: Call, x: Operand, dim: int | None = None, keepdim: bool = False) -> Expr:
    """The position of the largest or smallest value."""
    return _position(x, dim, keepdim, largest="max" in call.operator)


@aten("aten.any.default", "aten.any.dim", "aten.any.dims")
def any_(call: Call, x: Operand, dim: Dims = None, keepdim: bool = False) -> Expr:
    """Whether any value differs from 0."""
    return _over_merged(truth(x), axes_of(dim, x.ndim), Max(), keepdim)


@aten("aten.prod.dim_int", "aten.prod.default")
def prod(call: Call, x: Operand, dim: int | None = None, keepdim: bool = False, *, dtype: object = None) -> Expr:
    """Products over an axis, or all."""
    return _over_merged(call.operand(x), axes_of(dim, x.ndim), Prod(), keepdim)


@aten("aten.cumsum.default", "aten.cumprod.default")
def running(call: Call, x: Operand, dim: int, *, dtype: object = None) -> Expr:
    """Sums, or products, of all values up to each position."""
    if not x.ndim:
        return call.operand(x)
    spec = Cumsum() if "cumsum" in call.operator else Cumprod()
    return _along(call.operand(x), dim, spec)


@aten("aten._softmax.default", "aten._safe_softmax.default", "aten._log_softmax.default", keep=True)
def softmax_(call: Call, x: Operand, dim: int, *_: object) -> Expr:
    """Softmax along an axis, or its logarithm."""
    value = call.operand(x)
    if not x.ndim:
        return multiply(value, Scalar(0.0)) if "log" in call.operator else _sum_to_one(value)
    function = log_softmax if "log" in call.operator else softmax
    return move_from_last(function(move_last(value, dim)), dim)


@aten("aten.logsumexp.default", keep=True)
def logsumexp(call: Call, x: Operand, dim: Dims, keepdim: bool = False) -> Expr:
    """The logarithm of the sum of exponentials: the largest value less its log-probability."""
    merged = _merged(call.operand(x), axes_of(dim, x.ndim))
    largest = GeneralFunction(merged, spec=Max())
    shifted = Add(merged, unsqueeze(multiply(largest, Scalar(-1.0)), -1))
    exponentials = elementwise("exp", shifted)
    result = Add(largest, elementwise("log", exponentials.sum(axis=-1)))
    return unsqueeze(result, *axes_of(dim, x.ndim)) if keepdim else result


@aten("aten.topk.default")
def topk(call: Call, x: Operand, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> tuple[Expr, Expr]:  # noqa: A002
    """The k largest or smallest values along an axis, and their positions."""
    values, positions = _sorted(x, dim, descending=largest)
    return take(values, dim, slice(0, k)), take(positions, dim, slice(0, k))


@aten("aten.sort.default", "aten.sort.stable")
def sort(call: Call, x: Operand, *given: object, **named: object) -> tuple[Expr, Expr]:
    """The values along an axis in order, and where they come from."""
    rest = [value for value in given if value is not None]
    if call.operator == "aten.sort.stable" and rest and isinstance(rest[0], bool):
        rest = rest[1:]
    dim = named.get("dim", rest[0] if rest else -1)
    descending = named.get("descending", rest[1] if len(rest) > 1 else False)
    assert isinstance(dim, int)
    return _sorted(x, dim, descending=bool(descending))


def mean_of(value: Expr, axes: Sequence[int], *, keepdim: bool = False, name: str | None = None) -> Expr:
    """The mean over these axes, counted from 0."""
    count = math.prod(ints(value.shape)[axis] for axis in axes)
    return _summed(value, axes, keepdim, Scalar(1.0 / count) if count else Scalar(float("nan")), name)


def _summed(value: Expr, axes: Sequence[int], keepdim: bool, factor: Scalar | None, name: str | None = None) -> Expr:
    if not axes and factor is None:
        return value
    every = tuple(range(value.ndim))
    operands: list[tuple[Expr, tuple[int, ...]]] = [(value, every)]
    if factor is not None:
        operands.append((factor, ()))
    result = Einsum(*operands, out_axes=tuple(axis for axis in every if axis not in axes), name=name)
    return unsqueeze(result, *axes) if keepdim else result


def _squares(value: Expr, axes: Sequence[int], keepdim: bool) -> Expr:
    every = tuple(range(value.ndim))
    result = Einsum((value, every), (value, every), out_axes=tuple(axis for axis in every if axis not in axes))
    return unsqueeze(result, *axes) if keepdim else result


def _merged(value: Expr, axes: Sequence[int]) -> Expr:
    """These axes moved behind the others and made one."""
    rest = [axis for axis in range(value.ndim) if axis not in axes]
    moved = permute(value, [*rest, *axes]) if value.ndim else value
    shape = ints(value.shape)
    return reshape(moved, [*(shape[axis] for axis in rest), math.prod(shape[axis] for axis in axes)])


def _over_merged(value: Expr, axes: Sequence[int], spec: Function, keepdim: bool) -> Expr:
    """A function that takes the last axis away, of several axes made one."""
    result = GeneralFunction(_merged(value, axes), spec=spec)
    return unsqueeze(result, *axes) if keepdim else result


def _along(value: Expr, dim: int, spec: Function) -> Expr:
    """A function that runs along the last axis, along any."""
    return move_from_last(GeneralFunction(move_last(value, dim), spec=spec), dim)


def _position(x: Operand, dim: int | None, keepdim: bool, *, largest: bool) -> Expr:
    value = x.expr if largest else multiply(x.expr, Scalar(-1.0 if x.dtype.is_floating_point else -1))
    axes = list(range(x.ndim)) if dim is None else [axis_of(dim, x.ndim)] if x.ndim else []
    if x.dtype == torch.bool:
        value = cast_to(x.expr, torch.int64)
    return _over_merged(value, axes, Argmax(), keepdim)


def _sorted(x: Operand, dim: int, *, descending: bool) -> tuple[Expr, Expr]:
    if not x.ndim:
        return x.expr, Scalar(0)
    return _along(x.expr, dim, Sort(descending)), _along(x.expr, dim, Argsort(descending))


def _sum_to_one(value: Expr) -> Expr:
    """The softmax of a single number."""
    return Add(multiply(value, Scalar(0.0)), Scalar(1.0))
