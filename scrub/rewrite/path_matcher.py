"""`IterativeMatcher`: a matcher on paths from the root, as a value (SPEC 5.2, 5.4, 5.5)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, NoReturn

from scrub.graph import ConstructionError, Expr, Symbol
from scrub.rewrite.compound import chained, intersection, union
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.selection import argument_of, bodies, children_at
from scrub.rewrite.states import NEVER, Below, Nodes, NoSpec, NotThrough, State

if TYPE_CHECKING:
    from scrub.rewrite.explain import Explanation

IterativeMatcherIn = MatcherIn
"""What path functions accept: an `IterativeMatcher`, or anything a `Matcher` accepts."""


class IterativeMatcher:
    """Finds, anywhere below the root, the nodes that any of the conditions match; the start of longer chains.

    `IterativeMatcher("top").chain("leaf")` finds every "leaf" with "top" at or above it on the path. Immutable;
    structurally equal matchers are equal, and print as what makes them. Combine with `&` and `|`.

    >>> from scrub.graph import Add, Scalar
    >>> x = Scalar(1.0, name="x")
    >>> tree = Add(Add(x, name="A"), Add(x, name="B"))
    >>> IterativeMatcher("A").chain("x")
    IterativeMatcher('A').chain('x')
    >>> tree.update(IterativeMatcher("A").chain("x"), lambda n: n.rename("y")).get({"x", "y"})
    ('y' [] Scalar 1.0, 'x' [] Scalar 1.0)
    """

    __slots__ = ("state",)
    is_path_matcher: ClassVar[bool] = True

    state: State

    def __init__(self, *conditions: IterativeMatcherIn) -> None:
        states = [c.state for c in conditions if isinstance(c, IterativeMatcher)]
        plain = [c for c in conditions if not isinstance(c, IterativeMatcher)]
        self.state = union([*states, Nodes(Matcher(*plain))]) or NEVER

    @classmethod
    def from_state(cls, state: State | None) -> IterativeMatcher:
        """The matcher that starts in this state; None finds nothing."""
        made = object.__new__(cls)
        made.state = NEVER if state is None else state
        return made

    @staticmethod
    def any(*matchers: IterativeMatcherIn) -> IterativeMatcher:
        """Finds, on each path, what any of the matchers finds on it: `a | b | ...`.

        >>> IterativeMatcher.any("a", IterativeMatcher("b").chain("c"))
        IterativeMatcher.any('a', IterativeMatcher('b').chain('c'))
        """
        return IterativeMatcher(*matchers)

    @staticmethod
    def all(*matchers: IterativeMatcherIn) -> IterativeMatcher:
        """Finds, on each path, what every one of the matchers finds on it: `a & b & ...`. All start at the root.

        >>> from scrub.graph import Add, Scalar
        >>> x = Scalar(1.0, name="x")
        >>> tree = Add(Add(Add(x, name="B"), name="A"), Add(x, name="B"), name="top")
        >>> below_both = IterativeMatcher.all(IterativeMatcher("A").chain("x"), IterativeMatcher("B").chain("x"))
        >>> [[node.name for node in path] for path in tree.iter_paths(below_both)]
        [['top', 'A', 'B', 'x']]
        """
        return IterativeMatcher.from_state(intersection(IterativeMatcher(matcher).state for matcher in matchers))

    def chain(self, *followers: IterativeMatcherIn, must_be_sub: bool = False) -> IterativeMatcher:
        """Wherever this finds n, the next matcher starts at n itself, and so on; this goes on searching.

        Args:
            followers: matchers, applied one after another.
            must_be_sub: start below n instead of at n.
        """
        rest = [(IterativeMatcher(follower).state, must_be_sub) for follower in followers]
        return IterativeMatcher.from_state(chained(((self.state, False), *rest)))

    def chain_many(self, *alternatives: Iterable[IterativeMatcherIn], must_be_sub: bool = False) -> IterativeMatcher:
        """Union of `chain(*alternative)` over the alternatives.

        >>> from scrub.graph import Add, Scalar
        >>> tree = Add(Add(Scalar(1.0, name="x"), Scalar(2.0, name="y"), name="A"), Scalar(3.0, name="z"), name="top")
        >>> tree.get(IterativeMatcher("top").chain_many(["A", "x"], ["z"]))
        ('x' [] Scalar 1.0, 'z' [] Scalar 3.0)
        """
        for alternative in alternatives:
            if isinstance(alternative, str) or not isinstance(alternative, Iterable):  # pyright: ignore
                raise ConstructionError(
                    f"chain_many: {alternative!r} is not a list of matchers to chain",
                    found=alternative,
                    hint="each alternative is a chain of its own: chain_many(['a', 'x'], ['b'])",
                )
        return IterativeMatcher(*(self.chain(*alternative, must_be_sub=must_be_sub) for alternative in alternatives))

    def children_matcher(self, indices: Iterable[int]) -> IterativeMatcher:
        """The children with these indices of what this finds; see `children_matcher`."""
        return self.chain(IterativeMatcher.from_state(children_at(indices)))

    def module_arg_matcher(self, symbol: Symbol | str) -> IterativeMatcher:
        """What is bound to a parameter in the modules that this finds; see `module_arg_matcher`."""
        return self.chain(IterativeMatcher.from_state(argument_of(symbol)))

    def spec_matcher(self) -> IterativeMatcher:
        """The bodies of the modules that this finds."""
        return self.chain(IterativeMatcher.from_state(bodies()))

    def filter_module_spec(self) -> IterativeMatcher:
        """The same without entering the bodies of modules: from a module, the search goes on at what is bound.

        Also where a walk sees through modules: it passes bodies without looking at them, and comes to those arguments
        that the body uses.

        >>> from scrub.graph import Module, ModuleSpec, Scalar
        >>> s = Symbol.new_from_name((), "s")
        >>> call = Module(ModuleSpec(s.add(Scalar(1.0, name="one"), name="body"), [s]), s=Scalar(3.0, name="three"))
        >>> call.get(IterativeMatcher({"body", "one", "three"}).filter_module_spec())
        ('three' [] Scalar 3.0,)
        """
        return IterativeMatcher.from_state(NoSpec(self.state))

    def directly_below(self, parent: IterativeMatcherIn) -> IterativeMatcher:
        """Of what this finds, only where the node above it on the path is one that `parent` finds.

        >>> from scrub.graph import Add, Scalar
        >>> x = Scalar(1.0, name="x")
        >>> tree = Add(Add(x, name="A"), x, name="top")
        >>> [[node.name for node in path] for path in tree.iter_paths(IterativeMatcher("x").directly_below("top"))]
        [['top', 'x']]
        """
        return self & IterativeMatcher.from_state(Below(IterativeMatcher(parent).state, False, False))

    def not_through(self, blocker: IterativeMatcherIn) -> IterativeMatcher:
        """Of what this finds, only on paths that pass nothing that `blocker` finds; the last node may be such a one.

        It is about the whole path from where this begins, its first node included. In a chain,
        `a.chain(b).not_through(c)` is about the path from the root and `a.chain(not_through(c) & b)` about the part
        below what a finds.

        >>> from scrub.graph import Add, Scalar
        >>> x = Scalar(1.0, name="x")
        >>> tree = Add(Add(x, name="A"), Add(x, name="B"), name="top")
        >>> [[node.name for node in path] for path in tree.iter_paths(IterativeMatcher("x").not_through("A"))]
        [['top', 'B', 'x']]
        """
        return self & IterativeMatcher.from_state(NotThrough(IterativeMatcher(blocker).state))

    def explain(self, expr: Expr, *, see_through: bool = False, max_lines: int = 10) -> Explanation:
        """Why this finds what it finds in `expr`, or nothing: prints itself. See `scrub.rewrite.explain`."""
        from scrub.rewrite.explain import explain

        return explain(expr, self, see_through=see_through, max_lines=max_lines)

    def __or__(self, other: IterativeMatcherIn) -> IterativeMatcher:
        return IterativeMatcher.any(self, other)

    def __ror__(self, other: IterativeMatcherIn) -> IterativeMatcher:
        return IterativeMatcher.any(other, self)

    def __and__(self, other: IterativeMatcherIn) -> IterativeMatcher:
        return IterativeMatcher.all(self, other)

    def __rand__(self, other: IterativeMatcherIn) -> IterativeMatcher:
        return IterativeMatcher.all(other, self)

    def __invert__(self) -> NoReturn:
        raise ConstructionError(
            f"{self!r} matches paths, which cannot be negated: a node may be found on one path and not on another",
            found=self,
            hint="negate a condition on nodes, ~Matcher(...), or leave paths out with not_through(...)",
        )

    def __bool__(self) -> NoReturn:
        raise ConstructionError(f"{self!r} is neither true nor false", hint="ask expr.are_any_found(matcher)")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IterativeMatcher) and self.state is other.state

    def __hash__(self) -> int:
        return hash(self.state)

    def __repr__(self) -> str:
        return self.state.text()
