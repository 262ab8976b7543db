"""Several seeds at once: how much results differ between seeds, and what they say together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch

from scrub.graph import HypothesisError
from scrub.hypothesis.result import Result
from scrub.hypothesis.statistics.means import mean_of
from scrub.sampling import Estimate


class SeedRuns(Mapping[int, Result]):
    """Results of one experiment by seed.

    Draws that all references of a run share (`UncondTogetherSampler`, pools) make a run's own standard error too small:
    it is about that draw. The spread between seeds shows it; `pooled(metric, between=True)` takes its error from there.

    >>> runs = {s: Result("a", {"loss": torch.tensor([0.0, s])}, torch.arange(2), None, {}) for s in (0, 4)}
    >>> SeedRuns(runs).spread("loss")
    1.4142135623730951
    """

    def __init__(self, results: Mapping[int, Result]) -> None:
        if not results:
            raise HypothesisError("no seeds were given", expected="at least one", hint="seeds=[0, 1, 2]")
        self._results = dict(results)

    def __getitem__(self, seed: int) -> Result:
        return self._results[seed]

    def __iter__(self) -> Iterator[int]:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)

    def means(self, metric: str = "loss") -> torch.Tensor:
        """The mean of each seed."""
        return torch.stack([result.metric(metric).mean() for result in self.values()])

    def spread(self, metric: str = "loss") -> float:
        """Standard deviation of the means between seeds; infinite for one seed."""
        return float(self.means(metric).double().std()) if len(self) > 1 else math.inf

    def consistency(self, metric: str = "loss") -> float:
        """How likely the means differ as much as they do, if each is as exact as its own standard error says.

        The chi-squared test of homogeneity. A small number says that they are not. Seeds that share their references
        differ less, so it says nothing about them.
        """
        means = self.means(metric)
        stderrs = torch.stack([result.estimate(metric).stderr for result in self.values()])
        precision = stderrs.square().reciprocal()
        if not bool(precision.isfinite().all()):  # a run without any error
            return 1.0 if bool((means == means[0]).all()) else 0.0
        common = (precision * means).sum() / precision.sum()
        excess = (precision * (means - common).square()).sum()
        half_df = torch.tensor((len(self) - 1) / 2, dtype=torch.float64)
        return float(torch.igammac(half_df, excess / 2)) if len(self) > 1 else 1.0

    def pooled(self, metric: str = "loss", *, between: bool = False) -> Estimate:
        """The mean over all seeds.

        Args:
            metric: of what.
            between: take the standard error from the spread between seeds, each of which counts as one number, in place
                of the spread between references.
        """
        results = list(self.values())
        if between:
            return mean_of(self.means(metric), name=metric, seed=None)
        values = [result.metric(metric) for result in results]
        # with shared references, a number for each reference, as those of one are not independent
        pooled = torch.stack(values).mean(0) if self._share_references else torch.cat(values)
        return mean_of(pooled, name=metric, seed=None)

    @property
    def _share_references(self) -> bool:
        first, *others = self.values()
        return any(torch.equal(first.references, other.references) for other in others)

    def __repr__(self) -> str:
        lines = [repr(result) for result in self.values()]
        for metric in next(iter(self.values())).metrics:
            lines.append(f"{metric}: pooled {self.pooled(metric)!r}, spread between seeds {self.spread(metric):.2g}")
        return "\n".join(lines)
