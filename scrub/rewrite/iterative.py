"""What path matchers are built with, beside `chain`: limits, children, modules (SPEC 5.3, 5.5)."""

from __future__ import annotations

from collections.abc import Iterable

from scrub.graph import ConstructionError, Symbol
from scrub.rewrite.matcher import NOTHING, Matcher, MatcherIn, is_path_matcher
from scrub.rewrite.path_matcher import IterativeMatcher, IterativeMatcherIn
from scrub.rewrite.selection import argument_of, bodies, children_at
from scrub.rewrite.states import Below, NotThrough, Restrict


def restrict(
    matcher: IterativeMatcherIn,
    *,
    term_if_matches: bool = False,
    start_depth: int = 0,
    end_depth: int | None = None,
    term_early_at: MatcherIn = False,
) -> IterativeMatcher:
    """Limit where a matcher searches (SPEC 5.3).

    Args:
        matcher: what to limit.
        term_if_matches: finish a path where something was found.
        start_depth, end_depth: find only at depths in [start_depth, end_depth), counted from where this begins.
            Where a walk sees through modules, a module and a bound symbol that it passes count as well.
        term_early_at: finish a path at nodes that match this; the node itself can still be found.

    >>> from scrub.graph import Add, Scalar
    >>> inner = Add(Scalar(1.0, name="x"), name="inner")
    >>> Add(inner, Scalar(2.0, name="y")).get(restrict({"x", "y"}, term_early_at="inner"))
    ('y' [] Scalar 2.0,)
    """
    if is_path_matcher(term_early_at):
        raise ConstructionError(
            f"restrict: term_early_at is a condition on nodes, {term_early_at!r} matches paths",
            expected="what a Matcher accepts",
            found=term_early_at,
            hint="not_through(...) ends paths where a path matcher finds something",
        )
    inner, early = IterativeMatcher(matcher), Matcher(term_early_at)
    for depth in (start_depth, *(() if end_depth is None else (end_depth,))):
        if isinstance(depth, bool) or not isinstance(depth, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConstructionError(f"restrict: {depth!r} is not a depth", expected=int, found=depth)
    if start_depth < 0 or (end_depth is not None and end_depth < start_depth):
        raise ConstructionError(
            f"restrict: depths [{start_depth}, {end_depth}) are empty or negative",
            found=(start_depth, end_depth),
            hint="depth 0 is where the matcher begins, and end_depth is exclusive",
        )
    if not term_if_matches and start_depth == 0 and end_depth is None and early == NOTHING:
        return inner
    return IterativeMatcher.from_state(Restrict(inner.state, term_if_matches, start_depth, end_depth, early))


def new_traversal(
    *, start_depth: int = 0, end_depth: int | None = None, term_early_at: MatcherIn = False
) -> IterativeMatcher:
    """`restrict(True, ...)`: finds everything within the limits.

    >>> from scrub.graph import Add, Scalar
    >>> Add(Add(Scalar(1.0, name="x"), name="A"), name="root").get(new_traversal(start_depth=1, end_depth=2))
    ('A' [] Add,)
    """
    return restrict(True, start_depth=start_depth, end_depth=end_depth, term_early_at=term_early_at)


def children_matcher(indices: Iterable[int]) -> IterativeMatcher:
    """Finds the children with these indices of the node it starts at. A module's children are [body, *arguments].

    A child that stands in two positions is two places. Where a walk sees through modules, an argument is found where
    the walk comes to it, by the parameter's symbol in the body; and a bound symbol counts as what is bound to it.

    >>> from scrub.graph import Add, Scalar
    >>> x = Scalar(1.0, name="x")
    >>> Add(x, x, name="twice").update(children_matcher({0}), lambda n: n.rename("first"))
    'twice' [] Add
    >>> Add(x, x, name="twice").update(children_matcher({0}), lambda n: n.rename("first")).children
    ('first' [] Scalar 1.0, 'x' [] Scalar 1.0)
    """
    return IterativeMatcher.from_state(children_at(indices))


def module_arg_matcher(symbol: Symbol | str) -> IterativeMatcher:
    """Finds what is bound to a parameter, given as symbol or by name, where it starts at a module.

    Where a walk sees through modules, it finds it wherever the body uses the parameter.

    >>> from scrub.graph import Module, ModuleSpec, Scalar
    >>> s = Symbol.new_from_name((), "s")
    >>> call = Module(ModuleSpec(s.add(s, name="body"), [s]), "call", s=Scalar(3.0, name="three"))
    >>> call.get(IterativeMatcher("call").chain(module_arg_matcher("s")))
    ('three' [] Scalar 3.0,)
    """
    return IterativeMatcher.from_state(argument_of(symbol))


def spec_matcher() -> IterativeMatcher:
    """Finds the body of a module where it starts at one.

    >>> from scrub.graph import Module, ModuleSpec, Scalar
    >>> s = Symbol.new_from_name((), "s")
    >>> call = Module(ModuleSpec(s.add(s, name="body"), [s]), "call", s=Scalar(3.0, name="three"))
    >>> call.get(spec_matcher())
    ('body' [] Add,)
    """
    return IterativeMatcher.from_state(bodies())


def directly_below(parent: IterativeMatcherIn) -> IterativeMatcher:
    """Finds the nodes whose parent on the path is one that `parent` finds.

    Where a walk sees through modules, a bound symbol and what is bound to it count as one node: both are directly
    below what uses the symbol, and what is below the argument is directly below the symbol too.

    >>> from scrub.graph import Add, Scalar
    >>> tree = Add(Add(Scalar(1.0, name="x"), name="A"), Scalar(2.0, name="y"), name="top")
    >>> tree.get(directly_below("top"))
    ('A' [] Add, 'y' [] Scalar 2.0)
    """
    return IterativeMatcher.from_state(Below(IterativeMatcher(parent).state, False, False))


def not_through(blocker: IterativeMatcherIn) -> IterativeMatcher:
    """Finds everything, on those paths only that pass nothing that `blocker` finds.

    The last node of a path may be one that `blocker` finds: the path ends there and does not pass it. The first may
    not, unless it is the last too. With a condition on nodes this is `new_traversal(term_early_at=...)`; it takes path
    matchers as well.

    >>> from scrub.graph import Add, Scalar
    >>> tree = Add(Add(Scalar(1.0, name="x"), name="A"), Scalar(2.0, name="y"), name="top")
    >>> tree.get(not_through("A"))
    ('top' [] Add, 'A' [] Add, 'y' [] Scalar 2.0)
    """
    return IterativeMatcher.from_state(NotThrough(IterativeMatcher(blocker).state))


__all__ = [
    "IterativeMatcher",
    "IterativeMatcherIn",
    "children_matcher",
    "directly_below",
    "module_arg_matcher",
    "new_traversal",
    "not_through",
    "restrict",
    "spec_matcher",
]
