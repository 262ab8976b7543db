"""Running on from a change: several patched copies of a batch in one pass, and only what the change reaches.

Values are [copies, n, *stream]; those that no change reached are [1, n, *stream], the plain run's own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import torch

from scrub.discovery.derive.model import n_heads
from scrub.discovery.derive.parts import Part, Port
from scrub.discovery.machine import Given, Machine, Run, at_positions
from scrub.discovery.machine.parts import PartFunctions
from scrub.graph import Expr


@dataclass(frozen=True)
class Held:
    """What some heads of a part read through one port, held fixed.

    Attributes:
        value: [copies, n, *stream].
        heads: bool [heads], those that read it; the others read the stream.
    """

    value: torch.Tensor
    heads: torch.Tensor


@dataclass
class _Changed:
    """What is known of the changed copies.

    Attributes:
        copies: how many.
        totals: name of a part -> what it adds, where that is changed.
        states: state -> its value, changed or not.
        moved: states that a change reached.
    """

    copies: int
    totals: dict[str, torch.Tensor]
    states: dict[Expr, torch.Tensor] = field(default_factory=dict[Expr, torch.Tensor])
    moved: set[Expr] = field(default_factory=set[Expr])


class Rerun:
    """Runs that continue a plain run of a batch, with changes.

    Args:
        machine: the model.
        run: the plain run, with totals.
        positions: int64 [n, k], where logits are wanted.
        tail: name of the part from which on everything acts on each position by itself (`tail_of`), or None: from there
            on only those positions are computed.
    """

    def __init__(self, machine: Machine, run: Run, positions: torch.Tensor, tail: str | None) -> None:
        self.machine = machine
        self.run = run
        self.positions = positions
        self._tail = len(machine.order) if tail is None else machine.order.index(tail)
        self._givens: dict[int, Given] = {1: run.given}
        self._at_tail: Run | None = None

    def logits(
        self,
        copies: int,
        *,
        totals: Mapping[str, torch.Tensor] | None = None,
        states: Mapping[Expr, torch.Tensor] | None = None,
        held: Mapping[tuple[str, str], Held] | None = None,
    ) -> torch.Tensor:
        """The logits at the positions, [copies, n, k, n_logits].

        Args:
            copies: how many copies of the batch.
            totals: name of a part -> what it adds to the stream, [copies, n, *stream].
            states: state of the stream -> its value, [copies, n, *stream], for all that reads it or continues it.
            held: (name of a part, label of a port) -> what heads read through it.
        """
        machine, readout = self.machine, self.machine.readout
        changed = _Changed(copies, dict(totals or {}), dict(states or {}), set(states or {}))
        held = held or {}
        base = self.run
        for number, name in enumerate(machine.order[:-1]):
            if number == self._tail:
                base = self._gathered(changed)
            if name not in changed.totals:
                self._run_part(machine.parts[name], changed, base, held)
        if self._tail == len(machine.order) - 1:
            base = self._gathered(changed)
        at_tail = base is not self.run
        read = [self._read_by_logits(port, changed, base, held) for port in readout.ports]
        flat = [self._flat(value, copies) for value in read]
        found = machine.logits(flat, self._given(copies), None if at_tail else self._repeated(copies))
        return apart(found, copies)

    def _read_by_logits(
        self, port: Port, changed: _Changed, base: Run, held: Mapping[tuple[str, str], Held]
    ) -> torch.Tensor:
        own = held.get((self.machine.readout.name, port.label))
        if own is None:
            return self._state(port.state, changed, base)
        return own.value if base is self.run else self._at(own.value)

    def states(
        self, copies: int, totals: Mapping[str, torch.Tensor], wanted: Collection[Expr], kinds: Collection[str]
    ) -> dict[Expr, torch.Tensor]:
        """States of the stream where only some parts follow a change and all others keep what they write.

        Args:
            copies, totals: as of `logits`.
            wanted: the states.
            kinds: the kinds of the parts that follow.

        Returns:
            [copies, n, *stream] each.
        """
        changed = _Changed(copies, dict(totals))
        for name in self.machine.order[:-1]:
            if name not in totals and self.machine.parts[name].kind in kinds:
                self._run_part(self.machine.parts[name], changed, self.run, {})
        found = {state: self._state(state, changed, self.run) for state in wanted}
        return {state: value.expand(copies, *value.shape[1:]) for state, value in found.items()}

    def _run_part(self, part: Part, changed: _Changed, base: Run, held: Mapping[tuple[str, str], Held]) -> None:
        """Compute a part anew if something it reads has changed."""
        values = {state: self._state(state, changed, base) for state in part.states}
        own = {port.label: held[part.name, port.label] for port in part.ports if (part.name, port.label) in held}
        if not own and not any(state in changed.moved for state in part.states):
            return
        copies = changed.copies
        given = self._given(copies)
        functions = self.machine.functions(given)[part.name]
        flat = {state: self._flat(value, copies) for state, value in values.items()}
        if own:
            if base is not self.run:
                own = {label: Held(self._at(one.value), one.heads) for label, one in own.items()}
            ports = [self._port(part, flat[port.state], own.get(port.label), copies) for port in part.ports]
            writes, rest = functions.inner(functions.enter(ports, given), given)
            total = self.machine.total(writes, rest)
        else:
            total = functions.total([flat[state] for state in part.states], given)
        changed.totals[part.name] = apart(total, copies)

    def _port(self, part: Part, state: torch.Tensor, held: Held | None, copies: int) -> torch.Tensor:
        """What each head reads, [copies * n, heads, *stream]."""
        read = state[:, None].expand(len(state), n_heads(part), *state.shape[1:])
        if held is None:
            return read
        chosen = held.heads.reshape(1, -1, *[1] * (state.ndim - 1))
        return torch.where(chosen, self._flat(held.value, copies)[:, None], read)

    def _state(self, state: Expr, changed: _Changed, base: Run) -> torch.Tensor:
        """The value of a state, and a note in `changed.moved` if a change reached it."""
        waiting = [state]
        while waiting:
            at = waiting[-1]
            plan = self.machine.plans[at]
            if at in changed.states:
                waiting.pop()
            elif plan.base is not None and plan.base not in changed.states:
                waiting.append(plan.base)
            else:
                waiting.pop()
                if plan.base in changed.moved or any(name in changed.totals for name in plan.parts):
                    changed.moved.add(at)
                    changed.states[at] = self._added_up(at, changed, base)
                else:
                    changed.states[at] = self.machine.state(at, base)[None]
        return changed.states[state]

    def _added_up(self, state: Expr, changed: _Changed, base: Run) -> torch.Tensor:
        plan = self.machine.plans[state]
        terms = [] if plan.base is None else [changed.states[plan.base]]
        terms += [changed.totals[name] if name in changed.totals else base.totals[name][None] for name in plan.parts]
        terms += [self.machine.constants(self.run)[term] for term in plan.constants]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total

    def _gathered(self, changed: _Changed) -> Run:
        """Leave only the positions of the logits, in what is changed and in the plain run."""
        changed.totals = {name: self._at(value) for name, value in changed.totals.items()}
        changed.states = {state: self._at(value) for state, value in changed.states.items()}
        if self._at_tail is None:
            machine, run = self.machine, self.run
            self._at_tail = Run(run.given)
            for name in machine.order[:-1]:
                self._at_tail.totals[name] = at_positions(_like_batch(run.totals[name], run.given.n), self.positions)
        return self._at_tail

    def _at(self, value: torch.Tensor) -> torch.Tensor:
        """[copies, n, seq, d] at the positions, [copies, n, k, d]."""
        copies = len(value)
        return apart(at_positions(value.flatten(0, 1), self._repeated(copies)), copies)

    def _repeated(self, copies: int) -> torch.Tensor:
        return self.positions.repeat(copies, 1)

    def _flat(self, value: torch.Tensor, copies: int) -> torch.Tensor:
        return value.expand(copies, *value.shape[1:]).flatten(0, 1)

    def _given(self, copies: int) -> Given:
        if copies not in self._givens:
            self._givens = {1: self.run.given, copies: repeated_given(self.run.given, copies)}
        return self._givens[copies]


def apart(value: torch.Tensor, copies: int) -> torch.Tensor:
    """[copies * n, ...] as [copies, n, ...]."""
    return value.reshape(copies, -1, *value.shape[1:])


def repeated(value: torch.Tensor, copies: int) -> torch.Tensor:
    """[n, ...] as [copies * n, ...]."""
    return value.repeat(copies, *[1] * (value.ndim - 1))


def repeated_given(given: Given, copies: int) -> Given:
    """What several copies of a batch are given."""
    tensors = {
        symbol: repeated(value, copies) if symbol in given.batched else value for symbol, value in given.tensors.items()
    }
    return Given(tensors, given.batched, given.n * copies, repeated(given.embeds, copies))


def tail_of(machine: Machine) -> str | None:
    """The first part from which on all, logits included, act on each position by itself; None if not even these do."""
    if not machine.is_local or any(plan.constants for plan in machine.plans.values()):
        return None
    tail = machine.readout.name
    for part in reversed(machine.anatomy.parts[:-1]):
        if not _acts_by_position(machine, part):
            break
        tail = part.name
    return tail


def _acts_by_position(machine: Machine, part: Part) -> bool:
    """Whether a part without heads computes each position of its own; found out by trying."""
    if part.kind not in ("mlp", "layer") or part.free or not all(state.free_sizes for state in part.states):
        return False
    generator = torch.Generator().manual_seed(0)
    widths = [int(state.shape[-1]) for state in part.states]
    given = machine.source.given(torch.zeros(1, 3, dtype=torch.int64))
    states = [torch.randn(1, 3, width, generator=generator).to(given.embeds) for width in widths]
    functions = PartFunctions(part, frozenset())
    whole, one = functions.total(states, given), functions.total([state[:, 1:2] for state in states], given)
    return whole.shape == states[0].shape and torch.allclose(whole[:, 1:2], one, rtol=1e-4, atol=1e-4)


def _like_batch(value: torch.Tensor, n: int) -> torch.Tensor:
    return value.expand(n, *value.shape[1:])
