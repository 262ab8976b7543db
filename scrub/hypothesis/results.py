"""`Results`: results of several hypotheses, and what they say together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, cast

from scrub.graph import HypothesisError, UndefinedRatioError
from scrub.hypothesis.result import Result
from scrub.hypothesis.statistics.comparison import (
    Better,
    Comparison,
    check_named,
    check_paired,
    compare,
    joint_estimates,
    pairing_factor,
)
from scrub.hypothesis.statistics.intervals import RecoveredEstimate
from scrub.hypothesis.statistics.means import recovered
from scrub.hypothesis.statistics.table import Table, summary_frame, text_table
from scrub.sampling.estimates import Estimates

if TYPE_CHECKING:
    import pandas as pd


class Results(Mapping[str, Result]):
    """Results by name. It prints as a table.

    Args:
        results: by the names of their hypotheses, or by names given here.

    >>> import torch
    >>> def result(name, *values):
    ...     return Result(name, {"loss": torch.tensor(values)}, torch.arange(4), None, {"seed": 0})
    >>> results = Results([
    ...     result("original", 0.0, 0.25, 0.5, 0.25), result("baseline", 1.0, 1.25, 1.75, 1.0),
    ...     result("full", 0.25, 0.25, 0.75, 0.5),
    ... ])
    >>> print(results.table(original="original", baseline="baseline"))
    hypothesis           loss  loss recovered  n
    ----------  -------------  --------------  -
    original      0.25 ± 0.32      100.0% ± 0  4
    baseline       1.25 ± 1.3        0.0% ± 0  4
    full        0.4375 ± 0.45      81.2% ± 22  4
    """

    def __init__(self, results: Iterable[Result] | Mapping[str, Result]) -> None:
        if isinstance(results, Mapping):
            self._results = {**cast("Mapping[str, Result]", results)}
            return
        given = list(results)
        self._results = {result.name: result for result in given}
        names = [result.name for result in given]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise HypothesisError(
                f"several results are named {twice[0]!r}",
                expected="a name each",
                found=twice,
                hint="Results({'this': result, 'that': other}), or Hypothesis(..., name=)",
            )

    def __getitem__(self, name: str) -> Result:
        check_named(self._results, [name])
        return self._results[name]

    def __contains__(self, name: object) -> bool:
        return name in self._results

    def __iter__(self) -> Iterator[str]:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)

    def estimates(self, metric: str = "loss") -> Estimates:
        """Means of a metric by hypothesis, with their covariances.

        Raises:
            HypothesisError: the results are not about the same references.
        """
        check_paired(list(self.values()))
        return joint_estimates(self, metric)

    def compare(self, a: str, b: str, *, metric: str = "loss", better: Better = "lower") -> Comparison:
        """How a metric differs between two of them, see `compare`."""
        return compare(self[a], self[b], metric=metric, better=better, names=(a, b))

    def loss_recovered(
        self, name: str, *, original: str, baseline: str, metric: str = "loss", level: float = 0.95
    ) -> RecoveredEstimate:
        """How much of the gap between `baseline` and `original` a hypothesis closes, see `rc.loss_recovered`.

        Raises:
            HypothesisError: the results are not about the same references.
            UndefinedRatioError: the gap is within its error at that level.
        """
        chosen = Results({key: self[key] for key in dict.fromkeys([name, original, baseline])})
        return recovered(chosen.estimates(metric), name, original=original, baseline=baseline, level=level)

    def pairing_factor(self, name: str, *, original: str, baseline: str, metric: str = "loss") -> float:
        """How many times fewer references loss recovered needs than if the three losses had references of their own."""
        return pairing_factor(self, name, original=original, baseline=baseline, metric=metric)

    def table(
        self, *, original: str | None = None, baseline: str | None = None, metric: str = "loss", level: float = 0.95
    ) -> Table:
        """All metrics with their intervals; with `original` and `baseline`, loss recovered of `metric`.

        Loss recovered is "undefined" where the gap between the two is within its error.
        """
        return text_table(self, self._recovered(original, baseline, metric, level), level=level)

    def to_pandas(
        self, *, original: str | None = None, baseline: str | None = None, metric: str = "loss", level: float = 0.95
    ) -> pd.DataFrame:
        """The table as numbers, one line for each hypothesis: means, standard errors, ends of intervals.

        Raises:
            ScrubError: pandas is not installed.
        """
        return summary_frame(self, self._recovered(original, baseline, metric, level), level=level)

    def _recovered(
        self, original: str | None, baseline: str | None, metric: str, level: float
    ) -> dict[str, RecoveredEstimate | None] | None:
        if original is None and baseline is None:
            return None
        if original is None or baseline is None:
            raise HypothesisError(
                "loss recovered lies between an original and a baseline, and one of them was not given",
                expected=("original", "baseline"),
                found=(original, baseline),
            )
        check_named(self, [original, baseline])
        found: dict[str, RecoveredEstimate | None] = {}
        for name in self:
            try:
                found[name] = self.loss_recovered(
                    name, original=original, baseline=baseline, metric=metric, level=level
                )
            except UndefinedRatioError:
                found[name] = None
        return found

    def __repr__(self) -> str:
        return str(self.table()) if len(self) else "no results"
