"""Where the variance of a metric comes from: which references were drawn, or how their inputs were resampled.

With value L_ir of reference i in its r-th independent resampling, m_i their mean and v_i their variance,

    resampling = mean of v_i        reference = variance of m_i - mean of v_i / R

are unbiased (one-way analysis of variance, random effects: Searle, Casella & McCulloch, Variance Components, ch. 3),
and the mean over n references with R draws each has variance reference / n + resampling / (n R).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from scrub.graph import HypothesisError
from scrub.hypothesis.statistics.means import estimates_of, mean_of
from scrub.sampling import Estimate
from scrub.sampling.estimates import Estimates


@dataclass(frozen=True, eq=False)
class VarianceSplit:
    """Components of the variance of one reference's value with one draw.

    Attributes:
        metric: of what.
        components: estimates of "reference" and "resampling", from the same numbers. That of references may come out
            below 0 where it is small.
        mean: of the metric, from all repeats.
        n, repeats: of references, and of draws for each.

    >>> draws = [torch.tensor([0.0, 2.0, 5.0]), torch.tensor([1.0, 2.0, 6.0])]
    >>> split = split_of(draws, metric="loss", seed=0)
    >>> float(split.resampling), float(split.reference)
    (0.3333333333333333, 6.416666666666667)
    """

    metric: str
    components: Estimates
    mean: Estimate
    n: int
    repeats: int

    @property
    def reference(self) -> Estimate:
        """Variance, over references, of the mean of their values over all resampling."""
        return self.components["reference"]

    @property
    def resampling(self) -> Estimate:
        """Variance of the values of one reference over resampling, averaged over references."""
        return self.components["resampling"]

    @property
    def of_mean(self) -> dict[str, tuple[float, float]]:
        """What each contributes to the variance of `mean`, and the standard error of that."""
        draws = {"reference": self.n, "resampling": self.n * self.repeats}
        return {k: (float(e) / draws[k], float(e.stderr) / draws[k]) for k, e in self.components.items()}

    def stderr(self, *, n: int, repeats: int = 1) -> float:
        """Standard error to expect from n references with so many draws each."""
        return math.sqrt(max(0.0, float(self.reference) + float(self.resampling) / repeats) / n)

    @property
    def share(self) -> float:
        """Part of the variance of one value that comes from resampling, 0 to 1; NaN if nothing varies."""
        reference, resampling = max(0.0, float(self.reference)), float(self.resampling)
        return resampling / (reference + resampling) if reference + resampling > 0 else math.nan

    @property
    def advice(self) -> str:
        """What makes the error smaller."""
        share = self.share
        if math.isnan(share):
            return "nothing varies"
        now, twice = self.stderr(n=self.n), self.stderr(n=self.n, repeats=2)
        limit = math.sqrt(max(0.0, float(self.reference)) / self.n)
        effect = (
            f"of the same {self.n} references, a second draw takes the standard error from {now:.2g} to {twice:.2g}"
        )
        if share < 0.5:
            return f"draw more references: {effect}, and no number of draws below {limit:.2g}"
        return f"more draws for each reference help nearly as much as more references: {effect}"

    def __repr__(self) -> str:
        parts = [
            f"{name} {float(e):.3g} ± {float(e.half_width()):.2g} ({100 * share:.0f}%)"
            for (name, e), share in zip(self.components.items(), (1 - self.share, self.share), strict=True)
        ]
        return f"variance of {self.metric} (n={self.n}, {self.repeats} draws each): {', '.join(parts)}\n{self.advice}"


def split_of(values: Sequence[torch.Tensor], *, metric: str, seed: int | None) -> VarianceSplit:
    """The split, from values [n] of the same references in each of several independent resamplings."""
    repeats = len(values)
    n = len(values[0]) if repeats else 0
    if repeats < 2 or n < 2:
        raise HypothesisError(
            f"variance cannot be split with {repeats} draws for each of {n} references",
            expected="at least 2 of each",
            found=(repeats, n),
            hint="experiment.variance_split(n, repeats=2)",
        )
    table = torch.stack([each.to(torch.float64) for each in values])
    means, within = table.mean(0), table.var(0)
    # the mean of these numbers is the estimate, and their spread gives its error
    between = (means - means.mean()) ** 2 * n / (n - 1)
    components = estimates_of({"reference": between - within / repeats, "resampling": within}, seed=seed)
    return VarianceSplit(metric, components, mean_of(means, name=metric, seed=seed), n, repeats)
