"""States of path matchers: what an `IterativeMatcher` carries down each path.

`step(node)` answers whether the node is found here and what state each child starts in. States are immutable and
compare by structure, so a walk can be memoised on (node, state): cost follows distinct pairs, not paths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from scrub.graph import Expr, Module
from scrub.rewrite.matcher import Matcher


class State:
    """Base of all states. `key` holds everything that tells two states of one class apart."""

    __slots__ = ("_hash", "key")

    def __init__(self, *key: Any) -> None:
        self.key = key
        self._hash = hash((type(self), key))

    def step(self, node: Expr) -> tuple[bool, State | tuple[State | None, ...] | None]:
        """(found here, state of the children: None if finished, one for all, or one each)."""
        raise NotImplementedError

    def inner(self) -> Iterator[Matcher | State]:
        """Matchers and states it is made of, for messages."""
        for part in self.key:
            if isinstance(part, Matcher | State):
                yield part
            elif isinstance(part, frozenset | tuple):
                yield from (p for p in part if isinstance(p, State))  # pyright: ignore[reportUnknownVariableType]

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._hash == hash(other) and self.key == other.key  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.key))})"


class Nodes(State):
    """Finds every node on the path that matches, and goes on."""

    __slots__ = ()

    def step(self, node: Expr) -> tuple[bool, State | tuple[State | None, ...] | None]:
        return self.key[0](node), self


class Here(State):
    """Finds the node it is at and finishes."""

    __slots__ = ()

    def step(self, node: Expr) -> tuple[bool, State | tuple[State | None, ...] | None]:
        return True, None


class Children(State):
    """Finds some children of the node it is at. key: a function node -> indices, and what tells it from others."""

    __slots__ = ()

    def step(self, node: Expr) -> tuple[bool, State | tuple[State | None, ...] | None]:
        indices = self.key[0](node)
        return False, tuple(Here() if i in indices else None for i in range(len(node.children)))


class Restrict(State):
    """key: inner state, term_if_matches, start_depth, end_depth, term_early_at; depths count down."""

    __slots__ = ()

    def step(self, node: Expr) -> tuple[bool, State | tuple[State | None, ...] | None]:
        inner, term_if_matches, start, end, early = self.key
        if end is not None and end <= 0:
            return False, None
        found, following = inner.step(node)
        found = found and start <= 0
        if (found and term_if_matches) or early(node) or end == 1:
            return found, None
        below = (term_if_matches, max(start - 1, 0), None if end is None else end - 1, early)
        return found, map_next(following, lambda state: Restrict(state, *below))


class NoSpec(State):
    """key: inner state; does not enter the bodies of modules."""

    __slots__ = ()

    def step(self, node: Expr) -> tuple[bool, State | tuple[State | None, ...] | None]:
        found, following = self.key[0].step(node)
        if not isinstance(node, Module):
            return found, map_next(following, NoSpec)
        each = (next_for(following, i) if i else None for i in range(len(node.children)))
        return found, tuple(None if state is None else NoSpec(state) for state in each)


class AnyOf(State):
    """key: frozenset of states; finds what any of them finds."""

    __slots__ = ()

    def step(self, node: Expr) -> tuple[bool, State | tuple[State | None, ...] | None]:
        steps = [state.step(node) for state in self.key[0]]
        return any(found for found, _ in steps), merge_next(node, [n for _, n in steps], union)


class AllOf(State):
    """key: tuple of states; finds what all of them find."""

    __slots__ = ()

    def step(self, node: Expr) -> tuple[bool, State | tuple[State | None, ...] | None]:
        steps = [state.step(node) for state in self.key[0]]

        def intersect(states: list[State | None]) -> State | None:
            alive = [state for state in states if state is not None]
            return AllOf(tuple(alive)) if len(alive) == len(states) else None

        return all(found for found, _ in steps), merge_next(node, [n for _, n in steps], intersect)


class Chain(State):
    """key: first state or None, states of the second already started, second at its start, must_be_sub."""

    __slots__ = ()

    def step(self, node: Expr) -> tuple[bool, State | tuple[State | None, ...] | None]:
        first, started, second, must_be_sub = self.key
        found_first, first_next = first.step(node)
        running: list[State] = list(started)
        if found_first and not must_be_sub and second not in started:
            running.append(second)
        steps = [state.step(node) for state in running]
        nexts = [following for _, following in steps]
        if found_first and must_be_sub:
            nexts.append(second)

        def combine(states: list[State | None]) -> State | None:
            below = frozenset(state for state in states[1:] if state is not None)
            if states[0] is None:
                return union(list(below))
            return Chain(states[0], below, second, must_be_sub)

        return any(found for found, _ in steps), merge_next(node, [first_next, *nexts], combine)


def union(states: list[State | None]) -> State | None:
    """A state that finds what any of these finds."""
    flat: set[State] = set()
    for state in states:
        if isinstance(state, AnyOf):
            flat |= state.key[0]
        elif state is not None:
            flat.add(state)
    if len(flat) <= 1:
        return next(iter(flat), None)
    return AnyOf(frozenset(flat))


def next_for(following: State | tuple[State | None, ...] | None, child: int) -> State | None:
    """The state of one child."""
    if isinstance(following, tuple):
        return following[child] if child < len(following) else None
    return following


def map_next(
    following: State | tuple[State | None, ...] | None, wrap: Callable[[State], State]
) -> State | tuple[State | None, ...] | None:
    """`wrap` every state that is not finished."""
    if isinstance(following, tuple):
        return tuple(None if state is None else wrap(state) for state in following)
    return None if following is None else wrap(following)


def merge_next(
    node: Expr,
    nexts: list[State | tuple[State | None, ...] | None],
    combine: Callable[[list[State | None]], State | None],
) -> State | tuple[State | None, ...] | None:
    """Combine what several states say about the children; one answer for all where none tells children apart."""
    if any(isinstance(following, tuple) for following in nexts):
        return tuple(combine([next_for(n, i) for n in nexts]) for i in range(len(node.children)))
    return combine([next_for(following, 0) for following in nexts])
