"""Rules that recover structure: registered apart from the algebraic ones, since `simplify` has no use for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from scrub.graph import Expr
from scrub.rewrite import NoMatch, Rule

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker

RECOVERY: dict[str, Rule[...]] = {}
"""All rules that recover structure, by name. Each keeps the value, and says why it does not apply where it does not."""


def recovers(*, cases: Callable[[Maker], Expr]) -> Callable[[Callable[[Any], Expr | NoMatch]], Rule[[]]]:
    """Decorator that makes a rule and registers it in `RECOVERY`.

    Args:
        cases: makes an expression that the rule is tried on; it should fire on most.
    """

    def register(function: Callable[[Any], Expr | NoMatch]) -> Rule[[]]:
        if function.__name__ in RECOVERY:
            raise TypeError(f"a rule named {function.__name__!r} is registered already")
        rule: Rule[[]] = Rule(
            function,
            keeps="value",
            pattern=(),
            cases=cases,
            choices=None,
            is_simplifying=False,
            is_simplifying_at_times=False,
            is_idempotent=False,
        )
        RECOVERY[rule.name] = rule
        return rule

    return register
