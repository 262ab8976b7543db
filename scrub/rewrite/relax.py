"""Variations of a matcher for explanations: its beginnings, and the same with one of its limits loosened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from scrub.rewrite.compound import AllOf, Chain, Links, chained, intersection
from scrub.rewrite.matcher import NOTHING, Matcher
from scrub.rewrite.states import ALWAYS, NEVER, Below, Nodes, NoSpec, NotThrough, Restrict, State


@dataclass(frozen=True)
class Relaxation:
    """A matcher with one limit loosened.

    Attributes:
        kind: which limit, for example "end_depth".
        text: the limit as written.
        value: what it is; `loosest` is the value that does not limit.
        make: value -> the whole matcher with that value.
        limit: the part that sets it.
    """

    kind: str
    text: str
    value: Any
    loosest: Any
    make: Callable[[Any], State]
    limit: State

    def within(self, wrap: Callable[[State], State]) -> Relaxation:
        """The same of a matcher that this one is a part of."""
        inner = self.make
        return Relaxation(self.kind, self.text, self.value, self.loosest, lambda v: wrap(inner(v)), self.limit)


def relaxations(state: State) -> Iterator[Relaxation]:
    """Every way to loosen one limit of a matcher."""
    if isinstance(state, Restrict):
        yield from _of_restrict(state)
    elif isinstance(state, NoSpec):
        yield Relaxation("filter_module_spec", NoSpec.name, state, state.key[0], lambda value: value, state)
    elif isinstance(state, NotThrough):
        yield Relaxation("not_through", state.text(), state, ALWAYS, lambda value: value, state)
        return  # a blocker that finds less would block less: that is no loosening
    elif isinstance(state, Below):
        yield Relaxation("directly_below", state.text(), state, ALWAYS, lambda value: value, state)
    elif isinstance(state, Chain):
        links: Links = state.key[0]
        for i, (_, must_be_sub) in enumerate(links):
            if must_be_sub:
                make = partial(_with_must_be_sub, links, i)
                yield Relaxation("must_be_sub", "must_be_sub=True", True, False, make, state)
    elif isinstance(state, AllOf):
        for part in state.parts():
            if not isinstance(part, NotThrough | Below):
                rest = [other for other in state.parts() if other is not part]
                yield Relaxation("all", part.argument_text(), part, ALWAYS, partial(_with_part, rest), state)
    parts = state.parts()
    for i, part in enumerate(parts):
        for relaxation in relaxations(part):
            yield relaxation.within(lambda s, i=i: state.with_parts([*parts[:i], s, *parts[i + 1 :]]))


def _of_restrict(state: Restrict) -> Iterator[Relaxation]:
    _, term_if_matches, start, end, early = state.key
    if early != NOTHING:
        text = f"term_early_at={early.argument_text()}"
        yield Relaxation("term_early_at", text, early, NOTHING, partial(_with_option, state, 4), state)
    if end is not None:
        yield Relaxation("end_depth", f"end_depth={end}", end, None, partial(_with_option, state, 3), state)
    if start:
        yield Relaxation("start_depth", f"start_depth={start}", start, 0, partial(_with_option, state, 2), state)
    if term_if_matches:
        text = "term_if_matches=True"
        yield Relaxation("term_if_matches", text, True, False, partial(_with_option, state, 1), state)


def _with_option(state: Restrict, index: int, value: Any) -> State:
    return Restrict(*state.key[:index], value, *state.key[index + 1 :])


def _with_must_be_sub(links: Links, index: int, value: bool) -> State:
    return chained((*links[:index], (links[index][0], value), *links[index + 1 :]))


def _with_part(others: list[State], part: State) -> State:
    return intersection([*others, part]) or NEVER


def without_limits(state: State) -> State:
    """The matcher with none of its limits."""
    if isinstance(state, NotThrough | Below):
        return ALWAYS
    if isinstance(state, Restrict | NoSpec):
        return without_limits(state.key[0])
    if isinstance(state, Chain):
        return chained(tuple((without_limits(start), False) for start, _ in state.key[0]))
    return state.with_parts([without_limits(part) for part in state.parts()]) if state.parts() else state


def moved_inside(state: State) -> State | None:
    """`restrict(a.chain(b), ...)` as `a.chain(restrict(b, ...))`, and so for `not_through`; None if it is neither."""
    if isinstance(state, Restrict) and isinstance(state.key[0], Chain):
        *links, (last, below) = state.key[0].key[0]
        return chained((*links, (Restrict(last, *state.key[1:]), below)))
    if isinstance(state, AllOf):
        chains = [part for part in state.parts() if isinstance(part, Chain)]
        limits = [part for part in state.parts() if isinstance(part, NotThrough)]
        if len(chains) == 1 and len(chains) + len(limits) == len(state.parts()):
            *links, (last, below) = chains[0].key[0]
            return chained((*links, (intersection([last, *limits]) or NEVER, below)))
    return None


def starting_below(state: State) -> State | None:
    """The chain, limits moved to its last link, which starts below the nodes it is chained to; None if it is none."""
    inside = state if isinstance(state, Chain) else moved_inside(state)
    if not isinstance(inside, Chain):
        return None
    *links, (last, _) = inside.key[0]
    return chained((*links, (last, True)))


def prefixes(state: State) -> Iterator[tuple[State, State]]:
    """The links of the chain that a matcher is built on, each with the whole matcher as far as that link."""
    if isinstance(state, Chain):
        links = state.key[0]
        for i in range(1, len(links) + 1):
            yield links[i - 1][0], chained(links[:i])
        return
    index = _index_of_core(state)
    if index is None:
        yield state, state
        return
    parts = state.parts()
    for link, prefix in prefixes(parts[index]):
        yield link, state.with_parts([*parts[:index], prefix, *parts[index + 1 :]])


def last_step(state: State) -> tuple[State, State | None]:
    """The last link of the chain that a matcher is built on, and the whole matcher without it."""
    *before, (link, _) = prefixes(state)
    return link, before[-1][1] if before else None


def reordered(state: State) -> Iterator[State]:
    """The chain with its last link earlier."""
    if isinstance(state, Chain):
        *links, last = state.key[0]
        for i in reversed(range(len(links))):
            moved = [*links[:i], last, *links[i:]]
            yield chained(tuple((link, below and j > 0) for j, (link, below) in enumerate(moved)))
        return
    index = _index_of_core(state)
    parts = state.parts()
    for other in reordered(parts[index]) if index is not None else ():
        assert index is not None
        yield state.with_parts([*parts[:index], other, *parts[index + 1 :]])


def _index_of_core(state: State) -> int | None:
    """Which part holds a chain, if the state is a limit around one."""
    if not isinstance(state, Restrict | NoSpec | AllOf):
        return None
    for i, part in enumerate(state.parts()):
        if isinstance(part, Chain) or _index_of_core(part) is not None:
            return i
    return None


def conditions_of(state: State) -> Iterator[tuple[Any, Callable[[Any], State]]]:
    """The simple conditions in a matcher, each with a function that puts another one in its place."""
    if isinstance(state, Nodes):
        for condition in state.matcher.conditions():
            yield condition, lambda other, c=condition: Nodes(_replaced(state.matcher, c, other))
    if isinstance(state, NotThrough):
        return
    parts = state.parts()
    for i, part in enumerate(parts):
        for condition, replace in conditions_of(part):
            yield condition, lambda other, i=i, r=replace: state.with_parts([*parts[:i], r(other), *parts[i + 1 :]])


def _replaced(matcher: Matcher, condition: Any, other: Any) -> Matcher:
    if matcher.rule == "not":
        return matcher
    parts = [_replaced(p, condition, other) if isinstance(p, Matcher) else p for p in matcher.parts]
    parts = [other if p is condition or (isinstance(p, str) and p == condition) else p for p in parts]
    return Matcher.all(*parts) if matcher.rule == "all" else Matcher(*parts)
