"""Several experiments run on the same references step by step, until what is asked for is known well enough."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from scrub.graph import HypothesisError, UndefinedRatioError
from scrub.hypothesis.results import Results
from scrub.hypothesis.running import FEWEST, PartialResultWarning, Running
from scrub.hypothesis.statistics.comparison import check_named
from scrub.hypothesis.statistics.intervals import standard_error

if TYPE_CHECKING:
    from scrub.hypothesis.experiment import Experiment

Experiments = Mapping[str, "Experiment"] | Iterable["Experiment"]


def run_all(
    experiments: Experiments,
    n: int,
    *,
    seed: int = 0,
    reference_seed: int | None = None,
    keep_draws: bool = False,
    folder: str | Path | None = None,
    batch_size: int = 256,
    step: int = 4096,
    progress: Callable[[int, int], None] | None = None,
) -> Results:
    """Run several experiments on the same n references.

    Args:
        experiments: by name, or named like their hypotheses.
        n: number of references.
        folder: where each keeps its steps in a file, to go on from; see `Experiment.run`.
        seed, reference_seed, keep_draws, batch_size, step, progress: as for `Experiment.run`.

    Interrupted, it returns results from the references that all have done, with a `PartialResultWarning`; with a
    folder, the interrupt is raised.

    >>> import torch
    >>> from scrub.graph import Symbol
    >>> from scrub.hypothesis import Correspondence, Dataset, ExactSampler, Experiment, Hypothesis, InterpNode
    >>> from scrub.hypothesis import UncondSampler, corr_root_matcher
    >>> x, data = Symbol.new_from_name((), "x"), Dataset({"x": torch.tensor([-1.0, 1.0])})
    >>> def experiment(name, sampler):
    ...     corr = Correspondence()
    ...     corr.add(InterpNode(sampler, "root"), corr_root_matcher)
    ...     return Experiment(x.mul(x), data, Hypothesis(corr, name=name))
    >>> run_all([experiment("exact", ExactSampler()), experiment("any", UncondSampler())], 10)
    hypothesis           loss   n
    ----------  -------------  --
    exact       1 (0.72 to 1)  10
    any         1 (0.72 to 1)  10
    """
    runs = _started(experiments, n, seed, reference_seed, keep_draws, folder, batch_size, step)
    return _in_lockstep(runs, n, lambda: False, progress, partial=folder is None)


def run_until(
    experiments: Experiments,
    *,
    target_stderr: float,
    n: int,
    metric: str = "loss",
    original: str | None = None,
    baseline: str | None = None,
    seed: int = 0,
    reference_seed: int | None = None,
    keep_draws: bool = False,
    folder: str | Path | None = None,
    batch_size: int = 256,
    step: int = 1024,
    progress: Callable[[int, int], None] | None = None,
) -> Results:
    """Run several experiments on the same references until errors are as small as asked for.

    Args:
        experiments: by name, or named like their hypotheses.
        target_stderr: for the mean of the metric of each; with `original` and `baseline`, for the loss recovered of
            every other one (0.01 is a percentage point). Looked at after each step.
        n: most references.
        metric: of what.
        original, baseline: names of the experiments between which loss recovered lies.
        step: how many references are drawn at a time.
        folder, seed, reference_seed, keep_draws, batch_size, progress: as for `run_all`.
    """
    runs = _started(experiments, n, seed, reference_seed, keep_draws, folder, batch_size, step)
    if (original is None) != (baseline is None):
        raise HypothesisError(
            "loss recovered lies between an original and a baseline, and one of them was not given",
            expected=("original", "baseline"),
            found=(original, baseline),
        )
    check_named({name: running.result() for name, running in runs.items()}, [k for k in (original, baseline) if k])

    def is_done() -> bool:
        results = _results(runs)
        num_done = min(result.n for result in results.values())
        if num_done < min(FEWEST, n) or num_done < 2:
            return False
        if original is None or baseline is None:
            return all(standard_error(result.metric(metric)) <= target_stderr for result in results.values())
        try:
            errors = [
                float(results.loss_recovered(name, original=original, baseline=baseline, metric=metric).stderr)
                for name in results
                if name not in (original, baseline)
            ]
        except UndefinedRatioError:
            return False
        return max(errors, default=0.0) <= target_stderr

    return _in_lockstep(runs, n, is_done, progress, partial=folder is None)


def _started(
    experiments: Experiments,
    n: int,
    seed: int,
    reference_seed: int | None,
    keep_draws: bool,
    folder: str | Path | None,
    batch_size: int,
    step: int,
) -> dict[str, Running]:
    if isinstance(experiments, Mapping):
        named = dict(cast("Mapping[str, Experiment]", experiments))
    else:
        named = _by_name(list(experiments))
    if not named:
        raise HypothesisError("no experiments were given", expected="at least one")
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
    return {
        name: experiment.start(
            n,
            seed=seed,
            reference_seed=reference_seed,
            keep_draws=keep_draws,
            file=None if folder is None else Path(folder) / f"{quote(name, safe=' ')}.sqlite",
            batch_size=batch_size,
            step=step,
        )
        for name, experiment in named.items()
    }


def _by_name(experiments: list[Experiment]) -> dict[str, Experiment]:
    named = {experiment.hypothesis.name: experiment for experiment in experiments}
    if len(named) < len(experiments):
        names = [experiment.hypothesis.name for experiment in experiments]
        raise HypothesisError(
            f"several hypotheses have one name: {names}",
            expected="a name each",
            found=names,
            hint="run_all({'this': experiment, 'that': other}, n), or Hypothesis(..., name=)",
        )
    return named


def _in_lockstep(
    runs: dict[str, Running],
    n: int,
    is_done: Callable[[], bool],
    progress: Callable[[int, int], None] | None,
    *,
    partial: bool,
) -> Results:
    try:
        while (behind := min(running.n for running in runs.values())) < n and not is_done():
            for running in runs.values():
                if running.n == behind:
                    running.advance()
            if progress is not None:
                progress(min(running.n for running in runs.values()), n)
    except KeyboardInterrupt:
        num_done = min(running.n for running in runs.values())
        if not partial or not num_done:
            raise
        warnings.warn(PartialResultWarning(num_done, n), stacklevel=3)
    return _results(runs)


def _results(runs: dict[str, Running]) -> Results:
    """From the references that all have done, so that they are paired."""
    num_done = min(running.n for running in runs.values())
    return Results({name: running.result(num_done) for name, running in runs.items()})
