"""`Experiment.run`: numbers against sums over all rows, targets, supplied draws, seeds."""

from __future__ import annotations

import pytest
import torch

from scrub import HypothesisError
from scrub.hypothesis import Dataset, Experiment
from scrub.hypothesis.statistics.intervals import standard_error
from tests.scrubbing.noisy_copy import SAMPLERS, expected, experiment, is_large, loss_table, model, rows


@pytest.mark.parametrize("name", SAMPLERS)
def test_means_are_those_summed_up_over_all_pairs_of_rows(name: str) -> None:
    found = experiment(name).run(40_000, seed=6)
    for metric, table in (("loss", loss_table()), ("large", (loss_table() > 1).double())):
        estimate = found.estimate(metric)
        assert abs(float(estimate) - expected(name, table)) < 4 * float(estimate.stderr)


def test_each_reference_has_the_value_of_its_rows() -> None:
    found = experiment("group").run(300, keep_draws=True)
    assert found.draws is not None
    assert torch.equal(found.draws["reference"], found.references)
    assert torch.equal(found.values["loss"], loss_table()[found.references, found.draws["copy"]])
    assert torch.equal(found.values["large"], (found.values["loss"] > 1).double())
    group = rows()["group"]
    assert torch.equal(group[found.references], group[found.draws["copy"]])


def test_no_number_depends_on_steps_and_batches() -> None:
    whole = experiment("group").run(100)
    for step, batch_size in ((1, 1), (7, 3), (100, 100), (1000, 7)):
        parts = experiment("group").run(100, step=step, batch_size=batch_size)
        assert torch.allclose(parts.values["loss"], whole.values["loss"], rtol=1e-13)
        assert torch.equal(parts.references, whole.references)


def test_draws_repeat_a_run() -> None:
    first = experiment("group").run(50, keep_draws=True)
    assert first.draws is not None
    again = experiment("group").run(50, seed=9, draws=first.draws, step=7)
    assert torch.equal(again.values["loss"], first.values["loss"])
    partly = experiment("group").run(50, seed=9, draws={"reference": first.references}, keep_draws=True)
    assert torch.equal(partly.references, first.references)
    assert partly.draws is not None
    assert not torch.equal(partly.draws["copy"], first.draws["copy"])


@pytest.mark.parametrize(
    ("draws", "message"),
    [
        ({"head": torch.zeros(5, dtype=torch.int64)}, "there is no draw 'head' to supply rows for"),
        ({"copy": torch.zeros(4, dtype=torch.int64)}, "the rows supplied for 'copy' are no rows of the dataset"),
        ({"copy": torch.zeros(5)}, "the rows supplied for 'copy' are no rows of the dataset"),
        ({"copy": torch.full((5,), 60)}, "the rows supplied for 'copy' are no rows of the dataset"),
    ],
)
def test_draws_that_are_none(draws: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(HypothesisError) as caught:
        experiment("group").run(5, draws=draws)
    assert message in str(caught.value)


def test_a_target_for_the_first_metric() -> None:
    found = experiment("group").run(100_000, target_stderr=0.03, step=100)
    before = found.values["loss"][: found.n - 100]
    assert found.n % 100 == 0
    assert standard_error(found.values["loss"]) <= 0.03 < standard_error(before)


def test_targets_by_metric() -> None:
    targets = {"large": 0.01, "loss": 1.0}
    found = experiment("group").run(100_000, target_stderr=targets, step=100)
    assert (
        float(found.estimate("large").stderr) <= 0.0101 < standard_error(found.values["large"][: found.n - 100]) + 1e-4
    )
    both = experiment("group").run(100_000, target_stderr={"large": 0.02, "loss": 0.02}, step=100)
    assert float(both.estimate("loss").stderr) <= 0.02
    assert both.n > experiment("group").run(100_000, target_stderr={"large": 0.02}, step=100).n
    assert experiment("group").run(150, target_stderr=1e-9).n == 150  # no more than asked for
    with pytest.raises(HypothesisError, match="there is no metric 'los' to reach a target for"):
        experiment("group").run(10, target_stderr={"los": 0.1})


def test_few_references_are_not_trusted_with_a_target() -> None:
    """Zeros alone seem to have no error."""
    data = Dataset(rows(), inputs=["copy", "y"])
    never = Experiment(
        model(), data, experiment("original").hypothesis, metrics={"never": lambda values, _: torch.zeros_like(values)}
    )
    assert never.run(10_000, target_stderr=0.005, step=10).n == 100  # Wilson's error of n zeros is 1 / (2 (n + 1))
    assert never.run(10_000, target_stderr=0.2, step=10).n == 70


def test_impossible_numbers() -> None:
    for options in ({"n": -1}, {"n": 5, "step": 0}, {"n": 5, "batch_size": 0}):
        with pytest.raises(HypothesisError, match=r"(n|step|batch_size) is (-1|0)"):
            experiment("group").run(**options)


def test_no_references() -> None:
    found = experiment("group").run(0)
    assert found.n == 0
    assert "n=0" in repr(found)


def test_a_metric_of_the_wrong_shape() -> None:
    with pytest.raises(HypothesisError, match=r"metric 'all' gave values of shape \[\] for 5 references"):
        experiment("group", metrics={"all": lambda values, _: values.mean()}).run(5)


def test_progress_is_told() -> None:
    seen: list[tuple[int, int]] = []
    experiment("group").run(25, step=10, progress=lambda done, n: seen.append((done, n)))
    assert seen == [(10, 25), (20, 25), (25, 25)]


def test_a_run_taken_step_by_step() -> None:
    running = experiment("group").start(25, step=10)
    assert running.result().n == 0
    while running.n < 25:
        running.advance()
    assert torch.equal(running.result().values["loss"], experiment("group").run(25, step=10).values["loss"])
    assert torch.equal(running.result(7).values["loss"], experiment("group").run(25, step=10).values["loss"][:7])


def test_metrics_see_the_reference() -> None:
    def of_reference(values: torch.Tensor, references: Dataset) -> torch.Tensor:
        return references["y"]

    found = experiment("baseline", metrics={"y": of_reference, "large": is_large}).run(30)
    assert torch.equal(found.values["y"], rows()["y"][found.references])
