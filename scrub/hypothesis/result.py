"""`Result`: what an experiment found, reference by reference, and everything needed to repeat it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from scrub.hypothesis.slots import REFERENCE, Slot
from scrub.hypothesis.stages import Work
from scrub.hypothesis.statistics import estimates_of
from scrub.sampling import Estimate

if TYPE_CHECKING:
    from scrub.hypothesis.experiment import Experiment


@dataclass(frozen=True, eq=False)
class Result:
    """What an experiment found.

    Attributes:
        name: of the hypothesis.
        values: for each metric, a number for each reference, float64 [n].
        references: rows of the references, int64 [n].
        draws: rows of all draws by label, int64 [n]; None unless they were kept.
        info: what is needed to repeat it.
        work: what was computed, for how often it was read.
    """

    name: str
    values: Mapping[str, torch.Tensor]
    references: torch.Tensor
    draws: Mapping[str, torch.Tensor] | None
    info: Mapping[str, Any]
    work: Work | None = field(default=None, repr=False)

    @property
    def n(self) -> int:
        """Number of references."""
        return len(self.references)

    def estimate(self, metric: str = "loss") -> Estimate:
        """The mean of a metric, with its standard error."""
        return estimates_of({metric: self.values[metric]}, seed=self.info["seed"])[metric]

    def __repr__(self) -> str:
        return f"{self.name}: " + ", ".join(f"{metric} {self.estimate(metric)!r}" for metric in self.values)


class Running:
    """A result that grows."""

    def __init__(self, experiment: Experiment, n: int, *, target_stderr: float | None, keep_draws: bool) -> None:
        self.experiment, self.num_asked = experiment, n
        self.target_stderr, self.keep_draws = target_stderr, keep_draws
        self._values: dict[str, list[torch.Tensor]] = {name: [] for name in experiment.metrics}
        self._rows: dict[Slot, list[torch.Tensor]] = {}

    def add(self, rows: Mapping[Slot, torch.Tensor], values: Mapping[str, torch.Tensor]) -> None:
        """Take in the next references."""
        for name, found in values.items():
            self._values[name].append(found)
        for slot, drawn in rows.items():
            if self.keep_draws or slot == REFERENCE:
                self._rows.setdefault(slot, []).append(drawn)

    @property
    def is_done(self) -> bool:
        """Whether the error is as small as asked for."""
        if self.target_stderr is None:
            return False
        first = torch.cat(next(iter(self._values.values())))
        return len(first) > 1 and float(first.std()) / len(first) ** 0.5 <= self.target_stderr

    def result(self, *, seed: int, reference_seed: int, work: Work | None) -> Result:
        """What was found so far."""
        empty = torch.zeros(0, dtype=torch.int64)
        rows = {slot.label: torch.cat(parts) for slot, parts in self._rows.items()}
        references = rows.get(REFERENCE.label, empty)
        values = {name: torch.cat([empty.double(), *parts]) for name, parts in self._values.items()}
        info = {"seed": seed, "reference_seed": reference_seed}
        name = self.experiment.hypothesis.name
        return Result(name, values, references, rows if self.keep_draws else None, info, work)
