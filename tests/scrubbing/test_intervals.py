"""Intervals of means, shares and their p-values, against the equations that define them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from scrub.hypothesis.statistics.intervals import standard_error, wilson_interval
from scrub.hypothesis.statistics.means import mean_of
from scrub.hypothesis.statistics.student import t_quantile


def doubles(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_of_symmetric_numbers_it_is_students() -> None:
    low, high = mean_of(doubles(1, 2, 3), name="a", seed=None).interval(0.9)
    half = 2.919985580353726 / math.sqrt(3)  # the 95% point for 2 degrees of freedom
    assert (float(low), float(high)) == pytest.approx((2 - half, 2 + half))


@pytest.mark.parametrize("values", [(0.0, 0.0, 0.0, 8.0), (1.0, 2.0, 4.0), (-9.0, 0.5, 1.0, 1.0, 2.0)])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_of_skewed_numbers_the_ends_solve_halls_equation(values: tuple[float, ...], level: float) -> None:
    estimate = mean_of(doubles(*values), name="a", seed=None)
    numbers, n = np.array(values), len(values)
    skewness = np.mean((numbers - numbers.mean()) ** 3) / numbers.std() ** 3
    quantile = t_quantile(level, n - 1)
    for end, sign in zip(estimate.interval(level), (1, -1), strict=True):
        t = (numbers.mean() - float(end)) * math.sqrt(n) / numbers.std(ddof=1)
        transformed = (
            t + skewness * t**2 / (3 * math.sqrt(n)) + skewness**2 * t**3 / (27 * n) + skewness / (6 * math.sqrt(n))
        )
        assert transformed == pytest.approx(sign * quantile)


def test_the_longer_side_is_where_more_large_values_may_be() -> None:
    low, high = mean_of(doubles(0, 0, 0, 0, 0, 8), name="a", seed=None).interval()
    assert float(high) - 8 / 6 > 1.5 * (8 / 6 - float(low))
    estimate = mean_of(doubles(0, 0, 0, 0, 0, 8), name="a", seed=None)
    assert float(estimate.half_width()) == pytest.approx(float(high - low) / 2)


def test_numbers_that_do_not_vary() -> None:
    estimate = mean_of(torch.full((7,), 0.5), name="a", seed=None)
    assert [float(end) for end in estimate.interval()] == [0.5, 0.5]
    assert [estimate.p_value(null) for null in (0.5, 0.4, 0.6)] == [1, 0, 0]


@pytest.mark.parametrize("values", [(0.0, 0.0, 1.0, 8.0), (1.0, 2.0, 3.0), (-9.0, 0.5, 1.0, 1.0, 2.0)])
def test_p_values_fit_the_interval(values: tuple[float, ...]) -> None:
    estimate = mean_of(doubles(*values), name="a", seed=None)
    for level in (0.8, 0.99):
        for end in estimate.interval(level):
            assert estimate.p_value(float(end)) == pytest.approx(1 - level)


def test_tails_of_a_mean() -> None:
    estimate = mean_of(doubles(0, 1, 2), name="a", seed=0)
    t = 1 / (1 / math.sqrt(3))
    tail = 0.5 - t / (2 * math.sqrt(2 + t * t))  # two degrees of freedom
    assert estimate.upper_tail() == pytest.approx(tail)
    assert estimate.p_value() == pytest.approx(2 * tail)
    assert estimate.p_value(null=2) == pytest.approx(2 * tail)
    assert estimate.p_value(null=1) == 1


@pytest.mark.parametrize(("share", "n"), [(0.3, 10), (0.98, 200), (0.5, 7)])
def test_wilsons_ends_are_that_many_binomial_errors_away(share: float, n: int) -> None:
    for end in wilson_interval(share, n, 0.95):
        assert abs(share - end) == pytest.approx(1.959963984540054 * math.sqrt(end * (1 - end) / n))


def test_wilsons_interval_at_the_edges() -> None:
    low, high = wilson_interval(1.0, 50)
    assert high == 1
    assert low == pytest.approx(50 / (50 + 1.959963984540054**2))
    assert wilson_interval(0.0, 50) == pytest.approx((0, 1 - low))
    assert wilson_interval(math.nan, 0) == (0, 1)


def coverage(interval: Callable[[float, int], tuple[float, float]], p: float, n: int) -> float:
    """Exactly: over all numbers of successes."""
    total = 0.0
    for k in range(n + 1):
        low, high = interval(k / n, n)
        total += math.comb(n, k) * p**k * (1 - p) ** (n - k) * (low <= p <= high)
    return total


@pytest.mark.parametrize("p", [0.02, 0.05, 0.5, 0.97, 0.985])
def test_wilsons_interval_covers_near_the_edges_where_the_normal_one_does_not(p: float) -> None:
    def normal(share: float, n: int) -> tuple[float, float]:
        half = 1.96 * math.sqrt(share * (1 - share) / n)
        return share - half, share + half

    assert 0.92 < coverage(wilson_interval, p, 100) < 0.99
    assert 0.94 < coverage(wilson_interval, p, 400) < 0.97
    if abs(p - 0.5) > 0.46:
        assert coverage(normal, p, 100) < 0.9


def test_the_standard_error_of_a_share_is_not_zero_where_all_agree() -> None:
    assert standard_error(torch.ones(100, dtype=torch.float64)) == pytest.approx(0.5 * (1 - 100 / 101))
    mixed = doubles(*[0, 1] * 50)
    assert standard_error(mixed) == pytest.approx(0.05, rel=0.01)
    assert standard_error(doubles(1, 2, 4)) == pytest.approx(np.std([1, 2, 4], ddof=1) / math.sqrt(3))
    assert standard_error(doubles(3)) == math.inf
