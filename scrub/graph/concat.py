"""`Concat`: expressions one after another along an axis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import torch

from scrub.graph.array import Array
from scrub.graph.errors import ConstructionError, ShapeError
from scrub.graph.expr import AxisMap, AxisUse, Expr, Shape
from scrub.graph.rearrange import insert_axes, repeat_axes
from scrub.graph.registry import node
from scrub.graph.rules import common_dtype, resolve_axis, to_common_dtype
from scrub.graph.sizes import mismatch_hint, total


@node
class Concat(Expr):
    """At least one expression, equal in shape but for `axis`.

    >>> Concat(Array(torch.ones(2)), Array(torch.zeros(1)), axis=0).evaluate()
    tensor([1., 1., 0.])
    """

    __slots__ = ()

    def __new__(cls, *parts: Expr, axis: int, name: str | None = None) -> Self:
        if not parts:
            raise ConstructionError(f"Concat {name!r}: needs at least one expression", hint="give it something to join")
        ndim = parts[0].ndim
        problem = f"Concat {name!r}: axis {axis} does not exist in {ndim} axes"
        hint = "Concat.stack(..., axis=...) joins along a new axis"
        return cls.make(parts, (resolve_axis(problem, axis, ndim, nodes=parts, hint=hint),), name)

    @classmethod
    def stack(cls, *parts: Expr, axis: int = 0, name: str | None = None) -> Self:
        """Along a new axis.

        >>> Concat.stack(Array(torch.ones(2)), Array(torch.zeros(2))).shape
        (2, 2)
        """
        if not parts:
            raise ConstructionError(
                f"Concat {name!r}: needs at least one expression", hint="give it something to stack"
            )
        ndim = parts[0].ndim + 1
        problem = f"Concat {name!r}: stacking gives {ndim} axes, axis {axis} is not one of them"
        at = resolve_axis(problem, axis, ndim, nodes=parts, hint="the axis counts in the result")
        return cls(*(insert_axes(part, at=at, count=1) for part in parts), axis=at, name=name)

    @property
    def axis(self) -> int:
        """The axis along which the parts follow each other."""
        return self.params[0]

    @classmethod
    def infer(
        cls, children: tuple[Expr, ...], params: tuple[Any, ...], name: str | None
    ) -> tuple[Shape, torch.dtype | None]:
        axis: int = params[0]
        first = children[0]
        for child in children:
            same_rank = child.ndim == first.ndim
            if not same_rank or any(
                a != b for i, (a, b) in enumerate(zip(child.shape, first.shape, strict=True)) if i != axis
            ):
                raise ShapeError(
                    f"Concat {name!r}: shapes must agree except along axis {axis}",
                    nodes=[first, child],
                    axis=axis,
                    expected=first.shape,
                    found=child.shape,
                    hint=mismatch_hint(
                        first.shape + child.shape,
                        "repeat the smaller one with Rearrange, or Concat along the axis that differs",
                    ),
                )
        joined = total(child.shape[axis] for child in children)
        shape = (*first.shape[:axis], joined, *first.shape[axis + 1 :])
        return shape, common_dtype(f"Concat {name!r}", children)

    def axis_map(self) -> AxisMap:
        per_child = tuple(AxisUse.FIXED if i == self.axis else i for i in range(self.ndim))
        return (per_child,) * len(self.children)

    def name_map(self) -> AxisMap:
        return (tuple(range(self.ndim)),) * len(self.children)

    def batched(self, children: tuple[Expr, ...], ranks: tuple[int, ...], batch: Shape) -> Expr:
        repeated = [repeat_axes(child, batch[: len(batch) - rank]) for child, rank in zip(children, ranks, strict=True)]
        return Concat(*repeated, axis=self.axis + len(batch), name=self.name)

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        return torch.cat(to_common_dtype(f"Concat {self.name!r}", values, self.dtype), dim=self.axis)

    def param_text(self) -> str:
        return f"axis={self.axis}"

    @classmethod
    def examples(cls) -> Iterator[Expr]:
        x = Array(torch.arange(6.0).reshape(2, 3), "x")
        yield cls(x, Array(torch.zeros(2, 1), "y"), axis=1, name="c")
        yield cls(x, x, axis=-2)
        yield cls.stack(x, x, axis=1)
