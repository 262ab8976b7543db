"""Batch axes made of core axes and back; siblings computed together, and taken apart again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import fx

from scrub.compile.ops.arithmetic import common_dtype
from scrub.compile.values import Axis, Op, Sizes, Value, Writer, repeated, union_of_axes


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


@dataclass(frozen=True)
class Stacked(Op):
    """Arguments of one shape side by side, along a new batch axis."""

    axis: Axis

    def infer(self, args: Sequence[Value]) -> tuple[Sizes, torch.dtype | None]:
        return args[0].shape, common_dtype(args)

    def axes(self, args: Sequence[Value]) -> tuple[Axis, ...]:
        return _with_axis(union_of_axes(args), self.axis)

    def emit(self, value: Value, write: Writer) -> fx.Node:
        parts = write.expanded(value.args, value.dtype or torch.float64)
        return write.call(torch.stack, parts, dim=value.axes.index(self.axis))

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


def _with_axis(axes: Sequence[Axis], axis: Axis) -> tuple[Axis, ...]:
    return tuple(sorted((*axes, axis), key=lambda a: a.order))
