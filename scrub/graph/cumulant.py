"""`Cumulant`: expectation (order 1), covariance (order 2), and higher joint cumulants of random expressions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch

from scrub.graph.array import Array
from scrub.graph.discrete_var import DiscreteVar, uniform
from scrub.graph.errors import BatchError
from scrub.graph.expr import RANDOM_OUTSIDE_CUMULANT, AxisMap, Expr, Shape
from scrub.graph.registry import node
from scrub.graph.rules import common_dtype
from scrub.graph.tag import Tag


@node
class Cumulant(Expr):
    """Joint cumulant of the arguments; its shape is theirs, one after the other. `Cumulant()` is 1.

    >>> dice = DiscreteVar(Array(torch.arange(1.0, 7.0)))
    >>> Cumulant(dice, dice).is_constant
    True
    """

    __slots__ = ()

    def __new__(cls, *exprs: Expr, name: str | None = None) -> Self:
        return cls.make(exprs, (), name)

    @property
    def order(self) -> int:
        """Number of arguments."""
        return len(self.children)

    @classmethod
    def infer(
        cls, children: tuple[Expr, ...], params: tuple[Any, ...], name: str | None
    ) -> tuple[Shape, torch.dtype | None]:
        shape = tuple(size for child in children for size in child.shape)
        dtype = common_dtype(f"Cumulant {name!r}", children)
        is_rounded = dtype is not None and not (dtype.is_floating_point or dtype.is_complex)
        return shape, None if is_rounded else dtype  # the mean of a die is 3.5: of no integer dtype

    @classmethod
    def infer_flags(cls, children: tuple[Expr, ...]) -> int:
        return super().infer_flags(children) & ~RANDOM_OUTSIDE_CUMULANT

    def axis_map(self) -> AxisMap:
        maps: list[tuple[int, ...]] = []
        offset = 0
        for child in self.children:
            maps.append(tuple(range(offset, offset + child.ndim)))
            offset += child.ndim
        return tuple(maps)

    def batched(self, children: tuple[Expr, ...], ranks: tuple[int, ...], batch: Shape) -> Expr:
        if any(ranks[1:]):
            raise BatchError(
                f"Cumulant {self.name!r}: only its first argument may gain batch axes",
                nodes=[self, *children],
                expected=0,
                found=max(ranks[1:]),
                hint="take the cumulant of each batch entry, or put the batched argument first",
            )
        return self.with_children(children)

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        """Of constants, which is all that a value can be asked of: order 0 is 1, order 1 the constant, others 0."""
        dtype = self.dtype or torch.float64
        if len(values) == 1:
            return values[0].to(dtype)
        return torch.full(self.shape, 0 if values else 1, dtype=dtype, device=self.device)

    def derived_name(self, names: Sequence[str]) -> str:
        return f"k{self.order}({', '.join(names)})"

    @classmethod
    def examples(cls) -> Iterator[Expr]:
        group = Tag.new_from_name(uniform(6), "dice")
        dice = DiscreteVar(Array(torch.arange(1.0, 7.0), "faces"), group, "dice")
        yield cls(dice, name="mean")
        yield cls(dice, dice, name="variance")
        yield cls(dice.values, name="mean of a constant")
        yield cls(dice.values, Array(torch.ones(2)), name="covariance of constants")
        yield cls()
