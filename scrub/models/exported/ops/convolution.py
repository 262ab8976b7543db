"""Convolutions: a `Conv` where it is a plain one, else a sum of products over windows."""

from __future__ import annotations

from collections.abc import Sequence

from scrub.graph import Add, Conv, Einsum, Expr, Scatter
from scrub.models.exported.axes import ints, permute, reshape, take, unsqueeze
from scrub.models.exported.call import Call, Operand
from scrub.models.exported.registry import aten


@aten("aten.convolution.default", keep=True)
def convolution(
    call: Call,
    x: Operand,
    weight: Operand,
    bias: Operand | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Expr:
    """Cross-correlation, channels first as in torch; also strided, dilated, transposed and in groups."""
    num = weight.ndim - 2
    stride, padding, dilation, output_padding = (each(v, num) for v in (stride, padding, dilation, output_padding))
    value, kernel = x.expr, weight.expr
    pairs = [(p, p) for p in padding]
    if transposed:
        value, kernel, pairs = _as_plain(value, kernel, stride, padding, dilation, output_padding, groups)
        stride = [1] * num
    if groups == 1 and all(d == 1 for d in dilation):
        result = _plain(value, kernel, stride, pairs, name=None if bias is None else call.named("product"))
    else:
        result = _by_windows(value, kernel, stride, pairs, dilation, groups)
    if bias is None:
        return result
    return Add(result, unsqueeze(bias.expr, *(-1 - i for i in range(num))))


def each(values: Sequence[int] | int, num: int) -> list[int]:
    """One number for each spatial axis, where one may be given for all."""
    values = [values] if isinstance(values, int) else list(values)
    return values * num if len(values) == 1 else values


def zero_padded(value: Expr, pairs: Sequence[tuple[int, int]]) -> Expr:
    """Zeros around the last axes."""
    if not any(any(pair) for pair in pairs):
        return value
    sizes = ints(value.shape)
    num = len(pairs)
    idx = [slice(None)] * (value.ndim - num)
    idx += [slice(before, before + size) for (before, _), size in zip(pairs, sizes[-num:], strict=True)]
    padded = [size + before + after for (before, after), size in zip(pairs, sizes[-num:], strict=True)]
    return Scatter(value, idx, (*sizes[:-num], *padded))


def windows(
    value: Expr, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], places: Sequence[int]
) -> Expr:
    """[..., *spatial] -> [..., p1, k1, p2, k2, ...]: what each place sees through a window, axis by axis.

    >>> from scrub.graph import Scalar
    >>> windows(Scalar(1.0, (2, 7)), [3], [2], [1], [3]).shape
    (2, 3, 3)
    """
    num = len(kernel)
    first = value.ndim - num
    shape = list(ints(value.shape)[:first])
    for axis in range(num):
        starts = [place * stride[axis] for place in range(places[axis])]
        seen = [start + k * dilation[axis] for start in starts for k in range(kernel[axis])]
        value = take(value, first + axis, seen)
        shape += [places[axis], kernel[axis]]
    return reshape(value, shape)


def _plain(
    value: Expr, kernel: Expr, stride: Sequence[int], pairs: Sequence[tuple[int, int]], *, name: str | None
) -> Expr:
    """By `Conv`, which has channels last."""
    num = len(stride)
    spatial = range(value.ndim - num, value.ndim)
    channels = value.ndim - num - 1
    batch = list(range(channels))
    moved = permute(value, [*batch, *spatial, channels])
    weight = permute(kernel, [*range(2, num + 2), 1, 0])
    result = Conv(moved, weight, stride, list(pairs))
    back = permute(result, [*batch, result.ndim - 1, *range(len(batch), result.ndim - 1)])
    return back if name is None else back.rename(name)


def _by_windows(
    value: Expr,
    kernel: Expr,
    stride: Sequence[int],
    pairs: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    groups: int,
) -> Expr:
    """Sum over windows and the channels of a group."""
    num = len(stride)
    padded = zero_padded(value, pairs)
    spatial = ints(padded.shape)[-num:]
    out_channels, in_group, *kernel_sizes = ints(kernel.shape)
    places = [
        (size - (k - 1) * d - 1) // s + 1 for size, k, d, s in zip(spatial, kernel_sizes, dilation, stride, strict=True)
    ]
    batch = list(ints(padded.shape)[: padded.ndim - num - 1])
    seen = windows(padded, kernel_sizes, stride, dilation, places)
    seen = reshape(seen, [*batch, groups, in_group, *ints(seen.shape)[len(batch) + 1 :]])
    weight = reshape(kernel, [groups, out_channels // groups, in_group, *kernel_sizes])
    b = list(range(len(batch)))
    g, c, o = len(b), len(b) + 1, len(b) + 2
    places_axes = [o + 1 + 2 * i for i in range(num)]
    kernel_axes = [o + 2 + 2 * i for i in range(num)]
    between = [axis for pair in zip(places_axes, kernel_axes, strict=True) for axis in pair]
    result = Einsum((seen, [*b, g, c, *between]), (weight, [g, o, c, *kernel_axes]), out_axes=[*b, g, o, *places_axes])
    return reshape(result, [*batch, out_channels, *places])


def _as_plain(
    value: Expr,
    kernel: Expr,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    output_padding: Sequence[int],
    groups: int,
) -> tuple[Expr, Expr, list[tuple[int, int]]]:
    """A transposed convolution as a plain one: the input spread out by its stride, the kernel turned round."""
    import torch

    num = len(stride)
    sizes = ints(value.shape)
    spread = [(size - 1) * s + 1 for size, s in zip(sizes[-num:], stride, strict=True)]
    if spread != list(sizes[-num:]):
        at = [torch.arange(0, size, s) for size, s in zip(spread, stride, strict=True)]
        value = Scatter(value, [*[slice(None)] * (value.ndim - num), *at], (*sizes[:-num], *spread))
    in_channels, out_group, *kernel_sizes = ints(kernel.shape)
    for axis, k in enumerate(kernel_sizes, start=2):
        kernel = take(kernel, axis, range(k)[::-1])
    grouped = reshape(kernel, [groups, in_channels // groups, out_group, *kernel_sizes])
    turned = permute(grouped, [0, 2, 1, *range(3, 3 + num)])
    turned = reshape(turned, [groups * out_group, in_channels // groups, *kernel_sizes])
    pairs: list[tuple[int, int]] = []
    for k, p, d, extra in zip(kernel_sizes, padding, dilation, output_padding, strict=True):
        before = d * (k - 1) - p
        pairs.append((before, before + extra))
    for axis, (before, after) in enumerate(pairs):  # more padding than the kernel reaches: what falls off is cut
        own = value.ndim - num + axis
        size = ints(value.shape)[own]
        value = take(value, own, slice(max(0, -before), size + min(0, after)))
    return value, turned, [(max(0, before), max(0, after)) for before, after in pairs]
