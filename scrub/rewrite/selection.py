"""Which children of a node a matcher picks: by index, by parameter, or the body of a module (SPEC 5.5)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scrub.graph import ConstructionError, Expr, Module, Symbol
from scrub.rewrite.states import Select, State


@dataclass(frozen=True)
class ChildrenAt:
    """The children with these indices."""

    chosen: frozenset[int]

    def __call__(self, node: Expr) -> frozenset[int]:
        return self.chosen

    def __repr__(self) -> str:
        indices = ", ".join(map(str, sorted(self.chosen)))
        return f"children_matcher({{{indices}}})" if indices else "children_matcher(set())"


@dataclass(frozen=True)
class ArgumentOf:
    """What is bound to a parameter."""

    symbol: Symbol | str

    def __call__(self, node: Expr) -> frozenset[int]:
        if not isinstance(node, Module):
            return frozenset()
        return frozenset(i for i, s in enumerate(node.bindings, start=1) if self.symbol in (s, s.name))

    def __repr__(self) -> str:
        return f"module_arg_matcher({self.symbol!r})"


@dataclass(frozen=True)
class Body:
    """The body of a module."""

    def __call__(self, node: Expr) -> frozenset[int]:
        return frozenset({0} if isinstance(node, Module) else ())

    def __repr__(self) -> str:
        return "spec_matcher()"


def children_at(indices: Iterable[int]) -> State:
    """The state of `children_matcher`."""
    if not isinstance(indices, Iterable) or isinstance(indices, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConstructionError(
            f"children_matcher: {indices!r} is not a set of indices",
            expected="a set of ints",
            found=indices,
            hint=f"children_matcher({{{indices!r}}})" if isinstance(indices, int) else "children_matcher({0, 2})",
        )
    chosen = frozenset(indices)
    for index in chosen:
        if isinstance(index, bool) or not isinstance(index, int) or index < 0:  # pyright: ignore
            raise ConstructionError(
                f"children_matcher: {index!r} is no index of a child",
                expected="ints from 0",
                found=index,
                hint="children count from 0 at the left; those of a module are [body, *arguments]",
            )
    return Select(ChildrenAt(chosen))


def argument_of(symbol: Symbol | str) -> State:
    """The state of `module_arg_matcher`."""
    if not isinstance(symbol, Symbol | str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConstructionError(
            f"module_arg_matcher: {symbol!r} is neither a Symbol nor a parameter's name", found=symbol
        )
    return Select(ArgumentOf(symbol))


def bodies() -> State:
    """The state of `spec_matcher`."""
    return Select(Body())
