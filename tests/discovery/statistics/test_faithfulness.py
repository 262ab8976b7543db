"""Faithfulness and completeness: arithmetic by hand, what is undefined, intervals."""

import math

import numpy as np
import pytest
import torch

from scrub.discovery.statistics import bootstrap, completeness, faithfulness
from scrub.graph import DiscoveryError, UndefinedRatioError
from scrub.hypothesis.statistics.means import estimates_of, recovered


def runs(n: int = 30, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Metric of circuit, clean and corrupted run; about 70% is kept."""
    noise = torch.randn(3, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    clean, corrupt = 3 + noise[0], -1 + 0.5 * noise[1]
    return corrupt + 0.7 * (clean - corrupt) + 0.2 * noise[2], clean, corrupt


def test_conventions_by_hand():
    circuit, clean, corrupt = runs()
    c, a, b = (each.numpy() for each in (circuit, clean, corrupt))
    of_means = faithfulness(circuit, clean=clean, corrupt=corrupt)
    of_ratios = faithfulness(circuit, clean=clean, corrupt=corrupt, convention="mean of ratios")
    assert float(of_means) == pytest.approx((c.mean() - b.mean()) / (a.mean() - b.mean()))
    assert float(of_ratios) == pytest.approx(np.mean((c - b) / (a - b)))
    assert float(of_means) != pytest.approx(float(of_ratios), rel=1e-4)
    assert (of_means.convention, of_ratios.convention) == ("ratio of means", "mean of ratios")
    assert "ratio of means" in repr(of_means)
    assert "mean of ratios" in repr(of_ratios)


def test_it_is_loss_recovered_by_other_names():
    """Whatever the direction of the metric, with the same error to first order (that one by the delta method)."""
    circuit, clean, corrupt = runs(n=300)
    found = faithfulness(circuit, clean=clean, corrupt=corrupt, n_resamples=4000)
    estimates = estimates_of({"circuit": circuit, "clean": clean, "corrupt": corrupt}, seed=None)
    expected = recovered(estimates, "circuit", original="clean", baseline="corrupt")
    assert float(found) == pytest.approx(float(expected))
    assert found.estimate is not None
    assert float(found.estimate.stderr) == pytest.approx(float(expected.stderr), rel=0.05)
    for end, other in zip(found.interval(), expected.interval(), strict=True):
        assert float(end) == pytest.approx(float(other), abs=0.3 * float(expected.stderr))


@pytest.mark.parametrize("convention", ["ratio of means", "mean of ratios"])
def test_ends_and_beyond(convention):
    _, clean, corrupt = runs()
    circuits = torch.stack([clean, corrupt, 2 * clean - corrupt, 2 * corrupt - clean])
    found = faithfulness(circuits, clean=clean, corrupt=corrupt, convention=convention)
    torch.testing.assert_close(found.value, torch.tensor([1.0, 0.0, 2.0, -1.0], dtype=torch.float64))
    low, high = found.interval()
    torch.testing.assert_close(low, found.value)
    torch.testing.assert_close(high, found.value)


def test_units_and_sign_of_the_metric_do_not_matter():
    circuit, clean, corrupt = runs()
    first = faithfulness(circuit, clean=clean, corrupt=corrupt)
    second = faithfulness(5 - 3 * circuit, clean=5 - 3 * clean, corrupt=5 - 3 * corrupt)
    torch.testing.assert_close(torch.stack(first.interval()), torch.stack(second.interval()))
    assert float(first) == pytest.approx(float(second))


def test_several_circuits_are_each_alone():
    circuits = torch.stack([runs(seed=seed)[0] for seed in range(3)])
    _, clean, corrupt = runs()
    together = faithfulness(circuits, clean=clean, corrupt=corrupt, seed=4)
    for i, circuit in enumerate(circuits):
        alone = faithfulness(circuit, clean=clean, corrupt=corrupt, seed=4)
        assert float(together.value[i]) == pytest.approx(float(alone))
        torch.testing.assert_close(torch.stack(together.interval())[:, i], torch.stack(alone.interval()))


def test_interval_is_the_bootstrap_of_its_formula():
    circuit, clean, corrupt = runs()
    found = faithfulness(circuit, clean=clean, corrupt=corrupt, n_resamples=500, method="percentile", seed=2)
    columns = {"c": circuit, "a": clean, "b": corrupt}
    expected = bootstrap(
        columns,
        lambda x: (x["c"].mean(-1) - x["b"].mean(-1)) / (x["a"].mean(-1) - x["b"].mean(-1)),
        n_resamples=500,
        method="percentile",
        seed=2,
    )
    torch.testing.assert_close(torch.stack(found.interval(0.8)), torch.stack(expected.interval(0.8)))


def test_completeness_is_that_of_the_complement():
    circuit, clean, corrupt = runs()
    found = completeness(circuit, clean=clean, corrupt=corrupt, convention="mean of ratios")
    same = faithfulness(circuit, clean=clean, corrupt=corrupt, convention="mean of ratios")
    assert (found.name, float(found)) == ("completeness", float(same))
    with pytest.raises(UndefinedRatioError, match="completeness is undefined"):
        completeness(circuit, clean=clean, corrupt=clean)


def test_gap_within_its_error():
    clean, corrupt = torch.linspace(-1, 1.2, 20, dtype=torch.float64), torch.zeros(20)
    with pytest.raises(UndefinedRatioError) as error:
        faithfulness(clean, clean=clean, corrupt=corrupt)
    gap = clean - corrupt
    message = str(error.value)
    assert (
        f"differ by {gap.mean():.4g}, within the error of that difference ({gap.std() / math.sqrt(20):.4g})" in message
    )
    assert "hint: more examples" in message


def test_where_the_gap_begins_to_count():
    """At 1.9 standard errors with 10 examples (Student's quantile is 2.26) there is none, at 2.6 there is."""
    shape = torch.linspace(-1, 1, 10, dtype=torch.float64)
    error = shape.std() / math.sqrt(10)
    corrupt = torch.zeros(10)
    for distance, is_defined in ((1.9, False), (2.2, False), (2.3, True), (2.6, True)):
        clean = shape + distance * error
        assert (faithfulness(clean, clean=clean, corrupt=corrupt, undefined="nan").reason is None) == is_defined
    clean = shape + 2.6 * error
    assert faithfulness(clean, clean=clean, corrupt=corrupt, undefined="nan", level=0.99).reason is not None


def test_undefined_as_nan_with_a_reason():
    clean = torch.ones(5)
    found = faithfulness(torch.zeros(2, 5), clean=clean, corrupt=clean, undefined="nan")
    assert found.value.isnan().all()
    assert found.value.shape == (2,)
    assert found.estimate is None
    assert all(end.isnan().all() for end in found.interval())
    assert "differ by 0" in str(found.reason)
    assert repr(found).startswith("faithfulness is undefined: clean and corrupted metric differ by 0")


def test_one_example_has_no_error():
    with pytest.raises(UndefinedRatioError, match="one example has no error"):
        faithfulness(torch.ones(1), clean=torch.ones(1), corrupt=torch.zeros(1))


def test_mean_of_ratios_with_an_example_without_gap():
    circuit, clean, corrupt = (each.float() for each in runs())
    corrupt[[3, 8]] = clean[[3, 8]]
    with pytest.raises(UndefinedRatioError, match="equal on 2 of 30 examples, first 3"):
        faithfulness(circuit, clean=clean, corrupt=corrupt, convention="mean of ratios")
    assert faithfulness(circuit, clean=clean, corrupt=corrupt).reason is None


@pytest.mark.parametrize(
    ("circuit", "clean", "corrupt"), [((4,), (5,), (5,)), ((5,), (5,), (4,)), ((), (5,), (5,)), ((0,), (0,), (0,))]
)
def test_numbers_of_other_examples(circuit: tuple[int, ...], clean: tuple[int, ...], corrupt: tuple[int, ...]):
    with pytest.raises(DiscoveryError, match=r"are not of the same examples\nhint: one number for each") as error:
        faithfulness(torch.zeros(circuit), clean=torch.zeros(clean), corrupt=torch.zeros(corrupt))
    assert error.value.found == (circuit, clean, corrupt)


@pytest.mark.parametrize("name", ["circuit", "clean", "corrupt"])
def test_nan(name: str):
    named = dict(zip(("circuit", "clean", "corrupt"), runs(), strict=True))
    named[name][7] = torch.nan
    with pytest.raises(DiscoveryError, match=f"the {name} metric is NaN at example 7\nhint: "):
        faithfulness(named["circuit"], clean=named["clean"], corrupt=named["corrupt"])


def test_choices_that_are_not_there():
    circuit, clean, corrupt = runs()
    with pytest.raises(DiscoveryError, match="convention 'means'"):
        faithfulness(circuit, clean=clean, corrupt=corrupt, convention="means")  # type: ignore[arg-type]
    with pytest.raises(DiscoveryError, match="undefined='zero'"):
        faithfulness(circuit, clean=clean, corrupt=corrupt, undefined="zero")  # type: ignore[arg-type]
