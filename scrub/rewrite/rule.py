"""Rules: rewrites that are registered with what they promise, so that the suite checks each of them unasked.

A rule is a function from a node to the rewritten node, or to a `NoMatch` that says why it does not apply:

    @rewrite(keeps="value", pattern=(Add, Add))
    def flatten_sum(add: Add, *, dissolve: MatcherIn = True) -> Expr | NoMatch: ...

The decorator turns it into a `Rule`. Calling that gives the result or raises `RewriteError` with the reason.

Names (SPEC 1.4): the result takes the input's name, unless the result is a leaf that was there before: leaves are
never renamed. (An unnamed number has no identity to lose, so it takes the name.) A rule that takes apart named nodes
below its input has an option `dissolve`, a matcher of nodes it may take apart. Where the result is a *named* node from
below the input, a direct call gives it the input's name and its own is lost; `simplify` does not apply the rule there,
unless told that the name need not be kept.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, ParamSpec

from scrub.graph import Array, DiscreteVar, Expr, RewriteError, Scalar, Symbol, postorder
from scrub.rewrite.iterative import IterativeMatcherIn
from scrub.rewrite.update import update

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker
    from scrub.rewrite.trace import Trace

P = ParamSpec("P")
Options = dict[str, Any]

REWRITES: dict[str, Rule[...]] = {}
"""All registered rules, by name."""


@dataclass(frozen=True)
class NoMatch:
    """Why a rule does not apply; false where a truth value is asked for.

    >>> from scrub.graph import Scalar
    >>> NoMatch("it has no terms").reason
    'it has no terms'
    """

    reason: str

    def __bool__(self) -> bool:
        return False


class Rule(Generic[P]):
    """A registered rewrite. Made by `rewrite`.

    Attributes:
        name, keeps: its name, and what it keeps: "value" (values, shapes, dtypes).
        kind: node type, or union of types, that it applies to.
        pattern: node types from the top down, near which it fires; generated cases are made of these.
        cases: makes a generated case instead, where a pattern does not say it.
        choices: options to try on a case.
        is_simplifying: every application makes the expression smaller (`scrub.rewrite.rules.weight`), so `simplify`
            may use it.
        is_simplifying_at_times: some applications do, and `simplify` uses it for those.
        is_idempotent: it does not apply to its own result.
        required: names of the options that have no default.
    """

    def __init__(
        self,
        function: Callable[Concatenate[Any, P], Expr | NoMatch],
        *,
        keeps: Literal["value"],
        pattern: tuple[type[Expr], ...],
        cases: Callable[[Maker], Expr] | None,
        choices: Callable[[Any], Iterable[Options]] | None,
        is_simplifying: bool,
        is_simplifying_at_times: bool,
        is_idempotent: bool,
    ) -> None:
        self.function = function
        self.name = function.__name__
        self.keeps = keeps
        self.pattern = pattern
        self.cases = cases
        self.choices = choices
        self.is_simplifying = is_simplifying
        self.is_simplifying_at_times = is_simplifying_at_times
        self.is_idempotent = is_idempotent
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__
        self.__name__ = self.__qualname__ = function.__name__
        self.__wrapped__ = function
        parameters = inspect.signature(function).parameters
        self.kind: Any = typing.get_type_hints(function)[next(iter(parameters))]
        self.can_dissolve = "dissolve" in parameters
        self.required = tuple(
            parameter.name
            for parameter in list(parameters.values())[1:]
            if parameter.default is parameter.empty and parameter.kind is parameter.KEYWORD_ONLY
        )

    def __call__(self, expr: Expr, *args: P.args, **kwargs: P.kwargs) -> Expr:
        """The rewritten node.

        Raises:
            RewriteError: it does not apply; the message says why.
        """
        result = self.attempt(expr, *args, **kwargs)
        if isinstance(result, NoMatch):
            raise RewriteError(f"{self.name} does not apply to {expr!r}: {result.reason}", nodes=[expr])
        return result

    def attempt(self, expr: Expr, *args: P.args, **kwargs: P.kwargs) -> Expr | NoMatch:
        """The rewritten node under the name of the old one, or why there is none."""
        if not isinstance(expr, self.kind):
            return NoMatch(f"it rewrites {_kind_text(self.kind)}, this is a {type(expr).__name__}")
        result = self.function(expr, *args, **kwargs)
        if isinstance(result, NoMatch):
            return result
        if result is expr:
            return NoMatch("there is nothing to change")
        return result if expr.name is None or _keeps_its_name(result, expr) else result.rename(expr.name)

    def applies_to(self, kind: type[Expr]) -> bool:
        """Whether it rewrites nodes of that type."""
        return any(issubclass(kind, part) for part in typing.get_args(self.kind) or (self.kind,))

    def everywhere(
        self,
        expr: Expr,
        matcher: IterativeMatcherIn = True,
        *,
        options: Mapping[str, Any] | None = None,
        trace: Trace | None = None,
    ) -> Expr:
        """The rule at every place the matcher finds where it applies, once each, from the bottom up.

        What the group of a random variable is made of is left alone: another group would be another draw.

        Args:
            expr: what to rewrite.
            matcher: where; everywhere if not given.
            options: of the rule.
            trace: where to write down that this was done.
        """
        given: Any = dict(options or {})
        attempt: Callable[..., Expr | NoMatch] = self.attempt
        groups = [node.probs_and_group for node in postorder([expr]) if isinstance(node, DiscreteVar)]
        kept = set(postorder(groups))

        def transform(node: Expr) -> Expr:
            result = node if node in kept else attempt(node, **given)
            return node if isinstance(result, NoMatch) else result

        result = update(expr, matcher, transform, assert_any_found=False)
        if trace is not None and result is not expr:
            trace.record(self, given, before=expr, after=result, matcher=matcher)
        return result

    def __repr__(self) -> str:
        return f"<rewrite {self.name} of {_kind_text(self.kind)}>"


def rewrite(
    *,
    keeps: Literal["value"],
    pattern: tuple[type[Expr], ...] = (),
    cases: Callable[[Maker], Expr] | None = None,
    choices: Callable[[Any], Iterable[Options]] | None = None,
    simplifies: bool | Literal["at times"] = False,
    idempotent: bool = False,
) -> Callable[[Callable[Concatenate[Any, P], Expr | NoMatch]], Rule[P]]:
    """Decorator that registers a rule; the arguments are `Rule`'s attributes.

    Args:
        keeps: what the rule keeps.
        pattern: node types from the top down, near which it fires; the type it applies to if not given.
        cases: makes a generated case, where a pattern does not say it.
        choices: node -> options to try on it; none if not given.
        simplifies: every application makes the expression smaller; or some do ("at times").
        idempotent: it does not apply to its own result.
    """

    def register(function: Callable[Concatenate[Any, P], Expr | NoMatch]) -> Rule[P]:
        if function.__name__ in REWRITES:
            raise TypeError(f"a rewrite named {function.__name__!r} is registered already")
        rule = Rule(
            function,
            keeps=keeps,
            pattern=pattern,
            cases=cases,
            choices=choices,
            is_simplifying=simplifies is True,
            is_simplifying_at_times=simplifies == "at times",
            is_idempotent=idempotent,
        )
        REWRITES[rule.name] = rule
        return rule

    return register


def _keeps_its_name(result: Expr, expr: Expr) -> bool:
    """Whether what a rule made of `expr` is a leaf that was there before, or that the rule named itself."""
    if isinstance(result, Array) and result.name is None:
        return result in expr.children or result in postorder(expr.children)
    return isinstance(result, Symbol) or (isinstance(result, Array | Scalar) and result.name is not None)


def _kind_text(kind: Any) -> str:
    return " or ".join(part.__name__ for part in typing.get_args(kind) or (kind,))
