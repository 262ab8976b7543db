"""Norms, in the form that the compiler and the rules for structure know: mean, centred, variance, scaled."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from scrub.graph import Add, Einsum, Expr, Scalar, elementwise
from scrub.models.exported.axes import multiply, permute, reshape, unsqueeze
from scrub.models.exported.call import Call, Operand
from scrub.models.exported.registry import aten


@aten("aten.layer_norm.default", keep=True)
def layer_norm(
    call: Call,
    x: Operand,
    normalized_shape: Sequence[int],
    weight: Operand | None = None,
    bias: Operand | None = None,
    eps: float = 1e-5,
    _cudnn: bool = True,
) -> Expr:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes."""
    return _layer_norm(call, x, len(normalized_shape), weight, bias, eps)[0]


@aten("aten.native_layer_norm.default", keep=True)
def native_layer_norm(
    call: Call,
    x: Operand,
    normalized_shape: Sequence[int],
    weight: Operand | None,
    bias: Operand | None,
    eps: float,
) -> tuple[Expr, ...]:
    """The same, with the mean and the reciprocal of the standard deviation beside it."""
    result, mean, recip_std = _layer_norm(call, x, len(normalized_shape), weight, bias, eps)
    own = range(x.ndim - len(normalized_shape), x.ndim)
    return result, unsqueeze(mean, *own), unsqueeze(recip_std, *own)


@aten("aten.rms_norm.default", keep=True)
def rms_norm(
    call: Call, x: Operand, normalized_shape: Sequence[int], weight: Operand | None = None, eps: float | None = None
) -> Expr:
    """x / sqrt(mean of x² + eps) * weight over the last axes."""
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    every, kept, factor = _axes(x, len(normalized_shape))
    square = Einsum((x.expr, every), (x.expr, every), (factor, ()), out_axes=kept, name=call.named("mean_square"))
    recip = elementwise("rsqrt", Add(square, Scalar(eps, name=call.named("eps"))), call.named("recip_rms"))
    operands: list[tuple[Expr, Sequence[int]]] = [(x.expr, every), (recip, kept)]
    if weight is not None:
        operands.append((weight.expr, every[len(kept) :]))
    return Einsum(*operands, out_axes=every)


@aten("aten.group_norm.default", keep=True)
def group_norm(
    call: Call,
    x: Operand,
    num_groups: int,
    weight: Operand | None = None,
    bias: Operand | None = None,
    eps: float = 1e-5,
    _cudnn: bool = True,
) -> Expr:
    """LayerNorm over each of several groups of channels and all places."""
    batch, channels, *places = x.shape
    grouped = reshape(x.expr, [batch, num_groups, channels // num_groups, *places])
    scaled = _normalized(call, grouped, 2, eps)
    result = reshape(scaled, x.shape)
    return _affine(result, weight, bias, num_places=len(places))


@aten("aten._native_batch_norm_legit_no_training.default", "aten._batch_norm_no_update.default")
def batch_norm(
    call: Call,
    x: Operand,
    weight: Operand | None,
    bias: Operand | None,
    running_mean: Operand,
    running_var: Operand,
    momentum: float,
    eps: float,
) -> tuple[Expr | None, ...]:
    """(x - running mean) / sqrt(running variance + eps) * weight + bias, channel by channel."""
    num_places = max(x.ndim - 2, 0)
    after = [-1 - i for i in range(num_places)]
    centred = Add(x.expr, unsqueeze(multiply(running_mean.expr, Scalar(-1.0)), *after), name=call.named("centred"))
    recip_std = elementwise("rsqrt", Add(running_var.expr, Scalar(eps)), call.named("recip_std"))
    factors = [centred, unsqueeze(recip_std, *after)]
    if weight is not None:
        factors.append(unsqueeze(weight.expr, *after))
    result: Expr = multiply(*factors, name=call.named("scaled") if bias is not None else None)
    if bias is not None:
        result = Add(result, unsqueeze(bias.expr, *after))
    return result, *[None] * (len(call.shapes) - 1)


@aten("aten._native_batch_norm_legit.no_stats")
def instance_norm(
    call: Call,
    x: Operand,
    weight: Operand | None,
    bias: Operand | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Expr | None, ...]:
    """Each channel over the examples and all places: what `InstanceNorm` does on each example."""
    channels, num_others = x.shape[1], x.ndim - 1
    first = permute(x.expr, [1, 0, *range(2, x.ndim)])
    scaled = _layer_norm(call, Operand(first, x.dtype), num_others, None, None, eps)[0]
    result = permute(reshape(scaled, [channels, x.shape[0], *x.shape[2:]]), [1, 0, *range(2, x.ndim)])
    return _affine(result, weight, bias, num_places=x.ndim - 2), None, None


def _axes(x: Operand, num_own: int) -> tuple[tuple[int, ...], tuple[int, ...], Scalar]:
    """All axes, those that are kept, and one over the number of values that are normalized together."""
    count = 1
    for size in x.shape[x.ndim - num_own :]:
        count *= size
    return tuple(range(x.ndim)), tuple(range(x.ndim - num_own)), Scalar(1.0 / max(count, 1))


def _layer_norm(
    call: Call, x: Operand, num_own: int, weight: Operand | None, bias: Operand | None, eps: float
) -> tuple[Expr, Expr, Expr]:
    """The result, the mean, and the reciprocal of the standard deviation."""
    every, kept, factor = _axes(x, num_own)
    own = every[len(kept) :]
    mean = Einsum((x.expr, every), (factor, ()), out_axes=kept, name=call.named("mean"))
    centred = Add(x.expr, unsqueeze(mean.scale(-1.0), *own), name=call.named("centred"))
    var = Einsum((centred, every), (centred, every), (factor, ()), out_axes=kept, name=call.named("var"))
    recip_std = elementwise("rsqrt", Add(var, Scalar(eps, name=call.named("eps"))), call.named("recip_std"))
    operands: list[tuple[Expr, Sequence[int]]] = [(centred, every), (recip_std, kept)]
    if weight is not None:
        operands.append((weight.expr, own))
    scaled = Einsum(*operands, out_axes=every, name=call.named("scaled") if bias is not None else None)
    return scaled if bias is None else Add(scaled, bias.expr), mean, recip_std


def _normalized(call: Call, value: Expr, num_kept: int, eps: float) -> Expr:
    operand = Operand(value, call.dtype)
    return _layer_norm(call, operand, value.ndim - num_kept, None, None, eps)[0]


def _affine(value: Expr, weight: Operand | None, bias: Operand | None, *, num_places: int) -> Expr:
    """Times weight plus bias, channel by channel."""
    after = [-1 - i for i in range(num_places)]
    if weight is not None:
        value = multiply(value, unsqueeze(weight.expr, *after))
    return value if bias is None else Add(value, unsqueeze(bias.expr, *after))
