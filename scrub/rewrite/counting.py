"""All the paths on which a matcher finds something: how many, one after another, or by node (SPEC 5.6).

A path is a walk from the root along children. A child that stands in two positions is reached on two paths. Paths are
counted by dynamic programming over the distinct positions of the walk, which are far fewer than the paths.
"""

from __future__ import annotations

from collections.abc import Iterator

from scrub.graph import ConstructionError, Expr, MatchError, Symbol, provide
from scrub.rewrite.path_matcher import IterativeMatcher, IterativeMatcherIn
from scrub.rewrite.places import Places, Position, resolution
from scrub.rewrite.states import State


@provide
def count_paths(expr: Expr, matcher: IterativeMatcherIn, *, see_through: bool = False) -> int:
    """On how many paths from the root the matcher finds something; exact, however many.

    >>> from scrub.graph import Add, Scalar
    >>> node = Scalar(1.0, name="x")
    >>> for _ in range(60):
    ...     node = Add(node, node)
    >>> count_paths(node, "x") == 2**60
    True
    """
    paths = _Paths(expr, IterativeMatcher(matcher).state, Places(see_through=see_through))
    return paths.counts[paths.start]


@provide
def iter_paths(
    expr: Expr, matcher: IterativeMatcherIn, *, limit: int | None = None, see_through: bool = False
) -> Iterator[tuple[Expr, ...]]:
    """The paths on which the matcher finds something, as the nodes from the root down to what is found.

    From left to right, a node before what is below it, each found as it is asked for: the first few of 2^60 paths come
    at once.

    Args:
        expr: where to search.
        matcher: an `IterativeMatcher`, or anything a `Matcher` accepts.
        limit: stop after that many; all if None.
        see_through: walk as if every module were inlined; the modules and bound symbols passed are on the path.

    >>> from scrub.graph import Add, Scalar
    >>> x = Scalar(1.0, name="x")
    >>> tree = Add(Add(x, name="A"), Add(x, name="B"), name="top")
    >>> [[node.name for node in path] for path in iter_paths(tree, "x")]
    [['top', 'A', 'x'], ['top', 'B', 'x']]
    """
    if limit is not None and limit < 0:
        raise ConstructionError(f"iter_paths: the limit is {limit}", found=limit, hint="limit=None gives every path")
    return _Paths(expr, IterativeMatcher(matcher).state, Places(see_through=see_through)).iterate(limit)


@provide
def get_all_paths(
    expr: Expr, matcher: IterativeMatcherIn, *, limit: int = 1000, see_through: bool = False
) -> dict[Expr, list[tuple[Expr, ...]]]:
    """Each node that the matcher finds, with every path on which it does.

    Args:
        expr: where to search.
        matcher: an `IterativeMatcher`, or anything a `Matcher` accepts.
        limit: the most paths to return.
        see_through: walk as if every module were inlined.

    Raises:
        MatchError: there are more paths than `limit`; the message says how many.

    >>> from scrub.graph import Add, Scalar
    >>> x = Scalar(1.0, name="x")
    >>> {node.name: len(paths) for node, paths in get_all_paths(Add(x, x, name="twice"), True).items()}
    {'twice': 1, 'x': 2}
    """
    paths = _Paths(expr, IterativeMatcher(matcher).state, Places(see_through=see_through))
    count = paths.counts[paths.start]
    if count > limit:
        raise MatchError(
            f"get_all_paths: {IterativeMatcher(matcher)!r} finds something on {count} paths, the limit is {limit}",
            nodes=[expr],
            expected=f"at most {limit}",
            found=count,
            hint="narrow the matcher, raise limit=, or take the first ones with iter_paths(..., limit=)",
        )
    found: dict[Expr, list[tuple[Expr, ...]]] = {}
    for path in paths.iterate(None):
        found.setdefault(path[-1], []).append(path)
    return found


class _Paths:
    """The positions of a walk, those below each, and on how many paths from each something is found."""

    def __init__(self, expr: Expr, state: State, places: Places) -> None:
        self.places = places
        self.start: Position = (places.root(expr), state)
        self.below: dict[Position, list[Position]] = {}
        self.counts: dict[Position, int] = {}
        self.ends: set[Position] = set()  # a path on which something is found ends here
        self._found: set[Position] = set()  # here, or where the bound symbol that is here leads
        stack: list[tuple[Position, bool | None]] = [(self.start, None)]
        while stack:
            position, is_found = stack.pop()
            if is_found is not None:
                self._finish(position, is_found)
            elif position not in self.below:
                place, at = position
                is_found, following = at.step(places.node(place), places.see_through)
                below = self.below[position] = places.positions(place, following)
                stack.append((position, is_found))
                stack.extend([(child, None) for child in below])

    def _finish(self, position: Position, is_found: bool) -> None:
        """A bound symbol and what is bound to it are one thing to find."""
        below = self.below[position]
        count = 0
        for child in below:
            count += self.counts[child]
        if self.places.see_through and below and isinstance(self.places.node(position[0]), Symbol):
            is_found_beyond = below[0] in self._found
            if is_found or is_found_beyond:
                self._found.add(position)
            is_found = is_found and not is_found_beyond
        elif is_found:
            self._found.add(position)
        if is_found:
            self.ends.add(position)
        self.counts[position] = count + is_found

    def iterate(self, limit: int | None) -> Iterator[tuple[Expr, ...]]:
        """The paths, depth first; only ways that lead to something are taken."""
        path: list[Expr] = []
        ways: list[Iterator[Position]] = [iter([self.start])]
        while ways and limit != 0:
            position = next(ways[-1], None)
            if position is None:
                ways.pop()
                del path[len(ways) - 1 :]
                continue
            if not self.counts[position]:
                continue
            if position in self.ends:
                yield (*path, *resolution(self.places, position[0]))
                limit = None if limit is None else limit - 1
            path.append(self.places.node(position[0]))
            ways.append(iter(self.below[position]))
