"""Which rows samplers allow: asked of the samplers themselves, and listed where there are few."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from scrub.graph import HypothesisError
from scrub.hypothesis.evaluation.distinct import distinct
from scrub.hypothesis.experiment import Experiment
from scrub.hypothesis.samplers import CondSampler
from scrub.hypothesis.slots import REFERENCE, Slot
from scrub.hypothesis.source import Source

_MOST_AT_ONCE = 2**22
"""Pairs of rows that are asked about at a time."""


def is_told(sampler: CondSampler) -> bool:
    """Whether a sampler says which rows it could draw; one of a user's own may only draw."""
    kind = type(sampler)
    return kind.allows is not CondSampler.allows or kind.probabilities is not CondSampler.probabilities


def allows(sampler: CondSampler, given: torch.Tensor, rows: torch.Tensor, source: Source) -> torch.Tensor:
    """bool [n]: whether each row could be drawn for the given one; no for all if the sampler does not say."""
    if not is_told(sampler):
        return torch.zeros(len(given), dtype=torch.bool)
    if type(sampler).allows is not CondSampler.allows:
        return sampler.allows(given, rows, source)
    return torch.cat([sampler.allows(given[at], rows[at], source) for at in _some(len(given), source)])


def allowed(sampler: CondSampler, given: torch.Tensor, source: Source) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """For some of the given rows at a time, their positions and bool [some, rows]: which rows could be drawn.

    Raises:
        HypothesisError: the sampler does not say.
    """
    if not is_told(sampler):
        raise HypothesisError(
            f"{sampler!r} does not say which rows it could draw, so they cannot all be tried",
            found=sampler,
            hint="leave exhaustive= out, or define `allows` or `probabilities` in the sampler",
        )
    num_rows = source.data.num_rows
    for at in _some(len(given), source):
        if type(sampler).allows is CondSampler.allows:
            yield at, sampler.probabilities(given[at], source) > 0
        else:
            every = torch.arange(num_rows).repeat(len(at))
            found = sampler.allows(given[at].repeat_interleave(num_rows), every, source)
            yield at, found.reshape(len(at), num_rows)


def _some(n: int, source: Source) -> list[torch.Tensor]:
    """Positions, as many at a time as can be asked about all rows."""
    step = max(1, _MOST_AT_ONCE // source.data.num_rows)
    return [torch.arange(start, min(start + step, n)) for start in range(0, max(n, 1), step)]


class ShortLists:
    """The rows that a slot's sampler allows, for given rows for which these are few.

    Args:
        experiment: its samplers are asked.
        most: how many are few.
    """

    def __init__(self, experiment: Experiment, *, most: int) -> None:
        self._source, self._most = experiment.source, most
        self._draws = experiment.scrubbed.slots.draws
        self._known: dict[Slot, tuple[torch.Tensor, torch.Tensor]] = {}

    def __call__(self, slot: Slot, given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """For each given row those allowed, int64 [n, most], filled up with -1; and whether these are all, bool [n]."""
        num_rows = self._source.data.num_rows
        sampler = self._draws[slot].sampler
        if not is_told(sampler):
            return torch.full((len(given), self._most), -1), torch.zeros(len(given), dtype=torch.bool)
        if slot not in self._known:
            unasked = torch.full((num_rows,), -1, dtype=torch.int64)
            self._known[slot] = torch.full((num_rows, self._most), -1), unasked
        lists, are_all = self._known[slot]
        new = distinct(given[are_all[given] < 0]).values
        for at, matrix in allowed(sampler, new, self._source) if len(new) else ():
            few = matrix.sum(1) <= self._most
            are_all[new[at]] = few.to(torch.int64)
            owners, rows = matrix[few].nonzero(as_tuple=True)
            lists[new[at[few]][owners], _within(torch.bincount(owners, minlength=int(few.sum())))] = rows
        return lists[given], are_all[given] > 0


def _within(counts: torch.Tensor) -> torch.Tensor:
    """0, 1, ... for each count, one after another.

    >>> _within(torch.tensor([2, 0, 3]))
    tensor([0, 1, 0, 1, 2])
    """
    starts = counts.cumsum(0) - counts
    return torch.arange(int(counts.sum())) - starts.repeat_interleave(counts)


def joint_draws(
    experiment: Experiment, references: torch.Tensor, *, limit: int
) -> tuple[torch.Tensor, dict[Slot, torch.Tensor]]:
    """All that the slots of an experiment can come to together.

    Args:
        experiment: its samplers are asked.
        references: rows, int64 [n].
        limit: the most joint draws, of all references.

    Returns:
        For each joint draw the position of its reference, and the rows of every slot.

    Raises:
        HypothesisError: there are more, or a sampler does not say what it allows.
    """
    owners, rows = torch.arange(len(references)), {REFERENCE: references}
    for slot in experiment.slots:
        sampler, of = experiment.scrubbed.slots.draws[slot]
        given = distinct(rows[of])
        counts = torch.zeros(len(given.values), dtype=torch.int64)
        lists: list[torch.Tensor] = []
        for at, matrix in allowed(sampler, given.values, experiment.source):
            counts[at] = matrix.sum(1)
            lists.append(matrix.nonzero()[:, 1])
        starts = counts.cumsum(0) - counts
        each = counts[given.inverse]
        if int(each.sum()) > limit:
            raise HypothesisError(
                f"there are too many joint draws to try all: {int(each.sum()):,} up to {slot.label!r} alone, "
                f"for {len(references)} different references; the limit is {limit:,}",
                expected=limit,
                found=int(each.sum()),
                hint="leave exhaustive= out to search by ascent, or raise limit=, or ask for fewer references",
            )
        kept = torch.arange(len(owners)).repeat_interleave(each)
        owners, rows = owners[kept], {other: known[kept] for other, known in rows.items()}
        rows[slot] = torch.cat(lists)[starts[given.inverse][kept] + _within(each)]
    return owners, rows
