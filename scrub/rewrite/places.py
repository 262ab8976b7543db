"""Places: where a walk can be, and walks over pairs of a place and a matcher's state.

A place is a node; or, if the walk sees through modules, a node and what its free symbols stand for there. Seen through,
a module leads to its body only, and a symbol bound on the path leads on to what is bound to it: the walk goes as if
every module had been inlined, and passes the module and the symbol on its way (SPEC 4.4).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scrub.graph import Expr, Module, Symbol
from scrub.graph.expr import RESIZES
from scrub.rewrite.resize import conform_all_modules
from scrub.rewrite.states import Next, State

At = Any
"""A place: an `Expr` in a plain walk, a `Place` in one that sees through modules."""

Position = tuple[At, State]
Below = list[tuple[At, State | None]]
Tag = Any
"""What tells apart two positions at which the same node is found and transformed differently."""


class Place:
    """A node and, for each of its free symbols in order, the place it stands for (None: unbound). Interned."""

    __slots__ = ("below", "bound", "node")

    def __init__(self, node: Expr, bound: tuple[Place | None, ...]) -> None:
        self.node = node
        self.bound = bound
        self.below: tuple[Place, ...] | None = None


class Places:
    """Leads from a place to those below it. This one walks as the expression is written.

    Args:
        see_through: whether modules are walked as if inlined; `Places(see_through=True)` makes a `SeenThrough`.
    """

    see_through = False

    def __new__(cls, *, see_through: bool = False) -> Places:
        return object.__new__(SeenThrough if see_through else cls)

    def __init__(self, *, see_through: bool = False) -> None:
        pass

    def root(self, expr: Expr) -> At:
        """The place to start from."""
        return expr

    def below(self, place: At) -> tuple[At, ...]:
        """The places one step down."""
        return place.children

    def node(self, place: At) -> Expr:
        """The node that is there."""
        return place

    def resolve(self, place: At) -> At:
        """The place itself, or what it stands for if it is a bound symbol."""
        return place

    def step(self, place: At, state: State) -> tuple[bool, Below]:
        """Whether the state finds the place, and the places below with their states (None: nothing to find there)."""
        found, following = state.step(self.node(place), self.see_through)
        below = self.below(place)
        if isinstance(following, tuple):
            return found, list(zip(below, following, strict=True))
        return found, [(child, following) for child in below]

    def tag(self, position: tuple[At, State | None]) -> Tag:
        """What an update's transform is told of a position that was found; None if all are alike."""
        return None

    def positions(self, place: At, following: Next) -> list[Position]:
        """The positions below, if these are the states there; only where there is something left to find."""
        if following is None:
            return []
        if isinstance(following, tuple):
            return [(child, s) for child, s in zip(self.below(place), following, strict=True) if s is not None]
        return [(child, following) for child in self.below(place)]


class SeenThrough(Places):
    """Walks as if every module were inlined."""

    see_through = True

    def __init__(self, *, see_through: bool = True) -> None:
        self._pool: dict[tuple[Expr, tuple[Place | None, ...]], Place] = {}
        self._closed: dict[Expr, Place] = {}

    def root(self, expr: Expr) -> Place:
        """The place to start from; modules there have bodies of the sizes they are called with, as if inlined."""
        if expr.flags & RESIZES:
            expr = conform_all_modules(expr)
        return self._make(expr, (None,) * len(expr.free_symbols))

    def node(self, place: At) -> Expr:
        return place.node

    def below(self, place: At) -> tuple[Place, ...]:
        if place.below is None:
            place.below = self._below(place)
        return place.below

    def _below(self, place: Place) -> tuple[Place, ...]:
        node = place.node
        if isinstance(node, Symbol):
            return (place.bound[0],) if place.bound[0] is not None else ()
        free = node.free_symbols
        is_module = isinstance(node, Module)
        if not free and not is_module:
            return tuple([self._make(child, ()) for child in node.children])
        scope = dict(zip(free, place.bound, strict=True))
        if is_module:
            bindings = node.bindings
            inner = dict(scope)
            inner.update({symbol: self._within(arg, scope) for symbol, arg in bindings.items()})
            return (self._within(node.body, inner),)
        return tuple(
            self._make(child, place.bound) if child.free_symbols is free else self._within(child, scope)
            for child in node.children
        )

    def resolve(self, place: At) -> Place:
        while isinstance(place.node, Symbol) and place.bound[0] is not None:
            place = place.bound[0]
        return place

    def _within(self, node: Expr, scope: dict[Symbol, Place | None]) -> Place:
        return self._make(node, tuple([scope.get(symbol) for symbol in node.free_symbols]))

    def _make(self, node: Expr, bound: tuple[Place | None, ...]) -> Place:
        if not bound:
            place = self._closed.get(node)
            if place is None:
                place = self._closed[node] = Place(node, bound)
            return place
        key = (node, bound)
        place = self._pool.get(key)
        if place is None:
            place = self._pool[key] = Place(node, bound)
        return place


Parents = dict[Position, Position | None]


def visit(
    places: Places, expr: Expr, state: State, *, parents: Parents | None = None
) -> Iterator[tuple[Position, bool]]:
    """Each distinct position (place, state) in order of first visit, and whether it is found.

    `parents`, if given, is filled with one position above each.
    """
    seen: set[Position] = set()
    see_through, positions, node_at = places.see_through, places.positions, places.node
    stack: list[Position] = [(places.root(expr), state)]
    if parents is not None:
        parents[stack[0]] = None
    while stack:
        position = stack.pop()
        if position in seen:
            continue
        seen.add(position)
        place, at = position
        found, following = at.step(node_at(place), see_through)
        yield position, found
        if following is None:
            continue
        next_up = positions(place, following)
        next_up.reverse()
        stack.extend(next_up)
        if parents is not None:
            for child in next_up:
                parents.setdefault(child, position)


def path_to(places: Places, position: Position, parents: Parents) -> tuple[Expr, ...]:
    """The nodes from the root to a position, and on through bound symbols to what it stands for."""
    above: list[Expr] = []
    current = parents[position]
    while current is not None:
        above.append(places.node(current[0]))
        current = parents[current]
    return (*reversed(above), *resolution(places, position[0]))


def resolution(places: Places, place: At) -> list[Expr]:
    """The node at a place and, if it is a bound symbol, those through which it stands for something, to the last."""
    end = places.resolve(place)
    nodes = [places.node(place)]
    while place is not end:
        (place,) = places.below(place)
        nodes.append(places.node(place))
    return nodes
