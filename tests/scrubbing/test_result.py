"""`Result`: intervals, printing, cumulants, and what it says about how it came about."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

import scrub as rc
from scrub.hypothesis import (
    CondSampler,
    Correspondence,
    Dataset,
    ExactSampler,
    Experiment,
    FuncSampler,
    Hypothesis,
    InterpNode,
    Source,
    Stream,
    UncondSampler,
    corr_root_matcher,
)
from scrub.hypothesis.result import Result
from scrub.hypothesis.statistics.intervals import wilson_interval
from tests.scrubbing.noisy_copy import chances, expected, experiment, loss_table, model, rows


def test_means_and_their_covariance() -> None:
    found = experiment("group").run(500)
    table = np.stack([values.numpy() for values in found.values.values()])
    covariance = np.cov(table) / 500
    assert float(found.estimate()) == pytest.approx(table[0].mean())
    assert float(found.estimate("large").stderr) == pytest.approx(math.sqrt(covariance[1, 1]))
    assert float(found.estimates.covariance("loss", "large")) == pytest.approx(covariance[0, 1])


def test_the_interval_fits_the_metric() -> None:
    found = experiment("group").run(500)
    low, high = found.interval("loss", level=0.9)
    assert (low, high) == tuple(map(float, found.estimate("loss").interval(0.9)))
    assert found.interval("large", level=0.9) == wilson_interval(float(found.values["large"].mean()), 500, 0.9)


def test_a_metric_of_ones_is_not_certain() -> None:
    ones = Result("a", {"accuracy": torch.ones(40, dtype=torch.float64)}, torch.arange(40), None, {"seed": 1})
    assert ones.interval("accuracy")[0] == pytest.approx(40 / (40 + 1.959963984540054**2))
    assert repr(ones) == "a: accuracy 1 (0.91 to 1) (95%, n=40, seed=1)"


def test_it_prints_on_one_line() -> None:
    text = repr(experiment("group").run(500, seed=3))
    assert "\n" not in text
    assert text.startswith("group: loss 0.")
    assert text.endswith("(95%, n=500, seed=3)")
    assert repr(experiment("group").run(1)).startswith("group: loss ")


def test_an_unknown_metric() -> None:
    found = experiment("group").run(10)
    for ask in (found.estimate, found.interval, found.cumulant, found.metric):
        with pytest.raises(rc.HypothesisError, match="'group' has no metric 'acc'") as caught:
            ask("acc")
        assert "hint: there are 'loss', 'large'; " in str(caught.value)


def test_cumulants_are_those_of_the_exact_law() -> None:
    """The joint law of loss and whether it is large, over reference and draw, summed up over all pairs of rows."""
    found = experiment("group").run(200_000, step=65536)
    weights, loss = chances("group"), loss_table()
    centred = [loss - expected("group", loss), (loss > 1).double() - expected("group", (loss > 1).double())]

    def moment(*powers: int) -> float:
        return float((weights * centred[0] ** powers[0] * centred[1] ** powers[1]).sum())

    exact = {
        ("loss", "loss"): moment(2, 0),
        ("loss", "large"): moment(1, 1),
        ("loss", "loss", "large"): moment(2, 1),
        ("loss", "loss", "loss"): moment(3, 0),
        ("large", "large", "large", "large"): moment(0, 4) - 3 * moment(0, 2) ** 2,
    }
    estimates = found.cumulants(list(exact))
    for metrics, value in exact.items():
        estimate = estimates[", ".join(metrics)]
        assert abs(float(estimate) - value) < 4 * float(estimate.stderr)
        assert float(estimate.stderr) < 0.05 * abs(value) + 0.01
    assert float(found.cumulant("loss")) == pytest.approx(float(found.estimate("loss")))


def test_info_is_plain_and_complete() -> None:
    found = experiment("group").run(10, seed=4, reference_seed=5)
    info = found.info
    assert json.loads(json.dumps(info)) == info
    assert info["model"] == model().digest
    assert info["dataset"] == info["references"] == Dataset(rows(), inputs=["copy", "y"]).digest
    assert (info["seed"], info["reference_seed"], info["n"]) == (4, 5, 10)
    assert (info["unimportant"], info["handed_down"], info["metrics"]) == ("node", "drawn", ["loss", "large"])
    assert info["versions"]["torch"] == torch.__version__
    assert info["versions"]["scrub"] == rc.__version__
    assert (info["device"], info["supplied"], info["name"]) == ("cpu", {}, "group")
    assert list(info["conditions"]) == ["copy"]
    assert "group" in info["hypothesis"]


def test_info_is_that_of_the_same_run_and_of_no_other() -> None:
    first = experiment("group").run(5).info
    assert first == experiment("group").run(5, batch_size=2, step=3).info
    assert first["first_draws"] == experiment("group").run(3).info["first_draws"]
    assert first["first_draws"] != experiment("group").run(5, seed=1).info["first_draws"]
    supplied = experiment("group").run(5, draws={"copy": torch.arange(5)}).info
    assert list(supplied["supplied"]) == ["copy"]
    other = experiment("group").run(5, draws={"copy": torch.arange(5) + 1}).info
    assert supplied["supplied"] != other["supplied"]


def test_a_changed_function_of_the_same_name_is_noticed() -> None:
    def info(threshold: float) -> dict[str, object]:
        sampler = FuncSampler(lambda data: data["y"] > threshold, name="large y")
        return dict(experiment("group", sampler=sampler).run(5).info)

    assert info(0.0) == info(0.0)
    assert info(0.0)["conditions"] != info(0.1)["conditions"]
    assert info(0.0)["hypothesis"] == info(0.1)["hypothesis"]


class Shifted(CondSampler):
    """A sampler of a user's own."""

    def __init__(self, by: int) -> None:
        self.by = by

    def draw(self, given: torch.Tensor, source: Source, stream: Stream) -> torch.Tensor:
        return (given + self.by) % source.size

    def __repr__(self) -> str:
        return "Shifted()"


def test_a_changed_sampler_of_a_users_own_is_noticed() -> None:
    found = [experiment("group", sampler=Shifted(by)).run(5).info for by in (1, 1, 2)]
    assert found[0] == found[1]
    assert found[0]["first_draws"] != found[2]["first_draws"]


def test_a_hypothesis_without_text_says_why() -> None:
    """Functions print with their address, which would differ in every process."""
    infos = [experiment("group", sampler=Shifted(1)).run(2).info for _ in range(2)]
    assert infos[0]["text_problem"]
    assert "InterpNode 'copy': Shifted()" in infos[0]["hypothesis"]
    corr = Correspondence()
    corr.add(InterpNode(ExactSampler(), "root"), corr_root_matcher)
    node = corr.root.make_descendant(UncondSampler(), "copy")
    corr.add(node, rc.Matcher(lambda expr: expr.name == "copy"))
    data = Dataset(rows(), inputs=["copy", "y"])
    assert "0x" not in Experiment(model(), data, Hypothesis(corr)).run(2).info["hypothesis"]


def test_other_references_are_told_apart() -> None:
    data = Dataset(rows(), inputs=["copy", "y"])
    corr = experiment("group").hypothesis.correspondence
    found = Experiment(model(), data, corr, references=data.take(range(10))).run(5)
    assert found.info["references"] == data.take(range(10)).digest != found.info["dataset"]
