"""`Result`: what an experiment found, reference by reference, and everything needed to repeat it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from scrub.graph import HypothesisError
from scrub.hypothesis.evaluation.stages import Work
from scrub.hypothesis.statistics.intervals import is_binary, wilson_interval
from scrub.hypothesis.statistics.means import cumulants_of, estimates_of
from scrub.hypothesis.storage import ResultFile, Stored, replace_file
from scrub.sampling import Estimate
from scrub.sampling.estimates import Estimates

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Result:
    """What an experiment found.

    Attributes:
        name: of the hypothesis.
        values: for each metric, a number for each reference, float64 [n].
        references: rows of the references, int64 [n].
        draws: rows of all draws by label, int64 [n]; None unless they were kept.
        info: what is needed to repeat it, see `scrub.hypothesis.info.info_of`.
        work: what was computed, for how often it was read; None for a result from a file.

    >>> values = {"loss": torch.tensor([0.5, 0.7], dtype=torch.float64), "accuracy": torch.ones(2, dtype=torch.float64)}
    >>> result = Result("full", values, torch.tensor([3, 8]), None, {"seed": 0})
    >>> result
    full: loss 0.6 ± 1.3, accuracy 1 (0.34 to 1) (95%, n=2, seed=0)
    >>> result.estimate("loss").stderr
    tensor(0.1000, dtype=torch.float64)
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

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics."""
        return tuple(self.values)

    def metric(self, name: str) -> torch.Tensor:
        """The values of a metric, float64 [n].

        Raises:
            HypothesisError: there is none of that name.
        """
        if name not in self.values:
            raise HypothesisError(
                f"{self.name!r} has no metric {name!r}",
                expected=self.metrics,
                found=name,
                hint=f"there are {', '.join(map(repr, self.values))}; Experiment(..., metrics=) decides",
            )
        return self.values[name]

    @cached_property
    def estimates(self) -> Estimates:
        """The means of all metrics, with their covariance."""
        return estimates_of(self.values, seed=self.info.get("seed"))

    def estimate(self, metric: str = "loss") -> Estimate:
        """The mean of a metric, with its standard error."""
        self.metric(metric)
        return self.estimates[metric]

    def interval(self, metric: str = "loss", *, level: float = 0.95) -> tuple[float, float]:
        """Interval of that coverage for the mean of a metric.

        Of a metric that is 0 or 1 on each reference it is Wilson's, which stays honest near 0 and 1; else Student's.
        """
        values = self.metric(metric)
        if self.n and is_binary(values):
            return wilson_interval(float(values.mean()), self.n, level)
        low, high = self.estimates[metric].interval(level)
        return float(low), float(high)

    def cumulant(self, *metrics: str) -> Estimate:
        """The joint cumulant of metrics over references and draws, unbiased, with its standard error (jackknife).

        `cumulant("loss", "loss")` is the variance of the loss, `cumulant("loss", "accuracy")` a covariance; order 1 to
        4.

        >>> values = {"loss": torch.arange(4, dtype=torch.float64)}
        >>> float(Result("a", values, torch.arange(4), None, {}).cumulant("loss", "loss"))
        1.6666666666666667
        """
        return self.cumulants([metrics])[", ".join(metrics)]

    def cumulants(self, wanted: Sequence[tuple[str, ...]]) -> Estimates:
        """Several joint cumulants with their covariances, by the names of their metrics: "loss, accuracy"."""
        for name in dict.fromkeys(name for metrics in wanted for name in metrics):
            self.metric(name)
        return cumulants_of(self.values, wanted, seed=self.info.get("seed"))

    def save(self, path: str | Path) -> None:
        """Write it to a sqlite file (`scrub.hypothesis.storage`); an old one is replaced at once, or not at all.

        `Experiment.run(n, file=path)` goes on from it.
        """
        replace_file(path, Stored(dict(self.info), self.references, dict(self.values), dict(self.draws or {})))

    def to_pandas(self) -> pd.DataFrame:
        """A frame with one line for each reference: its row, its metrics, and its draws if they were kept.

        Raises:
            ScrubError: pandas is not installed.
        """
        from scrub.hypothesis.statistics.table import reference_frame  # which shows results, so it is above this module

        return reference_frame(self)

    @classmethod
    def load(cls, path: str | Path) -> Result:
        """What `save`, or a run with `file=`, wrote; of a run under way, its complete steps.

        Raises:
            FileError: there is no such file, it is no file of a result, or it was altered.
        """
        stored = ResultFile(path).read()
        name = str(stored.info.get("name", "hypothesis"))
        info = {**stored.info, "n": len(stored.references)}
        return cls(name, stored.values, stored.references, stored.draws or None, info)

    def shown(self, metric: str, *, level: float = 0.95) -> str:
        """A metric with its interval: `0.871 ± 0.012`, or `0.98 (0.95 to 0.99)` of one that is 0 or 1."""
        mean = float(self.metric(metric).mean())
        low, high = self.interval(metric, level=level)
        if self.n and is_binary(self.values[metric]):
            return (
                f"{mean:.4g} ({low:.2g} to {high:.2g})"
                if high - low > 0.01
                else f"{mean:.4g} ({low:.4g} to {high:.4g})"
            )
        return f"{mean:.4g} ± {(high - low) / 2:.2g}"

    def __repr__(self) -> str:
        seed = "" if self.info.get("seed") is None else f", seed={self.info['seed']}"
        shown = ", ".join(f"{metric} {self.shown(metric)}" for metric in self.values)
        return f"{self.name}: {shown} (95%, n={self.n}{seed})"
