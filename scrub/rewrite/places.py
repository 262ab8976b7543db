"""Places: where a walk can be. A node, and, if the walk sees through modules, what its free symbols stand for there.

Seen through, a module leads to its body only, and a symbol bound on the path leads on to what is bound to it: the walk
goes as if every module had been inlined, and passes the module and the symbol on its way (SPEC 4.4).
"""

from __future__ import annotations

from dataclasses import dataclass

from scrub.graph import Expr, Module, Symbol
from scrub.graph.expr import RESIZES
from scrub.rewrite.resize import conform_all_modules
from scrub.rewrite.states import State, next_for


@dataclass(frozen=True, eq=False)
class Place:
    """A node and, for each of its free symbols in order, the place it stands for (None: unbound). Interned."""

    node: Expr
    bound: tuple[Place | None, ...]


class Places:
    """Makes places and leads from one to those below it.

    Args:
        see_through: whether modules are walked as if inlined.
    """

    def __init__(self, *, see_through: bool) -> None:
        self.see_through = see_through
        self._pool: dict[tuple[Expr, tuple[Place | None, ...]], Place] = {}

    def root(self, expr: Expr) -> Place:
        """The place to start from. Seen through, modules have bodies of the sizes they are called with."""
        if self.see_through and expr.flags & RESIZES:
            expr = conform_all_modules(expr)
        return self._make(expr, (None,) * (len(expr.free_symbols) if self.see_through else 0))

    def below(self, place: Place) -> tuple[Place, ...]:
        """The places one step down."""
        node = place.node
        if not self.see_through:
            return tuple(self._make(child, ()) for child in node.children)
        if isinstance(node, Symbol):
            return (place.bound[0],) if place.bound[0] is not None else ()
        scope = dict(zip(node.free_symbols, place.bound, strict=True))
        if isinstance(node, Module):
            inner = dict(scope)
            inner.update({symbol: self._within(arg, scope) for symbol, arg in node.bindings.items()})
            return (self._within(node.body, inner),)
        return tuple(self._within(child, scope) for child in node.children)

    def step(self, place: Place, state: State) -> tuple[bool, list[tuple[Place, State | None]]]:
        """Whether the state finds the place, and the places below with their states (None: nothing to find there)."""
        found, following = state.step(place.node)
        return found, [(child, next_for(following, i)) for i, child in enumerate(self.below(place))]

    def resolve(self, place: Place) -> Place:
        """The place itself, or what it stands for if it is a bound symbol."""
        while isinstance(place.node, Symbol) and place.bound and place.bound[0] is not None:
            place = place.bound[0]
        return place

    def _within(self, node: Expr, scope: dict[Symbol, Place | None]) -> Place:
        return self._make(node, tuple(scope.get(symbol) for symbol in node.free_symbols))

    def _make(self, node: Expr, bound: tuple[Place | None, ...]) -> Place:
        key = (node, bound)
        place = self._pool.get(key)
        if place is None:
            place = self._pool[key] = Place(node, bound)
        return place
