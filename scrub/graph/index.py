"""`Index`: pick from axes by int, slice or list of positions; several lists are independent (outer indexing)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, Self, cast

import torch

from scrub.graph.array import Array
from scrub.graph.axis_names import axis_text
from scrub.graph.errors import ConstructionError, ShapeError
from scrub.graph.expr import AxisMap, AxisUse, Expr
from scrub.graph.frozen_tensor import FrozenTensor
from scrub.graph.registry import node
from scrub.graph.sizes import Shape, Size, as_size, is_surely_less, is_symbolic, map_sizes

IndexEntry = int | slice | torch.Tensor | Sequence[int]
Entry = None | int | tuple[int, int] | FrozenTensor
"""Stored form: the whole axis, one position, start and stop, positions. Where the axis has a symbolic size, a position
counted from its end is a sympy expression, and what depends on the size is checked once that is known."""


class _IndexMaker:
    """`I[...]` makes an index for several axes: always a tuple.

    >>> I[5], I[5:6, 7]
    ((5,), (slice(5, 6, None), 7))
    """

    def __getitem__(self, idx: Any) -> tuple[IndexEntry, ...]:
        return cast("tuple[IndexEntry, ...]", idx) if isinstance(idx, tuple) else (idx,)


class _SliceMaker:
    """`S[...]` makes one slice.

    >>> S[1:]
    slice(1, None, None)
    """

    def __getitem__(self, idx: slice) -> slice:
        if not isinstance(idx, slice):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConstructionError(f"S[...] makes one slice, not {idx!r}", found=idx, hint="I[...] makes an index")
        return idx


I = _IndexMaker()  # noqa: E741 - the name users know
S = _SliceMaker()


@node
class Index(Expr):
    """One entry per axis: an int removes it, a slice or 1-d int64 tensor keeps it; missing ones are taken whole.

    >>> x = Array(torch.arange(20).reshape(4, 5))
    >>> Index(x, (torch.tensor([0, 2]), torch.tensor([1, 3, 4]))).evaluate()
    tensor([[ 1,  3,  4],
            [11, 13, 14]])
    """

    __slots__ = ()
    sizes_at = (0,)

    def __new__(cls, expr: Expr, idx: Sequence[IndexEntry], name: str | None = None) -> Self:
        if not isinstance(idx, tuple | list):
            raise ConstructionError(f"Index {name!r}: the index is a tuple, not {idx!r}", hint="I[...] makes one")
        if len(idx) > expr.ndim:
            raise ShapeError(
                f"Index {name!r}: {len(idx)} entries for {expr.ndim} axes",
                nodes=[expr],
                expected=expr.ndim,
                found=len(idx),
                hint="one entry per axis; missing trailing ones are taken whole",
            )
        entries = [_normalise(expr, axis, entry, name) for axis, entry in enumerate(idx)]
        entries += [None] * (expr.ndim - len(entries))
        return cls.make((expr,), (tuple(entries),), name)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """One stored entry per axis of the child."""
        return self.params[0]

    @classmethod
    def infer(
        cls, children: tuple[Expr, ...], params: tuple[Any, ...], name: str | None
    ) -> tuple[Shape, torch.dtype | None]:
        (child,), (entries,) = children, params
        if child.ndim != len(entries):
            raise ShapeError(
                f"Index {name!r}: made for {len(entries)} axes, found {child.ndim}",
                nodes=[child],
                expected=len(entries),
                found=child.ndim,
            )
        shape: list[Size] = []
        for axis, (entry, size) in enumerate(zip(entries, child.shape, strict=True)):
            match entry:
                case None:
                    shape.append(size)
                case int() if type(size) is int:
                    if entry >= size:
                        _out_of_range(child, axis, entry, name)
                case (start, stop):
                    if is_surely_less(size, stop):
                        _out_of_range(child, axis, stop, name)
                    if is_surely_less(stop, start):
                        _out_of_range(child, axis, f"{start}:{stop}", name)
                    length = stop - start
                    shape.append(length if type(length) is int else as_size(length))
                case FrozenTensor():
                    if entry.value.numel() and is_surely_less(size, int(entry.value.max()) + 1):
                        _out_of_range(child, axis, int(entry.value.max()), name)
                    shape.append(len(entry.value))
                case position:
                    if is_surely_less(size, position + 1):
                        _out_of_range(child, axis, position, name)
        return tuple(shape), child.dtype

    def axis_map(self) -> AxisMap:
        kept = [axis for axis, entry in enumerate(self.entries) if not is_position(entry)]
        return (tuple(kept.index(axis) if entry is None else AxisUse.FIXED for axis, entry in enumerate(self.entries)),)

    def name_map(self) -> AxisMap:
        kept = [axis for axis, entry in enumerate(self.entries) if not is_position(entry)]
        return (tuple(kept.index(axis) if axis in kept else AxisUse.FIXED for axis in range(len(self.entries))),)

    def batched(self, children: tuple[Expr, ...], ranks: tuple[int, ...], batch: Shape) -> Expr:
        return Index.make(children, ((None,) * ranks[0] + self.entries,), self.name)

    def resized(self, children: tuple[Expr, ...], transform: Callable[[Size], Size]) -> Expr:
        entries: list[Entry] = []
        for axis, entry in enumerate(self.entries):
            try:
                new = map_sizes(entry, transform)
            except ShapeError:  # -1 on an axis of size 0
                _out_of_range(children[0], axis, _entry_text(entry), self.name)
            entries.append(None if new == (0, children[0].shape[axis]) else new)
        return Index.make(children, (tuple(entries),), self.name)

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        value = values[0]
        for axis, entry in reversed(list(enumerate(self.entries))):
            match entry:
                case None:
                    pass
                case (start, stop):
                    value = value.narrow(axis, start, stop - start)
                case FrozenTensor():
                    value = value.index_select(axis, entry.value.to(value.device))
                case position:
                    value = value.select(axis, position)
        return value

    def param_text(self) -> str:
        return "[" + ", ".join(map(_entry_text, self.entries)) + "]"

    def derived_name(self, names: Sequence[str]) -> str:
        return f"{names[0]}{self.param_text()}"

    @classmethod
    def examples(cls) -> Iterator[Expr]:
        x = Array(torch.arange(24.0).reshape(2, 3, 4), "x")
        yield cls(x, I[0], name="first")
        yield cls(x, I[:, 1:3, -1])
        yield cls(x, (torch.tensor([1, 0, 1]), slice(None), torch.tensor([0, 3])))
        yield cls(x, I[:, 1:1])


def _normalise(expr: Expr, axis: int, entry: IndexEntry, name: str | None) -> Entry:
    size = expr.shape[axis]
    if isinstance(entry, bool):
        raise ConstructionError(f"Index {name!r}: a bool is not a position", nodes=[expr], axis=axis, found=entry)
    if type(entry) is int and type(size) is int:
        if not -size <= entry < size:
            _out_of_range(expr, axis, entry, name)
        return entry % size
    if isinstance(entry, int) or is_symbolic(entry):
        at = cast("Size", entry)
        position = _from_end(size, at) if is_surely_less(at, 0) else as_size(at)
        if is_surely_less(position, 0) or is_surely_less(size, position + 1):
            _out_of_range(expr, axis, at, name)
        return position
    if isinstance(entry, slice):
        if entry.step not in (None, 1):
            raise ConstructionError(f"Index {name!r}: slices have no step", nodes=[expr], axis=axis, found=entry)
        bounds: list[Size] = [0 if entry.start is None else entry.start, size if entry.stop is None else entry.stop]
        start, stop = [_from_start(size, bound) for bound in bounds]
        if is_surely_less(start, 0) or is_surely_less(stop, start) or is_surely_less(size, stop):
            raise ShapeError(
                f"Index {name!r}: slice {_slice_text(entry)} does not fit axis {axis} of size {size}",
                nodes=[expr],
                axis=axis,
                expected=f"0 <= start <= stop <= {size}",
                found=entry,
                hint="slices do not saturate as Python's do",
            )
        return None if (start, stop) == (0, size) else (start, stop)
    positions = torch.as_tensor(entry)
    if positions.numel() == 0:
        positions = positions.to(torch.int64)
    if positions.ndim != 1 or positions.dtype != torch.int64:
        raise ConstructionError(
            f"Index {name!r}: positions on axis {axis} are a 1-d int64 tensor",
            nodes=[expr],
            axis=axis,
            expected="1-d int64",
            found=f"{positions.ndim}-d {positions.dtype}",
        )
    if is_symbolic(size):
        if positions.numel() and int(positions.min()) < 0:
            raise ShapeError(
                f"Index {name!r}: positions on axis {axis} count from the end of an axis of symbolic size {size}",
                nodes=[expr],
                axis=axis,
                expected="positions from 0",
                found=int(positions.min()),
                hint="count from 0, or index with a single int or a slice",
            )
        return FrozenTensor(positions)
    if positions.numel() and (int(positions.min()) < -size or int(positions.max()) >= size):
        bad = positions[(positions < -size) | (positions >= size)]
        _out_of_range(expr, axis, int(bad[0]), name)
    return FrozenTensor(torch.where(positions < 0, positions + size, positions))


def is_position(entry: Entry) -> bool:
    """Whether a stored entry picks one position, so that the axis goes."""
    return isinstance(entry, int) or is_symbolic(entry)


def _from_start(size: Size, bound: Size) -> Size:
    """A bound of a slice, counted from the start."""
    if type(bound) is int:
        return bound if bound >= 0 else _from_end(size, bound)
    return _from_end(size, bound) if is_surely_less(bound, 0) else as_size(bound)


def _from_end(size: Size, count: Size) -> Size:
    """The position, perhaps before the first, that `count` (negative) stands for."""
    position = size + count
    return position if type(position) is int else as_size(position)


def _out_of_range(expr: Expr, axis: int, entry: Size | str, name: str | None) -> NoReturn:
    size = expr.shape[axis]
    raise ShapeError(
        f"Index {name!r}: {entry} is out of range for {axis_text(expr, axis)} of size {size}",
        nodes=[expr],
        axis=axis,
        expected=f"{-size} to {size - 1}",
        found=entry,
        hint=f"positions on axis {axis} go from 0 to {size - 1}, or from -1 down to {-size}",
    )


def _slice_text(entry: slice) -> str:
    return f"{'' if entry.start is None else entry.start}:{'' if entry.stop is None else entry.stop}"


def _entry_text(entry: Entry) -> str:
    match entry:
        case None:
            return ":"
        case (start, stop):
            return f"{start}:{stop}"
        case FrozenTensor():
            return f"[{entry.digest[:8]}]" if len(entry.value) > 8 else str([int(i) for i in entry.value])
        case position:
            return str(position)
