"""Several experiments at once: on the same references, until a target is reached."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from scrub import HypothesisError
from scrub.hypothesis.lockstep import run_all, run_until
from scrub.hypothesis.result import Result
from scrub.hypothesis.running import PartialResultWarning
from tests.scrubbing.noisy_copy import SAMPLERS, expected, experiment, loss_table


def test_each_result_is_that_of_its_own_run() -> None:
    results = run_all([experiment(name) for name in SAMPLERS], 50, seed=3, step=20, keep_draws=True)
    assert list(results) == list(SAMPLERS)
    for name, result in results.items():
        alone = experiment(name).run(50, seed=3, step=20)
        assert torch.equal(result.values["loss"], alone.values["loss"])
        assert result.draws is not None


def test_a_target_for_loss_recovered() -> None:
    experiments = {name: experiment(name) for name in SAMPLERS}
    options = {"original": "original", "baseline": "baseline"}
    results = run_until(experiments, target_stderr=0.01, n=100_000, step=250, **options)
    found = results.loss_recovered("group", **options)
    assert float(found.stderr) <= 0.01
    n = results["group"].n
    assert n % 250 == 0
    before = run_all(experiments, n - 250).loss_recovered("group", **options)
    assert float(before.stderr) > 0.01
    o, b, s = (expected(name, loss_table()) for name in ("original", "baseline", "group"))
    assert abs(float(found) - (b - s) / (b - o)) < 4 * float(found.stderr)


def test_a_target_for_a_mean() -> None:
    experiments = {name: experiment(name) for name in SAMPLERS}
    results = run_until(experiments, target_stderr=0.02, n=100_000, metric="large", step=100)
    errors = [float(result.estimate("large").stderr) for result in results.values()]
    assert 0.015 < max(errors) <= 0.0201
    assert run_until(experiments, target_stderr=0.0, n=150, step=100)["group"].n == 150


def test_a_gap_that_is_undefined_is_no_target_reached() -> None:
    experiments = {name: experiment(name) for name in ("original", "group")} | {"same": experiment("original")}
    results = run_until(experiments, target_stderr=10.0, n=300, step=100, original="original", baseline="same")
    assert results["group"].n == 300


def test_an_interrupt_leaves_paired_results() -> None:
    def stops(done: int, n: int) -> None:
        raise KeyboardInterrupt

    with pytest.warns(PartialResultWarning, match="the first 20 of 50 references"):
        results = run_all([experiment(name) for name in SAMPLERS], 50, step=20, progress=stops)
    assert {result.n for result in results.values()} == {20}
    assert results.compare("group", "baseline").difference.n == 20

    calls: list[int] = []

    def interrupts(values: torch.Tensor, references: object) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return values

    second = experiment("group", metrics={"loss": interrupts})
    with pytest.warns(PartialResultWarning, match="the first 20 of 50"):
        results = run_all({"first": experiment("original"), "second": second}, 50, step=20)
    assert {result.n for result in results.values()} == {20}  # the first had done one step more
    assert results.compare("first", "second").difference.n == 20


def test_a_folder_keeps_what_is_done(tmp_path: Path) -> None:
    def stops(done: int, n: int) -> None:
        if done >= 40:
            raise KeyboardInterrupt

    experiments = {"a/b": experiment("group"), "original": experiment("original")}
    with pytest.raises(KeyboardInterrupt):
        run_all(experiments, 50, step=20, folder=tmp_path / "runs", progress=stops)
    files = sorted((tmp_path / "runs").iterdir())
    assert [file.name for file in files] == ["a%2Fb.sqlite", "original.sqlite"]
    assert [Result.load(file).n for file in files] == [40, 40]
    results = run_all(experiments, 50, step=20, folder=tmp_path / "runs")
    assert torch.equal(results["a/b"].values["loss"], experiment("group").run(50, step=20).values["loss"])


def test_what_is_refused() -> None:
    with pytest.raises(HypothesisError, match="several hypotheses have one name"):
        run_all([experiment("group"), experiment("group")], 5)
    with pytest.raises(HypothesisError, match="no experiments were given"):
        run_all([], 5)
    with pytest.raises(HypothesisError, match="one of them was not given"):
        run_until([experiment("group")], target_stderr=0.1, n=5, original="group")
    with pytest.raises(HypothesisError, match="there is no result 'orig'"):
        run_until([experiment("original")], target_stderr=0.1, n=5, original="orig", baseline="original")
