"""`explain`: why a matcher finds what it finds, or nothing, in a few lines for people (SPEC 5.6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from scrub.graph import Expr, MatchError, Symbol, provide
from scrub.rewrite.compound import AnyOf
from scrub.rewrite.counting import count_paths
from scrub.rewrite.diagnose import Cause, Search, causes_of
from scrub.rewrite.path_matcher import IterativeMatcher, IterativeMatcherIn
from scrub.rewrite.places import Places, visit
from scrub.rewrite.relax import prefixes
from scrub.rewrite.states import State

_MAX_SHOWN = 4
_MAX_LINKS = 5


@dataclass(frozen=True)
class Link:
    """One link of a chain.

    Attributes:
        text: as written.
        num_matching: nodes anywhere in the expression that meet its conditions; None if it has none, as
            `children_matcher` has.
        num_found: nodes that the chain up to here finds.
    """

    text: str
    num_matching: int | None
    num_found: int


@dataclass(frozen=True)
class Explanation:
    """What `explain` found out. Prints itself, in at most `max_lines` lines.

    Attributes:
        matcher, expr, see_through: what was asked.
        num_found, num_paths: distinct nodes that are found, and on how many paths.
        links: the chain link by link, as far as the first one that finds nothing.
        stops: what ended paths -> the nodes at which it did.
        causes: why nothing is found, likeliest first; empty if something is.
    """

    matcher: IterativeMatcher
    expr: Expr
    see_through: bool
    num_found: int
    num_paths: int
    links: tuple[Link, ...]
    stops: dict[str, tuple[Expr, ...]]
    causes: tuple[Cause, ...]
    max_lines: int = 10

    def lines(self) -> list[str]:
        """The text, line by line."""
        mode = ", seeing through modules" if self.see_through else ""
        found = f"{_many(self.num_found, 'node')} on {_many(self.num_paths, 'path')}"
        amount = found if self.num_found else "nothing"
        text = [f"{self.matcher!r} finds {amount} in {self.expr!r}{mode}"]
        if len(self.links) > 1 or self.num_found:
            shown = self.links if len(self.links) <= _MAX_LINKS else (*self.links[:2], None, *self.links[-2:])
            text += ["    ..." if link is None else f"    {_link_text(link)}" for link in shown]
        text += [f"why: {cause.text}" for cause in self.causes]
        if not self.causes or self.causes[0].kind in ("elsewhere", "several"):
            text += [f"paths end at {_names(nodes)}: {reason}" for reason, nodes in self.stops.items()]
        fix = self.fix
        room = self.max_lines - (fix is not None)
        return text[: max(room, 1)] + ([f"try: {fix}"] if fix else [])

    @property
    def fix(self) -> str | None:
        """What to do about it, if that is known."""
        return next((cause.fix for cause in self.causes if cause.fix), None)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def __repr__(self) -> str:
        return str(self)


@provide
def explain(expr: Expr, matcher: IterativeMatcherIn, *, see_through: bool = False, max_lines: int = 10) -> Explanation:
    """Why a matcher finds what it finds: how often each part of it hit, where paths ended, and if it finds nothing,
    which part is the cause and what would find something.

    Causes are tried out: one is named only if the matcher without it finds something. Costs a few dozen walks.

    Args:
        expr: where to search.
        matcher: an `IterativeMatcher`, or anything a `Matcher` accepts.
        see_through: walk as if every module were inlined.
        max_lines: how many lines it prints at most.

    >>> from scrub.graph import Add, Scalar
    >>> tree = Add(Add(Scalar(1.0, name="x"), name="a1"), Scalar(2.0, name="y"), name="top")
    >>> explain(tree, IterativeMatcher("a1").chain("y"))
    IterativeMatcher('a1').chain('y') finds nothing in 'top' [] Add
        'a1': matches 1 node, finds 1
        'y': matches 1 node, finds none
    why: 'y' is not at or below 'a1', only on other paths: top > y
    >>> explain(tree, "a.1").fix
    "'a1' instead of 'a.1' finds 1 node"
    """
    whole = IterativeMatcher(matcher)
    search = Search(expr, see_through=see_through)
    num_found = search.count(whole.state)
    links = tuple(_links(whole.state, search))
    return Explanation(
        matcher=whole,
        expr=expr,
        see_through=see_through,
        num_found=num_found,
        num_paths=count_paths(expr, whole, see_through=see_through) if num_found else 0,
        links=links,
        stops=_stops(whole.state, search),
        causes=() if num_found else tuple(causes_of(whole.state, search)),
        max_lines=max_lines,
    )


def nothing_found(expr: Expr, matcher: IterativeMatcherIn, *, see_through: bool = False) -> MatchError:
    """The error to raise for a matcher that has to find something and does not: its explanation."""
    explanation = explain(expr, matcher, see_through=see_through)
    lines = [line for line in explanation.lines() if not line.startswith("try: ")]
    return MatchError("\n".join(lines), expected="at least 1", found=0, hint=explanation.fix)


def _links(state: State, search: Search) -> Iterator[Link]:
    """The chain as far as its first link that finds nothing."""
    if isinstance(state, AnyOf):
        for part in state.parts():
            yield Link(part.argument_text(), search.num_matching(part), search.count(part))
        return
    for link, prefix in prefixes(state):
        found = search.count(prefix)
        yield Link(link.argument_text(), search.num_matching(link), found)
        if not found:
            return


def _stops(state: State, search: Search) -> dict[str, tuple[Expr, ...]]:
    """What ends paths where: limits of the matcher, and, unless seen through, parameters of modules."""
    stops: dict[str, dict[Expr, None]] = {}
    places = Places(see_through=search.see_through)
    for (place, at), _ in visit(places, search.expr, state):
        node = places.node(place)
        if isinstance(node, Symbol) and not search.see_through and node not in search.free:
            stops.setdefault("see_through=False", {})[node] = None
        elif node.children:
            for reason in at.stops(node, search.see_through):
                stops.setdefault(reason, {})[node] = None
    return {reason: tuple(nodes) for reason, nodes in stops.items()}


def _link_text(link: Link) -> str:
    matching = "" if link.num_matching is None else f"matches {_many(link.num_matching, 'node')}, "
    return f"{link.text}: {matching}finds {link.num_found or 'none'}"


def _names(nodes: tuple[Expr, ...]) -> str:
    shown = [repr(node.name) if node.name is not None else repr(node) for node in nodes[:_MAX_SHOWN]]
    rest = len(nodes) - len(shown)
    return ", ".join(dict.fromkeys(shown)) + (f" and {rest} more" if rest else "")


def _many(count: int, noun: str) -> str:
    shown = str(count) if count < 1_000_000 else f"{Decimal(count):.3g}"
    return f"{shown} {noun}" if count == 1 else f"{shown if count else 'no'} {noun}s"
