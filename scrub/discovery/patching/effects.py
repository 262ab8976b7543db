"""Means of per-example effects and their standard errors, added up batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from scrub.discovery.ablations import Ablation
from scrub.discovery.machine import Machine, PatchedRun, Run
from scrub.discovery.metrics import Metric
from scrub.graph import DiscoveryError
from scrub.tasks.task import Task

Show = Literal["change", "metric", "normalized"]
Direction = Literal["noising", "denoising"]


@dataclass(frozen=True)
class Baselines:
    """A batch's runs and metrics without patches.

    Attributes:
        base: the run that is patched.
        source: the run that values are taken from, if they are.
        at_base: [n], the metric of `base`.
        clean, corrupt: [n], the metric on the prompts, and on the counterfactuals or with everything ablated.
        original: [n, k, n_logits], the logits on the prompts.
    """

    base: Run
    source: Run | None
    at_base: torch.Tensor
    clean: torch.Tensor
    corrupt: torch.Tensor | None
    original: torch.Tensor


def baselines_of(
    machine: Machine,
    batch: Task,
    metric: Metric,
    ablation: Ablation,
    direction: Direction,
    *,
    with_corrupt: bool,
    with_writes: bool = True,
    run: Callable[[torch.Tensor], Run] | None = None,
) -> Baselines:
    """The plain runs of a batch.

    Args:
        machine, batch, metric, ablation, direction: see `activation_patching`.
        with_corrupt: whether the corrupted metric is needed where the ablation has no counterfactuals.
        with_writes: whether the run that values are taken from keeps what each writer writes.
        run: makes the run that is patched, of tokens [n, seq]; a plain one that keeps writes if left out.
    """

    def plain(tokens: torch.Tensor, keep_writes: bool = True) -> Run:
        return machine.run(machine.source.given(tokens, batch.mask), keep_writes=keep_writes)

    make = plain if run is None else run
    clean_run = make(batch.tokens) if direction == "noising" else plain(batch.tokens, with_writes)
    original = run_logits(machine, clean_run, batch.positions)
    clean = metric(original, batch, original)
    if ablation.fixed is None:
        assert batch.counterfactual is not None
        other = plain(batch.counterfactual, with_writes) if direction == "noising" else make(batch.counterfactual)
        corrupt = metric(run_logits(machine, other, batch.positions), batch, original)
        if direction == "denoising":
            return Baselines(other, clean_run, corrupt, clean, corrupt, original)
        return Baselines(clean_run, other, clean, clean, corrupt, original)
    corrupt = None
    if with_corrupt:
        replacement = ablation.replacement(machine, batch)
        patched = PatchedRun(machine, clean_run.given, torch.zeros(machine.graph.exists.shape), replacement)
        corrupt = metric(patched.logits(batch.positions), batch, original)
    return Baselines(clean_run, None, clean, clean, corrupt, original)


def run_logits(machine: Machine, run: Run, positions: torch.Tensor) -> torch.Tensor:
    """The logits of a run, [n, k, n_logits]."""
    return machine.logits(machine.read(machine.readout, run), run.given, positions)


def check_show(show: str) -> None:
    """Raise DiscoveryError for a way of showing that there is not."""
    if show not in get_args(Show):
        raise DiscoveryError(f"there is no show={show!r}", expected=get_args(Show), found=show)


def check_direction(direction: str, ablation: Ablation) -> None:
    """Raise DiscoveryError for a direction that there is not, or that the ablation does not have."""
    if direction not in get_args(Direction):
        raise DiscoveryError(f"there is no direction {direction!r}", expected=get_args(Direction), found=direction)
    if direction == "denoising" and ablation.fixed is not None:
        raise DiscoveryError(
            f"denoising puts clean values into a corrupted run, which {ablation.name} ablation does not have",
            expected="ablation='counterfactual' or 'resample'",
            found=ablation.name,
            hint="use direction='noising', or a task with counterfactuals",
        )


class Effects:
    """Sums over examples of an effect for each unit, and what their errors need.

    Args:
        n_units: how many numbers each example has.
        show: "change", M - M_base; "metric", M; "normalized", (M - M_corrupt) / (M_clean - M_corrupt), a ratio of
            means with the error of the delta method.
        keep: whether to keep every example's number.
    """

    def __init__(self, n_units: int, show: Show, *, keep: bool = False) -> None:
        self.show: Show = show
        self._keep: list[torch.Tensor] | None = [] if keep else None
        self._sum = torch.zeros(n_units, dtype=torch.float64)
        self._square = torch.zeros(n_units, dtype=torch.float64)
        self._product = torch.zeros(n_units, dtype=torch.float64)
        self._gap = 0.0
        self._gap_square = 0.0
        self._n = 0

    def add(self, changes: torch.Tensor, baselines: Baselines) -> None:
        """Add a batch.

        Args:
            changes: [n_units, n], M - M_base of each example.
            baselines: of the batch.
        """
        found = changes.detach().to("cpu", torch.float64)
        if self.show == "metric":
            found = found + baselines.at_base.detach().to(found)
        elif self.show == "normalized":
            assert baselines.corrupt is not None
            gap = (baselines.clean - baselines.corrupt).detach().to(found)
            found = found + (baselines.at_base - baselines.corrupt).detach().to(found)
            self._product += (found * gap).sum(1)
            self._gap += float(gap.sum())
            self._gap_square += float(gap.square().sum())
        self._sum += found.sum(1)
        self._square += found.square().sum(1)
        self._n += found.shape[1]
        if self._keep is not None:
            self._keep.append(found)

    def means(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Mean of each unit [n_units], and its standard error; no error of fewer than two examples.

        With `keep`: [n_units, n] without errors.

        Raises:
            DiscoveryError: the clean and the corrupted metric are equal, so nothing can be normalised by their gap.
        """
        if self.show == "normalized" and abs(self._gap) <= 1e-12 * max(1.0, self._gap_square**0.5):
            raise DiscoveryError(
                "the metric is the same on clean and corrupted runs, so effects cannot be normalised by the gap",
                expected="a metric that corrupting changes",
                found=self._gap / max(self._n, 1),
                hint="use show='change', or other counterfactuals",
            )
        if self._keep is not None:
            every = torch.cat(self._keep, 1)
            return (every * self._n / self._gap if self.show == "normalized" else every), None
        n = self._n
        if self.show == "normalized":
            mean = self._sum / self._gap
            squares = self._square - 2 * mean * self._product + mean.square() * self._gap_square
            return mean, (squares.clamp(min=0) / (n - 1) * n).sqrt() / abs(self._gap) if n > 1 else None
        mean = self._sum / n
        variance = (self._square - n * mean.square()).clamp(min=0) / (n - 1) if n > 1 else None
        return mean, None if variance is None else (variance / n).sqrt()


def quantity_of(metric: Metric, show: Show) -> str:
    """What the numbers of a table are."""
    words = {"change": f"change of {metric.name}", "metric": metric.name, "normalized": f"normalised {metric.name}"}
    return words[show]
