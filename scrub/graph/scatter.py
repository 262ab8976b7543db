"""`Scatter`: a value placed at an index into zeros; the adjoint of `Index`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import torch

from scrub.graph.array import Array
from scrub.graph.errors import ConstructionError, ShapeError
from scrub.graph.expr import AxisMap, AxisUse, Expr, Shape
from scrub.graph.frozen_tensor import FrozenTensor
from scrub.graph.index import Entry, I, Index, IndexEntry, is_position
from scrub.graph.registry import node
from scrub.graph.scalar import Scalar
from scrub.graph.sizes import Size, as_shape, map_sizes


@node
class Scatter(Expr):
    """Zeros of `shape` with `expr` at `idx`: `Index(Scatter(expr, idx, shape), idx)` has the value of `expr`.

    Args:
        expr: what is placed; its shape is that of `Index(zeros of shape, idx)`.
        idx: one entry per axis of the result, as in `Index`: an int places on one position of an axis that `expr` has
            not, a slice or 1-d int64 tensor places its axis there; missing trailing axes are filled whole. Tensors on
            several axes are independent (outer).
        shape: of the result.

    Raises:
        ShapeError: `expr` does not have the shape of that part, or an entry is out of range.
        ConstructionError: a position is given twice on an axis, so that two values would fall on the same place. To
            add them up instead, multiply by a matrix of zeros and ones with `Einsum`.

    >>> Scatter(Array(torch.tensor([5.0, 7.0])), (torch.tensor([3, 1]),), (4,)).evaluate()
    tensor([0., 7., 0., 5.])
    """

    __slots__ = ()
    sizes_at = (0, 1)

    def __new__(cls, expr: Expr, idx: Sequence[IndexEntry], shape: Sequence[Size], name: str | None = None) -> Self:
        what = f"Scatter {name!r}"
        sizes = as_shape(shape)
        try:
            part = Index(Scalar(0.0, sizes), idx, name)
        except (ConstructionError, ShapeError) as error:
            problem = f"{what}: {error.problem.removeprefix(f'Index {name!r}: ')}"
            raise type(error)(
                problem,
                nodes=[expr],
                axis=error.axis,
                expected=error.expected,
                found=error.found,
                hint=error.hint,
            ) from error
        if part.shape != expr.shape:
            raise ShapeError(
                f"{what}: {part.param_text()} of shape {sizes} has shape {part.shape}, but {expr!r} is placed there",
                nodes=[expr],
                expected=part.shape,
                found=expr.shape,
                hint="an int places on one position of an axis that the expression has not; nothing is broadcast",
            )
        kept = tuple(None if entry is None else size for entry, size in zip(part.entries, sizes, strict=True))
        return cls.make((expr,), (part.entries, kept), name)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """One stored entry per axis of the result."""
        return self.params[0]

    @property
    def idx(self) -> tuple[IndexEntry, ...]:
        """The index, as `Index` and `Scatter` take it."""
        return tuple(_as_given(entry) for entry in self.entries)

    @classmethod
    def infer(
        cls, children: tuple[Expr, ...], params: tuple[Any, ...], name: str | None
    ) -> tuple[Shape, torch.dtype | None]:
        (child,), (entries, kept) = children, params
        shape = _full_shape(child.shape, entries, kept)
        part, _ = Index.infer((Scalar(0.0, shape),), (entries,), name)
        if part != child.shape:
            raise ShapeError(
                f"Scatter {name!r}: a part of shape {part} is filled with {child!r}",
                nodes=[child],
                expected=part,
                found=child.shape,
            )
        for axis, entry in enumerate(entries):
            repeated = _repeated(entry) if isinstance(entry, FrozenTensor) else None
            if repeated is not None:
                raise ConstructionError(
                    f"Scatter {name!r}: position {repeated} is given twice on axis {axis}, two values would fall there",
                    nodes=[child],
                    axis=axis,
                    expected="distinct positions",
                    found=repeated,
                    hint="to add them up, multiply by a matrix of zeros and ones with Einsum",
                )
        return shape, child.dtype

    def axis_map(self) -> AxisMap:
        return (
            tuple(
                axis if entry is None else AxisUse.FIXED
                for axis, entry in enumerate(self.entries)
                if not is_position(entry)
            ),
        )

    def name_map(self) -> AxisMap:
        return (tuple(axis for axis, entry in enumerate(self.entries) if not is_position(entry)),)

    def batched(self, children: tuple[Expr, ...], ranks: tuple[int, ...], batch: Shape) -> Expr:
        whole = (None,) * ranks[0]
        return Scatter.make(children, (whole + self.entries, whole + self.params[1]), self.name)

    def resized(self, children: tuple[Expr, ...], transform: Callable[[Size], Size]) -> Expr:
        idx = tuple(_as_given(map_sizes(entry, transform)) for entry in self.entries)
        return Scatter(children[0], idx, map_sizes(self.shape, transform), self.name)

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        value = values[0]
        result = value.new_zeros(_full_shape(tuple(value.shape), self.entries, self.params[1]))
        part = result
        for axis, entry in reversed(list(enumerate(self.entries))):
            if isinstance(entry, int):
                part = part.select(axis, entry)
            elif isinstance(entry, tuple):
                part = part.narrow(axis, entry[0], entry[1] - entry[0])
        kept = [entry for entry in self.entries if not isinstance(entry, int)]
        positions = [(axis, e.value.to(value.device)) for axis, e in enumerate(kept) if isinstance(e, FrozenTensor)]
        for axis, at in positions[1:]:  # all but the last step fill a block of zeros of their own
            block = value.new_zeros((*value.shape[:axis], part.shape[axis], *value.shape[axis + 1 :]))
            value = block.index_copy_(axis, at, value)
        if positions:
            part.index_copy_(*positions[0], value)
        else:
            part.copy_(value)
        return result

    def param_text(self) -> str:
        return Index.make((Scalar(0.0, self.shape),), (self.entries,), None).param_text()

    def derived_name(self, names: Sequence[str]) -> str:
        return f"scatter({names[0]} at {self.param_text()})"

    @classmethod
    def examples(cls) -> Iterator[Expr]:
        x = Array(torch.arange(6.0).reshape(2, 3), "x")
        yield cls(x, I[1:3, :], (5, 3), name="padded")
        yield cls(x, I[:, 2], (2, 4, 3))
        yield cls(x, (torch.tensor([3, 0]), torch.tensor([4, 1, 2])), (4, 5), name="outer")
        yield cls(Array(torch.tensor([True, False])), I[-1, 0:2], (2, 2))
        yield cls(Array(torch.zeros(0, 2)), I[1:1], (3, 2))


def _full_shape(child: Shape, entries: Sequence[Entry], kept: Sequence[Any]) -> Shape:
    """The shape of the result: axes filled whole have the child's size, which may change; the others keep theirs."""
    own = iter(child)
    shape: list[Size] = []
    for entry, size in zip(entries, kept, strict=True):
        child_size = None if is_position(entry) else next(own, 0)
        shape.append(child_size if entry is None and child_size is not None else size)
    return tuple(shape)


def _repeated(positions: FrozenTensor) -> int | None:
    """A position that is there twice, if there is one."""
    ordered = positions.value.sort().values
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    return int(repeated[0]) if len(repeated) else None


def _as_given(entry: Entry) -> IndexEntry:
    match entry:
        case None:
            return slice(None)
        case (start, stop):
            return slice(start, stop)
        case FrozenTensor():
            return entry.value
        case position:
            return position
