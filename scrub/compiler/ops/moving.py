"""Values moved: core axes permuted, split, merged and repeated, parts picked and joined."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import fx

from scrub.compiler.ops.arithmetic import common_dtype
from scrub.compiler.values import Op, Sizes, Value, Writer, repeated
from scrub.graph.frozen_tensor import FrozenTensor

Groups = tuple[tuple[int, ...], ...]
Entry = int | tuple[int, int] | FrozenTensor | None


@dataclass(frozen=True)
class Rearranged(Op):
    """Core axes regrouped, as `scrub.graph.Rearrange` says; `sizes` are those of all elementary axes.

    Whether the result is a view depends on the memory layout of the argument. It is planned as one where nothing is
    merged.
    """

    left: Groups
    right: Groups
    sizes: Sizes

    @property
    def is_view(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return all(self._size(group) <= 1 or sum(self.sizes[a] > 1 for a in group) == 1 for group in self.right)

    def _size(self, group: tuple[int, ...]) -> int:
        return math.prod(self.sizes[axis] for axis in group)

    def infer(self, args: Sequence[Value]) -> tuple[Sizes, torch.dtype | None]:
        return tuple(self._size(group) for group in self.right), args[0].dtype

    def emit(self, value: Value, write: Writer) -> fx.Node:
        on_left = [axis for group in self.left for axis in group]
        on_right = [axis for group in self.right for axis in group]
        batch = len(value.axes)
        node = write.node(value.args[0])
        if any(len(group) != 1 for group in self.left):
            node = write.call(regrouped, node, batch, tuple(self.sizes[axis] for axis in on_left))
        order = [on_left.index(axis) for axis in on_right if axis in on_left]
        if order != sorted(order):
            node = write.call(torch.permute, node, (*range(batch), *(batch + i for i in order)))
        for position, axis in enumerate(on_right):
            if axis not in on_left:
                node = write.call(repeated, node, batch + position, self.sizes[axis])
        if any(len(group) != 1 for group in self.right):
            node = write.call(regrouped, node, batch, value.shape)
        return node

    @property
    def label(self) -> str:
        return "rearrange"


@dataclass(frozen=True)
class Picked(Op):
    """Parts of core axes: one position, a range, or positions, as in `scrub.graph.Index`."""

    entries: tuple[Entry, ...]

    @property
    def is_view(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return not any(isinstance(entry, FrozenTensor) for entry in self.entries)

    def infer(self, args: Sequence[Value]) -> tuple[Sizes, torch.dtype | None]:
        shape: list[int] = []
        for entry, size in zip(self.entries, args[0].shape, strict=True):
            match entry:
                case None:
                    shape.append(size)
                case (start, stop):
                    shape.append(stop - start)
                case FrozenTensor():
                    shape.append(len(entry.value))
                case _:
                    pass
        return tuple(shape), args[0].dtype

    def emit(self, value: Value, write: Writer) -> fx.Node:
        node = write.node(value.args[0])
        for axis, entry in reversed(list(enumerate(self.entries, start=len(value.axes)))):
            match entry:
                case None:
                    pass
                case (start, stop):
                    node = write.call(torch.narrow, node, axis, start, stop - start)
                case FrozenTensor():
                    positions = entry.value.to(value.device or "cpu")
                    node = write.call(torch.index_select, node, axis, write.tensor(positions))
                case position:
                    node = write.call(torch.select, node, axis, position)
        return node

    @property
    def label(self) -> str:
        return "index"


@dataclass(frozen=True)
class Joined(Op):
    """Arguments one after another along a core axis."""

    axis: int

    def infer(self, args: Sequence[Value]) -> tuple[Sizes, torch.dtype | None]:
        shape = list(args[0].shape)
        shape[self.axis] = sum(arg.shape[self.axis] for arg in args)
        return tuple(shape), common_dtype(args)

    def emit(self, value: Value, write: Writer) -> fx.Node:
        parts = write.expanded(value.args, value.dtype or torch.float64)
        return write.call(torch.cat, parts, dim=len(value.axes) + self.axis)

    @property
    def label(self) -> str:
        return "concat"


def regrouped(tensor: torch.Tensor, batch: int, shape: Sizes) -> torch.Tensor:
    """The core axes, those behind the first `batch`, in another shape."""
    return tensor.reshape((*tensor.shape[:batch], *shape))
