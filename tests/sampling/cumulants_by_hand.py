"""Joint cumulants in plain Python, from raw moments of an enumerated distribution: an oracle that shares nothing with
the library."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any, TypeVar

T = TypeVar("T")
Outcomes = Sequence[tuple[Any, Any]]
"""Pairs (probability, outcome)."""


def partitions(items: Sequence[T]) -> Iterator[list[list[T]]]:
    """All set partitions, by putting the first item into each part of a partition of the rest, or apart."""
    if not items:
        yield []
        return
    for rest in partitions(items[1:]):
        yield [[items[0]], *rest]
        for i, part in enumerate(rest):
            yield [*rest[:i], [items[0], *part], *rest[i + 1 :]]


def joint_cumulant(outcomes: Outcomes, arguments: Sequence[Callable[[Any], Any]]) -> Any:
    """kappa(X_1..X_r) = sum over partitions of (-1)^(k-1) (k-1)! prod over parts of E prod X_i."""

    def expectation(part: Sequence[Callable[[Any], Any]]) -> Any:
        return sum(p * math.prod((f(outcome) for f in part), start=Fraction(1)) for p, outcome in outcomes)

    if not arguments:
        return Fraction(1)
    return sum(
        (-1) ** (len(blocks) - 1) * math.factorial(len(blocks) - 1) * math.prod(map(expectation, blocks))
        for blocks in partitions(arguments)
    )
