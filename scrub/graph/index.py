"""`Index`: pick from axes by int, slice or list of positions; several lists are independent (outer indexing)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NoReturn, Self, cast

import torch

from scrub.graph.array import Array
from scrub.graph.errors import ConstructionError, ShapeError
from scrub.graph.expr import AxisMap, AxisUse, Expr, Shape
from scrub.graph.frozen_tensor import FrozenTensor
from scrub.graph.registry import node

IndexEntry = int | slice | torch.Tensor | Sequence[int]
Entry = None | int | tuple[int, int] | FrozenTensor
"""Stored form: the whole axis, one position, start and stop, positions."""


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
        shape: list[int] = []
        for axis, (entry, size) in enumerate(zip(entries, child.shape, strict=True)):
            match entry:
                case None:
                    shape.append(size)
                case int():
                    if entry >= size:
                        _out_of_range(child, axis, entry, name)
                case (start, stop):
                    if stop > size:
                        _out_of_range(child, axis, stop, name)
                    shape.append(stop - start)
                case _:
                    if entry.value.numel() and int(entry.value.max()) >= size:
                        _out_of_range(child, axis, int(entry.value.max()), name)
                    shape.append(len(entry.value))
        return tuple(shape), child.dtype

    def axis_map(self) -> AxisMap:
        kept = [axis for axis, entry in enumerate(self.entries) if not isinstance(entry, int)]
        return (tuple(kept.index(axis) if entry is None else AxisUse.FIXED for axis, entry in enumerate(self.entries)),)

    def batched(self, children: tuple[Expr, ...], ranks: tuple[int, ...], batch: Shape) -> Expr:
        return Index.make(children, ((None,) * ranks[0] + self.entries,), self.name)

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        value = values[0]
        for axis, entry in reversed(list(enumerate(self.entries))):
            match entry:
                case None:
                    pass
                case int():
                    value = value.select(axis, entry)
                case (start, stop):
                    value = value.narrow(axis, start, stop - start)
                case _:
                    value = value.index_select(axis, entry.value.to(value.device))
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
    if isinstance(entry, int):
        if not -size <= entry < size:
            _out_of_range(expr, axis, entry, name)
        return entry % size
    if isinstance(entry, slice):
        if entry.step not in (None, 1):
            raise ConstructionError(f"Index {name!r}: slices have no step", nodes=[expr], axis=axis, found=entry)
        bounds = [0 if entry.start is None else entry.start, size if entry.stop is None else entry.stop]
        start, stop = (bound + size if bound < 0 else bound for bound in bounds)
        if not 0 <= start <= stop <= size:
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
    if positions.numel() and (int(positions.min()) < -size or int(positions.max()) >= size):
        bad = positions[(positions < -size) | (positions >= size)]
        _out_of_range(expr, axis, int(bad[0]), name)
    return FrozenTensor(torch.where(positions < 0, positions + size, positions))


def _out_of_range(expr: Expr, axis: int, entry: int, name: str | None) -> NoReturn:
    raise ShapeError(
        f"Index {name!r}: {entry} is out of range for axis {axis} of size {expr.shape[axis]}",
        nodes=[expr],
        axis=axis,
        expected=f"{-expr.shape[axis]} to {expr.shape[axis] - 1}",
        found=entry,
        hint=f"positions on axis {axis} go from 0 to {expr.shape[axis] - 1}, or from -1 down to {-expr.shape[axis]}",
    )


def _slice_text(entry: slice) -> str:
    return f"{'' if entry.start is None else entry.start}:{'' if entry.stop is None else entry.stop}"


def _entry_text(entry: Entry) -> str:
    match entry:
        case None:
            return ":"
        case int():
            return str(entry)
        case (start, stop):
            return f"{start}:{stop}"
        case FrozenTensor():
            return f"[{entry.digest[:8]}]" if len(entry.value) > 8 else str([int(i) for i in entry.value])
