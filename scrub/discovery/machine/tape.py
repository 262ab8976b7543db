"""Gradients: a run that is recorded, and the way back, part by part.

What each head's input reads is one tensor for all heads until it enters the heads; there it is taken apart by a view,
so that its gradient comes out for each input of each head, at the cost of the products that it takes anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch

from scrub.discovery.derive.parts import Part, Port
from scrub.discovery.machine.machine import Machine, Run
from scrub.discovery.machine.source import Given
from scrub.graph import Expr

K = TypeVar("K", Expr, str)
Objective = Callable[[torch.Tensor], torch.Tensor]
"""Of logits [n, k, n_logits], a number for each example [n]."""
TakeWrites = Callable[[str, torch.Tensor], None]
"""Called with the name of a part and what its writers write, [n, heads, *stream]."""


@dataclass(frozen=True)
class PartGradients:
    """Gradients at a part, of the sum over examples of the objective.

    Attributes:
        part: which.
        reads: label of a port -> with respect to what each of its readers reads of the stream, [n, heads, *stream].
        writes: with respect to what the part adds to the stream, the same for each of its writers, [n, *stream].
        activations: name -> with respect to values inside it, [n, heads, *shape], as far as they were recorded.
    """

    part: Part
    reads: Mapping[str, torch.Tensor]
    writes: torch.Tensor
    activations: Mapping[str, torch.Tensor] = field(default_factory=dict[str, torch.Tensor])


@dataclass
class _Recorded:
    """How what a part wrote hangs on what it was given.

    Attributes:
        leaves: what its heads were given, one view for each head.
        states: what it read of the stream.
        total: what it added to the stream.
        activations: values inside it.
    """

    leaves: list[torch.Tensor]
    states: list[torch.Tensor]
    total: torch.Tensor
    activations: dict[str, torch.Tensor]


@dataclass
class Tape:
    """A recorded run.

    Attributes:
        run: what it computed.
        parts: what was recorded of each part.
    """

    run: Run
    parts: dict[str, _Recorded] = field(default_factory=dict[str, _Recorded])


def record(
    machine: Machine,
    given: Given,
    *,
    replaced: Mapping[str, torch.Tensor] | None = None,
    start: str | None = None,
    base: Tape | None = None,
    activations: Mapping[str, Sequence[str]] | None = None,
    keep_writes: bool | TakeWrites = True,
) -> Tape:
    """Run all parts but the logits, for gradients.

    Args:
        machine: the model.
        given: what it is given.
        replaced: name of a part -> what it adds to the stream instead of what it computes, [n, *stream].
        start, base: the part to start with, and a tape that holds up to it, whose records are shared.
        activations: name of a part -> names of values inside it whose gradients are wanted.
        keep_writes: whether to keep what each writer writes in `run.writes`; or what to call with the name of each part
            and what its writers write, which is not kept then.
    """
    tape = Tape(Run(given))
    first = 0 if start is None or base is None else machine.order.index(start)
    if base is not None:
        tape.run.take(base.run, machine.order[:first])
        tape.parts.update({name: base.parts[name] for name in machine.order[:first] if name in base.parts})
    for name in machine.order[first:-1]:
        if replaced is not None and name in replaced:
            tape.run.totals[name] = replaced[name]
            continue
        part, wanted = machine.parts[name], () if activations is None else activations.get(name, ())
        if not keep_writes and part.states and not wanted:
            _record_total(machine, tape, part)
            continue
        writes = _record_part(machine, tape, part, wanted)
        if callable(keep_writes):
            keep_writes(name, writes)
        elif keep_writes:
            tape.run.writes[name] = writes
    return tape


def _record_total(machine: Machine, tape: Tape, part: Part) -> None:
    """Run a part with gradients on, from what its heads are given, without what each of them writes."""
    given = tape.run.given
    functions = machine.functions(given)[part.name]
    states = machine.read(part, tape.run)
    leaves = [entry.detach().requires_grad_() for entry in functions.entered_by_all(states, given)]
    with torch.enable_grad():
        total = functions.inner_total(leaves, given)
    tape.run.totals[part.name] = total.detach()
    tape.parts[part.name] = _Recorded(leaves, states, total, {})


def _record_part(machine: Machine, tape: Tape, part: Part, wanted: Sequence[str]) -> torch.Tensor:
    """Run a part with gradients on, from what its heads are given; what its writers write, without gradients."""
    given = tape.run.given
    functions = machine.functions(given)[part.name]
    states = machine.read(part, tape.run)
    if not part.states:
        writes, rest = functions.write([], given)
        tape.run.totals[part.name] = machine.total(writes, rest)
        tape.run.rests[part.name] = rest
        return writes
    leaves = [entry.detach().requires_grad_() for entry in functions.entered_by_all(states, given)]
    inside: dict[str, torch.Tensor] = {}
    with torch.enable_grad():
        if wanted:
            inside = functions.chained(wanted, leaves, given)
            writes, rest = functions.write_with(inside, leaves, given)
        else:
            writes, rest = functions.inner(leaves, given)
        total = machine.total(writes, rest)
    tape.run.totals[part.name] = total.detach()
    tape.run.rests[part.name] = None if rest is None else rest.detach()
    tape.parts[part.name] = _Recorded(leaves, states, total, inside)
    return writes.detach()


def backward(
    machine: Machine,
    tape: Tape,
    objective: Objective | None,
    positions: torch.Tensor | None = None,
    *,
    seeds: Mapping[str, torch.Tensor] | None = None,
    down_to: str | None = None,
    keep: bool = False,
) -> Iterator[PartGradients]:
    """Gradients at each part, from the logits down.

    Args:
        machine: the model.
        tape: the run. Through a part that it does not hold no gradient passes on.
        objective: of the logits at `positions`, [n, k, n_logits]; None for none, and nothing is yielded for the logits.
        positions: int64 [n, k]; all if None.
        seeds: name of a part -> a gradient with respect to what it adds to the stream, to start with.
        down_to: the last part to go to, its `writes` included; to the input if None.
        keep: whether the tape can be run backwards again.

    Yields:
        For the logits, then for each part before.
    """
    of_states: dict[Expr, torch.Tensor] = {}
    of_parts: dict[str, torch.Tensor] = dict(seeds or {})
    if objective is not None:
        yield _of_logits(machine, tape, objective, positions, of_states)
    pending = list(machine.plans)
    stop = machine.order.index(down_to) if down_to is not None else 0
    for name in reversed(machine.order[stop:-1]):
        part = machine.parts[name]
        _settle_states(machine, name, pending, of_states, of_parts)
        at = of_parts.pop(name, None)
        if at is None:
            at = torch.zeros_like(tape.run.totals[name])
        if name not in tape.parts or name == down_to:
            yield PartGradients(part, {}, at)
            continue
        reads, activations = _through(machine, tape, part, at, of_states, keep=keep)
        if not keep:
            del tape.parts[name]  # what was kept for the way back is not needed any more
        yield PartGradients(part, reads, at, activations)


def _of_logits(
    machine: Machine,
    tape: Tape,
    objective: Objective,
    positions: torch.Tensor | None,
    of_states: dict[Expr, torch.Tensor],
) -> PartGradients:
    part = machine.readout
    leaves = [state.detach().requires_grad_() for state in machine.read(part, tape.run)]
    with torch.enable_grad():
        logits = machine.logits(leaves, tape.run.given, positions)
        value = objective(logits).sum()
    found = torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True)
    reads = {port.label: gradient[:, None] for port, gradient in zip(part.ports, found, strict=True)}
    for state, gradient in zip(part.states, found, strict=True):
        _add(of_states, state, gradient)
    return PartGradients(part, reads, torch.zeros_like(logits))


def _settle_states(
    machine: Machine,
    name: str,
    pending: list[Expr],
    of_states: dict[Expr, torch.Tensor],
    of_parts: dict[str, torch.Tensor],
) -> None:
    """Pass the gradients of states on to what they add up, as far as the part `name` is concerned.

    States come in the order of the plans; those that hold what this part wrote come after it, so all that reads them
    has been run backwards.
    """
    while pending:
        state = pending[-1]
        if not _holds(machine, state, name):
            return
        pending.pop()
        gradient = of_states.pop(state, None)
        if gradient is None:
            continue
        plan = machine.plans[state]
        if plan.base is not None:
            _add(of_states, plan.base, gradient)
        for part in plan.parts:
            _add(of_parts, part, gradient)


def _holds(machine: Machine, state: Expr, name: str) -> bool:
    """Whether a state adds up what a part wrote, or a later one."""
    position = machine.order.index(name)
    return any(machine.order.index(writer) >= position for writer in machine.anatomy.writers_of(state))


def _through(
    machine: Machine,
    tape: Tape,
    part: Part,
    at: torch.Tensor,
    of_states: dict[Expr, torch.Tensor],
    *,
    keep: bool,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Run one part backwards."""
    recorded = tape.parts[part.name]
    sources = [*recorded.leaves, *recorded.activations.values()]
    found = torch.autograd.grad(
        recorded.total, sources, at, retain_graph=keep, allow_unused=True, materialize_grads=True
    )
    of_leaves = found[: len(recorded.leaves)]
    activations = dict(zip(recorded.activations, found[len(recorded.leaves) :], strict=True))
    reads: dict[str, torch.Tensor] = {}
    for port, gradient in zip(part.ports, _at_ports(machine, tape, part, of_leaves), strict=True):
        reads[port.label] = gradient
        _add(of_states, port.state, gradient.sum(1) if gradient.shape[1] > 1 else gradient[:, 0])
    return reads, activations


def _at_ports(machine: Machine, tape: Tape, part: Part, of_leaves: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Gradients with respect to what each reader reads, of those with respect to what the heads are given.

    What lies between, a norm, is computed once: all heads read the same stream. Running it backwards is linear in the
    gradient, so the heads' gradients go through it as one batch.
    """
    if not part.axes:
        return [gradient[:, None] for gradient in of_leaves]
    functions = machine.functions(tape.run.given)[part.name]
    leaves = [state.detach().requires_grad_() for state in tape.parts[part.name].states]
    with torch.enable_grad():
        entries = functions.read_once(leaves, tape.run.given)
    found: dict[tuple[str, Expr], torch.Tensor] = {}
    for label in dict.fromkeys(port.label for port in part.ports):
        numbers = part.entries_of(label)
        gradients = torch.autograd.grad(
            [entries[i] for i in numbers],
            leaves,
            [functions.from_axes(of_leaves[i]).transpose(0, 1) for i in numbers],
            retain_graph=True,
            is_grads_batched=True,
            allow_unused=True,
            materialize_grads=True,
        )
        found |= {(label, state): own.transpose(0, 1) for state, own in zip(part.states, gradients, strict=True)}
    return [found[port.label, port.state] for port in part.ports]


def _add(totals: dict[K, torch.Tensor], key: K, value: torch.Tensor) -> None:
    totals[key] = totals[key] + value if key in totals else value


def port_rows(machine: Machine, part: Part, port: Port) -> slice:
    """The rows of a port's readers in matrices over edges."""
    rows = machine.anatomy.rows[part.name, port.label]
    return slice(rows.start, rows.stop)
