"""Expressions compiled once, to be evaluated on portions of a spec's draws of any size."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property

import torch

from scrub.compiler import compile  # noqa: A004 - as torch.compile
from scrub.graph import Expr, StoredCumulantVar, postorder
from scrub.rewrite import substitute_all_modules
from scrub.sampling.specs import SampleSpec, require_drawable, variables_of


class BatchProgram:
    """Evaluates random expressions on consecutive portions of a spec's draws.

    Args:
        exprs: without cumulants and free symbols.
        spec: how to draw.
        max_memory: most bytes that the program may use at a time, see `scrub.compiler.compile`.

    >>> from scrub.graph import Array, DiscreteVar
    >>> from scrub.sampling import RunDiscreteVarAllSpec
    >>> dice = DiscreteVar(Array(torch.arange(1.0, 7.0)))
    >>> program = BatchProgram([dice.mul(dice)], RunDiscreteVarAllSpec([dice.probs_and_group]))
    >>> program.run(0, 4), program.run(4, 6)
    ([tensor([ 1.,  4.,  9., 16.])], [tensor([25., 36.])])
    """

    def __init__(self, exprs: Sequence[Expr], spec: SampleSpec, *, max_memory: int | None = None) -> None:
        self.exprs = tuple(exprs)
        self.spec = spec
        variables = variables_of(self.exprs)
        for variable in variables:
            spec.check(variable)
        for expr in self.exprs:
            require_drawable(expr, StoredCumulantVar)
        self._devices = {variable.probs_and_group: variable.device or torch.device("cpu") for variable in variables}
        self._program = compile(self.exprs, max_memory=max_memory)
        self._seconds = 0.0

    def run(self, start: int, stop: int) -> list[torch.Tensor]:
        """Values on draws start to stop, each [stop - start, *shape]."""
        rows = {group: self.spec.rows(group, start, stop).to(device) for group, device in self._devices.items()}
        started = time.perf_counter()
        values = self._program.run(rows)
        self._seconds += time.perf_counter() - started
        return [
            value if value.ndim > expr.ndim else value.expand(stop - start, *value.shape)  # it holds no variable
            for value, expr in zip(values, self.exprs, strict=True)
        ]

    def seconds(self, expr: Expr) -> float:
        """The share of an expression in the time that evaluating all of them took so far.

        It cannot be measured, as what several need is computed once, and what is alike in several side by side. So
        the time is divided in proportion to the operations that each expression adds to those before it.
        """
        return self._seconds * self._shares.get(expr, 0.0)

    @cached_property
    def _shares(self) -> dict[Expr, float]:
        seen: set[Expr] = set()
        operations: dict[Expr, int] = {}
        for expr in dict.fromkeys(self.exprs):
            below = postorder([substitute_all_modules(expr)], descend=lambda node: node not in seen)
            added = [node for node in below if node not in seen]
            seen.update(added)
            operations[expr] = sum(node.flops() for node in added if not node.is_constant)
        total = sum(operations.values())
        return {expr: count / total if total else 1 / len(operations) for expr, count in operations.items()}
