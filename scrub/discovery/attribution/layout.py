"""Scores of one example each, and the contractions that add to them.

Tensors of writers are [n, writers, *stream]. The stream is [seq, d], with axes in front of seq in some models; these
are folded into d here.
"""

from __future__ import annotations

import torch

from scrub.discovery.components import ComponentGraph
from scrub.discovery.machine import Machine, PartGradients, port_rows
from scrub.discovery.scores import Level


def folded(value: torch.Tensor) -> torch.Tensor:
    """[n, writers, ..., seq, d] as [n, writers, seq, all else]."""
    return value if value.ndim == 4 else value.movedim(-2, 2).flatten(3)


def unfolded(value: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """[n, seq, all else] as [n, ..., seq, d], of that shape."""
    if len(shape) == 3:
        return value
    return value.reshape(shape[0], shape[-2], *shape[1:-2], shape[-1]).movedim(1, -2)


def score_axes(graph: ComponentGraph, level: Level, seq: int | None, width: int) -> tuple[int, ...]:
    """The sizes of one example's scores, positions first: ([seq], readers, writers), ([seq], writers, [width])."""
    axes = {
        "edge": (len(graph.readers), len(graph.writers)),
        "node": (len(graph.writers),),
        "neuron": (len(graph.writers), width),
    }[level]
    return axes if seq is None else (seq, *axes)


def contraction(
    machine: Machine,
    gradients: PartGradients,
    differences: torch.Tensor,
    *,
    level: Level,
    per_position: bool,
    columns: slice | None = None,
) -> list[tuple[tuple[slice, ...], torch.Tensor]]:
    """Differences times gradients at one part, as far as a level asks for them: where they belong, and their values.

    Of edges these are all that the part reads, of nodes and neurons what it writes itself.

    Args:
        machine: the model.
        gradients: at the part.
        differences: z~ - z of all writers, [n, writers, *stream].
        level: of the scores.
        per_position: whether positions are kept.
        columns: of edges, the writers that are wanted; all if None.

    Returns:
        Index into [n, *score_axes], and the values there.
    """
    every = (slice(None), slice(None)) if per_position else (slice(None),)
    if level == "edge":
        found: list[tuple[tuple[slice, ...], torch.Tensor]] = []
        for port in gradients.part.ports:
            if port.label not in gradients.reads:
                continue
            rows = port_rows(machine, gradients.part, port)
            there = columns or slice(0, _last_writer(machine, rows) + 1)
            values = _edges(folded(gradients.reads[port.label]), folded(differences[:, there]), per_position)
            found.append(((*every, rows, there), values))
        return found
    if gradients.part is machine.readout:
        return []
    own = machine.anatomy.columns[gradients.part.name]
    there = slice(own.start, own.stop)
    values = folded(differences[:, there]) * folded(gradients.writes[:, None])  # [n, writers, seq, d]
    if level == "node":
        values = values.sum(-1)
    values = values.movedim(2, 1) if per_position else values.sum(2)
    return [((*every, there), values)]


def _last_writer(machine: Machine, rows: slice) -> int:
    return int(machine.graph.exists[rows.start].nonzero().max())


def _edges(gradients: torch.Tensor, differences: torch.Tensor, per_position: bool) -> torch.Tensor:
    """[n, readers, seq, d] times [n, writers, seq, d]: [n, (seq), readers, writers]."""
    if per_position:
        return torch.matmul(gradients.movedim(2, 1), differences.movedim(2, 1).mT)
    return torch.matmul(gradients.flatten(2), differences.flatten(2).mT)


def empty_writes(machine: Machine, like: torch.Tensor, *, position_first: bool) -> torch.Tensor:
    """Memory for what all writers write, [n, writers, *stream], where `like` is [n, *stream].

    Args:
        machine: the model.
        like: of one part.
        position_first: lay it out as [n, seq, writers, ..., d], so that products at each position read it in order.
    """
    n_writers = len(machine.graph.writers)
    if not position_first:
        return like.new_empty((len(like), n_writers, *like.shape[1:]))
    shape = (len(like), like.shape[-2], n_writers, *like.shape[1:-2], like.shape[-1])
    return like.new_empty(shape).movedim(1, -2)
