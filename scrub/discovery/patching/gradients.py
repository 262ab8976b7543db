"""Gradients of the metric with respect to activations, all from one run backwards."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch

from scrub.discovery.machine import Machine, Tape, backward, record
from scrub.discovery.machine.tape import Objective
from scrub.discovery.patching.sites import Place
from scrub.graph import DiscoveryError
from scrub.tasks.task import Task


def record_places(machine: Machine, tokens: torch.Tensor, batch: Task, places: Sequence[Place]) -> Tape:
    """A recorded run of tokens [n, seq], with what gradients at these places need."""
    wanted: dict[str, list[str]] = {}
    for place in places:
        if place.site.where == "inside":
            wanted.setdefault(place.part.name, []).append(place.site.node)
    given = machine.source.given(tokens, batch.mask)
    return record(machine, given, activations=wanted)


def gradients_at(
    machine: Machine,
    tape: Tape,
    objective: Objective,
    positions: torch.Tensor,
    places: Sequence[Place],
    *,
    dropped: Collection[str] = (),
    keep: bool = False,
) -> list[torch.Tensor | None]:
    """The gradient at each place, [n, heads, *shape]; [n, 1, *stream] where it is the same for every head.

    Args:
        machine, tape, objective, positions: see `backward`.
        places: where.
        dropped: names of parts that no gradient goes through; None stands for gradients at these.
        keep: whether the tape can be run backwards again.
    """
    cut = Tape(tape.run, {name: recorded for name, recorded in tape.parts.items() if name not in dropped})
    of_activations: dict[str, dict[str, torch.Tensor]] = {}
    of_totals: dict[str, torch.Tensor] = {}
    for found in backward(machine, cut, objective, positions, keep=keep):
        of_activations[found.part.name] = dict(found.activations)
        of_totals[found.part.name] = found.writes
    result: list[torch.Tensor | None] = []
    for place in places:
        if place.site.where != "state" and place.part.name in dropped:
            result.append(None)
        elif place.site.where == "inside":
            result.append(of_activations[place.part.name][place.site.node])
        else:
            name = _last_writer(machine, place) if place.state is not None else place.part.name
            result.append(of_totals[name][:, None])
    return result


def _last_writer(machine: Machine, place: Place) -> str:
    """The part whose write has the gradient of a state: the last one that it adds up, first read as part of it."""
    assert place.state is not None
    name = max(machine.anatomy.writers_of(place.state), key=machine.order.index)
    holding = [state for state in machine.plans if name in machine.anatomy.writers_of(state)]
    smaller = [state for state in holding if len(machine.anatomy.writers_of(state)) < _size(machine, place)]
    if any(state in part.states for part in machine.anatomy.parts for state in smaller):
        raise DiscoveryError(
            f"the gradient of {place.site.name} in layer {place.layer} is not that of one write",
            nodes=[name],
            expected="a stream that is read as a whole",
            found=[len(machine.anatomy.writers_of(state)) for state in smaller],
            hint="use activation_patching, or another activation",
        )
    return name


def _size(machine: Machine, place: Place) -> int:
    assert place.state is not None
    return len(machine.anatomy.writers_of(place.state))
