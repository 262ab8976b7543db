"""Linear layers, as one matrix product over all positions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import fx

from scrub.compiler.values import Axis, Op, Sizes, Value, Writer


@dataclass(frozen=True)
class Linear(Op):
    """`scale * x @ weight + bias`: kept axes of x, then the columns of the weight.

    Arguments are x, a weight [rows, columns], and a bias [columns] if there is one.

    Attributes:
        summed: what the rows of the weight are, the outermost first: batch axes and core axes of x.
        scale: of the product.
    """

    summed: tuple[Axis | int, ...]
    scale: float = 1.0

    def infer(self, args: Sequence[Value]) -> tuple[Sizes, torch.dtype | None]:
        x, weight = args[:2]
        kept = tuple(size for i, size in enumerate(x.shape) if i not in self.summed)
        return (*kept, weight.shape[1]), x.dtype

    def axes(self, args: Sequence[Value]) -> tuple[Axis, ...]:
        return tuple(axis for axis in args[0].axes if axis not in self.summed)

    def emit(self, value: Value, write: Writer) -> fx.Node:
        x = value.args[0]
        summed = tuple(x.axes.index(axis) if isinstance(axis, Axis) else len(x.axes) + axis for axis in self.summed)
        kept = tuple(i for i in range(len(x.axes) + len(x.shape)) if i not in summed)
        nodes = [write.node(arg) for arg in value.args]
        if len(summed) == 1 and kept == tuple(range(len(kept))):
            return write.call(linear, self.scale, *nodes)
        return write.call(linear_over, kept, summed, self.scale, *nodes)

    def flops(self, value: Value) -> int:
        rows, _ = value.args[1].shape
        return math.prod(value.shape) * (2 * rows + len(value.args) - 2 + (self.scale != 1.0))

    @property
    def label(self) -> str:
        return "linear" + (f" over {len(self.summed)} axes" if len(self.summed) > 1 else "")


def linear(scale: float, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """`scale * x @ weight + bias`, over the last axis of x."""
    *sizes, rows = x.shape
    flat = x if len(sizes) == 1 else x.reshape(math.prod(sizes), rows)
    if bias is not None:
        result = torch.addmm(bias, flat, weight, alpha=scale)
    else:
        result = torch.mm(flat, weight)
        result = result if scale == 1.0 else result.mul_(scale)
    return result if len(sizes) == 1 else result.view(*sizes, weight.shape[1])


def linear_over(
    kept: tuple[int, ...],
    summed: tuple[int, ...],
    scale: float,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """`linear` over the axes `summed` of x, of which the rows of the weight are made, of axes `kept` and these.

    Kept axes are taken in the order in which they lie in memory, so that positions can be counted without a copy.
    """
    strides = x.stride()
    order = [*kept] if torch.compiler.is_compiling() else sorted(kept, key=lambda axis: -strides[axis])
    ordered = x.permute([*order, *summed])
    flat = ordered.reshape(*ordered.shape[: len(kept)], math.prod(ordered.shape[len(kept) :]))
    result = linear(scale, flat, weight, bias)
    return result if order == list(kept) else result.permute([*(order.index(axis) for axis in kept), len(kept)])
