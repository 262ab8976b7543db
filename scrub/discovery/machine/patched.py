"""Runs with edges patched: each reader reads its own mix of what was written and of what replaces it.

    r_v = R~ + sum over u of keep[v, u] (z_u - z~_u)

R~ is the state with all writers replaced. Unpatched edges carry what their writer computes in the patched run.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from scrub.discovery.derive.parts import Part, Port
from scrub.discovery.machine.machine import Machine, Run
from scrub.discovery.machine.source import Given
from scrub.graph import DiscoveryError, Expr


@dataclass(frozen=True)
class Replacement:
    """What patched edges carry.

    Attributes:
        writes: [n_writers, *stream] or [n, n_writers, *stream]; axes of the stream may be of size 1.
        name: what it is: "zero", "mean", "counterfactual".
    """

    writes: torch.Tensor
    name: str

    def of(self, columns: slice, ndim: int) -> torch.Tensor:
        """What replaces some writers, [n or 1, heads, *stream]."""
        writes = self.writes if self.writes.ndim == ndim else self.writes[None]
        return writes[:, columns]


def writes_of(machine: Machine, run: Run) -> torch.Tensor:
    """What all writers wrote in a run that kept it, [n, n_writers, *stream]."""
    return torch.cat([run.writes[part.name] for part in machine.anatomy.parts[:-1]], 1)


class PatchedRun:
    """One run with edges patched.

    Args:
        machine: the model.
        given: what it is given.
        keep: what is left of each edge, 1 not patched and 0 patched, anything between allowed:
            [n_readers, n_writers], or [n, n_readers, n_writers] for masks of each example. With `per_position`, one
            more axis [..., seq] at the end.
        replacement: what patched edges carry.
        per_position: whether masks are of edges at positions.
        frozen: what writers write to unpatched edges, [n, n_writers, *stream], instead of what they compute in the
            patched run.

    Raises:
        DiscoveryError: the mask does not fit the model.
    """

    def __init__(
        self,
        machine: Machine,
        given: Given,
        keep: torch.Tensor,
        replacement: Replacement,
        *,
        per_position: bool = False,
        frozen: torch.Tensor | None = None,
    ) -> None:
        self.machine = machine
        self.given = given
        self.per_position = per_position
        self.replacement = replacement
        self.frozen = frozen
        graph = machine.graph
        wanted = graph.exists.shape
        found = tuple(keep.shape[:-1] if per_position else keep.shape)
        if found[-2:] != tuple(wanted) or (len(found) == 3 and found[0] != given.n) or len(found) > 3:
            raise DiscoveryError(
                f"a mask of shape {list(keep.shape)} does not fit {wanted[0]} readers and {wanted[1]} writers",
                expected=f"[{wanted[0]}, {wanted[1]}] or [{given.n}, {wanted[0]}, {wanted[1]}]",
                found=tuple(keep.shape),
                hint="per_position=True for masks of edges at positions",
            )
        exists = graph.exists[..., None] if per_position else graph.exists
        self.keep = keep.to(given.embeds) * exists.to(given.embeds)
        self._base = Run(given)
        self._rests: dict[str, torch.Tensor] = {}
        self._difference: torch.Tensor | None = None
        self._filled = 0

    def logits(self, positions: torch.Tensor | None = None) -> torch.Tensor:
        """The logits at positions [n, k], [n, k, n_logits]; see `Machine.logits`."""
        parts = self.machine.anatomy.parts
        for part in parts[:-1]:
            self._run_part(part)
        readout = parts[-1]
        return self.machine.logits([self.read(readout, port)[:, 0] for port in readout.ports], self.given, positions)

    def read(self, part: Part, port: Port) -> torch.Tensor:
        """What each of a port's readers reads, [n, heads, *stream]."""
        machine = self.machine
        rows = machine.anatomy.rows[part.name, port.label]
        base = self._replaced_state(port.state)
        extra = [rest for name, rest in self._rests.items() if name in machine.anatomy.writers_of(port.state)]
        for rest in extra:
            base = base + rest
        base = base[:, None]
        if self._difference is None or not self._filled:
            return base.expand(self.given.n, len(rows), *base.shape[2:])
        difference = self._difference[:, : self._filled]
        if self.per_position:
            mixed = _mix_at(self.keep[..., rows.start : rows.stop, : self._filled, :], difference)
        else:
            keep = self.keep[..., rows.start : rows.stop, : self._filled]
            mixed = _mix(keep, difference)
        return mixed.add_(base) if not mixed.requires_grad else mixed + base

    def _run_part(self, part: Part) -> None:
        machine, given = self.machine, self.given
        functions = machine.functions(given)[part.name]
        columns = machine.anatomy.columns[part.name]
        if self._is_unread(columns) and not functions.rest_is_drawn:
            self._skip(columns)
            return
        if part.states:
            ports = [self.read(part, port) for port in part.ports]
            writes, rest = functions.inner(functions.enter(ports, given), given)
        else:
            writes, rest = functions.write([], given)
        if functions.rest_is_drawn and rest is not None:
            self._rests[part.name] = rest
        if self.frozen is not None:
            writes = self.frozen[:, columns.start : columns.stop]
        self._fill(columns, writes)

    def _is_unread(self, columns: range) -> bool:
        """Whether all edges from some writers are patched, so that nothing reads what they write in this run."""
        if self._difference is None or self._difference.requires_grad or self.keep.requires_grad:
            return False
        keep = (
            self.keep[..., columns.start : columns.stop, :]
            if self.per_position
            else self.keep[..., columns.start : columns.stop]
        )
        return not bool(keep.any())

    def _skip(self, columns: range) -> None:
        """Go on without some writers: patched edges carry what replaces them."""
        assert self._difference is not None
        self._difference[:, columns.start : columns.stop] = 0
        self._filled = columns.stop

    def _fill(self, columns: range, writes: torch.Tensor) -> None:
        """Add what writers wrote, less what replaces it."""
        replacement = self.replacement.of(slice(columns.start, columns.stop), writes.ndim)
        if writes.requires_grad or self.keep.requires_grad:
            own = writes - replacement
            self._difference = own if self._difference is None else torch.cat([self._difference, own], 1)
        else:
            if self._difference is None:
                shape = (self.given.n, len(self.machine.graph.writers), *writes.shape[2:])
                self._difference = writes.new_empty(shape)
            torch.sub(writes, replacement, out=self._difference[:, columns.start : columns.stop])
        self._filled = columns.stop

    def _replaced_state(self, state: Expr) -> torch.Tensor:
        """The state with all writers replaced, [n or 1, *stream]."""
        machine = self.machine
        if not self._base.totals:
            ndim = self.given.embeds.ndim + 1
            for part in machine.anatomy.parts[:-1]:
                columns = machine.anatomy.columns[part.name]
                own = self.replacement.of(slice(columns.start, columns.stop), ndim)
                self._base.totals[part.name] = machine.total(own, self._constant_rest(part))
        return machine.state(state, self._base)

    def _constant_rest(self, part: Part) -> torch.Tensor | None:
        """What a part adds that is no writer's and the same in every run."""
        if part.rest is None or self.machine.functions(self.given)[part.name].rest_is_drawn:
            return None
        return self.machine.constants(self._base)[part.rest]


def _mix(keep: torch.Tensor, difference: torch.Tensor) -> torch.Tensor:
    """Masks [..., readers, writers] of what was written [n, writers, *stream], for each reader [n, readers, *stream].

    Without gradients what comes out lies in memory reader by reader, as heads multiply it by weights of their own.
    """
    flat = difference.flatten(2)
    if keep.requires_grad or flat.requires_grad:
        mixed = torch.matmul(keep, flat)
    else:
        n, readers = len(flat), keep.shape[-2]
        mixed = flat.new_empty(readers, n, flat.shape[2]).transpose(0, 1)
        torch.bmm(keep.expand(n, *keep.shape[-2:]), flat, out=mixed)
    return mixed.reshape(*mixed.shape[:2], *difference.shape[2:])


def _mix_at(keep: torch.Tensor, difference: torch.Tensor) -> torch.Tensor:
    """Masks [..., readers, writers, seq] of what was written [n, writers, ..., seq, d], for each reader."""
    by_position = difference.movedim(-2, 1)  # [n, seq, writers, ...]
    mixed = torch.matmul(keep.movedim(-1, -3), by_position.flatten(3))
    return mixed.reshape(*mixed.shape[:3], *by_position.shape[3:]).movedim(1, -2)
