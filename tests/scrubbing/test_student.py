"""Student's distribution, against its closed forms and against its density added up."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest
import torch

from scrub import EstimateError
from scrub.hypothesis.statistics.student import t_quantile, t_upper_tail

POINTS = [-40.0, -3.0, -0.5, 0.0, 0.1, 1.0, 2.5, 12.0]


@pytest.mark.parametrize("t", POINTS)
def test_one_degree_of_freedom_is_cauchy(t: float) -> None:
    assert t_upper_tail(t, 1) == pytest.approx(0.5 - math.atan(t) / math.pi, abs=1e-13)


@pytest.mark.parametrize("t", POINTS)
def test_two_and_four_degrees_of_freedom_are_algebraic(t: float) -> None:
    assert t_upper_tail(t, 2) == pytest.approx(0.5 - t / (2 * math.sqrt(2 + t * t)), abs=1e-13)
    x = t / math.sqrt(4 + t * t)
    assert t_upper_tail(t, 4) == pytest.approx(0.5 - 0.75 * (x - x**3 / 3), abs=1e-13)


@pytest.mark.parametrize("df", [7, 30, 999])
def test_the_tail_is_the_density_added_up(df: int) -> None:
    t = torch.linspace(0.8, 400, 400_001, dtype=torch.float64)
    log_scale = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(df * math.pi)
    density = torch.exp(log_scale - (df + 1) / 2 * torch.log1p(t * t / df))
    assert t_upper_tail(0.8, df) == pytest.approx(float(torch.trapezoid(density, t)), abs=1e-7)


@pytest.mark.parametrize("df", [1, 2, 3, 20, 500, 99_999])
@pytest.mark.parametrize("level", [0.1, 0.5, 0.95, 0.999])
def test_the_quantile_inverts_the_tail(df: int, level: float) -> None:
    assert t_upper_tail(t_quantile(level, df), df) == pytest.approx((1 - level) / 2, rel=1e-9)


def test_many_degrees_of_freedom_are_normal() -> None:
    normal = NormalDist().inv_cdf(0.975)
    assert t_quantile(0.95, 10**6) == normal
    assert t_quantile(0.95, 99_999) == pytest.approx(normal, rel=2e-5)  # no jump where the normal one takes over
    assert t_upper_tail(1.3, 10**6) == pytest.approx(1 - NormalDist().cdf(1.3), abs=1e-14)


def test_edges() -> None:
    assert t_upper_tail(math.inf, 3) == 0
    assert t_upper_tail(-math.inf, 3) == 1
    assert math.isnan(t_upper_tail(math.nan, 3))
    assert t_upper_tail(5.0, 0) == 0.5
    assert t_quantile(0.95, 0) == math.inf


@pytest.mark.parametrize("level", [0.0, 1.0, 95])
def test_a_level_is_a_coverage(level: float) -> None:
    with pytest.raises(EstimateError, match="level is a coverage between 0 and 1, not"):
        t_quantile(level, 10)
