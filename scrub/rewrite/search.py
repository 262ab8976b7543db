"""Finding: `get`, `get_unique`, `get_paths`, `are_any_found`, and the error of a matcher that finds nothing."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from scrub.graph import Expr, MatchError, postorder, provide
from scrub.rewrite.iterative import IterativeMatcher, IterativeMatcherIn
from scrub.rewrite.matcher import Matcher
from scrub.rewrite.places import Place, Places
from scrub.rewrite.states import Chain, State


@provide
def get(expr: Expr, matcher: IterativeMatcherIn, *, see_through: bool = False) -> tuple[Expr, ...]:
    """The distinct nodes that the matcher finds, in order of first visit from the root.

    Args:
        expr: where to search.
        matcher: an `IterativeMatcher`, or anything a `Matcher` accepts.
        see_through: walk as if every module were inlined; a bound symbol that is found counts as what is bound to it.

    >>> from scrub.graph import Add, Scalar
    >>> get(Add(Scalar(1.0, name="x"), Scalar(2.0, name="y")), {"y", "z"})
    ('y' [] Scalar 2.0,)
    """
    return tuple(get_paths(expr, matcher, see_through=see_through))


@provide
def get_paths(expr: Expr, matcher: IterativeMatcherIn, *, see_through: bool = False) -> dict[Expr, tuple[Expr, ...]]:
    """Each node that the matcher finds with one path to it: the nodes from the root down to it.

    >>> from scrub.graph import Add, Scalar
    >>> x = Scalar(1.0, name="x")
    >>> get_paths(Add(Add(x, name="A"), name="root"), "x")[x]
    ('root' [] Add, 'A' [] Add, 'x' [] Scalar 1.0)
    """
    places = Places(see_through=see_through)
    found: dict[Expr, tuple[Expr, ...]] = {}
    parents: dict[tuple[Place, State], tuple[Place, State] | None] = {}
    for position, parent, is_found in _visit(expr, matcher, places):
        parents[position] = parent
        if is_found:
            node = places.resolve(position[0]).node
            if node not in found:
                found[node] = _path(position, parents, node)
    return found


@provide
def get_unique(expr: Expr, matcher: IterativeMatcherIn, *, see_through: bool = False) -> Expr:
    """The only node that the matcher finds.

    Raises:
        MatchError: it finds none (the message says where it stopped and shows similar names) or several (shown).

    >>> from scrub.graph import Add, Scalar
    >>> get_unique(Add(Scalar(1.0, name="x"), Scalar(2.0, name="y")), "y")
    'y' [] Scalar 2.0
    """
    found = list(get_paths(expr, matcher, see_through=see_through))
    if not found:
        raise nothing_found(expr, matcher, see_through=see_through)
    if len(found) > 1:
        raise MatchError(
            f"{IterativeMatcher(matcher)!r} finds {len(found)} nodes where one was asked for",
            nodes=found[:10],
            expected=1,
            found=len(found),
            hint="narrow it with chain or restrict, or use get",
        )
    return found[0]


@provide
def are_any_found(expr: Expr, matcher: IterativeMatcherIn, *, see_through: bool = False) -> bool:
    """Whether the matcher finds anything.

    >>> from scrub.graph import Add, Scalar
    >>> are_any_found(Add(Scalar(1.0, name="x")), "y")
    False
    """
    return any(is_found for _, _, is_found in _visit(expr, matcher, Places(see_through=see_through)))


def nothing_found(expr: Expr, matcher: IterativeMatcherIn, *, see_through: bool = False) -> MatchError:
    """The error to raise for a matcher that finds nothing: how far it got, and names that are nearly right."""
    whole = IterativeMatcher(matcher)
    lines = [f"{whole!r} finds nothing in {expr!r}"]
    for prefix in _prefixes(whole.state):
        count = len(get(expr, IterativeMatcher.from_state(prefix, ""), see_through=see_through))
        lines.append(f"    {_describe(prefix)}: {count} found")
    names = list(dict.fromkeys(node.name for node in postorder([expr]) if node.name is not None))
    last = set(_names(whole.state.key[2] if isinstance(whole.state, Chain) else whole.state))
    for wanted in dict.fromkeys(_names(whole.state)):
        if wanted not in names:
            close = difflib.get_close_matches(wanted, names, n=4, cutoff=0.5)
            lines.append(f"    no node is named {wanted!r}" + (f"; similar: {close}" if close else ""))
        elif wanted in last:
            lines.append(f"    {wanted!r} exists, but not on the paths that are searched")
    hint = None if see_through else "paths do not cross from a symbol to what is bound to it; see_through=True does"
    return MatchError("\n".join(lines), expected="at least 1", found=0, hint=hint)


def _visit(
    expr: Expr, matcher: IterativeMatcherIn, places: Places
) -> Iterator[tuple[tuple[Place, State], tuple[Place, State] | None, bool]]:
    """Each distinct (place, state) in order of first visit: itself, the position above it, whether it is found."""
    seen: set[tuple[Place, State]] = set()
    start = (places.root(expr), IterativeMatcher(matcher).state)
    stack: list[tuple[tuple[Place, State], tuple[Place, State] | None]] = [(start, None)]
    while stack:
        position, parent = stack.pop()
        if position in seen:
            continue
        seen.add(position)
        is_found, below = places.step(*position)
        yield position, parent, is_found
        stack.extend(((child, state), position) for child, state in reversed(below) if state is not None)


def _path(
    position: tuple[Place, State], parents: dict[tuple[Place, State], tuple[Place, State] | None], node: Expr
) -> tuple[Expr, ...]:
    path: list[Expr] = [node] if position[0].node is not node else []
    current: tuple[Place, State] | None = position
    while current is not None:
        path.append(current[0].node)
        current = parents[current]
    return tuple(reversed(path))


def _prefixes(state: State) -> Iterator[State]:
    """The states of a chain's beginnings, shortest first, without the whole."""
    beginnings: list[State] = []
    while isinstance(state, Chain):
        state = state.key[0]
        beginnings.append(state)
    yield from reversed(beginnings)


def _describe(state: State) -> str:
    names = list(dict.fromkeys(_names(state)))
    return f"up to {' -> '.join(map(repr, names))}" if names else f"up to {state!r}"


def _names(state: State | Matcher) -> Iterator[str]:
    if isinstance(state, Matcher):
        yield from state.names()
    else:
        for part in state.inner():
            yield from _names(part)
