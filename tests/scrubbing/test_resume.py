"""Runs that are interrupted: what they return, and that they go on to the numbers of a run that was not."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from scrub import Add, Array, Einsum, FileError, Symbol
from scrub.hypothesis import (
    Correspondence,
    Dataset,
    ExactSampler,
    Experiment,
    FuncSampler,
    Hypothesis,
    InterpNode,
    UncondSampler,
    corr_root_matcher,
)
from scrub.hypothesis.evaluation.stages import Stage
from scrub.hypothesis.result import Result
from scrub.hypothesis.running import PartialResultWarning
from tests.scrubbing.noisy_copy import experiment, is_large, model, rows

N, STEP = 50, 12  # the last step is shorter


def stops_after(references: int, error: type[BaseException] = KeyboardInterrupt) -> Callable[[int, int], None]:
    def progress(done: int, n: int) -> None:
        assert n >= done
        if done >= references:
            raise error

    return progress


def same(a: Result, b: Result) -> bool:
    """Bit for bit."""
    return torch.equal(a.references, b.references) and all(
        torch.equal(a.values[name].view(torch.int64), b.values[name].view(torch.int64)) for name in a.values
    )


@pytest.mark.parametrize("done", [12, 24, 36, 48, 50])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_run_goes_on_after_every_step(tmp_path: Path, done: int, error: type[BaseException]) -> None:
    whole = experiment("group").run(N, seed=3, step=STEP)
    file = tmp_path / "run.sqlite"
    with pytest.raises(error):
        experiment("group").run(N, seed=3, step=STEP, file=file, progress=stops_after(done, error))
    assert Result.load(file).n == done
    seen: list[int] = []
    again = experiment("group").run(N, seed=3, step=STEP, file=file, progress=lambda k, n: seen.append(k))
    assert same(again, whole)
    assert seen == [k for k in (12, 24, 36, 48, 50) if k > done]  # nothing is done twice
    assert same(Result.load(file), whole)


def test_an_interrupt_within_a_step_leaves_whole_steps(tmp_path: Path) -> None:
    calls: list[int] = []

    def metric(values: torch.Tensor, references: Dataset) -> torch.Tensor:
        calls.append(len(values))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return values

    file = tmp_path / "run.sqlite"
    with pytest.raises(KeyboardInterrupt):
        experiment("group", metrics={"loss": metric}).run(N, step=STEP, file=file)
    assert Result.load(file).n == 2 * STEP
    again = experiment("group", metrics={"loss": metric}).run(N, step=STEP, file=file)
    assert torch.equal(again.values["loss"], experiment("group").run(N, step=STEP).values["loss"])


def test_interrupted_before_the_first_step(tmp_path: Path) -> None:
    def metric(values: torch.Tensor, references: Dataset) -> torch.Tensor:
        raise KeyboardInterrupt

    file = tmp_path / "run.sqlite"
    with pytest.raises(KeyboardInterrupt):
        experiment("group", metrics={"loss": metric, "large": metric}).run(N, file=file)
    assert Result.load(file).n == 0
    assert same(experiment("group").run(N, file=file), experiment("group").run(N))


KILLED = """
import os, sys
from tests.scrubbing.noisy_copy import experiment
experiment("group").run(50, step=12, file=sys.argv[1], progress=lambda done, n: done < 24 or os._exit(9))
"""


def test_a_process_that_dies_leaves_whole_steps(tmp_path: Path) -> None:
    file = tmp_path / "run.sqlite"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", KILLED, str(file)], cwd=root, check=False).returncode == 9
    assert Result.load(file).n == 24
    assert same(experiment("group").run(N, step=STEP, file=file), experiment("group").run(N, step=STEP))


def test_an_empty_file_is_a_start(tmp_path: Path) -> None:
    file = tmp_path / "run.sqlite"
    file.touch()
    assert same(experiment("group").run(N, file=file), experiment("group").run(N))


def test_without_a_file_the_partial_result_comes_back() -> None:
    whole = experiment("group").run(N, step=STEP)
    with pytest.warns(PartialResultWarning, match="the first 24 of 50 references") as caught:
        found = experiment("group").run(N, step=STEP, progress=stops_after(24), keep_draws=True)
    assert (caught[0].message.n, caught[0].message.num_asked) == (24, 50)  # pyright: ignore
    assert torch.equal(found.values["loss"], whole.values["loss"][:24])
    assert found.info["n"] == found.n == 24
    assert found.draws is not None
    assert len(found.draws["copy"]) == 24
    with pytest.raises(KeyboardInterrupt):
        experiment("group").run(N, step=STEP, progress=stops_after(24), partial=False)
    with pytest.raises(RuntimeError):
        experiment("group").run(N, step=STEP, progress=stops_after(24, RuntimeError))


def test_a_larger_n_extends_and_a_smaller_one_reads(tmp_path: Path) -> None:
    file = tmp_path / "run.sqlite"
    experiment("group").run(20, step=STEP, file=file, keep_draws=True)
    longer = experiment("group").run(N, step=7, file=file, keep_draws=True)
    whole = experiment("group").run(N, keep_draws=True)
    assert torch.allclose(longer.values["loss"], whole.values["loss"], rtol=1e-14)
    assert longer.draws is not None
    assert whole.draws is not None
    assert {k: v.tolist() for k, v in longer.draws.items()} == {k: v.tolist() for k, v in whole.draws.items()}
    before = file.read_bytes()
    shorter = experiment("group").run(10, file=file, keep_draws=True)
    assert torch.equal(shorter.values["loss"], longer.values["loss"][:10])
    assert shorter.n == shorter.info["n"] == 10
    assert shorter.draws is not None
    assert len(shorter.draws["copy"]) == 10
    assert file.read_bytes() == before


def test_a_saved_result_can_be_extended(tmp_path: Path) -> None:
    experiment("group").run(20).save(tmp_path / "saved.sqlite")
    found = experiment("group").run(N, file=tmp_path / "saved.sqlite")
    assert torch.allclose(found.values["loss"], experiment("group").run(N).values["loss"], rtol=1e-14)


def test_a_target_that_is_reached_stays_reached(tmp_path: Path) -> None:
    file = tmp_path / "run.sqlite"
    first = experiment("group").run(10_000, step=200, target_stderr=0.05, file=file)
    assert first.n < 10_000
    again = experiment("group").run(10_000, step=200, target_stderr=0.05, file=file)
    assert same(first, again)


def others() -> dict[str, tuple[str, Experiment, dict[str, object]]]:
    """What the message says, an experiment, and arguments of its run."""
    data = Dataset(rows(), inputs=["copy", "y"])
    changed = data.with_arrays({"copy": data["copy"] + 1})
    corr = experiment("group").hypothesis.correspondence
    grouped = Experiment(model(), data, Hypothesis(corr, name="group"), metrics=experiment("group").metrics)

    def with_rest(sampler: FuncSampler) -> Experiment:
        return experiment("group", sampler=sampler)

    return {
        "dataset": ("dataset: ", Experiment(model(), changed, corr, metrics=grouped.metrics), {}),
        "model": ("model: ", Experiment(model().scale(2.0), data, corr, metrics=grouped.metrics), {}),
        "hypothesis": ("hypothesis: ", experiment("group", sampler=UncondSampler()), {}),
        "condition": ("conditions: copy", with_rest(FuncSampler(lambda d: d["group"] > 0, name="group")), {}),
        "seed": ("seed: 0 before, 1 now", grouped, {"seed": 1}),
        "references": ("reference_seed: 0 before, 4 now", grouped, {"reference_seed": 4}),
        "metrics": ("metrics: ", experiment("group", metrics={"other": grouped.metrics["loss"]}), {}),
        "draws": ("supplied: copy", grouped, {"draws": {"copy": torch.zeros(N, dtype=torch.int64)}}),
        "kept": ("keep_draws: False before, True now", grouped, {"keep_draws": True}),
        "choice": (
            "handed_down: drawn before, original now",
            Experiment(model(), data, Hypothesis(corr, handed_down="original", name="group"), metrics=grouped.metrics),
            {},
        ),
    }


@pytest.mark.parametrize("what", sorted(others()))
def test_a_file_of_another_run_is_refused(tmp_path: Path, what: str) -> None:
    file = tmp_path / "run.sqlite"
    experiment("group").run(N, file=file)
    before = file.read_bytes()
    message, other, options = others()[what]
    with pytest.raises(FileError) as caught:
        other.run(N, file=file, **options)  # pyright: ignore[reportArgumentType]
    assert f"{file} holds another run; they differ in" in str(caught.value)
    assert f"\n    {message}" in str(caught.value)
    assert file.read_bytes() == before


def test_a_metric_that_means_something_else_now(tmp_path: Path) -> None:
    file = tmp_path / "run.sqlite"
    with pytest.raises(KeyboardInterrupt):
        experiment("group").run(N, step=STEP, file=file, progress=stops_after(24))
    changed = experiment("group", metrics={"loss": lambda values, _: values + 1, "large": is_large})
    with pytest.raises(FileError, match=r"run.sqlite has other values of 'loss': \[.*\] of the first references, now"):
        changed.run(N, step=STEP, file=file)
    assert Result.load(file).n == 24


def test_a_step_that_is_interrupted_within_can_be_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it had computed and kept by then: here values of rows, for later steps."""
    whole = experiment("original").run(N, step=STEP, batch_size=4)
    calls = 0
    original = Stage._append

    def stops(self: Stage, values: Any) -> None:
        nonlocal calls
        calls += 1
        original(self, values)
        if calls in (2, 5, 9):
            raise KeyboardInterrupt

    monkeypatch.setattr(Stage, "_append", stops)
    running = experiment("original").start(N, step=STEP, batch_size=4)
    interrupts = 0
    while running.n < N:
        try:
            running.advance()
        except KeyboardInterrupt:
            interrupts += 1
    assert interrupts > 1
    assert torch.allclose(running.result().values["loss"], whole.values["loss"], rtol=1e-13)


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    text, database = tmp_path / "notes.txt", tmp_path / "other.sqlite"
    text.write_text("not a database, but of some length " * 50)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE info (a)")
        connection.commit()
    for file in (text, database):
        before = file.read_bytes()
        with pytest.raises(FileError, match="is no file of a result, or cannot be used"):
            experiment("group").run(N, file=file)
        assert file.read_bytes() == before


def test_two_runs_do_not_mix_in_one_file(tmp_path: Path) -> None:
    file = tmp_path / "run.sqlite"
    first = experiment("group").start(N, step=STEP, file=file)
    second = experiment("group").start(N, step=STEP, file=file)
    first.advance()
    with pytest.raises(FileError, match="has 12 references, so it cannot go on with number 0"):
        second.advance()
    assert Result.load(file).n == STEP


def test_products_of_matrices_go_on_up_to_rounding(tmp_path: Path) -> None:
    """Rows kept from earlier steps are computed in other batches, which may round differently."""
    generator = torch.Generator().manual_seed(0)
    x, z = (Symbol.new_from_name((8,), name) for name in "xz")
    weights = [torch.randn(64, 8, generator=generator, dtype=torch.float64) for _ in range(2)]

    hidden = Add(*(Einsum.from_string("h d, d -> h", Array(w), s) for w, s in zip(weights, (x, z), strict=True)))
    loss = Einsum.from_string("h, h ->", hidden, hidden, name="loss")
    arrays = {name: torch.randn(40, 8, generator=generator, dtype=torch.float64) for name in "xz"}
    corr = Correspondence()
    root = InterpNode(ExactSampler(), "loss")
    corr.add(root, corr_root_matcher)
    corr.add(root.make_descendant(ExactSampler(), "x"), "x")
    file = tmp_path / "run.sqlite"
    with pytest.raises(KeyboardInterrupt):
        Experiment(loss, Dataset(arrays), corr).run(300, step=64, file=file, progress=stops_after(128))
    found = Experiment(loss, Dataset(arrays), corr).run(300, step=64, file=file)
    whole = Experiment(loss, Dataset(arrays), corr).run(300, step=64)
    assert torch.allclose(found.values["loss"], whole.values["loss"], rtol=1e-12)
