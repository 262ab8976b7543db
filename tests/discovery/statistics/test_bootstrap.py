"""Bootstrap: against exhaustive resampling, closed forms, a plain loop, and the coverage it promises."""

import itertools
import math
import sys
from statistics import NormalDist

import numpy as np
import pytest
import torch

from scrub.discovery.statistics import BootstrapEstimate, bootstrap, mean, mean_of_ratios, ratio_of_means
from scrub.graph import EstimateError

NORMAL = NormalDist()


def normals(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bca_by_loop(values: np.ndarray, replicates: np.ndarray, level: float) -> list[float]:
    """Ends of the BCa interval of a mean, written from Efron & Tibshirani's equations 14.9 to 14.15."""
    n, count = len(values), len(replicates)
    left_out = np.array([np.delete(values, i).mean() for i in range(n)])
    d = left_out.mean() - left_out
    a = (d**3).sum() / (6 * (d**2).sum() ** 1.5)
    below = (replicates < values.mean()).sum() + (replicates == values.mean()).sum() / 2
    z0 = NORMAL.inv_cdf(below / count)
    ends: list[float] = []
    for z in (NORMAL.inv_cdf((1 - level) / 2), NORMAL.inv_cdf((1 + level) / 2)):
        share = NORMAL.cdf(z0 + (z0 + z) / (1 - a * (z0 + z)))
        ends.append(float(np.quantile(replicates, share, method="weibull")))  # the i-th of B is at i / (B + 1)
    return ends


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("values", [normals(25).exp(), (normals(16) > 0.5).double()], ids=["skewed", "binary"])
def test_bca_is_that_of_the_equations(values: torch.Tensor, level: float):
    """Of zeros and ones many replicates equal the value."""
    found = bootstrap({"x": values}, mean("x"), n_resamples=999, seed=3)
    expected = bca_by_loop(values.numpy(), found.replicates.numpy(), level)
    torch.testing.assert_close(torch.stack(found.interval(level)), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_percentile_interval_is_quantiles(level: float):
    found = bootstrap({"x": normals(25)}, mean("x"), n_resamples=999, method="percentile")
    expected = np.quantile(found.replicates, [(1 - level) / 2, (1 + level) / 2], method="weibull")
    np.testing.assert_allclose(torch.stack(found.interval(level)), expected)


def test_replicates_follow_the_law_of_all_resamples():
    """All 4^4 resamples of four numbers, enumerated: shares of each mean agree within sampling error."""
    values = torch.tensor([0.0, 1.0, 3.0, 7.0])
    exact = [sum(rows) / 4 for rows in itertools.product(values.tolist(), repeat=4)]
    found = bootstrap({"x": values}, mean("x"), n_resamples=20_000).replicates
    for each in sorted(set(exact)):
        share = exact.count(each) / len(exact)
        error = math.sqrt(share * (1 - share) / len(found))
        assert abs(float((found == each).double().mean()) - share) < 4.5 * error


def test_standard_error_of_a_mean():
    values = normals(200)
    found = bootstrap({"x": values}, mean("x"), n_resamples=4000)
    assert float(found) == pytest.approx(float(values.mean()))
    assert float(found.stderr) == pytest.approx(float(values.std(correction=0)) / math.sqrt(200), rel=0.04)


def test_standard_error_of_a_ratio_is_that_of_the_delta_method():
    x = normals(500) + 3
    y = 2 * x + normals(500, seed=1) + 4
    found = bootstrap({"x": x, "y": y}, ratio_of_means("x", "y"), n_resamples=4000)
    ratio = x.mean() / y.mean()
    delta = (x - ratio * y).std() / y.mean() / math.sqrt(500)
    assert float(found) == pytest.approx(float(ratio))
    assert float(found.stderr) == pytest.approx(float(delta), rel=0.05)


def test_ratio_of_means_and_mean_of_ratios():
    columns = {"x": torch.tensor([1.0, 2.0, 6.0]), "y": torch.tensor([1.0, 4.0, 2.0])}
    assert float(bootstrap(columns, ratio_of_means("x", "y"))) == pytest.approx(9 / 7)
    assert float(bootstrap(columns, mean_of_ratios("x", "y"))) == pytest.approx(4.5 / 3)


def test_rows_of_all_columns_are_drawn_together():
    x = normals(30)
    found = bootstrap({"x": x, "y": 2 * x + 1}, lambda c: c["y"].mean(-1) - 2 * c["x"].mean(-1))
    torch.testing.assert_close(found.replicates, torch.ones_like(found.replicates))


def test_several_statistics_at_once_are_each_alone():
    x = normals(3, 2, 40)
    together = bootstrap({"x": x}, mean("x"), n_resamples=300, seed=5)
    for i, j in itertools.product(range(3), range(2)):
        alone = bootstrap({"x": x[i, j]}, mean("x"), n_resamples=300, seed=5)
        torch.testing.assert_close(together.replicates[:, i, j], alone.replicates)
        for end, expected in zip(together.interval(0.9), alone.interval(0.9), strict=True):
            torch.testing.assert_close(end[i, j], expected)


def test_then_is_the_statistic_of_the_result():
    x = normals(2, 40)
    first = bootstrap({"x": x}, mean("x"), n_resamples=500).then(lambda means: means.prod(-1), name="product")
    second = bootstrap({"x": x}, lambda c: c["x"].mean(-1).prod(-1), n_resamples=500)
    torch.testing.assert_close(torch.stack(first.interval()), torch.stack(second.interval()))
    torch.testing.assert_close(first.stderr, second.stderr)


def test_seed_and_memory(monkeypatch: pytest.MonkeyPatch):
    """The same seed gives the same resamples, in however many parts they are evaluated."""
    x = normals(2, 37)
    whole = bootstrap({"x": x}, mean("x"), n_resamples=200, seed=1)
    monkeypatch.setattr(sys.modules[bootstrap.__module__], "_ELEMENTS_AT_ONCE", 500)
    parts = bootstrap({"x": x}, mean("x"), n_resamples=200, seed=1)
    torch.testing.assert_close(whole.replicates, parts.replicates)
    longer = bootstrap({"x": x}, mean("x"), n_resamples=300, seed=1)
    torch.testing.assert_close(longer.replicates[:200], whole.replicates)
    assert not torch.equal(bootstrap({"x": x}, mean("x"), n_resamples=200, seed=2).replicates, whole.replicates)


def test_acceleration_of_many_examples_by_blocks():
    """A jackknife over 1000 blocks, of two sizes, gives about what one over all 2500 examples gives."""
    x = normals(2500).exp()
    skewness = ((x - x.mean()) ** 3).mean() / x.var(correction=0) ** 1.5
    found = bootstrap({"x": x}, mean("x"), n_resamples=10)
    assert len(found.left_out) == 1000
    assert float(found.acceleration) == pytest.approx(float(skewness) / 6 / math.sqrt(2500), rel=0.15)


def test_nothing_varies():
    found = bootstrap({"x": torch.full((5,), 0.25)}, mean("x"))
    assert [float(end) for end in (*found.interval(), found.stderr)] == [0.25, 0.25, 0.0]


def test_one_example():
    found = bootstrap({"x": torch.tensor([2.0])}, mean("x"), n_resamples=10)
    assert float(found) == 2.0
    assert math.isinf(float(found.stderr))


def test_integers_and_half_precision_are_taken_as_float64():
    found = bootstrap({"x": torch.tensor([1, 2, 4])}, mean("x"))
    assert found.value.dtype == torch.float64
    assert float(found) == pytest.approx(7 / 3)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({}, "columns have no examples"),
        ({"x": torch.zeros(3), "y": torch.zeros(4)}, r"\{'x': 3, 'y': 4\}"),
        ({"x": torch.zeros(2, 0)}, r"\{'x': 0\}"),
        ({"x": torch.tensor(1.0)}, r"\{'x': 0\}"),
    ],
)
def test_columns_that_do_not_fit(columns: dict[str, torch.Tensor], words: str):
    with pytest.raises(EstimateError, match=rf"{words}(.|\n)*hint: one number for each example"):
        bootstrap(columns, mean("x"))


def test_statistic_that_counts_axes_from_the_front():
    with pytest.raises(EstimateError, match=r"the statistic is \(3,\) on 2000 resamples(.|\n)*count axes from the end"):
        bootstrap({"x": torch.zeros(3)}, lambda c: c["x"].mean(0))


def test_statistic_that_is_not_defined():
    with pytest.raises(EstimateError, match="x / 0 is NaN on the examples as they are"):
        bootstrap({"x": torch.zeros(3)}, ratio_of_means("x", "x"), name="x / 0")
    values = {"x": torch.tensor([0.0, 0.0, 1.0])}
    with pytest.raises(EstimateError, match=r"NaN on \d+ of 100 resamples of 3 examples(.|\n)*hint: more examples"):
        bootstrap(values, ratio_of_means("x", "x"), n_resamples=100)


@pytest.mark.parametrize(("n_resamples", "method"), [(0, "bca"), (10, "normal")])
def test_options_that_are_not_there(n_resamples: int, method: str):
    with pytest.raises(EstimateError, match="is not possible") as error:
        bootstrap({"x": torch.zeros(3)}, mean("x"), n_resamples=n_resamples, method=method)  # type: ignore[arg-type]
    assert error.value.found == (n_resamples, method)


def coverage(method: str, draws: torch.Tensor, truth: float, *, n_resamples: int) -> tuple[float, float]:
    """Shares of samples [samples, n] whose 90% interval of the mean lies below, and above, the truth."""
    below = above = 0
    for sample in draws:
        found: BootstrapEstimate = bootstrap({"x": sample}, mean("x"), n_resamples=n_resamples, method=method)  # type: ignore[arg-type]
        low, high = found.interval(0.9)
        below += bool(high < truth)
        above += bool(low > truth)
    return below / len(draws), above / len(draws)


@pytest.mark.parametrize("method", ["bca", "percentile"])
def test_coverage(method: str):
    """Of normal numbers, a known closed form: z intervals with the error of n, not n - 1, freedom cover 88.9%."""
    below, above = coverage(method, normals(300, 40, seed=7), 0.0, n_resamples=400)
    assert below + above == pytest.approx(1 - 0.889, abs=4 * math.sqrt(0.1 * 0.9 / 300))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["bca", "percentile"])
def test_coverage_of_normal_numbers(method: str):
    below, above = coverage(method, normals(3000, 40, seed=8), 0.0, n_resamples=1000)
    error = math.sqrt(0.05 * 0.95 / 3000)
    for share in (below, above):
        assert share == pytest.approx(0.0555, abs=4 * error)


@pytest.mark.slow
def test_bca_is_more_even_on_skewed_numbers():
    """Of exponential numbers the percentile interval misses a mean mostly below; BCa's ends err less in sum."""
    draws = -torch.rand(2000, 40, generator=torch.Generator().manual_seed(9), dtype=torch.float64).log()
    misses = {m: coverage(m, draws, 1.0, n_resamples=1000) for m in ("bca", "percentile")}
    unevenness = {m: abs(below - above) for m, (below, above) in misses.items()}
    assert unevenness["bca"] < unevenness["percentile"] - 0.01
    assert sum(misses["bca"]) < sum(misses["percentile"])
    assert sum(misses["bca"]) == pytest.approx(0.1, abs=0.04)


@pytest.mark.slow
def test_coverage_of_a_ratio():
    """Means 1 and 2 of correlated numbers: the ratio 1/2 lies in 90% of intervals, within 4 points."""
    noise = normals(1500, 2, 50, seed=10)
    covered = 0
    for x, y in noise:
        found = bootstrap({"x": 1 + x, "y": 2 + 0.5 * x + 0.5 * y}, ratio_of_means("x", "y"), n_resamples=800)
        low, high = found.interval(0.9)
        covered += bool(low <= 0.5 <= high)
    assert covered / len(noise) == pytest.approx(0.9, abs=0.04)
