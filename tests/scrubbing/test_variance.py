"""The split of variance by source, against a model whose two components are known exactly."""

from __future__ import annotations

import math

import pytest
import torch

from scrub import HypothesisError
from scrub.graph import Add, Symbol
from scrub.hypothesis import Correspondence, Dataset, ExactSampler, Experiment, InterpNode, corr_root_matcher
from scrub.hypothesis.statistics.variance import split_of
from tests.scrubbing.noisy_copy import chances, experiment, loss_table


def additive(scale: float) -> tuple[Experiment, float, float]:
    """x + z with x of the reference and z of any row: the components are the variances of the two columns."""
    generator = torch.Generator().manual_seed(5)
    x, z = torch.randn(2, 30, generator=generator, dtype=torch.float64)
    z = scale * z
    corr = Correspondence()
    root = InterpNode(ExactSampler(), "sum")
    corr.add(root, corr_root_matcher)
    corr.add(root.make_descendant(ExactSampler(), "x"), "x")
    model = Add(*(Symbol.new_from_name((), name) for name in "xz"))
    exact = [float(column.var(correction=0)) for column in (x, z)]
    return Experiment(model, Dataset({"x": x, "z": z}), corr), exact[0], exact[1]


@pytest.mark.parametrize("scale", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("repeats", [2, 5])
def test_components_of_a_sum(scale: float, repeats: int) -> None:
    experiment, reference, resampling = additive(scale)
    split = experiment.variance_split(20_000, repeats=repeats, seed=1)
    assert abs(float(split.reference) - reference) < 4 * float(split.reference.stderr)
    assert abs(float(split.resampling) - resampling) < 4 * float(split.resampling.stderr)
    assert float(split.resampling) == pytest.approx(resampling, rel=0.05)
    assert split.share == pytest.approx(resampling / (reference + resampling), abs=0.05)
    of_mean = reference / 20_000 + resampling / (20_000 * repeats)
    assert float(split.mean.stderr) ** 2 == pytest.approx(of_mean, rel=0.1)
    assert sum(value for value, _ in split.of_mean.values()) == pytest.approx(of_mean, rel=0.1)
    assert split.stderr(n=100, repeats=3) == pytest.approx(math.sqrt((reference + resampling / 3) / 100), rel=0.05)


def test_components_where_references_differ_in_both() -> None:
    """Of (copy - y)^2, by enumeration: variance over y of the mean over copies, mean over y of the variance."""
    weights, loss = chances("group"), loss_table()
    given_y = weights * len(weights)
    means = (given_y * loss).sum(1)
    within = float(((given_y * loss**2).sum(1) - means**2).mean())
    split = experiment("group").variance_split(20_000, repeats=3)
    assert abs(float(split.reference) - float(means.var(correction=0))) < 4 * float(split.reference.stderr)
    assert abs(float(split.resampling) - within) < 4 * float(split.resampling.stderr)


def test_components_are_unbiased_and_their_errors_honest() -> None:
    """Over 400 splits of 50 references each: their mean is right, and so is the mean of their variances."""
    model, reference, resampling = additive(1.0)
    runs = [model.run(20_000, seed=i, reference_seed=0).values["loss"].reshape(400, 50) for i in range(2)]
    splits = [split_of([run[i] for run in runs], metric="loss", seed=0) for i in range(400)]
    for exact, found in (
        (reference, [split.reference for split in splits]),
        (resampling, [split.resampling for split in splits]),
    ):
        values = torch.tensor([float(estimate) for estimate in found])
        assert abs(float(values.mean()) - exact) < 4 * float(values.std()) / 20
        claimed = torch.tensor([float(estimate.stderr) ** 2 for estimate in found]).mean().sqrt()
        assert float(claimed) == pytest.approx(float(values.std()), rel=0.15)


def test_a_table_by_hand() -> None:
    split = split_of([torch.tensor([0.0, 2.0, 5.0]), torch.tensor([1.0, 2.0, 6.0])], metric="loss", seed=0)
    assert float(split.resampling) == pytest.approx((0.5 + 0 + 0.5) / 3)
    assert float(split.reference) == pytest.approx(float(torch.tensor([0.5, 2.0, 5.5]).var()) - 1 / 6)
    assert float(split.mean) == pytest.approx(8 / 3)


def test_where_only_one_source_varies() -> None:
    exact = experiment("original").variance_split(200)
    assert float(exact.resampling) == 0
    assert exact.share == 0
    assert "draw more references" in exact.advice
    constant = split_of([torch.ones(3), torch.ones(3)], metric="loss", seed=0)
    assert math.isnan(constant.share)
    assert constant.advice == "nothing varies"
    resampled = split_of(
        [torch.tensor([1.0, -1.0, 1.0, -1.0]), torch.tensor([-1.0, 1.0, -1.0, 1.0])], metric="a", seed=0
    )
    assert float(resampled.reference) == -1  # unbiased, so it may be negative
    assert resampled.share == 1
    assert "help nearly as much as more references" in resampled.advice
    assert repr(resampled).startswith(
        "variance of a (n=4, 2 draws each): reference -1 ± 0 (0%), resampling 2 ± 0 (100%)"
    )


def test_another_metric_and_too_few() -> None:
    assert experiment("group").variance_split(50, metric="large").metric == "large"
    with pytest.raises(HypothesisError, match="variance cannot be split with 1 draws for each of 50 references"):
        experiment("group").variance_split(50, repeats=1)
