"""Intervals and p-values are honest: over many repetitions of small experiments whose answers are sums over rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch

from scrub.hypothesis import CondSampler, Dataset, FuncSampler, Metric, UncondSampler
from scrub.hypothesis.lockstep import run_all
from scrub.hypothesis.result import Result
from scrub.hypothesis.results import Results
from scrub.hypothesis.statistics.comparison import compare
from scrub.hypothesis.statistics.variance import split_of
from tests.scrubbing.noisy_copy import SAMPLERS, chances, expected, experiment, loss_table

REPETITIONS = 500
ENDS = {"original": "original", "baseline": "baseline"}
EXACT = {name: expected(name, loss_table()) for name in SAMPLERS}
RECOVERED = (EXACT["baseline"] - EXACT["group"]) / (EXACT["baseline"] - EXACT["original"])


def pieces(result: Result, size: int) -> list[Result]:
    """One long run as runs of independent references."""
    return [
        Result(
            result.name,
            {name: values[at : at + size] for name, values in result.values.items()},
            result.references[at : at + size],
            None,
            {**result.info, "n": size},
        )
        for at in range(0, result.n, size)
    ]


def with_common_part(values: torch.Tensor, references: Dataset) -> torch.Tensor:
    """The loss plus something about the reference that no hypothesis changes."""
    return values + 5 * references["y"]


def repetitions(size: int, *, seed: int, metrics: dict[str, Metric] | None = None) -> list[Results]:
    """Independent repetitions of the three hypotheses on the same references."""
    experiments = [experiment(name, metrics=metrics) for name in SAMPLERS]
    every = run_all(experiments, REPETITIONS * size, seed=seed, step=65536)
    parts = {name: pieces(result, size) for name, result in every.items()}
    return [Results({name: part[i] for name, part in parts.items()}) for i in range(REPETITIONS)]


def share(intervals: Iterable[tuple[object, object]], truth: float) -> float:
    """How many intervals hold it."""
    holds = [float(low) <= truth <= float(high) for low, high in intervals]  # pyright: ignore
    return sum(holds) / len(holds)


def check_coverage(found: list[Results]) -> None:
    """95% intervals hold the exact value in 93 to 97 of 100 repetitions."""
    for name in SAMPLERS:
        large = expected(name, (loss_table() > 1).double())
        assert 0.93 <= share([r[name].interval("loss") for r in found], EXACT[name]) <= 0.97
        # of 500 repetitions of an exact 95%, one in 25 is outside 93 to 97, and these are many: 3.5 standard errors
        assert 0.916 <= share([r[name].interval("large") for r in found], large) <= 0.984
        assert 0.76 <= share([r[name].interval("loss", level=0.8) for r in found], EXACT[name]) <= 0.84
    difference = EXACT["group"] - EXACT["baseline"]
    assert 0.93 <= share([r.compare("group", "baseline").interval() for r in found], difference) <= 0.97
    assert 0.93 <= share([r.loss_recovered("group", **ENDS).interval() for r in found], RECOVERED) <= 0.97


def test_intervals_cover_the_exact_values() -> None:
    """500 repetitions of 1,000 references, one after another of one run."""
    check_coverage(repetitions(1000, seed=0))


@pytest.mark.slow
def test_intervals_cover_over_seeds() -> None:
    """The same with a run for each repetition, as a user repeats an experiment: by its seed."""
    experiments = {name: experiment(name) for name in SAMPLERS}
    check_coverage([run_all(experiments, 1000, seed=seed) for seed in range(REPETITIONS)])


@pytest.mark.slow
def test_intervals_of_a_variance_cover_it() -> None:
    """Of the loss, from a jackknife; squares of a skewed loss are more skewed, so they need more references."""
    exact = expected("group", loss_table() ** 2) - EXACT["group"] ** 2
    run = experiment("group").run(REPETITIONS * 8000, seed=3, step=65536)
    assert 0.92 <= share([part.cumulant("loss", "loss").interval() for part in pieces(run, 8000)], exact) <= 0.97


def test_intervals_of_variance_components_cover_them() -> None:
    weights, loss = chances("group") * len(loss_table()), loss_table()
    means = (weights * loss).sum(1)
    exact = {
        "reference": float(means.var(correction=0)),
        "resampling": float(((weights * loss**2).sum(1) - means**2).mean()),
    }
    size = 4000
    runs = [
        experiment("group").run(REPETITIONS * size, seed=seed, reference_seed=0, step=65536).values["loss"]
        for seed in (0, 1)
    ]
    splits = [split_of(run, metric="loss", seed=0) for run in zip(*(run.split(size) for run in runs), strict=True)]
    for name, truth in exact.items():
        assert 0.92 <= share([split.components[name].interval() for split in splits], truth) <= 0.97


def twins(sampler: Callable[[], CondSampler], *, size: int, seed: int) -> list[tuple[Result, Result]]:
    """The same hypothesis twice, with draws of its own each time: there is no difference."""
    first = experiment("group", sampler=sampler()).run(REPETITIONS * size, seed=seed, reference_seed=0, step=65536)
    second = experiment("group", sampler=sampler()).run(REPETITIONS * size, seed=seed + 1, reference_seed=0, step=65536)
    return list(zip(pieces(first, size), pieces(second, size), strict=True))


@pytest.mark.parametrize("sampler", [UncondSampler, lambda: FuncSampler("group")])
def test_p_values_are_uniform_where_nothing_differs(sampler: Callable[[], CondSampler]) -> None:
    pairs = twins(sampler, size=500, seed=5)
    found = [compare(a, b) for a, b in pairs]
    uniform = torch.arange(1, REPETITIONS + 1, dtype=torch.float64) / REPETITIONS
    for p_values in ([c.p_value for c in found], [c.p_a_better for c in found]):
        ordered = torch.tensor(p_values, dtype=torch.float64).sort().values
        distance = float(torch.maximum(uniform - ordered, ordered - uniform + 1 / REPETITIONS).max())
        assert distance < 1.63 / REPETITIONS**0.5  # Kolmogorov: exceeded once in a hundred
    assert 0.03 <= sum(c.p_value < 0.05 for c in found) / REPETITIONS <= 0.07


def test_power_is_what_the_error_says() -> None:
    """With a true difference of d errors, a one-sided test at 5% finds it with probability Phi(d - 1.68)."""
    size = 40
    a = experiment("group").run(REPETITIONS * size, seed=1)
    b = experiment("baseline").run(REPETITIONS * size, seed=1)
    large = (loss_table() > 1).double()
    deviation = float((b.values["large"] - a.values["large"]).std())
    distance = (expected("baseline", large) - expected("group", large)) / deviation * size**0.5
    predicted = float(torch.special.ndtr(torch.tensor(distance - 1.6849)))  # Student's 5% point, 39 degrees of freedom
    pairs = zip(pieces(a, size), pieces(b, size), strict=True)
    seen = [compare(*pair, metric="large").p_a_better < 0.05 for pair in pairs]
    assert 0.3 < predicted < 0.99
    assert sum(seen) / REPETITIONS == pytest.approx(predicted, abs=0.06)


def test_pairing_saves_references() -> None:
    """The factor foretells how much less loss recovered spreads with shared references than with separate ones."""
    size, metrics = 500, {"hard": with_common_part}
    found = repetitions(size, seed=9, metrics=metrics)
    options = {**ENDS, "metric": "hard"}
    paired = torch.tensor([float(r.loss_recovered("group", **options)) for r in found])
    apart = {
        name: experiment(name, metrics=metrics).run(REPETITIONS * size, seed=seed, step=65536).values["hard"]
        for seed, name in enumerate(SAMPLERS, start=20)
    }
    means = {name: values.reshape(REPETITIONS, size).mean(1) for name, values in apart.items()}
    unpaired = (means["baseline"] - means["group"]) / (means["baseline"] - means["original"])
    factor = float(unpaired.var() / paired.var())
    claimed = torch.tensor([r.pairing_factor("group", **options) for r in found]).mean()
    assert float(claimed) == pytest.approx(factor, rel=0.25)
    assert factor > 3


@pytest.mark.parametrize("size", [30, 100])
def test_few_references_of_a_skewed_loss(size: int) -> None:
    """Where the normal interval holds the truth in 88 to 92 of 100 cases, skewness and ratios are allowed for."""
    found = repetitions(size, seed=4)
    for name in SAMPLERS:
        seen = share([r[name].interval("loss") for r in found], EXACT[name])
        plain = share([normal_interval(r[name].values["loss"]) for r in found], EXACT[name])
        assert 0.915 <= seen <= 0.975
        assert seen > plain
    recovered = [r.loss_recovered("group", **ENDS, level=0.9).interval(0.95) for r in found]
    assert 0.92 <= share(recovered, RECOVERED) <= 0.975


def normal_interval(values: torch.Tensor) -> tuple[float, float]:
    mean, half = float(values.mean()), 1.96 * float(values.std()) / len(values) ** 0.5
    return mean - half, mean + half
