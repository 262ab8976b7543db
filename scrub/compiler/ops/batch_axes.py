"""Batch axes made of core axes and back; siblings computed together, and taken apart again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import fx

from scrub.compiler.ops.arithmetic import common_dtype
from scrub.compiler.values import Axis, Op, Sizes, Value, Writer, repeated, union_of_axes


@dataclass(frozen=True)
class ToBatch(Op):
    """The first core axis becomes a batch axis."""

    axis: Axis
    is_view = True

    def infer(self, args: Sequence[Value]) -> tuple[Sizes, torch.dtype | None]:
        return args[0].shape[1:], args[0].dtype

    def axes(self, args: Sequence[Value]) -> tuple[Axis, ...]:
        return _with_axis(args[0].axes, self.axis)

    def emit(self, value: Value, write: Writer) -> fx.Node:
        (arg,) = value.args
        node = write.node(arg)
        source, target = len(arg.axes), value.axes.index(self.axis)
        return node if source == target else write.call(torch.movedim, node, source, target)

    @property
    def label(self) -> str:
        return f"batch axis {self.axis.order} of core axis"


@dataclass(frozen=True)
class ToCore(Op):
    """A batch axis becomes the first core axis; a value that lacks the batch axis is repeated."""

    axis: Axis
    is_view = True

    def infer(self, args: Sequence[Value]) -> tuple[Sizes, torch.dtype | None]:
        return (self.axis.size or 0, *args[0].shape), args[0].dtype

    def axes(self, args: Sequence[Value]) -> tuple[Axis, ...]:
        return tuple(axis for axis in args[0].axes if axis != self.axis)

    def emit(self, value: Value, write: Writer) -> fx.Node:
        (arg,) = value.args
        node = write.node(arg)
        target = len(value.axes)
        if self.axis not in arg.axes:
            return write.call(repeated, node, target, self.axis.size or 0)
        source = arg.axes.index(self.axis)
        return node if source == target else write.call(torch.movedim, node, source, target)

    @property
    def label(self) -> str:
        return f"core axis of batch axis {self.axis.order}"


class Run(NamedTuple):
    """A stretch of a new batch axis: an argument as it is, or `length` positions of its batch axis from `start` on."""

    axis: Axis | None = None
    start: int = 0
    length: int = 1


@dataclass(frozen=True)
class Stacked(Op):
    """Values of one shape and the same batch axes side by side along a new one; each argument gives a run of it."""

    axis: Axis
    runs: tuple[Run, ...]

    def infer(self, args: Sequence[Value]) -> tuple[Sizes, torch.dtype | None]:
        return args[0].shape, common_dtype(args)

    def axes(self, args: Sequence[Value]) -> tuple[Axis, ...]:
        taken = {run.axis for run in self.runs}
        return _with_axis([axis for axis in union_of_axes(args) if axis not in taken], self.axis)

    def emit(self, value: Value, write: Writer) -> fx.Node:
        nodes = [write.node(arg, value.dtype or torch.float64) for arg in value.args]
        runs = tuple(
            (-1 if run.axis is None else arg.axes.index(run.axis), run.start, run.length)
            for run, arg in zip(self.runs, value.args, strict=True)
        )
        return write.call(stacked, value.axes.index(self.axis), runs, nodes)

    @property
    def label(self) -> str:
        return f"stack {self.axis.size}"


@dataclass(frozen=True)
class Sibling(Op):
    """What is at a position, or from a position on, of a batch axis.

    Attributes:
        axis: the batch axis.
        at: the position; the first one if `into` is given.
        into: a shorter batch axis that takes the place of `axis`.
    """

    axis: Axis
    at: int
    into: Axis | None = None
    is_view = True

    def infer(self, args: Sequence[Value]) -> tuple[Sizes, torch.dtype | None]:
        return args[0].shape, args[0].dtype

    def axes(self, args: Sequence[Value]) -> tuple[Axis, ...]:
        rest = tuple(axis for axis in args[0].axes if axis != self.axis)
        return rest if self.into is None else _with_axis(rest, self.into)

    def emit(self, value: Value, write: Writer) -> fx.Node:
        (arg,) = value.args
        source = arg.axes.index(self.axis)
        if self.into is None:
            return write.call(torch.select, write.node(arg), source, self.at)
        node = write.call(torch.narrow, write.node(arg), source, self.at, self.into.size)
        target = value.axes.index(self.into)
        return node if source == target else write.call(torch.movedim, node, source, target)

    @property
    def label(self) -> str:
        return f"sibling {self.at}" if self.into is None else f"siblings {self.at} on"


def stacked(position: int, runs: Sequence[tuple[int, int, int]], tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Tensors side by side along an axis at `position`.

    Args:
        position: of the axis in the result.
        runs: for each tensor the axis that gives the run, -1 for none, and the start and length of the run on it.
        tensors: equal in shape but for that axis.
    """
    if all(source < 0 for source, _, _ in runs):
        return torch.stack(list(tensors), dim=position)
    parts: list[torch.Tensor] = []
    for (source, start, length), tensor in zip(runs, tensors, strict=True):
        part = tensor.unsqueeze(position) if source < 0 else tensor.narrow(source, start, length)
        parts.append(part if source in (-1, position) else part.movedim(source, position))
    return torch.cat(parts, dim=position)


def _with_axis(axes: Sequence[Axis], axis: Axis) -> tuple[Axis, ...]:
    return tuple(sorted((*axes, axis), key=lambda a: a.order))
