"""`Expander`: replace nodes by ones with leading batch axes, and let everything above gain them (SPEC 3)."""

from __future__ import annotations

from collections.abc import Callable

from scrub.graph import Expr, Symbol
from scrub.graph.rules import uuid_from_name
from scrub.rewrite.iterative import IterativeMatcher, IterativeMatcherIn
from scrub.rewrite.substitute import bind
from scrub.rewrite.update import update

Replacement = Expr | Callable[[Expr], Expr]


class Expander:
    """Replaces from the top down; parents are rebuilt by the batching rule.

    What shares a batch axis is replaced in one call: two calls give two independent axes.

    Args:
        replacements: pairs (matcher, replacement); a replacement is an expression or a function of the node. The
            first pair that finds a node decides.

    >>> from scrub.graph import Add, Scalar
    >>> x = Scalar(1.0, (2,), name="x")
    >>> Expander(("x", Scalar(1.0, (5, 2)))).run(Add(x, Scalar(2.0, (3, 2)))).shape
    (5, 3, 2)
    """

    def __init__(self, *replacements: tuple[IterativeMatcherIn, Replacement]) -> None:
        self.replacements = replacements

    def run(self, expr: Expr) -> Expr:
        """The expression with everything that is found replaced; itself if nothing is."""
        values: dict[Symbol, Expr] = {}
        for number, (matcher, replacement) in enumerate(self.replacements):
            expr = self._mark(expr, matcher, replacement, number, values)
        return bind(expr, values) if values else expr

    def _mark(
        self, expr: Expr, matcher: IterativeMatcherIn, replacement: Replacement, number: int, values: dict[Symbol, Expr]
    ) -> Expr:
        """Put a symbol where something is to be replaced: binding it then applies the batching rule everywhere."""

        def mark(node: Expr) -> Expr:
            if node in values:
                return node
            value = replacement if isinstance(replacement, Expr) else replacement(node)
            symbol = Symbol(node.shape, uuid_from_name(f"expander {number} {node.digest} {value.digest}"), node.name)
            values[symbol] = value
            return symbol

        return update(expr, IterativeMatcher(matcher), mark, assert_any_found=False)
