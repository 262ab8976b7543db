"""`Expander`: replace nodes by ones with leading batch axes, and let everything above gain them (SPEC 3)."""

from __future__ import annotations

from collections.abc import Callable

from scrub.graph import Expr, ModuleBindingError, Symbol
from scrub.graph.expr import RESIZES
from scrub.graph.rules import uuid_from_name
from scrub.rewrite.iterative import IterativeMatcherIn, restrict
from scrub.rewrite.resize import conform_all_modules
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
        marks = _Marks()
        # a mark in a body stands for a node outside it, whose sizes are those of the call
        marked = conform_all_modules(expr) if expr.flags & RESIZES else expr
        for matcher, replacement in self.replacements:
            top_down = restrict(matcher, term_if_matches=True)
            marked = update(marked, top_down, lambda node, r=replacement: marks.put(node, r), assert_any_found=False)
        if not marks.values:
            return expr
        result = bind(marked, marks.values)
        _check_scope(expr, marks, result)
        return result


class _Marks:
    """Symbols put where something is to be replaced: binding them then applies the batching rule everywhere."""

    def __init__(self) -> None:
        self.values: dict[Symbol, Expr] = {}
        self.originals: dict[Symbol, Expr] = {}

    def put(self, node: Expr, replacement: Replacement) -> Expr:
        if node in self.values:
            return node
        original = bind(node, self.originals)  # without the marks of earlier pairs below it
        value = replacement if isinstance(replacement, Expr) else replacement(original)
        symbol = Symbol(original.shape, uuid_from_name(f"expander {original.digest} {value.digest}"), original.name)
        self.values[symbol], self.originals[symbol] = value, original
        return symbol


def _check_scope(expr: Expr, marks: _Marks, result: Expr) -> None:
    """What a replacement takes over from inside a module must not be left without the module."""
    for symbol in result.free_symbols:
        inside = [original for original in marks.originals.values() if symbol in original.free_symbols]
        if inside and symbol not in expr.free_symbols:
            raise ModuleBindingError(
                f"Expander: the replacement of {inside[0]!r} uses {symbol.name!r}, a parameter of a module around it "
                "that has to be inlined for its new batch axes",
                nodes=[inside[0], symbol],
                found=symbol,
                hint="substitute that module first",
            )
