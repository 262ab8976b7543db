"""Finding: `get`, `get_unique`, `get_paths`, `are_any_found` (SPEC 5.6). Counting paths is in `counting.py`."""

from __future__ import annotations

from scrub.graph import Expr, MatchError, provide
from scrub.rewrite.explain import nothing_found
from scrub.rewrite.iterative import IterativeMatcher, IterativeMatcherIn
from scrub.rewrite.places import Parents, Places, Position, path_to, visit


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
    places = Places(see_through=see_through)
    state = IterativeMatcher(matcher).state
    found = dict.fromkeys(at for (at, _), is_found in visit(places, expr, state) if is_found)
    return tuple(dict.fromkeys(places.node(places.resolve(at)) for at in found))


@provide
def get_paths(expr: Expr, matcher: IterativeMatcherIn, *, see_through: bool = False) -> dict[Expr, tuple[Expr, ...]]:
    """Each node that the matcher finds with one path to it: the nodes from the root down to it.

    All paths are given by `get_all_paths`, their number by `count_paths`.

    >>> from scrub.graph import Add, Scalar
    >>> x = Scalar(1.0, name="x")
    >>> get_paths(Add(Add(x, name="A"), name="root"), "x")[x]
    ('root' [] Add, 'A' [] Add, 'x' [] Scalar 1.0)
    """
    places = Places(see_through=see_through)
    found: dict[Expr, Position] = {}
    parents: Parents = {}
    for position, is_found in visit(places, expr, IterativeMatcher(matcher).state, parents=parents):
        if is_found:
            found.setdefault(places.node(places.resolve(position[0])), position)
    return {node: path_to(places, position, parents) for node, position in found.items()}


@provide
def get_unique(expr: Expr, matcher: IterativeMatcherIn, *, see_through: bool = False) -> Expr:
    """The only node that the matcher finds.

    Raises:
        MatchError: it finds none (the message explains why, see `explain`) or several (shown).

    >>> from scrub.graph import Add, Scalar
    >>> get_unique(Add(Scalar(1.0, name="x"), Scalar(2.0, name="y")), "y")
    'y' [] Scalar 2.0
    """
    found = list(get(expr, matcher, see_through=see_through))
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
    places = Places(see_through=see_through)
    return any(is_found for _, is_found in visit(places, expr, IterativeMatcher(matcher).state))
