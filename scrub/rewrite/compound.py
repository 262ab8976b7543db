"""States that run several others at once: unions, intersections and chains.

What keeps a walk linear is that these stay small. A state that another one makes superfluous is dropped: node matchers
merge into one, a depth window inside another goes, and the links of a chain before one that searches everywhere below.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from scrub.graph import Expr
from scrub.rewrite.matcher import EVERYTHING, NOTHING, Matcher
from scrub.rewrite.states import ALWAYS, NEVER, Next, Nodes, Restrict, State, Step, next_for


class AnyOf(State):
    """key: frozenset of states; finds what any of them finds."""

    __slots__ = ()

    def step(self, node: Expr, see_through: bool = False) -> Step:
        steps = [state.step(node, see_through) for state in self.key[0]]
        return any(found for found, _ in steps), _merge(self, node, see_through, [n for _, n in steps], union)

    def text(self) -> str:
        return f"IterativeMatcher.any({', '.join(sorted(state.argument_text() for state in self.key[0]))})"

    def parts(self) -> tuple[State, ...]:
        return tuple(sorted(self.key[0], key=State.text))

    def with_parts(self, parts: Sequence[State]) -> State:
        return union(parts) or NEVER


class AllOf(State):
    """key: frozenset of states; finds what all of them find."""

    __slots__ = ()

    def step(self, node: Expr, see_through: bool = False) -> Step:
        steps = [state.step(node, see_through) for state in self.key[0]]
        nexts = [following for _, following in steps]
        return all(found for found, _ in steps), _merge(self, node, see_through, nexts, intersection)

    def needs(self) -> Matcher | None:
        return next((needed for state in self.parts() if (needed := state.needs()) is not None), None)

    def text(self) -> str:
        return f"IterativeMatcher.all({', '.join(sorted(state.argument_text() for state in self.key[0]))})"

    def parts(self) -> tuple[State, ...]:
        return tuple(sorted(self.key[0], key=State.text))

    def with_parts(self, parts: Sequence[State]) -> State:
        return intersection(parts) or NEVER


Links = tuple[tuple[State, bool], ...]
"""Of each link of a chain: the state it starts in, and whether it starts below what the link before found."""


class Chain(State):
    """key: links, frozenset of running states as (index of the link, state). Finds what the last link finds."""

    __slots__ = ("running",)

    def prepare(self) -> None:
        self.running: dict[int, tuple[State, ...]] = {}
        for link, state in self.key[1]:
            self.running[link] = (*self.running.get(link, ()), state)

    def step(self, node: Expr, see_through: bool = False) -> Step:
        links: Links = self.key[0]
        nexts: list[tuple[int, Next]] = []
        link, last, is_found = min(self.running), max(self.running), False
        while link < len(links) and (is_found or link <= last):
            states = self.running.get(link, ())
            start, must_be_sub = links[link]
            if is_found and must_be_sub:
                nexts.append((link, start))
            elif is_found and start not in states:
                states = (*states, start)
            is_found = False
            for state in states:
                is_hit, following = state.step(node, see_through)
                is_found = is_found or is_hit
                if following is not None:
                    nexts.append((link, following))
            link += 1
        return is_found and link == len(links), self._next(node, see_through, nexts)

    def needs(self) -> Matcher | None:
        last: State = self.key[0][-1][0]
        return last.needs()

    def _next(self, node: Expr, see_through: bool, nexts: list[tuple[int, Next]]) -> Next:
        if any(isinstance(following, tuple) for _, following in nexts):
            each = range(num_below(node, see_through, [following for _, following in nexts]))
            return tuple(self._chain([(link, next_for(n, i)) for link, n in nexts]) for i in each)
        at = tuple(nexts)
        if at not in self.memo:
            self.memo[at] = self._chain([(link, next_for(n, 0)) for link, n in nexts])
        return self.memo[at]

    def _chain(self, running: Iterable[tuple[int, State | None]]) -> State | None:
        """The chain with these states running: those that change nothing left out."""
        links: Links = self.key[0]
        alive = {(link, state) for link, state in running if state is not None and state is not NEVER}
        everywhere = max((i for i, state in alive if state is links[i][0] and isinstance(state, Nodes)), default=-1)
        kept = {i: _without_subsumed([s for j, s in alive if j == i]) for i, _ in alive if i >= everywhere}
        if not kept:
            return None
        return Chain(links, frozenset((i, state) for i, states in kept.items() for state in states))

    def text(self) -> str:
        (first, _), *links = self.key[0]
        end = {True: ", must_be_sub=True)", False: ")"}
        return first.text() + "".join(f".chain({s.argument_text()}{end[below]}" for s, below in links)

    def parts(self) -> tuple[State, ...]:
        return tuple(state for state, _ in self.key[0])

    def with_parts(self, parts: Sequence[State]) -> State:
        return chained(tuple((part, below) for part, (_, below) in zip(parts, self.key[0], strict=True)))

    def stops(self, node: Expr, see_through: bool) -> Iterator[str]:
        links: Links = self.key[0]
        is_found = False
        for link, (start, must_be_sub) in enumerate(links):
            running = dict.fromkeys(self.running.get(link, ()))
            if is_found and not must_be_sub:
                running[start] = None
            is_found = any(state.step(node, see_through)[0] for state in running)
            for state in running:
                yield from state.stops(node, see_through)


def chained(links: Links) -> State:
    """The state in which a chain of these links starts. A chain in a chain is one chain: chaining is associative."""
    flat: list[tuple[State, bool]] = []
    for state, must_be_sub in links:
        inner: Links = state.key[0] if isinstance(state, Chain) else ((state, False),)
        flat.append((inner[0][0], must_be_sub))
        flat.extend(inner[1:])
    if any(state is NEVER for state, _ in flat):
        return NEVER
    return flat[0][0] if len(flat) == 1 else Chain(tuple(flat), frozenset({(0, flat[0][0])}))


def union(states: Iterable[State | None]) -> State | None:
    """A state that finds what any of these finds."""
    flat: set[State] = set()
    for state in states:
        if isinstance(state, AnyOf):
            flat |= state.key[0]
        elif state is not None:
            flat.add(state)
    flat.discard(NEVER)
    everywhere = [state.matcher for state in flat if isinstance(state, Nodes)]
    if len(everywhere) > 1:
        flat = {state for state in flat if not isinstance(state, Nodes)} | {Nodes(Matcher(*_in_order(everywhere)))}
    if ALWAYS in flat:
        return ALWAYS
    kept = _without_subsumed(flat)
    return AnyOf(frozenset(kept)) if len(kept) > 1 else next(iter(kept), None)


def intersection(states: Iterable[State | None]) -> State | None:
    """A state that finds what all of these find."""
    flat: set[State] = set()
    for state in states:
        if state is None or state is NEVER:
            return None
        flat |= state.key[0] if isinstance(state, AllOf) else {state}
    everywhere = [state.matcher for state in flat if isinstance(state, Nodes)]
    if len(everywhere) > 1:
        matcher = Matcher.all(*_in_order(everywhere))
        if matcher == NOTHING:
            return None
        flat = {state for state in flat if not isinstance(state, Nodes)} | {Nodes(matcher)}
    if len(flat) > 1:
        flat.discard(Nodes(EVERYTHING))
    return AllOf(frozenset(flat)) if len(flat) > 1 else next(iter(flat), ALWAYS)


def num_below(node: Expr, see_through: bool, nexts: Iterable[Next]) -> int:
    """For how many children states answer: those that the walk leads to."""
    return max(len(following) for following in nexts if isinstance(following, tuple))


def _in_order(matchers: Iterable[Matcher]) -> list[Matcher]:
    return sorted(matchers, key=repr)


def _without_subsumed(states: Collection[State]) -> set[State]:
    """Without windows of depth that lie in another window on the same search."""
    kept = set(states)
    on_search: dict[object, list[Restrict]] = {}
    for state in states:
        if isinstance(state, Restrict):
            inner, term_if_matches, _, _, early = state.key
            on_search.setdefault((inner, term_if_matches, early), []).append(state)
    for windows in on_search.values():
        for small in windows if len(windows) > 1 else ():
            if any(large in kept and large is not small and _covers(large, small) for large in windows):
                kept.discard(small)
    return kept


def _covers(large: Restrict, small: Restrict) -> bool:
    """Whether one of two windows on the same search covers the other."""
    _, term_if_matches, start, end, _ = large.key
    _, _, start_2, end_2, _ = small.key
    # one that ends at what it finds would end earlier if it began to find earlier
    is_earlier = start == start_2 if term_if_matches else start <= start_2
    return is_earlier and (end is None or (end_2 is not None and end_2 <= end))


def _merge(
    state: State,
    node: Expr,
    see_through: bool,
    nexts: list[Next],
    combine: Callable[[list[State | None]], State | None],
) -> Next:
    """Combine what several states say about the children; one answer for all where none tells children apart."""
    if any(isinstance(following, tuple) for following in nexts):
        each = range(num_below(node, see_through, nexts))
        return tuple(combine([next_for(n, i) for n in nexts]) for i in each)
    at = tuple(nexts)
    if at not in state.memo:
        state.memo[at] = combine([next_for(n, 0) for n in nexts])
    return state.memo[at]
