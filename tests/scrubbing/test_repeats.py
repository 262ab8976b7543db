"""Several seeds: their spread against the exact error of a mean, and what they say together."""

from __future__ import annotations

import math

import pytest
import torch

from scrub import HypothesisError
from scrub.hypothesis import UncondTogetherSampler
from scrub.hypothesis.result import Result
from scrub.hypothesis.statistics.repeats import SeedRuns
from tests.scrubbing.noisy_copy import expected, experiment, loss_table


def exact_deviation(name: str) -> float:
    loss = loss_table()
    return math.sqrt(expected(name, loss**2) - expected(name, loss) ** 2)


def test_seeds_spread_as_errors_say() -> None:
    runs = experiment("group").run_seeds(400, seeds=range(60))
    assert list(runs) == list(range(60))
    assert torch.equal(runs[7].values["loss"], experiment("group").run(400, seed=7).values["loss"])
    exact = exact_deviation("group") / 20
    assert runs.spread() == pytest.approx(exact, rel=0.3)  # from 60 numbers: 9%
    pooled = runs.pooled()
    assert (pooled.n, float(pooled)) == (60 * 400, pytest.approx(float(runs.means().mean())))
    assert float(pooled.stderr) == pytest.approx(exact / math.sqrt(60), rel=0.1)
    assert abs(float(pooled) - expected("group", loss_table())) < 4 * float(pooled.stderr)
    between = runs.pooled(between=True)
    assert (between.n, float(between.stderr)) == (60, pytest.approx(runs.spread() / math.sqrt(60)))
    assert 0.001 < runs.consistency() < 0.999


def test_draws_that_a_run_shares_show_between_seeds() -> None:
    """All references read one copy: its mean over y is what each seed finds, and no run's own error knows of it."""
    runs = experiment("shared", sampler=UncondTogetherSampler()).run_seeds(2000, seeds=range(30))
    exact = float(loss_table().mean(0).std(correction=0))
    assert runs.spread() == pytest.approx(exact, rel=0.4)
    assert runs.consistency() < 1e-10
    assert float(runs.pooled().stderr) < 0.2 * float(runs.pooled(between=True).stderr)
    truth = float(loss_table().mean())
    low, high = runs.pooled(between=True).interval(0.999)
    assert low < truth < high


def test_seeds_that_share_references_count_them_once() -> None:
    runs = experiment("original").run_seeds(100, seeds=[1, 2, 3], reference_seed=0)
    assert runs.spread() == 0  # nothing is resampled, so the runs are one
    assert (runs.pooled().n, float(runs.pooled().stderr)) == (100, pytest.approx(float(runs[1].estimate().stderr)))


def test_consistency_in_closed_form() -> None:
    """Two means d apart with equal errors e: chi-squared d^2 / (2 e^2) of one degree of freedom."""

    def run(*values: float) -> Result:
        return Result("a", {"loss": torch.tensor(values, dtype=torch.float64)}, torch.tensor(values).long(), None, {})

    runs = SeedRuns({0: run(0, 2), 1: run(3, 5)})
    assert runs.consistency() == pytest.approx(math.erfc(3 / math.sqrt(2) / math.sqrt(2)))
    assert SeedRuns({0: run(1, 1), 1: run(2, 2)}).consistency() == 0
    assert SeedRuns({0: run(1, 1), 1: run(1, 1)}).consistency() == 1


def test_one_seed_and_none() -> None:
    runs = experiment("group").run_seeds(20, seeds=[4], keep_draws=True)
    assert (runs.spread(), runs.consistency()) == (math.inf, 1)
    assert runs[4].draws is not None
    assert "loss: pooled" in repr(runs)
    assert "spread between seeds inf" in repr(runs)
    with pytest.raises(HypothesisError, match="no seeds were given"):
        experiment("group").run_seeds(20, seeds=[])
