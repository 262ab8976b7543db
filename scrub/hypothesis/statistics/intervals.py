"""Intervals that stay honest where the normal one does not: of skewed means, of ratios of means, of shares."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from scrub.hypothesis.statistics.student import t_quantile, t_upper_tail
from scrub.sampling.estimates import Estimate, normal_quantile


@dataclass(frozen=True, eq=False, repr=False)
class MeanEstimate(Estimate):
    """The mean of n independent numbers. Its interval is Student's, corrected for the skewness of the numbers.

    A few large losses among many small ones make Student's own interval miss the mean too often, and on one side. With
    T = (mean - truth) / stderr and g the skewness, T + g T^2 / (3 sqrt n) + g^2 T^3 / (27 n) + g / (6 sqrt n) is nearer
    to Student's distribution than T is. It increases with T, so that an interval for T follows by its inverse.

    Attributes:
        skewness: third cumulant of the numbers over their variance to the power 3/2; 0 makes the interval Student's.

    Source: Hall 1992, "On the removal of skewness by transformation".

    >>> from scrub.hypothesis.statistics.means import mean_of
    >>> [round(float(end), 2) for end in mean_of(torch.tensor([1.0, 1.0, 1.0, 2.0]), name="a", seed=0).interval(0.95)]
    [0.72, 3.8]
    """

    skewness: float = 0.0

    def interval(self, level: float = 0.95) -> tuple[torch.Tensor, torch.Tensor]:
        """Lower and upper end of the interval of that coverage. It need not be symmetric."""
        if self.joint.is_exact:
            return self.value, self.value
        quantile = t_quantile(level, self.n - 1)
        ends = [torch.where(self.stderr == 0, 0.0, self._untransformed(t) * self.stderr) for t in (quantile, -quantile)]
        return self.value - ends[0], self.value - ends[1]

    def half_width(self, level: float = 0.95) -> torch.Tensor:
        """Half the width of `interval(level)`."""
        low, high = self.interval(level)
        return (high - low) / 2

    def upper_tail(self, null: float = 0.0) -> float:
        """How likely so large a value, or a larger one, is if the true one is `null` (one-sided p-value)."""
        distance, error = float(self) - null, float(self.stderr)
        if error == 0:
            return 0.5 if distance == 0 else float(distance < 0)
        return t_upper_tail(self._transformed(distance / error), self.n - 1)

    def p_value(self, null: float = 0.0) -> float:
        """How likely so distant a value is if the true one is `null` (two-sided)."""
        tail = self.upper_tail(null)
        return 2 * min(tail, 1 - tail)

    def _transformed(self, t: float) -> float:
        g = self.skewness / math.sqrt(self.n)
        return t + g * t**2 / 3 + g**2 * t**3 / 27 + g / 6

    def _untransformed(self, x: float) -> float:
        g = self.skewness / math.sqrt(max(self.n, 1))
        if abs(g) < 1e-9 or math.isinf(x):
            return x
        return 3 / g * (math.cbrt(1 + g * (x - g / 6)) - 1)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class RecoveredEstimate(MeanEstimate):
    """A ratio of two means, as loss recovered is. Its interval has all ratios R at which numerator - R gap may be 0.

    With few references the gap is uncertain, so that the ratio is skewed and its error by the delta method is too
    small. numerator - R gap is a mean like any other.

    Attributes:
        numerator, gap: the two means.
        covariance: of the two.

    Source: Fieller 1954, "Some problems in interval estimation".
    """

    numerator: float
    gap: float
    covariance: torch.Tensor

    def interval(self, level: float = 0.95) -> tuple[torch.Tensor, torch.Tensor]:
        """Lower and upper end of the interval of that coverage; infinite where the gap may be 0 at that level."""
        # (numerator - R gap)^2 <= quantile^2 Var(numerator - R gap), a quadratic inequality in R
        square = t_quantile(level, self.n - 1) ** 2
        v = self.covariance
        a = self.gap**2 - square * float(v[1, 1])
        half_b = self.gap * self.numerator - square * float(v[0, 1])
        c = self.numerator**2 - square * float(v[0, 0])
        if not a > 0:
            low, high = -math.inf, math.inf
        else:
            inside = half_b**2 - a * c
            root = math.sqrt(inside) if inside > 1e-14 * half_b**2 else 0.0  # less is what rounding leaves
            low, high = (half_b - root) / a, (half_b + root) / a
        return torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64)

    def upper_tail(self, null: float = 0.0) -> float:
        """How likely so large a value, or a larger one, is if the true one is `null` (one-sided p-value)."""
        direction = torch.tensor([1.0, -null], dtype=torch.float64)
        error = math.sqrt(max(0.0, float(direction @ self.covariance @ direction)))
        distance = (self.numerator - null * self.gap) * (1 if self.gap > 0 else -1)
        if error == 0:
            return 0.5 if distance == 0 else float(distance < 0)
        return t_upper_tail(distance / error, self.n - 1)


def is_binary(values: torch.Tensor) -> bool:
    """Whether all values are 0 or 1, so that their mean is a share."""
    return bool(((values == 0) | (values == 1)).all())


def wilson_interval(share: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of a probability from the share of n independent trials; it stays honest near 0 and 1.

    The probabilities that the share is no more than so many (binomial) standard errors from.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".

    >>> [round(end, 4) for end in wilson_interval(1.0, 100)]
    [0.963, 1.0]
    """
    if n < 1:
        return 0.0, 1.0
    z = normal_quantile(level)
    spread = z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return (0.0 if share == 0 else max(0.0, centre - half)), (1.0 if share == 1 else min(1.0, centre + half))


def standard_error(values: torch.Tensor) -> float:
    """Standard error of a mean; of a share, what Wilson's interval says, which is not 0 where all trials agree."""
    n = len(values)
    if n < 2:
        return math.inf
    if not is_binary(values):
        return float(values.std()) / math.sqrt(n)
    level = math.erf(1 / math.sqrt(2))  # one standard error to each side
    low, high = wilson_interval(float(values.mean()), n, level)
    return (high - low) / 2
