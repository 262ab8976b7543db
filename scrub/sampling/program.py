"""Expressions prepared for batches of draws: variables become gathers from their tables at rows bound per batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from scrub.compile import evaluate_prepared
from scrub.graph import DiscreteVar, Expr, GeneralFunction, StoredCumulantVar, Symbol
from scrub.graph.rules import uuid_from_name
from scrub.rewrite import Expander, substitute_all_modules
from scrub.sampling.specs import SampleSpec, require_drawable, variables_of


class BatchProgram:
    """Evaluates random expressions on consecutive portions of a spec's draws.

    Args:
        exprs: without cumulants and free symbols.
        spec: how to draw.
    """

    def __init__(self, exprs: Sequence[Expr], spec: SampleSpec) -> None:
        # Modules go first: inlined, a body's own batch axes (heads, say) and the draws' cannot be confused.
        self.exprs = [substitute_all_modules(expr) for expr in exprs]
        self.spec = spec
        variables = variables_of(self.exprs)
        for variable in variables:
            spec.check(variable)
        self.groups = list(dict.fromkeys(variable.probs_and_group for variable in variables))
        for expr in self.exprs:
            require_drawable(expr, StoredCumulantVar)
        self._seconds: dict[Expr, float] = {}
        self._batched: dict[int, tuple[list[Expr], dict[Expr, Symbol]]] = {}

    def run(self, start: int, stop: int) -> list[torch.Tensor]:
        """Values on draws start to stop, each [stop - start, *shape]."""
        size = stop - start
        if size not in self._batched:
            self._batched[size] = self._prepare(size)  # an estimation uses at most four sizes
        exprs, rows = self._batched[size]
        device = next((expr.device for expr in exprs if expr.device is not None), None)
        drawn = {symbol: self.spec.rows(group, start, stop).to(device or "cpu") for group, symbol in rows.items()}
        seconds: dict[Expr, float] = {}
        values = evaluate_prepared(exprs, drawn, seconds=seconds)
        for expr, batched in zip(self.exprs, exprs, strict=True):
            self._seconds[expr] = self._seconds.get(expr, 0.0) + seconds.pop(batched, 0.0)
        return [
            value if value.ndim > expr.ndim else value.expand(size, *value.shape)  # it holds no variable
            for value, expr in zip(values, self.exprs, strict=True)
        ]

    def seconds(self, expr: Expr) -> float:
        """Time that evaluating an expression took so far, beyond what the expressions before it took."""
        return self._seconds.get(expr, 0.0)

    def _prepare(self, size: int) -> tuple[list[Expr], dict[Expr, Symbol]]:
        rows = {
            group: Symbol((size,), uuid_from_name(f"rows {size} {group.digest}"), f"rows{i}")
            for i, group in enumerate(self.groups)
        }

        def draw(node: Expr) -> Expr:
            variable = node.cast(DiscreteVar)
            index = rows[variable.probs_and_group]
            return GeneralFunction.gen_index(variable.values, index, index_dim=0, name=variable.name)

        return [Expander((DiscreteVar, draw)).run(expr) for expr in self.exprs], rows
