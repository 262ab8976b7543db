"""What patched edges carry: nothing, a mean, or what was written on another input.

Which one is chosen changes results, and every result names it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch

from scrub.discovery.machine import Given, Machine, Replacement, Run, writes_of
from scrub.graph import DiscoveryError
from scrub.tasks.task import Task

AblationName = Literal["zero", "mean", "mean-positional", "resample", "counterfactual"]
ABLATIONS: tuple[AblationName, ...] = get_args(AblationName)


@dataclass(frozen=True)
class Ablation:
    """An ablation, ready for the batches of a task.

    Attributes:
        name: which.
        fixed: what replaces what writers write, [n_writers, *stream], axes of size 1 where it is the same along them;
            None where it is what the model writes on the batch's counterfactuals.
    """

    name: AblationName
    fixed: torch.Tensor | None = None

    def replacement(self, machine: Machine, batch: Task, run: Run | None = None) -> Replacement:
        """What replaces what is written on a batch.

        Args:
            machine: the model.
            batch: the examples.
            run: a run on the batch's counterfactuals that kept writes, if there is one already.
        """
        if self.fixed is not None:
            return Replacement(self.fixed, self.name)
        return Replacement(writes_of(machine, self.corrupted(machine, batch) if run is None else run), self.name)

    def corrupted(self, machine: Machine, batch: Task, *, keep_writes: bool = True) -> Run:
        """The model's run on the batch's counterfactuals."""
        assert batch.counterfactual is not None
        given = machine.source.given(batch.counterfactual, batch.mask)
        return machine.run(given, keep_writes=keep_writes)


def prepare(
    machine: Machine,
    task: Task,
    name: AblationName,
    *,
    over: Task | None = None,
    seed: int = 0,
    batch_size: int = 32,
) -> tuple[Task, Ablation]:
    """An ablation for a task, and the task with the counterfactuals that it uses.

    Args:
        machine: the model.
        task: the examples.
        name: "zero"; "mean" over examples and positions; "mean-positional", over examples, for prompts of one length;
            "resample", another example of `over`, drawn for each; "counterfactual", that of the example.
        over: the dataset of means and of examples to draw; the task itself if None.
        seed: of what is drawn.
        batch_size: examples at a time, for means.

    Raises:
        DiscoveryError: the task has no counterfactuals, or prompts of several lengths where one is needed.
    """
    if name not in ABLATIONS:
        raise DiscoveryError(f"there is no ablation {name!r}", expected=ABLATIONS, found=name)
    source = task if over is None else over
    if name == "zero":
        return task, Ablation(name, _zeros(machine, task))
    if name in ("mean", "mean-positional"):
        return task, Ablation(name, _mean(machine, source, task, name == "mean-positional", batch_size))
    if name == "resample":
        return replace(task, counterfactual=resampled(task, source, seed), counterfactual_prompts=()), Ablation(name)
    if task.counterfactual is None:
        raise DiscoveryError(
            f"task {task.name!r} has no counterfactuals",
            expected="counterfactual prompts",
            found=None,
            hint="use prompts with counterfactuals, or ablation='resample', 'mean' or 'zero'",
        )
    return task, Ablation(name)


def resampled(task: Task, source: Task, seed: int) -> torch.Tensor:
    """For each example the tokens of another one of the same length, [n, seq], drawn with replacement.

    Raises:
        DiscoveryError: an example has no other of its length.
    """
    generator = torch.Generator().manual_seed(seed)
    rows: list[torch.Tensor] = []
    for i, (tokens, mask) in enumerate(zip(task.tokens, task.mask, strict=True)):
        fits = (source.mask == mask).all(1) if source.mask.shape[1] == len(mask) else torch.zeros(len(source)).bool()
        others = (fits & (source.tokens != tokens).any(1)).nonzero()[:, 0] if fits.any() else fits.nonzero()[:, 0]
        if not len(others):
            raise DiscoveryError(
                f"example {i} of task {task.name!r} has no other example of its length to draw",
                expected=f"another prompt of {int(mask.sum())} tokens, padded to {len(mask)}",
                found=0,
                hint="use more prompts, or prompts of one length",
            )
        rows.append(source.tokens[others[int(torch.randint(len(others), (1,), generator=generator))]])
    return torch.stack(rows)


def _zeros(machine: Machine, task: Task) -> torch.Tensor:
    given = machine.source.given(task.tokens[:1], task.mask[:1])
    return given.embeds.new_zeros(len(machine.graph.writers), *[1] * (_stream_ndim(machine, given)))


def _stream_ndim(machine: Machine, given: Given) -> int:
    del given
    return next(iter(machine.plans)).ndim


def _mean(machine: Machine, source: Task, task: Task, per_position: bool, batch_size: int) -> torch.Tensor:
    """The mean of what each writer writes, [n_writers, *stream], over the tokens of a dataset, padding left out."""
    if per_position and not (source.is_aligned and task.is_aligned and source.tokens.shape[1] == task.tokens.shape[1]):
        raise DiscoveryError(
            "means per position need prompts of one length",
            expected="prompts of one length, in the task and in what means are taken over",
            found=sorted({int(n) for t in (source, task) for n in t.mask.sum(1)}),
            hint="use ablation='mean', or prompts of one length",
        )
    total, count = torch.zeros(()), torch.zeros(())
    for batch in source.batches(batch_size):
        run = machine.run(machine.source.given(batch.tokens, batch.mask), keep_writes=True)
        writes = writes_of(machine, run).to(torch.float64)  # [n, writers, *stream]
        shown = batch.mask.reshape(len(batch), *[1] * (writes.ndim - 3), batch.mask.shape[1], 1).to(writes)
        axes = (0,) if per_position else (0, -2)
        summed = torch.where(shown.bool(), writes, 0.0).sum(axes, keepdim=True)[0]
        total, count = total + summed, count + shown.sum(axes, keepdim=True)[0]
    dtype = machine.source.given(task.tokens[:1], task.mask[:1]).embeds.dtype
    return (total / count).to(dtype)
