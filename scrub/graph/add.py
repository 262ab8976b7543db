"""`Add`: the sum of any number of expressions, broadcast like numpy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch

from scrub.graph.array import Array
from scrub.graph.expr import AxisMap, AxisUse, Expr, Shape
from scrub.graph.rearrange import insert_axes
from scrub.graph.registry import node
from scrub.graph.rules import broadcast_shapes, common_dtype, to_common_dtype
from scrub.graph.scalar import Scalar


@node
class Add(Expr):
    """Sum with numpy broadcasting; `Add()` is the scalar 0.

    >>> import torch
    >>> Add(Array(torch.ones(2, 1)), Array(torch.ones(3))).shape
    (2, 3)
    """

    __slots__ = ()
    infix = True

    def __new__(cls, *terms: Expr, name: str | None = None) -> Self:
        return cls.make(terms, (), name)

    @classmethod
    def infer(
        cls, children: tuple[Expr, ...], params: tuple[Any, ...], name: str | None
    ) -> tuple[Shape, torch.dtype | None]:
        what = f"Add {name!r}"
        return broadcast_shapes(what, children), common_dtype(what, children)

    def axis_map(self) -> AxisMap:
        return tuple(
            tuple(
                axis if size == self.shape[axis] else AxisUse.REDUCED
                for axis, size in enumerate(child.shape, start=self.ndim - child.ndim)
            )
            for child in self.children
        )

    def batched(self, children: tuple[Expr, ...], ranks: tuple[int, ...], batch: Shape) -> Expr:
        own_ndim = max((c.ndim - r for c, r in zip(children, ranks, strict=True)), default=0)
        aligned = (
            insert_axes(child, at=rank, count=own_ndim - (child.ndim - rank)) if rank else child
            for child, rank in zip(children, ranks, strict=True)
        )
        return Add(*aligned, name=self.name)

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        terms = to_common_dtype(f"Add {self.name!r}", values, self.dtype)
        if not terms:
            return torch.zeros((), dtype=torch.float64)
        total = terms[0].expand(self.shape) if len(terms) == 1 else terms[0]
        for term in terms[1:]:
            total = total | term if total.dtype == torch.bool else total + term
        return total

    def flops(self) -> int:
        return self.numel * max(len(self.children) - 1, 0)

    def derived_name(self, names: Sequence[str]) -> str:
        return " + ".join(names) if names else "0"

    @classmethod
    def examples(cls) -> Iterator[Expr]:
        x = Array(torch.arange(6.0).reshape(2, 3), "x")
        yield cls(x, Array(torch.ones(2, 1), "column"), Scalar(0.5), name="s")
        yield cls(Array(torch.tensor([1, 2, 3])), x)
        yield cls(x)
        yield cls()
