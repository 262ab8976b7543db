"""Images of another size, by repeating places or mixing neighbours."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from scrub.graph import Array, Einsum, Expr
from scrub.models.exported.axes import take
from scrub.models.exported.call import Call, Operand
from scrub.models.exported.registry import aten


@aten("aten.upsample_nearest1d.vec", "aten.upsample_nearest2d.vec", "aten.upsample_nearest3d.vec", keep=True)
def upsample_nearest(
    call: Call, x: Operand, output_size: Sequence[int] | None, factors: Sequence[float] | None
) -> Expr:
    """Each place of the result has the value of the place at the same share of the way."""
    num = len(x.shape) - 2
    scales: Sequence[float | None] = factors or [None] * num
    result = x.expr
    for axis, scale in zip(range(2, x.ndim), scales, strict=True):
        size, count = x.shape[axis], call.shape[axis]
        step = 1.0 / float(scale) if scale else size / count
        result = take(result, axis, [min(math.floor(i * step), size - 1) for i in range(count)])
    return result


@aten(
    "aten.upsample_linear1d.vec",
    "aten.upsample_bilinear2d.vec",
    "aten.upsample_trilinear3d.vec",
    "aten.upsample_bicubic2d.vec",
    keep=True,
)
def upsample_mixing(
    call: Call,
    x: Operand,
    output_size: Sequence[int] | None,
    align_corners: bool,
    factors: Sequence[float] | None,
) -> Expr:
    """Each place of the result is a mixture of its neighbours, axis by axis."""
    num = len(x.shape) - 2
    scales: Sequence[float | None] = factors or [None] * num
    resize = _cubic if "bicubic" in call.operator else _linear
    matrices = [
        resize(torch.eye(size, dtype=call.dtype), count, align_corners, scale).T
        for size, count, scale in zip(x.shape[2:], call.shape[2:], scales, strict=True)
    ]
    return mixed(x, matrices)


def mixed(x: Operand, matrices: Sequence[torch.Tensor]) -> Expr:
    """Each of the last axes through a matrix, [new place, old place]."""
    num = len(matrices)
    first = x.ndim - num
    operands: list[tuple[Expr, Sequence[int]]] = [(x.expr, range(x.ndim))]
    for i, matrix in enumerate(matrices):
        operands.append((Array(matrix.contiguous().to(x.expr.device or "cpu")), (x.ndim + i, first + i)))
    return Einsum(*operands, out_axes=[*range(first), *(x.ndim + i for i in range(num))])


def _linear(rows: torch.Tensor, count: int, align_corners: bool, scale: float | None) -> torch.Tensor:
    """Each row resized to `count` places, by torch itself."""
    size, factors = (None, [scale]) if scale else ([count], None)
    return torch.ops.aten.upsample_linear1d.vec(rows[None], size, align_corners, factors)[0]


def _cubic(rows: torch.Tensor, count: int, align_corners: bool, scale: float | None) -> torch.Tensor:
    size, factors = (None, [1.0, scale]) if scale else ([1, count], None)
    return torch.ops.aten.upsample_bicubic2d.vec(rows[None, :, None], size, align_corners, factors)[0, :, 0]
