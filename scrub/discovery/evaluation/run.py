"""The metric of each example with what is outside of circuits patched: any number of circuits in one pass over batches.

Each batch is run clean and corrupted once, for all circuits. Equal masks run once. Several circuits of a batch run as
one, each on its own copy of the batch, as far as memory allows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch

from scrub.discovery.ablations import Ablation
from scrub.discovery.evaluation.masks import Mask
from scrub.discovery.evaluation.nodes import PatchedNodesRun
from scrub.discovery.machine import Given, Machine, PatchedRun, Replacement
from scrub.discovery.metrics import Metric
from scrub.graph import DiscoveryError
from scrub.tasks.task import Task

BYTES_AT_ONCE = 2**28
"""How large what all writers write may be, for all circuits and examples that run at once."""


@dataclass(frozen=True)
class Measured:
    """Metrics of each example.

    Attributes:
        clean, corrupted: float64 [n], with nothing and with everything patched.
        circuits: float64 [n_circuits, n], with everything outside of a circuit patched.
    """

    clean: torch.Tensor
    corrupted: torch.Tensor
    circuits: torch.Tensor


def measure(
    machine: Machine,
    task: Task,
    metric: Metric,
    ablation: Ablation,
    masks: Sequence[Mask],
    *,
    batch_size: int = 32,
    bytes_at_once: int = BYTES_AT_ONCE,
) -> Measured:
    """The metric of each example of a task: clean, corrupted, and for each mask.

    Args:
        machine: the model.
        task: the examples, with the counterfactuals that the ablation uses (see `ablations.prepare`).
        metric: what is measured.
        ablation: what patched edges carry.
        masks: what is kept.
        batch_size: examples at a time.
        bytes_at_once: bound on what is held of all writers at once; results do not depend on it, but for rounding.

    Raises:
        DiscoveryError: masks at positions and prompts of several lengths, or of another length than the masks.
    """
    _check_positions(task, masks)
    distinct = {mask.key: mask for mask in masks}
    parts: list[Measured] = []
    with torch.no_grad():
        for batch in task.batches(batch_size):
            parts.append(_measure_batch(machine, batch, metric, ablation, list(distinct.values()), bytes_at_once))
    row = {key: i for i, key in enumerate(distinct)}
    circuits = torch.cat([part.circuits for part in parts], -1)[[row[mask.key] for mask in masks]]
    return Measured(torch.cat([p.clean for p in parts]), torch.cat([p.corrupted for p in parts]), circuits)


def _measure_batch(
    machine: Machine, batch: Task, metric: Metric, ablation: Ablation, masks: list[Mask], bytes_at_once: int
) -> Measured:
    given = machine.source.given(batch.tokens, batch.mask)
    run = machine.run(given)
    original = machine.logits(machine.read(machine.readout, run), given, batch.positions)
    clean = metric(original, batch, original)
    del run
    if ablation.fixed is None:
        corrupt = ablation.corrupted(machine, batch)
        replacement = ablation.replacement(machine, batch, corrupt)
        logits = machine.logits(machine.read(machine.readout, corrupt), corrupt.given, batch.positions)
        del corrupt
    else:
        replacement = ablation.replacement(machine, batch)
        none = torch.zeros(1, len(machine.graph.writers), 1)
        logits = PatchedNodesRun(machine, given, none, replacement).logits(batch.positions)
    corrupted = metric(logits, batch, original)
    values = torch.empty(len(masks), len(batch), dtype=torch.float64)
    at_once = max(1, bytes_at_once // _bytes_of_writes(machine, given))
    for rows, logits in _patched_logits(machine, batch, given, replacement, masks, at_once):
        for row, each in zip(rows, logits.chunk(len(rows)), strict=True):
            values[row] = metric(each, batch, original).to("cpu", torch.float64)
    return Measured(clean.to("cpu", torch.float64), corrupted.to("cpu", torch.float64), values)


def _patched_logits(
    machine: Machine, batch: Task, given: Given, replacement: Replacement, masks: list[Mask], at_once: int
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Numbers of masks, and the logits of the batch for each of these, one after the other [c * n, k, V]."""
    order = sorted(range(len(masks)), key=lambda i: (masks[i].kind, tuple(masks[i].keep.shape)))
    repeats: dict[int, tuple[Given, Replacement]] = {1: (given, replacement)}
    for _, group in groupby(order, key=lambda i: (masks[i].kind, tuple(masks[i].keep.shape))):
        alike = list(group)
        width = max(1, at_once // len(batch))
        for start in range(0, len(alike), width):
            rows = alike[start : start + width]
            times = len(rows)
            if times not in repeats:
                repeats = {1: repeats[1], times: (_repeated(given, times), _replacement(replacement, given, times))}
            positions = batch.positions.repeat(times, 1)
            yield rows, _logits(machine, *repeats[times], [masks[row] for row in rows], positions)


def _logits(
    machine: Machine, given: Given, replacement: Replacement, masks: list[Mask], positions: torch.Tensor
) -> torch.Tensor:
    """The logits with each mask on its own copy of a batch."""
    keep = torch.stack([mask.keep for mask in masks]).to(given.embeds)
    if len(masks) > 1:
        keep = keep.repeat_interleave(given.n // len(masks), 0)
    if masks[0].kind == "writer":
        return PatchedNodesRun(machine, given, keep, replacement).logits(positions)
    keep = keep if len(masks) > 1 else keep[0]
    return PatchedRun(machine, given, keep, replacement, per_position=masks[0].kind == "position").logits(positions)


def _repeated(given: Given, times: int) -> Given:
    """A batch several times, one copy after the other."""
    tensors = {
        symbol: tensor.repeat(times, *[1] * (tensor.ndim - 1)) if symbol in given.batched else tensor
        for symbol, tensor in given.tensors.items()
    }
    embeds = given.embeds.repeat(times, *[1] * (given.embeds.ndim - 1))
    return Given(tensors, given.batched, given.n * times, embeds)


def _replacement(replacement: Replacement, given: Given, times: int) -> Replacement:
    """What replaces what is written, for as many copies of a batch; the same for all where it is one for all."""
    writes = replacement.writes
    if writes.ndim == given.embeds.ndim:
        return replacement
    return Replacement(writes.repeat(times, *[1] * (writes.ndim - 1)), replacement.name)


def _bytes_of_writes(machine: Machine, given: Given) -> int:
    """What the writers of one example write, in bytes, with its replacement."""
    one = given.embeds[0]
    return max(1, 2 * len(machine.graph.writers) * one.numel() * one.element_size())


def _check_positions(task: Task, masks: Sequence[Mask]) -> None:
    lengths = {mask.keep.shape[-1] for mask in masks if mask.kind == "position"}
    if lengths and not task.is_aligned:
        raise DiscoveryError(
            f"masks of edges at positions need prompts of one length, and task {task.name!r} has several",
            expected="prompts of one length, without padding",
            found=sorted({int(n) for n in task.mask.sum(1)}),
            hint="take the prompts of one length, or masks without positions",
        )
    if lengths - {task.tokens.shape[1]}:
        raise DiscoveryError(
            f"masks of {sorted(lengths)} positions do not fit prompts of {task.tokens.shape[1]} tokens",
            expected=task.tokens.shape[1],
            found=tuple(sorted(lengths)),
            hint="masks are [n_readers, n_writers, seq]",
        )
