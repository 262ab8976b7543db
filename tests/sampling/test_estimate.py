"""`estimate`: independent of batch size, honest about its errors, strict about what it is given."""

import pytest
import torch

import scrub as rc
from scrub.graph import Expr

_GENERATOR_SEED = 0


def _var(values: torch.Tensor, name: str) -> rc.DiscreteVar:
    return rc.DiscreteVar(rc.Array(values), rc.Tag.new_from_name(rc.uniform(len(values)), name), name)


def _normal(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(_GENERATOR_SEED), dtype=dtype)


def _experiments() -> dict[str, Expr]:
    x, y = _var(_normal(50, 3) + 2, "x"), _var(_normal(20, 3), "y")
    product = x.mul(y)
    mean = rc.Cumulant(x.mean())
    return {
        "scalar": rc.Cumulant(product.sum()),
        "affine": rc.Cumulant(product.sum()).scale(3.0).add(rc.Scalar(1.0), mean),
        "vector": rc.Cumulant(rc.elementwise("exp", product)),
        "order 2": rc.Cumulant(x, product),
        "order 3": rc.Cumulant(x.sum(), product, y.sum()),
        "order 5": rc.Cumulant(*[y.sum()] * 5),
        "nonlinear": rc.elementwise("exp", mean.scale(-1.0)).mul(rc.Cumulant(x.sum(), x.sum())),
    }


def test_estimates_do_not_depend_on_the_batch_size() -> None:
    n = 150
    first, *others = (rc.estimate(_experiments(), n=n, seed=3, batch_size=size) for size in (64, 7, 1, 1000))
    for other in others:
        for name, estimate in first.items():
            assert other[name].n == n
            for a, b in ((other[name].value, estimate.value), (other[name].stderr, estimate.stderr)):
                torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_values_are_the_statistics_of_the_draws() -> None:
    """Mean, unbiased covariance and their function, computed in torch from what the sampler draws."""
    n = 200
    x = _var(_normal(50, 3, dtype=torch.float64), "x")
    e = rc.estimate({"m": rc.Cumulant(x), "c": rc.Cumulant(x, x)}, n=n, seed=5)
    draws = rc.Sampler(rc.RandomSampleSpec((n,), seed=5)).sample(x).evaluate()
    torch.testing.assert_close(e["m"].value, draws.mean(0))
    torch.testing.assert_close(e["c"].value, torch.cov(draws.T))
    torch.testing.assert_close(e["m"].stderr, draws.std(0) / n**0.5)
    biased = rc.estimate(rc.Cumulant(x, x), n=n, seed=5, biased=True)
    torch.testing.assert_close(biased.value, torch.cov(draws.T, correction=0))


def test_covariance_of_estimates_is_that_of_the_per_draw_values() -> None:
    n = 500
    x, y = _var(_normal(40, dtype=torch.float64), "x"), _var(_normal(30, dtype=torch.float64) + 1, "y")
    exprs = {"a": x.add(y), "b": x.mul(y), "c": y.scale(-2.0)}
    e = rc.estimate({name: rc.Cumulant(expr) for name, expr in exprs.items()}, n=n, seed=1, batch_size=33)
    sampler = rc.Sampler(rc.RandomSampleSpec((n,), seed=1))
    expected = torch.cov(torch.stack([sampler.sample(expr).evaluate() for expr in exprs.values()])) / n
    for i, a in enumerate(exprs):
        for j, b in enumerate(exprs):
            torch.testing.assert_close(e.covariance(a, b), expected[i, j])
        torch.testing.assert_close(e[a].stderr, expected[i, i].sqrt())


def test_jackknife_of_means_is_close_to_the_covariance_from_all_draws() -> None:
    """A product with 1 that hides from the analysis that it is affine."""
    x = _var(_normal(40, dtype=torch.float64), "x")
    one = rc.elementwise("exp", rc.Cumulant(x).scale(0.0))
    exprs = {"plain": rc.Cumulant(x), "hidden": rc.Cumulant(x).mul(one)}
    e = rc.estimate(exprs, n=6400, seed=1)
    assert float(e["plain"]) == pytest.approx(float(e["hidden"]))
    assert float(e["hidden"].stderr) == pytest.approx(float(e["plain"].stderr), rel=0.2)
    assert float(e.covariance("plain", "hidden")) == pytest.approx(float(e["plain"].stderr) ** 2, rel=0.4)


def _coverage(expr: Expr, truth: float, *, n: int, seeds: int) -> float:
    """How many of the intervals, over seeds and elements, contain the truth."""
    inside: list[torch.Tensor] = []
    for seed in range(seeds):
        low, high = rc.estimate(expr, n=n, seed=seed).interval(0.95)
        inside.append(((low <= truth) & (truth <= high)).double().mean())
    return float(torch.stack(inside).mean())


_VALUES = torch.tensor([0.0, 1.0, 3.0, 10.0], dtype=torch.float64)


def test_intervals_of_means_cover_the_truth_as_often_as_they_say() -> None:
    x, y = _var(_VALUES, "x"), _var(torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64), "y")
    truth = 3.5 * 0.5 + 3.5
    assert 0.90 <= _coverage(rc.Cumulant(x.mul(y).add(x)), truth, n=128, seeds=200) <= 0.99


def test_intervals_of_jackknifed_variances_cover_the_truth() -> None:
    x = _var(_VALUES, "x")
    assert 0.90 <= _coverage(rc.Cumulant(x, x), float(_VALUES.var(correction=0)), n=128, seeds=150) <= 0.99


def test_intervals_of_jackknifed_ratios_cover_the_truth() -> None:
    """Of expectations, for 20 independent variables at a time."""
    x = rc.Concat.stack(*(_var(_VALUES, f"x{i}") for i in range(20)), axis=0)
    ratio = rc.elementwise("reciprocal", rc.Cumulant(x)).mul(rc.Cumulant(x.mul(x)))
    assert 0.90 <= _coverage(ratio, float((_VALUES**2).mean() / _VALUES.mean()), n=128, seeds=20) <= 0.99


def test_the_standard_error_is_the_spread_over_repetitions() -> None:
    x = _var(_normal(40, dtype=torch.float64), "x")
    runs = [rc.estimate(rc.Cumulant(x.mul(x)), n=100, seed=seed) for seed in range(300)]
    spread = torch.stack([run.value for run in runs]).std()
    typical = torch.stack([run.stderr for run in runs]).mean()
    assert float(typical) == pytest.approx(float(spread), rel=0.12)


def test_a_target_is_reached_at_the_same_draw_for_any_batch_size() -> None:
    x = _var(_normal(40, dtype=torch.float64), "x")
    runs = [
        rc.estimate(rc.Cumulant(x.add(x)), n=20_000, target_stderr=0.06, batch_size=size) for size in (7, 64, 256, 1000)
    ]
    assert len({run.n for run in runs}) == 1
    assert runs[0].n % 256 == 0
    assert runs[0].n < 20_000
    assert all(float(run.stderr) <= 0.06 for run in runs)
    before = rc.estimate(rc.Cumulant(x.add(x)), n=runs[0].n - 256)
    assert float(before.stderr) > 0.06
    unreachable = rc.estimate(rc.Cumulant(x), n=300, target_stderr=1e-9)
    assert unreachable.n == 300


def test_a_target_never_cuts_an_enumeration_short() -> None:
    x, y = (_var(torch.arange(20.0), name) for name in "xy")
    spec = rc.RunDiscreteVarAllSpec([x.probs_and_group, y.probs_and_group])
    assert float(rc.estimate(rc.Cumulant(x.mul(y)), spec=spec, target_stderr=1.0)) == pytest.approx(9.5**2)


def test_functions_of_cumulants_meet_integers_and_half_precision() -> None:
    """Values are put together in float64, whatever the expression's own arrays are."""
    dice = _var(torch.arange(1, 7), "dice")
    half = rc.Array(torch.tensor([0.1], dtype=torch.float16))
    spec = rc.RunDiscreteVarAllSpec([dice.probs_and_group])
    exprs = {
        "half": rc.Cumulant(dice, dice).mul(half),
        "integer": rc.Cumulant(dice, dice).mul(rc.Array(torch.tensor([2, 3]))),
        "scalar": rc.Cumulant(dice, dice).scale(0.5),
    }
    e = rc.estimate(exprs, spec=spec)
    variance = 35 / 12
    assert e["half"].value.tolist() == pytest.approx([variance * half.value.double().item()], rel=1e-12)
    assert e["integer"].value.tolist() == pytest.approx([2 * variance, 3 * variance], rel=1e-12)
    assert float(e["scalar"]) == pytest.approx(variance / 2, rel=1e-12)


def test_progress_is_reported_after_each_batch() -> None:
    seen: list[tuple[int, int]] = []
    rc.estimate(rc.Cumulant(_var(torch.ones(3), "x")), n=10, batch_size=4, progress=lambda a, b: seen.append((a, b)))
    assert seen == [(4, 10), (8, 10), (10, 10)]


def test_facts_of_an_estimate() -> None:
    x = _var(_normal(10, 2), "x")
    e = rc.estimate({"m": rc.Cumulant(x), "s": rc.Cumulant(x.sum())}, n=20, seed=4)
    assert (e["m"].n, e["m"].seed, e["m"].value.dtype) == (20, 4, torch.float64)
    assert repr(e["m"]) == "Estimate 'm' of shape (2,) (n=20, seed=4)"
    low, high = e["s"].interval(0.5)
    assert float(high - low) == pytest.approx(2 * 0.67449 * float(e["s"].stderr), rel=1e-4)
    exact = rc.estimate(rc.Cumulant(x.sum()), spec=rc.RunDiscreteVarAllSpec([x.probs_and_group]))
    assert exact.seed is None
    assert exact.n == 10


def test_constants_and_orders_zero_to_two_of_constants() -> None:
    c = rc.Array(torch.tensor([1.0, 2.0]))
    exprs = {"k0": rc.Cumulant(), "k1": rc.Cumulant(c), "k2": rc.Cumulant(c, c), "none": c}
    for options in ({"n": 20}, {"spec": rc.RunDiscreteVarAllSpec([])}):
        e = rc.estimate(exprs, **options)
        assert {name: v.value.tolist() for name, v in e.items()} == {
            "k0": 1.0,
            "k1": [1.0, 2.0],
            "k2": [[0.0, 0.0], [0.0, 0.0]],
            "none": [1.0, 2.0],
        }
        assert all(float(v.stderr.max()) == 0 for v in e.values())


def test_a_variable_outside_a_cumulant_is_an_error_that_shows_it() -> None:
    x = _var(torch.arange(3.0), "x")
    with pytest.raises(rc.RandomVariableError, match=r"'x'.* is under no Cumulant") as caught:
        rc.estimate(rc.Add(rc.Cumulant(x), x.scale(2.0, name="doubled"), name="top"), n=10)
    assert "'doubled' [] Einsum" in str(caught.value)


def test_a_free_symbol_is_an_error() -> None:
    s = rc.Symbol.new_from_name((), "s")
    with pytest.raises(rc.UnboundSymbolError, match="'s' is not bound"):
        rc.estimate(rc.Cumulant(s), n=10)


def test_nested_cumulants_are_an_error() -> None:
    x = _var(torch.arange(3.0), "x")
    inner = rc.Cumulant(x, name="inner")
    with pytest.raises(rc.EstimateError, match="a cumulant is inside another") as caught:
        rc.estimate(rc.Cumulant(x.mul(inner)), n=10)
    assert "'inner'" in str(caught.value)


def test_arguments_that_make_no_sense_are_errors() -> None:
    x = rc.Cumulant(_var(torch.arange(3.0), "x"))
    for options in ({}, {"n": 10, "spec": rc.RandomSampleSpec((10,))}):
        with pytest.raises(rc.EstimateError, match="either n or a spec"):
            rc.estimate(x, **options)
    with pytest.raises(rc.EstimateError, match="at least one draw"):
        rc.estimate(x, n=0)
    with pytest.raises(rc.EstimateError, match="batch_size"):
        rc.estimate(x, n=1, batch_size=0)
    with pytest.raises(rc.EstimateError, match="level is a coverage"):
        rc.estimate(x, n=10).interval(95)


def test_a_vector_is_not_one_number() -> None:
    with pytest.raises(rc.EstimateError, match=r"shape \(2,\), it is not one number"):
        float(rc.estimate(rc.Cumulant(_var(torch.ones(3, 2), "x")), n=10))


def test_very_few_draws_have_infinite_errors() -> None:
    x = _var(torch.arange(3.0), "x")
    e = rc.estimate({"mean": rc.Cumulant(x), "variance": rc.Cumulant(x, x)}, n=2)
    assert float(e["variance"].stderr) == float("inf")
    assert float(rc.estimate(rc.Cumulant(x), n=1).stderr) == float("inf")
    with pytest.raises(rc.EstimateError, match="cannot be estimated"):
        e.covariance("mean", "variance")


def test_the_mean_of_integers_is_not_rounded() -> None:
    """A cumulant of integers is no integer: like a scalar it is float64 on its own."""
    dice = rc.DiscreteVar(rc.Array(torch.arange(1, 7)), name="dice")
    mean = rc.Cumulant(dice)
    assert mean.dtype is None
    assert rc.Cumulant(dice.values).evaluate().dtype == torch.float64
    exact = rc.estimate(mean, spec=rc.RunDiscreteVarAllSpec([dice.probs_and_group]))
    assert float(exact.value) == 3.5


def test_nothing_to_estimate_gives_no_estimates() -> None:
    assert dict(rc.estimate({}, n=3)) == {}


def test_one_infinite_draw_makes_the_mean_infinite_wherever_it_comes() -> None:
    """Not undefined: sums are about a shift, which must not be infinite itself."""
    x = _var(torch.tensor([1.0, float("inf")]), "x")
    draws = rc.Sampler(rc.RandomSampleSpec((100,))).sample(x).evaluate()
    assert draws[:16].isinf().any()
    assert all(float(rc.estimate(rc.Cumulant(x), n=100, batch_size=size)) == float("inf") for size in (1, 7, 64))


def test_the_mean_of_large_numbers_close_together_keeps_its_digits() -> None:
    """Sums are about a shift near the mean: the variance of 1e9 + {0, 1, 2} is that of {0, 1, 2}."""
    x = _var(torch.arange(3.0, dtype=torch.float64) + 1e9, "x")
    exact = rc.estimate(rc.Cumulant(x, x), spec=rc.RunDiscreteVarAllSpec([x.probs_and_group]), batch_size=1)
    assert float(exact) == pytest.approx(2 / 3, rel=1e-12)
