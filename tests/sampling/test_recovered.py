"""Loss recovered: the formula, its standard error, and when it is undefined."""

import math

import pytest
import torch

import scrub as rc


def _losses() -> dict[str, rc.Expr]:
    """Correlated losses with means 1, 2 and 5: 0.75 recovered."""

    def var(values: list[float], name: str) -> rc.DiscreteVar:
        table = rc.Array(torch.tensor(values, dtype=torch.float64))
        return rc.DiscreteVar(table, rc.Tag.new_from_name(rc.uniform(len(values)), name), name)

    x, y, z = var([0.0, 0.5, 2.5], "x"), var([-1.0, 1.0], "y"), var([-2.0, 0.0, 2.0], "z")
    return {
        "original": rc.Cumulant(x),
        "scrubbed": rc.Cumulant(x.add(rc.Scalar(1.0), y)),
        "baseline": rc.Cumulant(x.scale(2.0).add(rc.Scalar(3.0), y.scale(0.5), z)),
    }


def _recovered(n: int, seed: int) -> rc.Estimate:
    e = rc.estimate(_losses(), n=n, seed=seed)
    return rc.loss_recovered(e["scrubbed"], original=e["original"], baseline=e["baseline"])


def test_it_is_the_formula() -> None:
    e = rc.estimate(_losses(), n=200, seed=7)
    got = rc.loss_recovered(e["scrubbed"], original=e["original"], baseline=e["baseline"])
    s, o, b = (float(e[name]) for name in ("scrubbed", "original", "baseline"))
    assert float(got) == pytest.approx((b - s) / (b - o))
    assert (got.n, got.seed) == (200, 7)


def test_the_ends_are_exact_and_certain() -> None:
    e = rc.estimate(_losses(), n=200)
    options = {"original": e["original"], "baseline": e["baseline"]}
    for name, expected in (("original", 1.0), ("baseline", 0.0)):
        got = rc.loss_recovered(e[name], **options)
        assert float(got) == pytest.approx(expected)
        assert float(got.stderr) == pytest.approx(0.0, abs=1e-6)


def test_the_error_is_the_spread_over_repetitions_and_intervals_cover() -> None:
    runs = [_recovered(256, seed) for seed in range(200)]
    spread = float(torch.stack([run.value for run in runs]).std())
    typical = float(torch.stack([run.stderr for run in runs]).mean())
    assert typical == pytest.approx(spread, rel=0.15)
    covered = sum(bool(low <= 0.75 <= high) for low, high in (run.interval(0.95) for run in runs)) / len(runs)
    assert 0.90 <= covered <= 0.99


def test_shared_draws_make_it_more_certain_than_separate_ones_would() -> None:
    e = rc.estimate(_losses(), n=2000)
    got = rc.loss_recovered(e["scrubbed"], original=e["original"], baseline=e["baseline"])
    gap = float(e["baseline"]) - float(e["original"])
    gradient = {"scrubbed": 1 / gap, "original": float(got) / gap, "baseline": (1 - float(got)) / gap}
    separate = math.sqrt(sum((g * float(e[name].stderr)) ** 2 for name, g in gradient.items()))
    assert float(got.stderr) < 0.9 * separate


def test_an_enumeration_gives_the_exact_ratio() -> None:
    losses = _losses()
    e = rc.estimate(losses, spec=rc.RunDiscreteVarAllSpec.create_full_from_exprs(*losses.values()))
    got = rc.loss_recovered(e["scrubbed"], original=e["original"], baseline=e["baseline"])
    assert float(got) == pytest.approx(0.75)
    assert float(got.stderr) == 0


def test_losses_that_are_not_means_get_a_jackknifed_error() -> None:
    """Root of a mean square: repetitions spread as the error says."""
    root = {name: rc.elementwise("exp", loss.scale(0.3)) for name, loss in _losses().items()}
    truth = (math.exp(1.5) - math.exp(0.6)) / (math.exp(1.5) - math.exp(0.3))
    values, errors = [], []
    for seed in range(60):
        e = rc.estimate(root, n=192, seed=seed)
        got = rc.loss_recovered(e["scrubbed"], original=e["original"], baseline=e["baseline"])
        values.append(float(got))
        errors.append(float(got.stderr))
    assert torch.tensor(values).mean() == pytest.approx(truth, abs=0.01)
    assert torch.tensor(errors).mean() == pytest.approx(float(torch.tensor(values).std()), rel=0.3)


def test_means_and_other_losses_can_be_mixed() -> None:
    """All covariances then come from the jackknife; two names of one thing are still certain to be equal."""
    losses = _losses()
    one = rc.elementwise("exp", losses["original"].scale(0.0))
    e = rc.estimate(losses | {"hidden": losses["original"].mul(one)}, n=640)
    got = rc.loss_recovered(e["hidden"], original=e["original"], baseline=e["baseline"])
    assert float(got) == pytest.approx(1.0)
    assert float(got.stderr) == pytest.approx(0.0, abs=1e-6)


def test_no_gap_is_undefined() -> None:
    losses = _losses()
    e = rc.estimate(losses | {"same": losses["original"].add(rc.Scalar(0.0))}, n=100)
    with pytest.raises(rc.UndefinedRatioError, match="'same' and 'original' differ by 0, within the error"):
        rc.loss_recovered(e["scrubbed"], original=e["original"], baseline=e["same"])


def test_a_gap_within_its_error_is_undefined_at_that_level() -> None:
    e = rc.estimate(_losses(), n=20, seed=1)
    gap = abs(float(e["baseline"]) - float(e["scrubbed"]))
    error = float(
        (e["baseline"].stderr ** 2 + e["scrubbed"].stderr ** 2 - 2 * e.covariance("baseline", "scrubbed")).sqrt()
    )
    sigmas = gap / error
    tail = math.erf(sigmas / math.sqrt(2))  # coverage at which the gap just touches zero
    options = {"original": e["scrubbed"], "baseline": e["baseline"]}
    assert rc.loss_recovered(e["original"], **options, level=tail * 0.999).value.isfinite()
    with pytest.raises(rc.UndefinedRatioError, match="undefined"):
        rc.loss_recovered(e["original"], **options, level=1 - (1 - tail) * 0.5)


def test_one_draw_has_no_ratio() -> None:
    with pytest.raises(rc.UndefinedRatioError):
        _recovered(1, 0)


def test_estimates_of_different_calls_are_an_error() -> None:
    first, second = (rc.estimate(_losses(), n=50, seed=0) for _ in range(2))
    with pytest.raises(rc.EstimateError, match="do not share draws"):
        rc.loss_recovered(first["scrubbed"], original=second["original"], baseline=first["baseline"])
    with pytest.raises(rc.EstimateError, match="do not share draws"):
        rc.covariance(first["scrubbed"], second["original"])


def test_vectors_and_ratios_of_ratios_are_errors() -> None:
    x = rc.DiscreteVar(rc.Array(torch.randn(5, 2)))
    e = rc.estimate({"v": rc.Cumulant(x), "s": rc.Cumulant(x.sum())}, n=50)
    with pytest.raises(rc.EstimateError, match="not one number"):
        rc.loss_recovered(e["s"], original=e["v"], baseline=e["v"])
    with pytest.raises(rc.EstimateError, match="different shapes"):
        e.covariance("v", "s")
    recovered = _recovered(100, 0)
    with pytest.raises(rc.EstimateError, match="cannot be estimated"):
        rc.covariance(recovered, recovered)
