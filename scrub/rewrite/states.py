"""States of path matchers: what an `IterativeMatcher` carries down each path.

`step(node, see_through)` answers whether the node is found here and what state each child starts in. States are
immutable and interned: equal states are one object, so a walk memoised on (node, state) costs two pointer hashes a
position, and follows distinct pairs, not paths. `compound.py` has the states that run several others at once.

Where a walk sees through modules, a module has one child, its body, and a bound symbol one child, what is bound to it.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

from scrub.graph import Expr, Module, Symbol
from scrub.rewrite.matcher import EVERYTHING, NOTHING, Matcher

_POOL: weakref.WeakValueDictionary[tuple[Any, ...], State] = weakref.WeakValueDictionary()
_POOL_LOCK = threading.RLock()


class State:
    """Base of all states. `key` holds everything that tells two states of one class apart."""

    __slots__ = ("__weakref__", "key", "memo")

    key: tuple[Any, ...]
    memo: dict[Any, Any]
    """What has been worked out about it, such as which state follows which outcome."""

    def __new__(cls, *key: Any) -> Self:
        at = (cls, *key)
        found = _POOL.get(at)
        if found is None:
            found = object.__new__(cls)
            found.key = key
            found.memo = {}
            found.prepare()
            with _POOL_LOCK:
                found = _POOL.setdefault(at, found)
        return found  # type: ignore[return-value]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.key

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def prepare(self) -> None:
        """Work out once what every step needs."""

    def step(self, node: Expr, see_through: bool = False) -> tuple[bool, Next]:
        """(found here, state of the children: None if finished, one for all, or one each)."""
        raise NotImplementedError

    def text(self) -> str:
        """An expression that makes the matcher which starts in this state."""
        return f"{type(self).__name__}({', '.join(map(repr, self.key))})"

    def argument_text(self) -> str:
        """How to write it where a matcher is expected."""
        return self.text()

    def parts(self) -> tuple[State, ...]:
        """States it is made of."""
        return ()

    def with_parts(self, parts: Sequence[State]) -> State:
        """The same made of other states."""
        return self

    def needs(self) -> Matcher | None:
        """What every node that it may still find meets, whatever comes on the way; None if that is not known."""
        return None

    def stops(self, node: Expr, see_through: bool) -> Iterator[str]:
        """Which of its limits, as text, end the path at this node; for explanations."""
        for part in self.parts():
            yield from part.stops(node, see_through)

    def __repr__(self) -> str:
        return self.text()


Next = State | tuple[State | None, ...] | None
Step = tuple[bool, Next]


class Nodes(State):
    """key: a matcher. Finds every node on the path that matches, and goes on."""

    __slots__ = ("test",)

    def prepare(self) -> None:
        self.test = self.matcher.test

    @property
    def matcher(self) -> Matcher:
        """What it looks for."""
        return self.key[0]

    def needs(self) -> Matcher | None:
        return self.matcher

    def step(self, node: Expr, see_through: bool = False) -> Step:
        return self.test(node), self

    def text(self) -> str:
        return f"IterativeMatcher({self.matcher.conditions_text()})"

    def argument_text(self) -> str:
        return self.matcher.argument_text()


NEVER = Nodes(NOTHING)
ALWAYS = Nodes(EVERYTHING)


class Here(State):
    """Finds the node it is at and finishes."""

    __slots__ = ()

    def step(self, node: Expr, see_through: bool = False) -> Step:
        return True, None


class Select(State):
    """Finds some children of the node it is at. key: a function node -> indices of children, with the text it has.

    Seen through, an argument comes where the walk gets to it, by the symbol it is bound to; and a bound symbol it is
    at counts as what is bound to it.
    """

    __slots__ = ()

    def step(self, node: Expr, see_through: bool = False) -> Step:
        if see_through and isinstance(node, Symbol):
            return False, self
        indices = self.key[0](node)
        if not (see_through and isinstance(node, Module)):
            return False, tuple(Here() if i in indices else None for i in range(len(node.children)))
        waiting = {s: Here() for i, s in enumerate(node.bindings, 1) if i in indices}
        return False, (Awaiting.of(waiting, node.body, is_found=0 in indices),)

    def text(self) -> str:
        return repr(self.key[0])


class Awaiting(State):
    """On its way through the bodies of modules to arguments.

    key: frozenset of (symbol, state of what is bound to it), whether it finds the node it comes to. Mirrors what the
    symbols mean: those that a module inside binds mean something else in its body. Only symbols that are free in the
    node it is at are kept, so that it tells no more places apart than it must.
    """

    __slots__ = ("states",)

    @staticmethod
    def of(states: Mapping[Symbol, State], node: Expr, *, is_found: bool = False) -> State | None:
        """The state to come to `node` with, if these states wait behind these symbols."""
        free = [(symbol, states[symbol]) for symbol in node.free_symbols if symbol in states]
        return Awaiting(frozenset(free), is_found) if free or is_found else None

    def prepare(self) -> None:
        self.states: dict[Symbol, State] = dict(self.key[0])

    def step(self, node: Expr, see_through: bool = False) -> Step:
        is_found: bool = self.key[1]
        if isinstance(node, Symbol):
            return is_found, self.states.get(node)
        if not isinstance(node, Module):
            return is_found, tuple(self.of(self.states, child) for child in node.children)
        bindings = node.bindings
        inside = {symbol: state for symbol, state in self.states.items() if symbol not in bindings}
        for symbol, argument in bindings.items():
            state = self.of(self.states, argument)
            if state is not None:
                inside[symbol] = state
        return is_found, (self.of(inside, node.body),)


class Restrict(State):
    """key: inner state, term_if_matches, start_depth, end_depth, term_early_at; depths count down."""

    __slots__ = ("early",)

    def prepare(self) -> None:
        self.early = None if self.key[4] == NOTHING else self.key[4].test

    def step(self, node: Expr, see_through: bool = False) -> Step:
        inner, term_if_matches, start, end, _ = self.key
        if end == 0:
            return False, None
        found, following = inner.step(node, see_through)
        found = found and start == 0
        if following is None or (found and term_if_matches) or end == 1:
            return found, None
        if self.early is not None and self.early(node):
            return found, None
        return found, map_next(following, self._below)

    def needs(self) -> Matcher | None:
        inner: State = self.key[0]
        return inner.needs()

    def _below(self, inner: State) -> State:
        below = self.memo.get(inner)
        if below is None:
            _, term_if_matches, start, end, early = self.key
            below = Restrict(inner, term_if_matches, max(start - 1, 0), None if end is None else end - 1, early)
            self.memo[inner] = below
        return below

    def text(self) -> str:
        inner, term_if_matches, start, end, early = self.key
        parts = [] if inner is ALWAYS and not term_if_matches else [inner.argument_text()]
        parts += ["term_if_matches=True"] if term_if_matches else []
        parts += [f"start_depth={start}"] if start else []
        parts += [] if end is None else [f"end_depth={end}"]
        parts += [] if early == NOTHING else [f"term_early_at={early.argument_text()}"]
        is_traversal = inner is ALWAYS and not term_if_matches
        return f"{'new_traversal' if is_traversal else 'restrict'}({', '.join(parts)})"

    def parts(self) -> tuple[State, ...]:
        return (self.key[0],)

    def with_parts(self, parts: Sequence[State]) -> State:
        return Restrict(parts[0], *self.key[1:])

    def stops(self, node: Expr, see_through: bool) -> Iterator[str]:
        inner, term_if_matches, start, end, early = self.key
        if early(node):
            yield f"term_early_at={early.argument_text()}"
        if end == 1:
            yield "end_depth"
        if term_if_matches and start == 0 and inner.step(node, see_through)[0]:
            yield "term_if_matches"
        yield from inner.stops(node, see_through)


class NoSpec(State):
    """key: inner state; does not enter the bodies of modules, and comes to their arguments from the module."""

    __slots__ = ()
    name: ClassVar[str] = "filter_module_spec()"

    def step(self, node: Expr, see_through: bool = False) -> Step:
        if not isinstance(node, Module):
            found, following = self.key[0].step(node, see_through)
            return found, map_next(following, NoSpec)
        found, following = self.key[0].step(node, False)
        each = [next_for(following, i) for i in range(1, len(node.children))]
        below = [None if state is None else NoSpec(state) for state in each]
        if not see_through:
            return found, (None, *below)
        waiting = {s: state for s, state in zip(node.bindings, below, strict=True) if state is not None}
        return found, (Awaiting.of(waiting, node.body),)

    def text(self) -> str:
        return f"{self.key[0].text()}.{self.name}"

    def parts(self) -> tuple[State, ...]:
        return self.key

    def with_parts(self, parts: Sequence[State]) -> State:
        return NoSpec(*parts)

    def stops(self, node: Expr, see_through: bool) -> Iterator[str]:
        if isinstance(node, Module):
            yield self.name
        yield from self.key[0].stops(node, see_through)


class NotThrough(State):
    """key: a state that finds where paths end. Finds everything down to there, that included."""

    __slots__ = ()

    def step(self, node: Expr, see_through: bool = False) -> Step:
        blocker: State = self.key[0]
        is_end, following = blocker.step(node, see_through)
        if is_end:
            return True, None
        if following is None:
            return True, ALWAYS
        if isinstance(following, tuple):
            return True, tuple(ALWAYS if state is None else NotThrough(state) for state in following)
        return True, self if following is blocker else NotThrough(following)

    def text(self) -> str:
        return f"not_through({self.key[0].argument_text()})"

    def parts(self) -> tuple[State, ...]:
        return self.key

    def with_parts(self, parts: Sequence[State]) -> State:
        return NotThrough(*parts)

    def stops(self, node: Expr, see_through: bool) -> Iterator[str]:
        if self.key[0].step(node, see_through)[0]:
            yield self.text()


class Below(State):
    """Finds what is directly below what its first part finds.

    key: state of the parent or None, whether the node it comes to is directly below one, whether a bound symbol just
    passed is a parent. A bound symbol and what is bound to it count as one node.
    """

    __slots__ = ()

    def step(self, node: Expr, see_through: bool = False) -> Step:
        parent: State | None = self.key[0]
        is_below: bool = self.key[1]
        is_parent: bool = self.key[2]
        found, following = (False, None) if parent is None else parent.step(node, see_through)
        is_parent = is_parent or found
        flags = (is_below, is_parent) if see_through and isinstance(node, Symbol) else (is_parent, False)
        if isinstance(following, tuple):
            return is_below, tuple(self._next(state, flags) for state in following)
        return is_below, self._next(following, flags)

    @staticmethod
    def _next(parent: State | None, flags: tuple[bool, bool]) -> State | None:
        return None if parent is None and not any(flags) else Below(parent, *flags)

    def text(self) -> str:
        return f"directly_below({self.key[0].argument_text()})" if self.key[0] is not None else "directly_below(...)"

    def parts(self) -> tuple[State, ...]:
        return () if self.key[0] is None else (self.key[0],)

    def with_parts(self, parts: Sequence[State]) -> State:
        return Below(*parts, *self.key[1:])


def next_for(following: Next, child: int) -> State | None:
    """The state of one child."""
    return following[child] if isinstance(following, tuple) else following


def map_next(following: Next, wrap: Callable[[State], State]) -> Next:
    """`wrap` every state that is not finished."""
    if isinstance(following, tuple):
        return tuple(None if state is None else wrap(state) for state in following)
    return None if following is None else wrap(following)
