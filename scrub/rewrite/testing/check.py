"""Checking a rule on generated expressions: that it fires, and keeps what it says it keeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from scrub.graph import Array, Expr, Module, RewriteError, Scalar, Symbol, postorder
from scrub.rewrite.rule import NoMatch, Options, Rule
from scrub.rewrite.rules.weight import weight
from scrub.rewrite.testing.maker import Maker

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

    Half of the cases are made near the rule's pattern, the others are the nodes of expressions of all kinds.

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
        nodes = _general_case(maker, rule) if number % 4 == 3 else [_near_case(maker, rule)]
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


def _general_case(maker: Maker, rule: Rule[...]) -> list[Expr]:
    whole = maker.expr(maker.shape(), depth=4)
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
        _shape_problem(before, after)
        or _name_problem(before, after)
        or _promise_problem(rule, before, after, options or {})
        or _value_problem(before, after)
    )
    if problem is not None:
        from scrub.graph import to_text

        raise RewriteError(
            f"{rule.name} broke its promise: {problem}, with options {options}\n"
            f"before:\n{to_text(before)}\nafter:\n{to_text(after)}",
            expected=before,
            found=after,
        )


def _shape_problem(before: Expr, after: Expr) -> str | None:
    if before.shape != after.shape:
        return f"the shape was {before.shape}, is {after.shape}"
    if before.dtype != after.dtype and not _is_module_inside(before):
        return f"the dtype was {before.dtype}, is {after.dtype}"
    return None


def _is_module_inside(expr: Expr) -> bool:
    """Parameters have no dtype, so that of a module is known only once it is inlined."""
    return any(isinstance(node, Module) for node in postorder([expr]))


def _name_problem(before: Expr, after: Expr) -> str | None:
    if before.name is not None and after.name != before.name and not isinstance(after, Array | Scalar | Symbol):
        return f"the name {before.name!r} became {after.name!r}"
    names = {(node.frozen.digest, node.name) for node in postorder([before]) if isinstance(node, Array)}
    contents = {digest for digest, _ in names}
    for node in postorder([after]):
        if isinstance(node, Array) and node.frozen.digest in contents and (node.frozen.digest, node.name) not in names:
            return f"the leaf {node!r} was renamed"
    return None


def _promise_problem(rule: Rule[...], before: Expr, after: Expr, options: Options) -> str | None:
    if rule.is_simplifying and weight(after) >= weight(before):
        return f"its weight went from {weight(before)} to {weight(after)}, though it simplifies"
    if rule.is_idempotent and not isinstance(rule.attempt(after, **options), NoMatch):
        return "it applies to its own result"
    return None


def _value_problem(before: Expr, after: Expr) -> str | None:
    old, new = value_of(before), value_of(after)
    try:
        torch.testing.assert_close(new, old, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    except AssertionError as error:
        return f"the value changed ({' '.join(str(error).split())})"
    return None


def value_of(expr: Expr) -> Any:
    """The value of an expression, in float64 where it is floating."""
    value = expr.evaluate()
    return value.to(torch.float64) if value.is_floating_point() else value
