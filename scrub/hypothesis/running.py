"""A run of an experiment, step by step: interrupted at any moment it holds, and its file has, whole steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from scrub.graph import FileError, HypothesisError
from scrub.hypothesis.evaluation.evaluator import Evaluator
from scrub.hypothesis.info import differences, info_of
from scrub.hypothesis.result import Result
from scrub.hypothesis.slots import REFERENCE, Slot
from scrub.hypothesis.statistics.intervals import standard_error
from scrub.hypothesis.storage import ResultFile, Stored

if TYPE_CHECKING:
    from pathlib import Path

    from scrub.hypothesis.experiment import Experiment

FEWEST = 64
"""References before which no error is trusted."""


_NUM_CHECKED = 8  # references that are computed again when a run resumes


class PartialResultWarning(UserWarning):
    """A run was interrupted and returned what its complete steps tell.

    Attributes:
        n, num_asked: references that the result is from, and references asked for.
    """

    def __init__(self, n: int, num_asked: int) -> None:
        self.n, self.num_asked = n, num_asked
        super().__init__(
            f"interrupted: this is the result from the first {n} of {num_asked} references\n"
            "hint: the same call again makes the same draws from the first one on; file= keeps what is done"
        )


@dataclass(frozen=True)
class Setting:
    """Arguments of a run; see `Experiment.run`."""

    n: int
    seed: int
    reference_seed: int
    supplied: Mapping[str, torch.Tensor]
    keep_draws: bool
    batch_size: int
    step: int


class Running:
    """A run under way.

    Args:
        experiment: what is run.
        setting: how.
        file: where each step is kept, and from where complete steps are taken.

    Attributes:
        stored: what is known. One value takes the place of another, so an interrupt finds the old one or the new one.
    """

    def __init__(self, experiment: Experiment, setting: Setting, *, file: str | Path | None = None) -> None:
        self.experiment, self.setting = experiment, setting
        self._file = None if file is None else ResultFile(file)
        self._evaluator: Evaluator | None = None
        self.info = info_of(
            experiment,
            n=setting.n,
            seed=setting.seed,
            reference_seed=setting.reference_seed,
            supplied=setting.supplied,
        )
        kept = [REFERENCE, *experiment.slots] if setting.keep_draws else []
        self._kept = {slot.label: slot for slot in kept}
        self.stored = self._opened()

    @property
    def n(self) -> int:
        """References that are done."""
        return len(self.stored.references)

    def advance(self) -> None:
        """Take the next step."""
        start = self.n
        stop = min(start + self.setting.step, self.setting.n)
        references, rows = self._draw(start, stop)
        try:
            if self._evaluator is None:
                self._evaluator = self._planned(rows) if start == 0 else self._planned_as_before()
            values = self.experiment.measure(self._evaluator.run(rows), references)
        except BaseException:
            self._evaluator = None  # what it keeps between steps may be half written
            raise
        draws = {label: rows[slot] for label, slot in self._kept.items()}
        if self._file is not None:
            self._file.append(start, references, values, draws)
        self.stored = _joined(self.stored, Stored(self.info, references, values, draws))

    def has_reached(self, targets: Mapping[str, float]) -> bool:
        """Whether the standard errors of these metrics are as small as asked for."""
        if self.n < min(FEWEST, self.setting.n) or self.n < 2:
            return False
        return all(standard_error(self.stored.values[name]) <= target for name, target in targets.items())

    def result(self, n: int | None = None) -> Result:
        """What was found so far, or from the first n references."""
        stored, n = self.stored, self.setting.n if n is None else min(n, self.setting.n)
        draws = {label: rows[:n] for label, rows in stored.draws.items()} if self.setting.keep_draws else None
        values = {name: found[:n] for name, found in stored.values.items()}
        work = self._evaluator and self._evaluator.work
        references = stored.references[:n]
        info = {**self.info, "n": len(references)}
        return Result(self.experiment.hypothesis.name, values, references, draws, info, work)

    def _draw(self, start: int, stop: int) -> tuple[torch.Tensor, dict[Slot, torch.Tensor]]:
        setting = self.setting
        given = setting.supplied.get(REFERENCE.label)
        if given is None:
            references = self.experiment.references(start, stop, seed=setting.reference_seed)
        else:
            references = given[start:stop]
        rows = self.experiment.draw(references, seed=setting.seed, start=start, supplied=setting.supplied)
        return references, rows

    def _planned(self, rows: dict[Slot, torch.Tensor]) -> Evaluator:
        setting, data = self.setting, self.experiment.source.data
        return Evaluator(self.experiment.scrubbed, data, rows, num_references=setting.n, batch_size=setting.batch_size)

    def _planned_as_before(self) -> Evaluator:
        """Planned by the draws of the first step, as at the start, so that a run that resumes computes as it did.

        It must also find what was found: functions that are metrics have no digest.
        """
        references, rows = self._draw(0, min(self.setting.step, self.setting.n))
        evaluator = self._planned(rows)
        few = {slot: drawn[:_NUM_CHECKED] for slot, drawn in rows.items()}
        found = self.experiment.measure(evaluator.run(few), references[:_NUM_CHECKED])
        for name, now in found.items():
            before = self.stored.values[name][: len(now)]
            close = torch.isclose(now, before, rtol=1e-3, atol=1e-6, equal_nan=True)
            if close.double().mean() < 0.5:  # rounding may move a few that are 0 or 1
                where = "this run" if self._file is None else str(self._file.path)
                raise FileError(
                    f"{where} has other values of {name!r}: {before.tolist()[:3]} of the first references, now "
                    f"{now.tolist()[:3]}",
                    expected=before,
                    found=now,
                    hint="the metric has changed since, or what computes the model",
                )
        return evaluator

    def _opened(self) -> Stored:
        """What the file has, if it is a file of this run; nothing if there is none."""
        metrics, file = list(self.experiment.metrics), self._file
        if file is None or file.is_new:
            if file is not None:
                file.create(self.info, metrics=metrics, draws=list(self._kept))
            none = torch.zeros(0, dtype=torch.int64)
            return Stored(self.info, none, dict.fromkeys(metrics, none.double()), dict.fromkeys(self._kept, none))
        stored = file.read()
        different = differences(stored.info, self.info)
        if set(stored.draws) != set(self._kept):
            different.append(f"keep_draws: {bool(stored.draws)} before, {self.setting.keep_draws} now")
        if different:
            lines = "".join(f"\n    {line}" for line in different)
            raise FileError(
                f"{file.path} holds another run; they differ in{lines}",
                expected=stored.info,
                found=different,
                hint="give this run a file of its own",
            )
        return stored


def checked_targets(target: float | Mapping[str, float] | None, metrics: list[str]) -> dict[str, float]:
    """Targets by metric; a number is about the first one."""
    if target is None:
        return {}
    targets: dict[str, float] = {**target} if isinstance(target, Mapping) else {metrics[0]: target}
    unknown = [name for name in targets if name not in metrics]
    if unknown:
        raise HypothesisError(
            f"there is no metric {unknown[0]!r} to reach a target for",
            expected=metrics,
            found=unknown[0],
            hint=f"the metrics are {metrics}",
        )
    return targets


def _joined(before: Stored, after: Stored) -> Stored:
    values = {name: torch.cat([found, after.values[name]]) for name, found in before.values.items()}
    draws = {label: torch.cat([rows, after.draws[label]]) for label, rows in before.draws.items()}
    return Stored(before.info, torch.cat([before.references, after.references]), values, draws)
