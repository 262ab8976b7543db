"""Which random expressions an estimation must see on every draw, and how its values come out of their statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from scrub.graph import Add, Concat, Cumulant, Einsum, Expr, Index, Rearrange, Symbol, Tag, cast, cast_to, postorder
from scrub.rewrite import substitute_all_modules

_LINEAR = (Add, Einsum, Rearrange, Index, Concat, Tag)


@dataclass(frozen=True, eq=False)
class Decomposition:
    """Expressions of cumulants, taken apart.

    Attributes:
        exprs: the expressions by name, without modules.
        per_draw: for those that are affine in expectations, the random expression whose mean they are.
        cumulants: of all the others.
        functions: the others as functions of `symbols`.
        symbols: one per cumulant, for its value.
        evaluated: for each name, what it needs on every draw that the names before it do not.
    """

    exprs: Mapping[str, Expr]
    per_draw: Mapping[str, Expr]
    cumulants: tuple[Cumulant, ...]
    functions: Mapping[str, Expr]
    symbols: Mapping[Cumulant, Symbol]
    evaluated: Mapping[str, tuple[Expr, ...]]

    @property
    def wanted(self) -> list[Expr]:
        """What to evaluate on every draw: one expression per affine one, then the arguments of every cumulant."""
        return [*self.per_draw.values(), *(child for cumulant in self.cumulants for child in cumulant.children)]


def decompose(exprs: Mapping[str, Expr]) -> Decomposition:
    """Take expressions of cumulants apart.

    >>> from scrub.graph import Array, DiscreteVar
    >>> x = DiscreteVar(Array(torch.arange(4.0)), name="x")
    >>> parts = decompose({"mean": Cumulant(x).scale(2.0), "variance": Cumulant(x, x)})
    >>> parts.per_draw, len(parts.wanted)
    ({'mean': x * 2.0 [] Einsum ,->}, 3)
    """
    exprs = {name: substitute_all_modules(expr) for name, expr in exprs.items()}
    per_draw = {name: _per_draw(expr) for name, expr in exprs.items() if _is_affine(expr)}
    evaluated: dict[str, tuple[Expr, ...]] = {name: (expr,) for name, expr in per_draw.items()}
    cumulants: dict[Cumulant, None] = {}
    for name in (name for name in exprs if name not in per_draw):
        own = [c for c in postorder([exprs[name]]) if isinstance(c, Cumulant) and c not in cumulants]
        cumulants.update(dict.fromkeys(own))
        evaluated[name] = tuple(dict.fromkeys(child for cumulant in own for child in cumulant.children))
    symbols = {c: Symbol.new_from_name(c.shape, f"value of {c.digest}") for c in cumulants}
    functions = {name: _of_symbols(expr, symbols) for name, expr in exprs.items() if name not in per_draw}
    return Decomposition(exprs, per_draw, tuple(cumulants), functions, symbols, evaluated)


def _is_affine(expr: Expr) -> bool:
    """Whether the expression is affine in cumulants, all of them expectations."""
    touched: dict[Expr, bool] = {}
    for node in postorder([expr], descend=lambda n: not isinstance(n, Cumulant)):
        if isinstance(node, Cumulant):
            if node.order != 1:
                return False
            touched[node] = True
            continue
        below = [child for child in node.children if touched[child]]
        if below and (not isinstance(node, _LINEAR) or (isinstance(node, Einsum) and len(below) > 1)):
            return False
        touched[node] = bool(below)
    return True


def _of_symbols(expr: Expr, symbols: Mapping[Cumulant, Symbol]) -> Expr:
    """The expression as a function of its cumulants, in float64 throughout, so that no digits are lost."""

    open_expr = expr.update(Cumulant, lambda node: symbols[node.cast(Cumulant)], assert_any_found=False)
    values = set(symbols.values())
    return cast(open_expr, dtype=torch.float64).update(
        values, lambda symbol: cast_to(symbol, torch.float64), assert_any_found=False
    )


def _per_draw(expr: Expr) -> Expr:
    """The random expression whose mean an affine expression of expectations is."""
    return expr.update(Cumulant, lambda node: node.children[0], assert_any_found=False)
