"""Pooling: means and extremes over windows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from scrub.graph import Concat, Einsum, Expr, GeneralFunction, Scalar
from scrub.graph.functions.reduce import Max
from scrub.models.exported.axes import ints, move_last, permute, reshape, take
from scrub.models.exported.call import Call, Operand, constant_expr
from scrub.models.exported.ops.convolution import each, windows, zero_padded
from scrub.models.exported.ops.resampling import mixed
from scrub.models.exported.registry import aten


@aten("aten.avg_pool1d.default", "aten.avg_pool2d.default", "aten.avg_pool3d.default", keep=True)
def avg_pool(
    call: Call,
    x: Operand,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Expr:
    """Means over windows."""
    num = _num_spatial(call)
    kernel, pad = each(kernel_size, num), each(padding, num)
    steps, places = each(stride or kernel, num), call.shape[-num:]
    sizes = x.shape[-num:]
    value = zero_padded(x.expr, _sides(sizes, kernel, steps, pad, [1] * num, places))
    seen = windows(value, kernel, steps, [1] * num, places)
    first = x.ndim - num
    kept = [*range(first), *(first + 2 * i for i in range(num))]
    factors: list[tuple[Expr, Sequence[int]]] = []
    if divisor_override is not None:
        factors.append((Scalar(1.0 / divisor_override), ()))
    else:
        for i in range(num):
            shares = _shares(sizes[i], kernel[i], steps[i], pad[i], places[i], count_include_pad)
            factor = constant_expr(torch.tensor(shares, dtype=torch.float64).to(call.dtype).to(x.expr.device))
            own = () if isinstance(factor, Scalar) else (first + 2 * i,)
            factors.append((Scalar(factor.value) if isinstance(factor, Scalar) else factor, own))
    return Einsum((seen, range(seen.ndim)), *factors, out_axes=kept)


@aten("aten.max_pool2d_with_indices.default", "aten.max_pool3d_with_indices.default", keep=True)
def max_pool(
    call: Call,
    x: Operand,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> tuple[Expr | None, ...]:
    """The largest values in windows. Where they stood is not supported."""
    num = _num_spatial(call)
    kernel, pad, spacing = each(kernel_size, num), each(padding, num), each(dilation, num)
    steps, places = each(stride or kernel, num), call.shape[-num:]
    value = x.expr
    lowest = torch.finfo(call.dtype).min
    for axis, (before, after) in enumerate(_sides(x.shape[-num:], kernel, steps, pad, spacing, places)):
        own = x.ndim - num + axis
        shape = ints(value.shape)
        blocks = [Scalar(lowest, (*shape[:own], width, *shape[own + 1 :])) for width in (before, after)]
        parts = [*blocks[: bool(before)], value, *blocks[1 : 1 + bool(after)]]
        value = Concat(*parts, axis=own) if len(parts) > 1 else value
    seen = windows(value, kernel, steps, spacing, places)
    first = x.ndim - num
    moved = permute(
        seen, [*range(first), *(first + 2 * i for i in range(num)), *(first + 2 * i + 1 for i in range(num))]
    )
    merged = reshape(moved, [*call.shape, math.prod(kernel)])
    return GeneralFunction(merged, spec=Max()), None


@aten(
    "aten._adaptive_avg_pool2d.default",
    "aten._adaptive_avg_pool3d.default",
    "aten.adaptive_avg_pool1d.default",
    keep=True,
)
def adaptive_avg_pool(call: Call, x: Operand, output_size: Sequence[int]) -> Expr:
    """Means over as many stretches of each axis as asked for."""
    num = _num_spatial(call)
    rows = [
        [_mean_row(size, i * size // count, -((i + 1) * -size // count)) for i in range(count)]
        for size, count in zip(x.shape[-num:], call.shape[-num:], strict=True)
    ]
    matrices = [torch.tensor(row, dtype=torch.float64).to(call.dtype) for row in rows]
    return mixed(x, matrices)


@aten("aten.adaptive_max_pool2d.default", "aten.adaptive_max_pool3d.default")
def adaptive_max_pool(call: Call, x: Operand, output_size: Sequence[int]) -> tuple[Expr | None, ...]:
    """The largest values of as many stretches of each axis as asked for, axis by axis."""
    result = x.expr
    for axis in range(x.ndim - _num_spatial(call), x.ndim):
        size, count = x.shape[axis], call.shape[axis]
        stretches = [slice(i * size // count, -((i + 1) * -size // count)) for i in range(count)]
        parts = [GeneralFunction(move_last(take(result, axis, stretch), axis), spec=Max()) for stretch in stretches]
        result = Concat.stack(*parts, axis=axis)
    return result, None


def _num_spatial(call: Call) -> int:
    return int(call.operator.split("pool")[1][0])


def _sides(
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    places: Sequence[int],
) -> list[tuple[int, int]]:
    """Padding before and after, with as much after as the last window needs (`ceil_mode`)."""
    result: list[tuple[int, int]] = []
    for size, k, s, p, d, count in zip(sizes, kernel, stride, padding, dilation, places, strict=True):
        reach = (count - 1) * s + (k - 1) * d + 1
        result.append((p, max(p, reach - size - p)))
    return result


def _shares(size: int, kernel: int, stride: int, padding: int, places: int, with_padding: bool) -> list[float]:
    """One over the number of positions that each window counts."""
    shares: list[float] = []
    for place in range(places):
        start = place * stride - padding
        end = min(start + kernel, size + padding)
        count = end - start if with_padding else min(end, size) - max(start, 0)
        shares.append(1.0 / count)
    return shares


def _mean_row(size: int, start: int, end: int) -> list[float]:
    return [1.0 / (end - start) if start <= i < end else 0.0 for i in range(size)]
