"""Checking a rule on generated expressions: that it fires, and keeps what it says it keeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from scrub.graph import Expr, RewriteError, postorder, to_text
from scrub.rewrite.compare import name_problem, shape_problem, value_problem
from scrub.rewrite.rule import NoMatch, Options, Rule
from scrub.rewrite.rules.weight import weight
from scrub.rewrite.testing.maker import Maker
from scrub.rewrite.testing.oracle import groups_of, value_of

TOLERANCE = 1e-10


@dataclass
class RuleReport:
    """What trying a rule showed.

    Attributes:
        num_cases, num_fired: expressions tried, and those on which it fired at least once.
        reasons: why it did not fire, and how often.
    """

    num_cases: int = 0
    num_fired: int = 0
    reasons: Counter[str] = field(default_factory=Counter[str])


def check_rule(rule: Rule[...], *, num_cases: int = 200, seed: int = 0) -> RuleReport:
    """Try a rule on generated expressions and check each result.

    Three cases in four are made near the rule's pattern; the others are the nodes of expressions of all kinds, half of
    them with random variables.

    Raises:
        RewriteError: a result differs in value, shape, dtype or name, or breaks another of the rule's promises; the
            error shows the expression before and after.

    >>> from scrub.rewrite.rules import flatten_sum
    >>> report = check_rule(flatten_sum, num_cases=20)
    >>> report.num_cases, report.num_fired > 2
    (20, True)
    """
    report = RuleReport()
    for number in range(num_cases):
        maker = Maker(f"{rule.name} {seed} {number}")
        nodes = _general_case(maker, rule, number) if number % 4 == 3 else [_near_case(maker, rule)]
        report.num_cases += 1
        results = [_try(rule, node, options, report) for node in nodes for options in _options(rule, node)]
        report.num_fired += any(results)
    return report


def _near_case(maker: Maker, rule: Rule[...]) -> Expr:
    if rule.cases is not None:
        return rule.cases(maker)
    if not rule.pattern:
        raise TypeError(f"rule {rule.name} has neither a pattern nor cases to be tried on")
    return maker.pattern(*rule.pattern)


def _general_case(maker: Maker, rule: Rule[...], number: int) -> list[Expr]:
    shape = maker.shape()
    whole = maker.random_expr(shape, depth=4) if number % 8 == 7 else maker.expr(shape, depth=4)
    return [node for node in postorder([whole]) if isinstance(node, rule.kind) and not node.free_symbols][:10]


def _options(rule: Rule[...], node: Expr) -> Iterator[Options]:
    if not isinstance(node, rule.kind) or rule.choices is None:
        yield {}
    else:
        yield from rule.choices(node)


def _try(rule: Rule[...], node: Expr, options: Options, report: RuleReport) -> bool:
    result = rule.attempt(node, **options)
    if isinstance(result, NoMatch):
        report.reasons[result.reason] += 1
        return False
    check_result(rule, node, result, options)
    return True


def check_result(rule: Rule[...], before: Expr, after: Expr, options: Options | None = None) -> None:
    """Raise `RewriteError` if `after` is not what `rule` promises to make of `before`."""
    problem = (
        shape_problem(before, after)
        or name_problem(before, after)
        or _promise_problem(rule, before, after, options or {})
        or _values_problem(before, after)
    )
    if problem is not None:
        raise RewriteError(
            f"{rule.name} broke its promise: {problem}, with options {options}\n"
            f"before:\n{to_text(before)}\nafter:\n{to_text(after)}",
            expected=before,
            found=after,
        )


def _promise_problem(rule: Rule[...], before: Expr, after: Expr, options: Options) -> str | None:
    if rule.is_simplifying and weight(after) >= weight(before):
        return f"its weight went from {weight(before)} to {weight(after)}, though it simplifies"
    if rule.is_idempotent and not isinstance(rule.attempt(after, **options), NoMatch):
        return "it applies to its own result"
    return None


def _values_problem(before: Expr, after: Expr) -> str | None:
    groups = groups_of([before, after])
    old, new = value_of(before, groups=groups), value_of(after, groups=groups)
    return value_problem(old, new, rtol=TOLERANCE, atol=TOLERANCE)
