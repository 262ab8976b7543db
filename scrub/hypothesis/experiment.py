"""`Experiment`: a hypothesis tested on a model and a dataset (SPEC 9)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from scrub.graph import Expr, HypothesisError
from scrub.hypothesis.dataset import Dataset
from scrub.hypothesis.hypothesis import Hypothesis
from scrub.hypothesis.interpretation import Correspondence
from scrub.hypothesis.metrics import Metric, output
from scrub.hypothesis.render.tree import experiment_tree
from scrub.hypothesis.result import Result
from scrub.hypothesis.running import PartialResultWarning, Running, Setting, checked_targets
from scrub.hypothesis.scrubbed import scrub
from scrub.hypothesis.slots import REFERENCE, Slot
from scrub.hypothesis.source import Source
from scrub.hypothesis.statistics.repeats import SeedRuns
from scrub.hypothesis.statistics.variance import VarianceSplit, split_of
from scrub.hypothesis.streams import Stream

Progress = Callable[[int, int], None]
"""Called with (references done, references in all)."""


class Experiment:
    """A hypothesis on a model and a dataset. Everything is checked when it is made, before any compute.

    Args:
        model: an expression; its leaves named like the dataset's inputs stand for one datum's.
        dataset: what references and draws come from, uniformly.
        hypothesis: see `Hypothesis`; a `Correspondence` is one with the algorithm's own choices.
        references: where references come from, if not from `dataset`.
        metrics: name -> number for each reference, see `Metric`. The output itself as "loss" unless given.

    Raises:
        HypothesisError: the hypothesis does not fit the model (SPEC 9.4); all mismatches, with their paths.
        DatasetError: the dataset does not fit the model.

    >>> from scrub.graph import Symbol
    >>> from scrub.hypothesis import ExactSampler, InterpNode, corr_root_matcher
    >>> x, y = (Symbol.new_from_name((), name) for name in "xy")
    >>> root, corr = InterpNode(ExactSampler(), "product"), Correspondence()
    >>> corr.add(root, corr_root_matcher)
    >>> corr.add(root.make_descendant(ExactSampler(), "left"), "x")
    >>> data = Dataset({"x": torch.tensor([-1.0, 1.0]), "y": torch.tensor([-1.0, 1.0])})
    >>> Experiment(x.mul(y), data, corr).run(1000)
    hypothesis: loss ... ± ... (95%, n=1000, seed=0)
    """

    def __init__(
        self,
        model: Expr,
        dataset: Dataset,
        hypothesis: Hypothesis | Correspondence,
        *,
        references: Dataset | None = None,
        metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        self.model, self.dataset = model, dataset
        self.hypothesis = hypothesis if isinstance(hypothesis, Hypothesis) else Hypothesis(hypothesis)
        if metrics is None and model.ndim:
            raise HypothesisError(
                f"{model!r} is not one number, so it is no loss by itself",
                nodes=[model],
                expected=(),
                found=model.shape,
                hint="metrics={'loss': rc.hypothesis.cross_entropy('label')}, or make the loss part of the model",
            )
        self.metrics: dict[str, Metric] = {"loss": output} if metrics is None else dict(metrics)
        self.scrubbed = scrub(model, self.hypothesis, dataset)
        samplers = [s for node in self.hypothesis.nodes for s in (node.cond_sampler, node.other_inputs_sampler)]
        others = [dataset for sampler in samplers for dataset in sampler.datasets]
        self.source = Source(dataset, references=references, others=others)
        for slot in self.slots:
            self.scrubbed.slots.draws[slot].sampler.check(self.source, slot.node)

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The draws that are made, in order."""
        return tuple(self.scrubbed.slots.needed(self.scrubbed.read_slots))

    def draw(
        self,
        references: torch.Tensor,
        *,
        seed: int,
        start: int = 0,
        supplied: Mapping[str, torch.Tensor] | None = None,
    ) -> dict[Slot, torch.Tensor]:
        """The rows of `source.data` that every draw comes to, for the references numbered from `start` on."""
        read = self.scrubbed.read_slots
        return self.scrubbed.slots.draw(read, self.source, references, seed=seed, start=start, supplied=supplied)

    def references(self, start: int, stop: int, *, seed: int) -> torch.Tensor:
        """The rows of the references of these numbers: uniform, with replacement; a function of seed and number."""
        rows = self.source.reference_rows
        return rows.start + Stream(seed, "reference", start, stop).below(torch.full((stop - start,), len(rows)))

    def measure(self, outputs: torch.Tensor, references: torch.Tensor) -> dict[str, torch.Tensor]:
        """The metrics of outputs for references, float64 [n] on the CPU each."""
        data = self.source.data.take(references)
        return {name: _checked(name, metric(outputs, data), len(references)) for name, metric in self.metrics.items()}

    def run(
        self,
        n: int,
        *,
        seed: int = 0,
        reference_seed: int | None = None,
        draws: Mapping[str, torch.Tensor] | None = None,
        target_stderr: float | Mapping[str, float] | None = None,
        keep_draws: bool = False,
        file: str | Path | None = None,
        partial: bool = True,
        batch_size: int = 256,
        step: int = 4096,
        progress: Progress | None = None,
    ) -> Result:
        """Estimate the metrics from n references, each with draws of its own.

        The same seed gives the same numbers for any `batch_size` and `step`, up to rounding; references of one seed
        are the same for all hypotheses on a dataset, so that differences of losses are paired.

        Args:
            n: number of references; with `target_stderr`, the most.
            seed: of all draws.
            reference_seed: of the references, if another.
            draws: rows by label ("reference", "head", "head/other": see `Slot.label`), int64 [n], to use in place of
                draws; what is not in it is drawn, given these.
            target_stderr: stop after the step at which the standard error of the first metric, or of each metric by
                name, is at most this.
            keep_draws: whether the result holds the rows of all draws.
            file: where each step is kept as soon as it is complete. The same call again goes on from there, to the same
                numbers (up to rounding, where a step computes values that an earlier one had kept); with a larger n it
                extends the run. `Result.load` reads the file at any time.
            partial: without a file, return what complete steps tell when interrupted (Ctrl-C), with a
                `PartialResultWarning`. Else the interrupt is raised.
            batch_size: how many references are computed at a time; more where they take little memory.
            step: how many are drawn at a time: the more, the more draws coincide, and the more memory they take.
            progress: called with (references done, n).

        Raises:
            FileError: the file is of another run (it says what differs), or it is damaged.
        """
        targets = checked_targets(target_stderr, list(self.metrics))
        running = self.start(
            n,
            seed=seed,
            reference_seed=reference_seed,
            draws=draws,
            keep_draws=keep_draws,
            file=file,
            batch_size=batch_size,
            step=step,
        )
        try:
            while running.n < n and not (targets and running.has_reached(targets)):
                running.advance()
                if progress is not None:
                    progress(running.n, n)
        except KeyboardInterrupt:
            if file is not None or not partial or not running.n:
                raise
            warnings.warn(PartialResultWarning(running.n, n), stacklevel=2)
        return running.result()

    def start(
        self,
        n: int,
        *,
        seed: int = 0,
        reference_seed: int | None = None,
        draws: Mapping[str, torch.Tensor] | None = None,
        keep_draws: bool = False,
        file: str | Path | None = None,
        batch_size: int = 256,
        step: int = 4096,
    ) -> Running:
        """A run that is taken step by step: `advance()` while `n` is less, `result()` at any time; as for `run`."""
        for name, value, least in (("n", n, 0), ("batch_size", batch_size, 1), ("step", step, 1)):
            if value < least:
                raise HypothesisError(f"{name} is {value}", expected=f"at least {least}", found=value)
        reference_seed = seed if reference_seed is None else reference_seed
        supplied = self._supplied(draws or {}, n)
        return Running(self, Setting(n, seed, reference_seed, supplied, keep_draws, batch_size, step), file=file)

    def run_seeds(self, n: int, *, seeds: Sequence[int], reference_seed: int | None = None, **options: Any) -> SeedRuns:
        """The run with each of several seeds: their spread, and what they say together.

        Args:
            n: references for each seed.
            seeds: of draws, and of references.
            reference_seed: of the references, if all seeds are to have the same ones.
            options: further arguments of `run`.
        """
        return SeedRuns({seed: self.run(n, seed=seed, reference_seed=reference_seed, **options) for seed in seeds})

    def variance_split(
        self, n: int, *, repeats: int = 2, metric: str | None = None, seed: int = 0, **options: Any
    ) -> VarianceSplit:
        """How much of the variance of a metric comes from which references were drawn, how much from resampling.

        Args:
            n: number of references.
            repeats: independent draws for each of them.
            metric: the first one unless given.
            seed: of the references; draws have seeds from this one on.
            options: further arguments of `run`.
        """
        metric = next(iter(self.metrics)) if metric is None else metric
        runs = [self.run(n, seed=seed + i, reference_seed=seed, **options) for i in range(repeats)]
        return split_of([run.metric(metric) for run in runs], metric=metric, seed=seed)

    def _supplied(self, draws: Mapping[str, torch.Tensor], n: int) -> dict[str, torch.Tensor]:
        """Draws that were supplied, if they are rows for slots there are."""
        labels = [REFERENCE.label, *(slot.label for slot in self.slots)]
        for label, rows in draws.items():
            if label not in labels:
                raise HypothesisError(
                    f"there is no draw {label!r} to supply rows for",
                    expected=labels,
                    found=label,
                    hint=f"the draws are {labels}",
                )
            num_rows = self.source.data.num_rows
            is_fine = rows.shape == (n,) and rows.dtype == torch.int64
            if not is_fine or (n and not 0 <= int(rows.min()) <= int(rows.max()) < num_rows):
                raise HypothesisError(
                    f"the rows supplied for {label!r} are no rows of the dataset",
                    expected=f"int64 [{n}], 0 to {num_rows - 1}",
                    found=(rows.dtype, tuple(rows.shape)),
                )
        return dict(draws)

    def _repr_html_(self) -> str:
        """What is claimed, and what is drawn for one reference, in color: for notebooks."""
        return experiment_tree(self).to_html()


def _checked(name: str, values: torch.Tensor, n: int) -> torch.Tensor:
    if tuple(values.shape) != (n,):
        raise HypothesisError(
            f"metric {name!r} gave values of shape {list(values.shape)} for {n} references",
            expected=f"[{n}]",
            found=tuple(values.shape),
            hint="a metric gives one number for each reference; average over positions in it",
        )
    return values.detach().to("cpu", torch.float64)
