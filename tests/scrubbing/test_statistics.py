"""Estimates from numbers per reference, against numpy, exact enumeration and closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

import scrub as rc
from scrub.hypothesis.statistics.means import cumulants_of, estimates_of, mean_of, pairing_of, recovered
from scrub.hypothesis.statistics.student import t_quantile


def doubles(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def random_values(n: int = 50) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    common = torch.randn(n, generator=generator, dtype=torch.float64)
    noise = torch.randn(3, n, generator=generator, dtype=torch.float64)
    return {"o": common + 0.1 * noise[0], "b": common + 2 + 0.2 * noise[1], "s": common + 0.5 + 0.3 * noise[2]}


def test_means_and_covariances_are_those_of_numpy() -> None:
    values = random_values()
    estimates = estimates_of(values, seed=5)
    table = np.stack([value.numpy() for value in values.values()])
    covariance = np.cov(table) / table.shape[1]
    for i, a in enumerate(values):
        assert float(estimates[a]) == pytest.approx(table[i].mean())
        assert float(estimates[a].stderr) == pytest.approx(math.sqrt(covariance[i, i]))
        assert (estimates[a].n, estimates[a].seed) == (50, 5)
        for k, b in enumerate(values):
            assert float(estimates.covariance(a, b)) == pytest.approx(covariance[i, k])


def test_one_reference_has_no_error() -> None:
    values = {"a": doubles(1), "b": doubles(2)}
    estimates = estimates_of(values, seed=0)
    assert float(estimates["a"].stderr) == math.inf
    assert mean_of(values["a"], name="a", seed=0).p_value() == 1
    assert repr(estimates["a"]) == "1 ± inf (95%, n=1, seed=0)"
    with pytest.raises(rc.UndefinedRatioError):
        recovered(estimates_of({**values, "c": doubles(3)}, seed=0), "c", original="a", baseline="b")


def test_loss_recovered_by_the_delta_method_written_out() -> None:
    values = random_values(400)
    found = recovered(estimates_of(values, seed=0), "s", original="o", baseline="b")
    o, b, s = (values[name].numpy() for name in "obs")
    gap = b.mean() - o.mean()
    ratio = (b.mean() - s.mean()) / gap
    influence = ((b - s) - ratio * (b - o)) / gap
    assert float(found) == pytest.approx(ratio)
    assert float(found.stderr) == pytest.approx(influence.std(ddof=1) / 20)
    for end in found.interval(0.9):  # Fieller: those ratios at which the mean of this is just beyond chance
        rest = (b - s) - float(end) * (b - o)
        assert abs(rest.mean()) == pytest.approx(t_quantile(0.9, 399) * rest.std(ddof=1) / 20)
    low, high = map(float, found.interval())
    assert low < ratio < high
    assert (
        float(found.half_width())
        == pytest.approx((high - low) / 2)
        == pytest.approx(t_quantile(0.95, 399) * influence.std(ddof=1) / 20, rel=0.01)
    )


def test_tails_of_loss_recovered_fit_its_interval() -> None:
    for sign in (1, -1):  # of the gap
        values = {name: sign * value for name, value in random_values(400).items()}
        found = recovered(estimates_of(values, seed=0), "s", original="o", baseline="b")
        low, high = map(float, found.interval(0.9))
        assert found.upper_tail(low) == pytest.approx(0.05)
        assert found.upper_tail(high) == pytest.approx(0.95)
        assert found.p_value(float(found)) == pytest.approx(1)
    same = recovered(estimates_of({**values, "s": values["o"]}, seed=0), "s", original="o", baseline="b")
    assert [same.upper_tail(null) for null in (0.5, 2.0)] == [0, 1]


def test_a_gap_that_may_be_none_at_a_higher_level_bounds_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 20, generator=generator, dtype=torch.float64)
    values = {"o": noise[0], "b": noise[0] + noise[1] - noise[1].mean() + 0.6, "s": noise[0] + 0.3}
    found = recovered(estimates_of(values, seed=0), "s", original="o", baseline="b", level=0.9)
    assert all(math.isfinite(end) for end in found.interval(0.9))
    assert [float(end) for end in found.interval(0.9999)] == [-math.inf, math.inf]


def test_loss_recovered_of_the_ends() -> None:
    estimates = estimates_of(random_values(), seed=0)
    ends = [recovered(estimates, name, original="o", baseline="b") for name in "ob"]
    assert [float(end) for end in ends] == [1, 0]
    assert [float(end.stderr) for end in ends] == pytest.approx([0, 0], abs=1e-9)


def test_no_gap_is_undefined() -> None:
    values = {"o": doubles(0, 1, 2, 3), "b": doubles(1, 0, 3, 2.1), "s": doubles(1, 1, 2, 2)}
    with pytest.raises(rc.UndefinedRatioError) as caught:
        recovered(estimates_of(values, seed=0), "s", original="o", baseline="b")
    assert "loss recovered is undefined: 'b' and 'o' differ by 0.025, within the error" in str(caught.value)


def test_the_gap_must_exceed_students_error_not_the_normal_one() -> None:
    """With 3 references a gap of 3 standard errors may be chance: Student's 95% point is 4.3."""
    values = {"o": doubles(0, 0, 0), "b": doubles(1, 2, 3) * math.sqrt(3) - math.sqrt(3) * 2 + 3, "s": doubles(1, 1, 1)}
    estimates = estimates_of(values, seed=0)
    assert float(estimates["b"]) / float(estimates["b"].stderr) == pytest.approx(3)
    with pytest.raises(rc.UndefinedRatioError):
        recovered(estimates, "s", original="o", baseline="b")
    assert float(recovered(estimates, "s", original="o", baseline="b", level=0.9)) == pytest.approx(2 / 3)


def test_what_pairing_saves_in_closed_form() -> None:
    """With a common part c and own noises, pairing removes c: the ratio of variances follows from the two variances."""
    c = doubles(*[1.0, -1.0] * 8)
    noise = [doubles(*([1.0] * k + [-1.0] * k) * (8 // k)) for k in (2, 4, 8)]  # all orthogonal to each other and c
    values = {"o": 3 * c + noise[0], "b": 3 * c + noise[1] + 2, "s": 3 * c + noise[2] + 1}
    found = pairing_of(estimates_of(values, seed=0), "s", original="o", baseline="b")
    gradient = [-1, 0.5, 0.5]  # of s, o, b; ratio 1/2, in units of the gap
    squares = sum(g * g for g in gradient)
    assert found == pytest.approx(squares * (9 + 1) / (squares * 1 + sum(gradient) ** 2 * 9))
    assert pairing_of(estimates_of({**values, "s": values["o"]}, seed=0), "s", original="o", baseline="b") == math.inf


DICE = [(0.0, 0.5), (1.0, -1.0), (5.0, 2.0)]
"""Values of (a, b) with equal chances."""


def exact_cumulant(arguments: str) -> float:
    """From moments over DICE, for arguments out of "a" and "b"; by the formulas for centred variables."""
    table = np.array(DICE) - np.mean(DICE, axis=0)
    columns = [table[:, "ab".index(name)] for name in arguments]
    moment = float(np.mean(np.prod(columns, axis=0)))
    if len(columns) < 4:
        return moment
    pairs = [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))]
    return moment - sum(
        float(np.mean(columns[i] * columns[j]) * np.mean(columns[k] * columns[m])) for (i, j), (k, m) in pairs
    )


@pytest.mark.parametrize("arguments", ["aa", "ab", "aaa", "aab", "aaaa", "aabb", "abbb"])
def test_cumulants_are_unbiased(arguments: str) -> None:
    """Averaged over every possible sample of five references they are the exact ones."""
    names = tuple(arguments)
    total = 0.0
    for sample in itertools.combinations_with_replacement(DICE, 5):
        orders = math.factorial(5) / math.prod(math.factorial(sample.count(value)) for value in DICE)
        a, b = torch.tensor(sample, dtype=torch.float64).T
        total += orders * float(cumulants_of({"a": a, "b": b}, [names], seed=None)[", ".join(names)])
    assert total / 3**5 == pytest.approx(exact_cumulant(arguments), abs=1e-9)


def test_the_error_of_a_mean_by_jackknife_is_the_usual_one() -> None:
    values = random_values(60)  # fewer than blocks: each reference is a block
    found = cumulants_of(values, [("o",), ("s",)], seed=0)
    usual = estimates_of(values, seed=0)
    for name in "os":
        assert float(found[name]) == pytest.approx(float(usual[name]))
        assert float(found[name].stderr) == pytest.approx(float(usual[name].stderr))
    assert float(found.covariance("o", "s")) == pytest.approx(float(usual.covariance("o", "s")))


def test_errors_of_cumulants_of_a_normal_variable() -> None:
    """var k2 = 2 / (n - 1), var k3 ~ 6 / n, var k4 ~ 24 / n, for unit variance; cumulants above 2 are 0."""
    n = 100_000
    generator = torch.Generator().manual_seed(1)
    values = {"a": torch.randn(n, generator=generator, dtype=torch.float64)}
    found = cumulants_of(values, [("a",) * order for order in (2, 3, 4)], seed=0)
    for order, value, variance in ((2, 1.0, 2.0), (3, 0.0, 6.0), (4, 0.0, 24.0)):
        estimate = found[", ".join("a" * order)]
        assert float(estimate.stderr) == pytest.approx(math.sqrt(variance / n), rel=0.3)  # from 64 blocks: 9%
        assert float(estimate) == pytest.approx(value, abs=4 * math.sqrt(variance / n))


def test_cumulants_of_few_references() -> None:
    values = {"a": doubles(0, 1, 5)}
    assert float(cumulants_of(values, [("a", "a", "a")], seed=0)["a, a, a"].stderr) == math.inf
    with pytest.raises(rc.EstimateError, match="order 4 needs at least 4 draws"):
        cumulants_of(values, [("a",) * 4], seed=0)
    with pytest.raises(rc.EstimateError, match="1 to 4") as caught:
        cumulants_of(values, [("a",) * 5], seed=0)
    assert caught.value.found == [("a",) * 5]
