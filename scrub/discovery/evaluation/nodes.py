"""Runs with writers patched for all their readers at once: whole nodes, or dimensions of what they write.

    w_u = z~_u + keep_u (z_u - z~_u)

Every reader of u reads w_u, so the stream stays one sum and such a run costs little more than a plain one. It gives
what the circuit of all outgoing edges of the kept nodes gives.
"""

from __future__ import annotations

import torch

from scrub.discovery.derive.parts import Part
from scrub.discovery.machine import Given, Machine, Replacement, Run


class PatchedNodesRun:
    """One run with writers patched.

    Args:
        machine: the model.
        given: what it is given.
        keep: what is left of what each writer writes, 1 not patched and 0 patched: [n or 1, n_writers, d or 1].
        replacement: what patched writers write.
    """

    def __init__(self, machine: Machine, given: Given, keep: torch.Tensor, replacement: Replacement) -> None:
        self.machine = machine
        self.given = given
        self.keep = keep
        self.replacement = replacement
        self._run = Run(given)

    def logits(self, positions: torch.Tensor | None = None) -> torch.Tensor:
        """The logits at positions [n, k], [n, k, n_logits]; see `Machine.logits`."""
        machine = self.machine
        for part in machine.anatomy.parts[:-1]:
            self._run.totals[part.name] = self._total(part)
        states = [state.expand(self.given.n, *state.shape[1:]) for state in machine.read(machine.readout, self._run)]
        return machine.logits(states, self.given, positions)

    def _total(self, part: Part) -> torch.Tensor:
        """What a part adds to the stream, its patched writers replaced."""
        machine, given = self.machine, self.given
        functions = machine.functions(given)[part.name]
        columns = machine.anatomy.columns[part.name]
        keep = self.keep[:, columns.start : columns.stop]
        replaced = self.replacement.of(slice(columns.start, columns.stop), given.embeds.ndim + 1)
        replaced = replaced.expand(-1, -1, *given.embeds.shape[1:])  # axes may be of size 1
        if not bool(keep.any()) and not functions.rest_is_drawn:
            rest = None if part.rest is None else machine.constants(self._run)[part.rest]
            return machine.total(replaced, rest)
        states = [state.expand(given.n, *state.shape[1:]) for state in machine.read(part, self._run)]
        if bool((keep == 1).all()):
            return functions.total(states, given)
        writes, rest = functions.write(states, given)
        at_stream = keep.reshape(*keep.shape[:2], *[1] * (writes.ndim - 3), keep.shape[-1]).to(writes)
        return machine.total(torch.lerp(replaced.expand_as(writes), writes, at_stream), rest)
