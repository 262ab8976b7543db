"""Exact effects: the metric with one edge patched, less the metric of the clean run. The reference for estimates.

    M({(u, v)}) - M_clean

A patched edge changes what one reader reads, so one part is computed with a changed input of that reader, and all that
comes after it plainly; what comes before is that of the clean run. The heads of a layer are changed all at once where
none needs another's input. Many edges run as one batch, the examples repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import torch

from scrub.discovery.attribution.chunk import TOKENS, Chunk
from scrub.discovery.attribution.layout import folded, unfolded
from scrub.discovery.attribution.registry import register
from scrub.discovery.attribution.repeated import apart
from scrub.discovery.derive.model import n_heads
from scrub.discovery.derive.parts import Part, Port
from scrub.discovery.machine import port_rows
from scrub.graph import Module

T = TypeVar("T")


@register("exact", needs_gradient=False)
def exact(chunk: Chunk) -> None:
    """One run for every edge (or node, neuron, and position), of the part that it changes and those after it.

    Unpatched edges carry what their writers compute in the patched run.
    """
    effects = _Effects(chunk)
    if chunk.setting.level == "edge":
        for part in chunk.machine.anatomy.parts:
            for port in part.ports:
                effects.into(part, port)
    else:
        for part in chunk.machine.anatomy.parts[:-1]:
            effects.out_of(part)


class _Effects:
    """Effects on the examples of a chunk."""

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self.machine = chunk.machine
        self.differences = folded(chunk.differences)  # [n, writers, seq, d]
        self.clean = chunk.measured(chunk.logits(chunk.clean), chunk.clean)
        self.copies = max(1, TOKENS // chunk.batch.tokens.numel())

    def into(self, part: Part, port: Port) -> None:
        """Of every edge into the readers of a port."""
        rows = port_rows(self.machine, part, port)
        writers = [int(u) for u in self.machine.graph.exists[rows.start].nonzero()[:, 0]]
        changes = [(u, at, None) for u in writers for at in self._positions]
        for some in _split(changes, max(1, self.copies // n_heads(part))):
            change = torch.stack([self._change(*one) for one in some])
            found = self._at_logits(port, change) if part is self.machine.readout else self._at(part, port, change)
            for (u, at, _), effect in zip(some, found, strict=True):  # [heads, n]
                where = (slice(None), rows, u) if at is None else (slice(None), at, rows, u)
                self.chunk.scores[where] = effect.T

    def out_of(self, part: Part) -> None:
        """Of the nodes of a part, or of their neurons."""
        dims = range(self.differences.shape[3]) if self.chunk.setting.level == "neuron" else (None,)
        changes = [(u, at, d) for u in self.machine.anatomy.columns[part.name] for at in self._positions for d in dims]
        for some in _split(changes, self.copies):
            total = self.chunk.clean.totals[part.name] + torch.stack([self._change(*one) for one in some])
            for where, effect in zip(some, self._after(part.name, total), strict=True):
                u, at, d = where
                index = [slice(None), *([] if at is None else [at]), u, *([] if d is None else [d])]
                self.chunk.scores[tuple(index)] = effect

    @property
    def _positions(self) -> tuple[int | None, ...]:
        return tuple(range(self.differences.shape[2])) if self.chunk.setting.per_position else (None,)

    def _change(self, u: int, position: int | None, dim: int | None) -> torch.Tensor:
        """z~ - z of a writer, at one position and in one dimension if asked, [n, *stream]."""
        whole = self.differences[:, u]
        places = slice(None) if position is None else slice(position, position + 1)
        dims = slice(None) if dim is None else slice(dim, dim + 1)
        change = torch.zeros_like(whole)
        change[:, places, dims] = whole[:, places, dims]
        return unfolded(change, next(iter(self.chunk.clean.totals.values())).shape)

    def _at_logits(self, port: Port, change: torch.Tensor) -> torch.Tensor:
        """Of changes [copies, n, *stream] of what the logits read, [copies, 1, n]."""
        repeated = self.chunk.repeated(len(change))
        states = [repeated.state(state) for state in self.machine.readout.states]
        changed = [
            value + change.flatten(0, 1) if state is port.state else value
            for state, value in zip(self.machine.readout.states, states, strict=True)
        ]
        batch = self.chunk.repeated_batch(len(change))
        logits = self.machine.logits(changed, repeated.given, batch.positions)
        measured = self.chunk.measured(logits, self.chunk.clean, batch, copies=len(change))
        return (apart(measured, len(change)) - self.clean)[:, None]

    def _at(self, part: Part, port: Port, change: torch.Tensor) -> torch.Tensor:
        """Of changes [copies, n, *stream] of what each reader of a port reads by itself, [copies, heads, n]."""
        totals = torch.stack(list(self._totals(part, port, change)), 1)  # [copies, heads, n, *stream]
        every = totals.flatten(0, 1)
        starts = range(0, len(every), self.copies)
        found = [self._after(part.name, every[start : start + self.copies]) for start in starts]
        return apart(torch.cat(found), len(change))

    def _totals(self, part: Part, port: Port, change: torch.Tensor) -> Iterator[torch.Tensor]:
        """What a part adds to the stream with each head's input changed in turn, [copies, n, *stream]."""
        machine, copies = self.machine, len(change)
        repeated = self.chunk.repeated(copies)
        functions = machine.functions(repeated.given)[part.name]
        states = [repeated.state(state) for state in part.states]
        moved = [
            value + change.flatten(0, 1) if state is port.state else value
            for state, value in zip(part.states, states, strict=True)
        ]
        before = functions.entered_by_all(states, repeated.given)
        after = functions.entered_by_all(moved, repeated.given)
        after = [b if port.symbol in e.free_symbols else a for a, b, e in zip(before, after, part.entered, strict=True)]
        heads = n_heads(part)
        if heads == 1 or _heads_mix(part):
            for head in range(heads):
                is_it = functions.to_axes((torch.arange(heads) == head)[None]).to(change.device)
                entries = [_where(is_it, b, a) for a, b in zip(before, after, strict=True)] if part.axes else after
                yield apart(machine.total(*functions.inner(entries, repeated.given)), copies)
            return
        clean, given = self.chunk.clean, self.chunk.given
        own, _ = machine.functions(given)[part.name].write(machine.read(part, clean), given)
        writes, _ = functions.inner(after, repeated.given)
        for head in range(heads):
            yield clean.totals[part.name] - own[:, head] + apart(writes[:, head], copies)

    def _after(self, name: str, totals: torch.Tensor) -> torch.Tensor:
        """The effects of what a part adds instead, [copies, n, *stream]: [copies, n]."""
        copies = len(totals)
        run = self.chunk.repeated(copies).run_after(name, totals.flatten(0, 1))
        batch = self.chunk.repeated_batch(copies)
        logits = self.machine.logits(self.machine.read(self.machine.readout, run), run.given, batch.positions)
        return apart(self.chunk.measured(logits, run, batch, copies=copies), copies) - self.clean


def _heads_mix(part: Part) -> bool:
    """Whether what a head writes depends on the inputs of others: through the scale of a norm of their sum."""
    if part.heads is None:
        return False
    each, rest = part.heads.written
    output = part.heads.output
    in_scale = isinstance(each, Module) and output in each.body.free_symbols
    return in_scale or (rest is not None and output in rest.free_symbols)


def _where(condition: torch.Tensor, yes: torch.Tensor, no: torch.Tensor) -> torch.Tensor:
    """`torch.where` with a condition on the leading axes."""
    return torch.where(condition.reshape(*condition.shape, *[1] * (yes.ndim - condition.ndim)), yes, no)


def _split(values: list[T], size: int) -> Iterator[list[T]]:
    return (values[start : start + size] for start in range(0, len(values), size))
