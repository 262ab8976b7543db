"""`IterativeMatcher`: a matcher on paths from the root, and the combinators that build one (SPEC 5.2 to 5.5)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scrub.graph import ConstructionError, Expr, Module, Symbol
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.states import AllOf, Chain, Children, Nodes, NoSpec, Restrict, State, union

IterativeMatcherIn = MatcherIn
"""What path functions accept: an `IterativeMatcher`, or anything a `Matcher` accepts."""


class IterativeMatcher:
    """Finds, anywhere below the root, the nodes that any of the conditions match; the start of longer chains.

    `IterativeMatcher("top").chain("leaf")` finds every "leaf" with "top" at or above it on the path. Immutable;
    structurally equal matchers are equal.

    >>> from scrub.graph import Add, Scalar
    >>> x = Scalar(1.0, name="x")
    >>> tree = Add(Add(x, name="A"), Add(x, name="B"))
    >>> IterativeMatcher("A").chain("x")
    IterativeMatcher('A').chain('x')
    >>> tree.update(IterativeMatcher("A").chain("x"), lambda n: n.rename("y")).get({"x", "y"})
    ('y' [] Scalar 1.0, 'x' [] Scalar 1.0)
    """

    __slots__ = ("state", "text")

    def __init__(self, *conditions: IterativeMatcherIn) -> None:
        states = [c.state for c in conditions if isinstance(c, IterativeMatcher)]
        plain = [c for c in conditions if not isinstance(c, IterativeMatcher)]
        if plain or not states:
            states.append(Nodes(Matcher(*plain)))
        self.state = union(list(states)) or Nodes(Matcher())
        shown = repr(Matcher(*plain)).removeprefix("Matcher(").removesuffix(")")
        nested = [c.text for c in conditions if isinstance(c, IterativeMatcher)]
        self.text = (
            nested[0]
            if nested and not plain and len(nested) == 1
            else (f"IterativeMatcher({', '.join([*nested, *([shown] if plain else [])])})")
        )

    @classmethod
    def from_state(cls, state: State, text: str) -> IterativeMatcher:
        """The matcher that starts in this state and prints as this text."""
        made = object.__new__(cls)
        made.state = state
        made.text = text
        return made

    def chain(self, *followers: IterativeMatcherIn, must_be_sub: bool = False) -> IterativeMatcher:
        """Wherever this finds n, the next matcher starts at n itself, and so on; this goes on searching.

        Args:
            followers: matchers, applied one after another.
            must_be_sub: start below n instead of at n.
        """
        state, text = self.state, self.text
        for follower in followers:
            second = IterativeMatcher(follower)
            state = Chain(state, frozenset[State](), second.state, must_be_sub)
            text += f".chain({_argument(second)}{', must_be_sub=True' if must_be_sub else ''})"
        return IterativeMatcher.from_state(state, text)

    def chain_many(self, *alternatives: Iterable[IterativeMatcherIn]) -> IterativeMatcher:
        """Union of `chain(*alternative)` over the alternatives."""
        chained = [self.chain(*alternative) for alternative in alternatives]
        state = union([matcher.state for matcher in chained])
        if state is None:
            return IterativeMatcher(False)
        return IterativeMatcher.from_state(state, f"any({', '.join(matcher.text for matcher in chained)})")

    def children_matcher(self, indices: Iterable[int]) -> IterativeMatcher:
        """The children with these indices of what this finds."""
        return self.chain(children_matcher(indices))

    def module_arg_matcher(self, symbol: Symbol | str) -> IterativeMatcher:
        """What is bound to a parameter in the modules that this finds."""
        return self.chain(module_arg_matcher(symbol))

    def spec_matcher(self) -> IterativeMatcher:
        """The bodies of the modules that this finds."""
        return self.chain(spec_matcher())

    def filter_module_spec(self) -> IterativeMatcher:
        """The same without entering the bodies of modules."""
        return IterativeMatcher.from_state(NoSpec(self.state), f"{self.text}.filter_module_spec()")

    def __or__(self, other: IterativeMatcherIn) -> IterativeMatcher:
        return IterativeMatcher(self, other)

    def __and__(self, other: IterativeMatcherIn) -> IterativeMatcher:
        second = IterativeMatcher(other)
        return IterativeMatcher.from_state(AllOf((self.state, second.state)), f"({self.text} & {second.text})")

    def __bool__(self) -> bool:
        raise ConstructionError(f"{self!r} is neither true nor false", hint="ask expr.are_any_found(matcher)")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IterativeMatcher) and self.state == other.state

    def __hash__(self) -> int:
        return hash(self.state)

    def __repr__(self) -> str:
        return self.text


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
        term_early_at: finish a path at nodes that match this; the node itself can still be found.

    >>> from scrub.graph import Add, Scalar
    >>> inner = Add(Scalar(1.0, name="x"), name="inner")
    >>> Add(inner, Scalar(2.0, name="y")).get(restrict({"x", "y"}, term_early_at="inner"))
    ('y' [] Scalar 2.0,)
    """
    inner, early = IterativeMatcher(matcher), Matcher(term_early_at)
    if start_depth < 0 or (end_depth is not None and end_depth < start_depth):
        raise ConstructionError(f"restrict: depths [{start_depth}, {end_depth}) are empty or negative")
    options = ["term_if_matches=True"] if term_if_matches else []
    options += [f"start_depth={start_depth}"] if start_depth else []
    options += [] if end_depth is None else [f"end_depth={end_depth}"]
    options += [] if term_early_at is False else [f"term_early_at={early!r}"]
    state = Restrict(inner.state, term_if_matches, start_depth, end_depth, early)
    return IterativeMatcher.from_state(state, f"restrict({', '.join([_argument(inner), *options])})")


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

    >>> from scrub.graph import Add, Scalar
    >>> root = Add(Scalar(1.0, name="x"), Scalar(2.0, name="y"), name="root")
    >>> root.get(IterativeMatcher("root").chain(children_matcher({1})))
    ('y' [] Scalar 2.0,)
    """
    chosen = frozenset(indices)
    return IterativeMatcher.from_state(Children(_Indices(chosen)), f"children_matcher({set(chosen)!r})")


def module_arg_matcher(symbol: Symbol | str) -> IterativeMatcher:
    """Finds what is bound to a parameter, given as symbol or by name, where it starts at a module.

    A walk that sees through modules comes to an argument by its symbol instead: chain the parameter's name there.

    >>> from scrub.graph import ModuleSpec, Scalar
    >>> s = Symbol.new_from_name((), "s")
    >>> call = Module(ModuleSpec(s.add(s, name="body"), [s]), "call", s=Scalar(3.0, name="three"))
    >>> call.get(IterativeMatcher("call").chain(module_arg_matcher("s")))
    ('three' [] Scalar 3.0,)
    """
    shown = repr(symbol) if isinstance(symbol, str) else repr(symbol.name)
    return IterativeMatcher.from_state(Children(_Argument(symbol)), f"module_arg_matcher({shown})")


def spec_matcher() -> IterativeMatcher:
    """Finds the body, where it starts at a module.

    >>> from scrub.graph import ModuleSpec, Scalar
    >>> s = Symbol.new_from_name((), "s")
    >>> call = Module(ModuleSpec(s.add(s, name="body"), [s]), "call", s=Scalar(3.0, name="three"))
    >>> call.get(IterativeMatcher("call").chain(spec_matcher()))
    ('body' [] Add,)
    """
    return IterativeMatcher.from_state(Children(_Body()), "spec_matcher()")


@dataclass(frozen=True)
class _Indices:
    chosen: frozenset[int]

    def __call__(self, node: Expr) -> frozenset[int]:
        return self.chosen


@dataclass(frozen=True)
class _Argument:
    symbol: Symbol | str

    def __call__(self, node: Expr) -> frozenset[int]:
        if not isinstance(node, Module):
            return frozenset()
        return frozenset(i for i, s in enumerate(node.bindings, start=1) if self.symbol in (s, s.name))


@dataclass(frozen=True)
class _Body:
    def __call__(self, node: Expr) -> frozenset[int]:
        return frozenset({0} if isinstance(node, Module) else ())


def _argument(matcher: IterativeMatcher) -> str:
    """The text of a matcher as an argument of another: without its own constructor where that adds nothing."""
    text = matcher.text
    is_plain = text.startswith("IterativeMatcher(") and text.endswith(")") and text.count("(") == 1
    return text.removeprefix("IterativeMatcher(").removesuffix(")") if is_plain else text
