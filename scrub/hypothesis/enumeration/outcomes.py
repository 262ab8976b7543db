"""The outcomes of a hypothesis, worked up the tree of its draws: see `scrub.hypothesis.enumeration.exact_loss`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from scrub.graph import Expr, HypothesisError
from scrub.hypothesis.enumeration.laws import Laws, conditional, distinct_values
from scrub.hypothesis.enumeration.parts import Computation, Groups, Model, Part
from scrub.hypothesis.experiment import Experiment
from scrub.hypothesis.slots import REFERENCE, Slot

MOST_KEPT = 2**22
"""Outcomes whose values are held at once; where there are more, they are gone through where they are read."""
_MOST_BYTES = 2**30


class Outcomes:
    """All that a hypothesis may come to.

    Args:
        experiment: the hypothesis, on a model and a dataset.
        max_outcomes: most outputs to compute.
    """

    def __init__(self, experiment: Experiment, *, max_outcomes: int) -> None:
        self._experiment = experiment
        self._source = experiment.source
        self._model = Model(experiment.scrubbed)
        self._draws = experiment.scrubbed.slots.draws
        self._max_outcomes = max_outcomes
        self._references = torch.tensor(experiment.source.reference_rows)
        self._conditional: dict[Slot, tuple[Laws, torch.Tensor]] = {}
        self._rows = {REFERENCE: self._references}
        for slot in experiment.slots:
            draw = self._draws[slot]
            laws, of_row = conditional(slot, draw, self._rows[draw.given], self._source, most=max_outcomes)
            self._conditional[slot] = laws, of_row
            self._rows[slot] = torch.unique(laws.outcomes)
        self._below: dict[Slot, set[Slot]] = {slot: {slot} for slot in self._rows}
        self._parts: dict[Slot, list[Part]] = {slot: [] for slot in self._rows}
        for slot in reversed(experiment.slots):
            given = self._draws[slot].given
            self._parts[given].insert(0, self._part(slot))
            self._below[given] |= self._below[slot]

    def portions(self, told_apart: Sequence[str] = ()) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Outputs [n, *shape], rows of references int64 [n], and weights float64 [n], a portion at a time.

        Args:
            told_apart: arrays that are read of references: those that agree in them may be treated as one.
        """
        groups = self._grouped(REFERENCE, told_apart)
        self._check_size(groups)
        weights = torch.bincount(groups.of_row[self._references]).to(torch.float64) / len(self._references)
        computation = Computation([self._model.expr], groups.tables)
        for numbers, likely in groups.outcomes(weights, at_a_time=computation.at_a_time):
            (outputs,) = computation.run(numbers)
            yield outputs, groups.rows[numbers[REFERENCE]], likely

    def _grouped(self, slot: Slot, told_apart: Sequence[str] = ()) -> Groups:
        rows, data = self._rows[slot], self._source.data
        apart = [data[name][rows.to(data[name].device)] for name in told_apart]
        own, parts = self._own(slot), self._parts[slot]
        groups = Groups.of(slot, rows, data.num_rows, own, parts, apart)
        absorbed = [self._absorbed(part, groups) for part in parts]
        if absorbed == parts:
            return groups
        return Groups.of(slot, rows, data.num_rows, own, absorbed, [groups.of_row[rows]])

    def _absorbed(self, part: Part, groups: Groups) -> Part:
        """A part with what is read of it and the draw it is given together: values of both, by group, if that is few.

        So what reads one part and that draw is worked out before several parts meet.
        """
        own = frozenset([groups.slot])
        both = own | self._below[part.slot]
        exprs = tuple(e for e in self._model.frontier(both) if self._model.slots_of(e) != own)
        alone = groups.of_part(part)
        reads_both = any(groups.slot in self._model.slots_of(expr) for expr in exprs)
        if part.levels or not reads_both or not self._can_be_held(float(alone.sizes.sum()), exprs):
            return part
        laws, tables = _closed(alone, exprs)
        return Part.closed(part.slot, laws, groups.of_row, tables)

    def _own(self, slot: Slot) -> dict[Expr, torch.Tensor]:
        """Values by row of what reads this draw and no other: computed once for rows with equal inputs."""
        exprs = self._model.frontier(frozenset([slot]))
        if not exprs:
            return {}
        rows, data = self._rows[slot], self._source.data
        inputs: dict[Expr, torch.Tensor] = {}
        for symbol in dict.fromkeys(symbol for expr in exprs for symbol in expr.free_symbols):
            values = data[self._model.reads[symbol].name]
            inputs[symbol] = values[rows.to(values.device)]
        found = distinct_values(list(inputs.values()))
        tables = {slot: {symbol: values[found.first.to(values.device)] for symbol, values in inputs.items()}}
        computation = Computation(exprs, tables)
        n, at_a_time = len(found.first), computation.at_a_time
        portions = [computation.run({slot: torch.arange(i, min(i + at_a_time, n))}) for i in range(0, n, at_a_time)]
        values = [torch.cat(parts) for parts in zip(*portions, strict=True)]
        return {expr: value[found.inverse.to(value.device)] for expr, value in zip(exprs, values, strict=True)}

    def _part(self, slot: Slot) -> Part:
        """A draw and all given it: closed, if there are few enough outcomes to hold, or else open."""
        groups = self._grouped(slot)
        of_rows, of_row = self._conditional[slot]
        laws, number = of_rows.mapped(groups.of_row).merged()
        law_of_row = torch.where(of_row >= 0, number[of_row], -1)
        part = Part(slot, laws, law_of_row, groups.tables, groups.levels, groups.sizes)
        exprs = self._model.frontier(frozenset(self._below[slot]))
        if not self._can_be_held(max(float(groups.sizes.sum()), float(part.totals.sum())), exprs):
            return part
        by_group, tables = _closed(groups, exprs)
        return Part.closed(slot, laws.then(by_group), law_of_row, tables)

    def _can_be_held(self, num_outcomes: float, exprs: Sequence[Expr]) -> bool:
        nbytes = sum(int(expr.numel) * (expr.dtype or torch.float64).itemsize for expr in exprs)
        return num_outcomes <= MOST_KEPT and num_outcomes * nbytes <= _MOST_BYTES

    def _check_size(self, groups: Groups) -> None:
        total = float(groups.sizes.sum())
        if total <= self._max_outcomes:
            return
        shown = " x ".join(f"{label!r} {count:,}" for label, count in groups.largest()[:6] if count > 1)
        raise HypothesisError(
            f"hypothesis {self._experiment.hypothesis.name!r} has {total:,.0f} outcomes to compute, because different "
            f"values or rows of these draws meet: {shown}",
            expected=f"at most max_outcomes = {self._max_outcomes:,}",
            found=total,
            hint="run it with n=... draws; or take a smaller dataset or coarser conditions; equal values count once",
        )


def _closed(groups: Groups, exprs: tuple[Expr, ...]) -> tuple[Laws, dict[Expr, torch.Tensor]]:
    """The laws of expressions given each group, and the values of their outcomes."""
    computation = Computation(exprs, groups.tables)
    of_group: list[torch.Tensor] = []
    weights: list[torch.Tensor] = []
    values: list[list[torch.Tensor]] = []
    ones = torch.ones(len(groups.rows), dtype=torch.float64)
    for numbers, likely in groups.outcomes(ones, at_a_time=computation.at_a_time):
        of_group.append(numbers[groups.slot])
        weights.append(likely)
        values.append(computation.run(numbers))
    joined = [torch.cat(parts) for parts in zip(*values, strict=True)]
    found = distinct_values(joined)
    laws = Laws.of(torch.cat(of_group), found.inverse, torch.cat(weights), len(groups.rows))
    return laws, {expr: value[found.first.to(value.device)] for expr, value in zip(exprs, joined, strict=True)}
