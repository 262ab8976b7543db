"""`DiscreteVar`: a random variable, uniform or weighted over the rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch

from scrub.graph.array import Array
from scrub.graph.errors import BatchError, ShapeError
from scrub.graph.expr import RANDOM, RANDOM_OUTSIDE_CUMULANT, AxisMap, AxisUse, Expr, Shape
from scrub.graph.rearrange import repeat_axes
from scrub.graph.registry import node
from scrub.graph.scalar import Scalar
from scrub.graph.size_values import reciprocal_of_size
from scrub.graph.sizes import Size
from scrub.graph.tag import Tag


@node
class DiscreteVar(Expr):
    """A random row of `values`.

    Args:
        values: [n, ...]; the variable has shape [...].
        probs_and_group: [n], the probabilities of the rows. Variables with the *same* expression here are drawn
            together, row by row. Without it the variable is uniform and independent of every other.

    >>> dice = DiscreteVar(Array(torch.arange(1, 7)), name="dice")
    >>> tied = DiscreteVar(Array(torch.arange(6, 0, -1)), dice.probs_and_group, name="opposite face")
    >>> dice.shape, dice.is_constant
    ((), False)
    """

    __slots__ = ()

    def __new__(cls, values: Expr, probs_and_group: Expr | None = None, name: str | None = None) -> Self:
        if values.ndim == 0 or values.shape[0] == 0:
            raise ShapeError(
                f"DiscreteVar {name!r}: values need a first axis with at least one row",
                nodes=[values],
                axis=0,
                expected="at least 1",
                found=values.shape,
                hint="values [n, ...] are the n rows that are drawn from",
            )
        if probs_and_group is None:
            probs_and_group = Tag.new_with_random_uuid(uniform(values.shape[0]), "probs")
        return cls.make((values, probs_and_group), (), name)

    @property
    def values(self) -> Expr:
        """The rows, [n, ...]."""
        return self.children[0]

    @property
    def probs_and_group(self) -> Expr:
        """Probabilities, [n], and at the same time the identity of the group drawn together."""
        return self.children[1]

    @classmethod
    def infer(
        cls, children: tuple[Expr, ...], params: tuple[Any, ...], name: str | None
    ) -> tuple[Shape, torch.dtype | None]:
        values, probs = children
        if probs.shape != values.shape[:1]:
            raise ShapeError(
                f"DiscreteVar {name!r}: {values.shape[0]} rows but probabilities of shape {probs.shape}",
                nodes=children,
                axis=0,
                expected=values.shape[:1],
                found=probs.shape,
                hint="variables drawn together need tables with equally many rows",
            )
        return values.shape[1:], values.dtype

    @classmethod
    def infer_flags(cls, children: tuple[Expr, ...]) -> int:
        return RANDOM | RANDOM_OUTSIDE_CUMULANT | children[0].flags | children[1].flags

    def axis_map(self) -> AxisMap:
        values = (AxisUse.FIXED, *range(self.ndim))
        return (values, (AxisUse.FIXED,))

    def batched(self, children: tuple[Expr, ...], ranks: tuple[int, ...], batch: Shape) -> Expr:
        raise BatchError(
            f"DiscreteVar {self.name!r}: its table and probabilities take no batch axes",
            nodes=[self, *children],
            hint="sample the variable itself, not what its table is made of",
        )

    def derived_name(self, names: Sequence[str]) -> str:
        return f"random({names[0]})"

    @classmethod
    def examples(cls) -> Iterator[Expr]:
        faces = Array(torch.arange(1.0, 7.0), "faces")
        yield cls(faces, Tag.new_from_name(uniform(6), "dice"), "dice")


def uniform(n: Size) -> Expr:
    """Equal probabilities, [n]."""
    if type(n) is int:
        return Scalar(1.0 / n, (n,), name="uniform")
    return repeat_axes(reciprocal_of_size(n), (n,)).rename("uniform")
