"""What the rules of `simplify` have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from scrub.compiler.ops.arithmetic import common_dtype
from scrub.compiler.values import Graph, Op, Value


class Simplifying(Protocol):
    """What a rule may ask for.

    Attributes:
        graph: where values are made.
        scaled: values that are a number times another value.
    """

    graph: Graph
    scaled: dict[Value, tuple[float, Value]]

    def is_used_once(self, value: Value) -> bool:
        """Whether one argument, or output, is all that a value will be."""
        ...

    def build(self, op: Op, args: tuple[Value, ...]) -> Value:
        """The value of an operation on simplified arguments, simplified."""
        ...


Found = tuple[Op, tuple[Value, ...]] | Value | None
"""What a rule finds: a simpler operation on other arguments, a value that is there already, or nothing."""

Rule = Callable[[Simplifying, Any, tuple[Value, ...]], Found]
"""A rule for operations of one type, on simplified arguments."""


def is_floating(value: Value) -> bool:
    """Whether a value is computed in floating point; one made of scalars alone is."""
    return value.dtype is None or value.dtype.is_floating_point


def is_floating_together(args: Sequence[Value]) -> bool:
    """Whether arguments combine in floating point."""
    dtype = common_dtype(args)
    return dtype is None or dtype.is_floating_point
