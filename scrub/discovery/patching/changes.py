"""What a patch changes: the patched activation of one place, carried to the residual stream.

Heads write to the stream by themselves unless a norm follows, so a place inside attention is patched for all heads at
once, and each head's change is added to the stream apart from the others'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from scrub.discovery.derive.parts import Part
from scrub.discovery.machine import Machine, Run
from scrub.discovery.patching.rerun import apart, repeated, repeated_given
from scrub.discovery.patching.sites import Place
from scrub.discovery.patching.units import Units
from scrub.graph import Expr
from scrub.tasks.task import Task

# nodes that a patched one does not change, given to the part so that it does not compute them again
_BESIDE: Mapping[str, tuple[str, ...]] = {
    "a.q": ("a.k", "a.v"),
    "a.k": ("a.q", "a.v"),
    "a.v": ("a.attn_probs",),
    "a.rot_q": ("a.rot_k", "a.v"),
    "a.rot_k": ("a.rot_q", "a.v"),
    "a.masked_scores": ("a.v",),
    "a.attn_probs": ("a.v",),
}


@dataclass(frozen=True)
class Change:
    """Copies of a batch with a change each.

    Attributes:
        units: the number of each copy's unit in its layer.
        totals: name of a part -> what it adds in each copy, [copies, n, *stream].
        states: state of the stream -> its value in each copy, [copies, n, *stream].
    """

    units: list[int]
    totals: Mapping[str, torch.Tensor]
    states: Mapping[Expr, torch.Tensor]


def changes_of(
    machine: Machine,
    place: Place,
    units: Units,
    batch: Task,
    run: Run,
    values: tuple[torch.Tensor, torch.Tensor],
    copies: int,
) -> Iterator[Change]:
    """All patches of one place, at most `copies` at a time.

    Args:
        machine: the model.
        place: what is patched.
        units: which parts of it.
        batch: the examples.
        run: the run that is patched, with totals and writes.
        values: the activation in that run, and what replaces it, [n, heads, *shape].
        copies: how many at a time.
    """
    where = place.site.where
    if where in ("state", "total"):
        own, other = values
        for start, stop in units.blocks(copies):
            mask = _masks(units, batch, own, start, stop)
            patched = torch.where(mask, other, own)[:, :, 0]
            if where == "total":
                yield Change(list(range(start, stop)), {place.part.name: patched}, {})
            else:
                yield Change(list(range(start, stop)), *_stream(machine, place, patched))
        return
    if where == "inside" and not is_additive(place.part):
        yield from _by_units(machine, place, units, batch, run, values, copies)
        return
    for start, stop in units.blocks(max(1, copies // len(units.heads))):
        difference = _of_all_heads(machine, place, units, batch, run, values, start, stop)
        yield from _for_heads(place, units, run, difference, start, stop, copies)


def _stream(
    machine: Machine, place: Place, patched: torch.Tensor
) -> tuple[dict[str, torch.Tensor], dict[Expr, torch.Tensor]]:
    """The stream given: as a state, or as what the one part adds that is all of it so far."""
    assert place.state is not None
    writers = machine.anatomy.writers_of(place.state)
    if len(machine.anatomy.stream.states[place.state]) == len(writers) == 1:
        return {writers[0]: patched}, {}
    return {}, {place.state: patched}


def _of_all_heads(
    machine: Machine,
    place: Place,
    units: Units,
    batch: Task,
    run: Run,
    values: tuple[torch.Tensor, torch.Tensor],
    start: int,
    stop: int,
) -> torch.Tensor:
    """The change of what each head writes when all are patched, [units, n, heads, *stream]."""
    own, other = values
    mask = _masks(units, batch, own, start, stop)
    if place.site.where == "writes":
        return torch.where(mask, other - own, torch.zeros_like(own))
    patched = torch.where(mask, other, own)
    writes, _ = write_patched(machine, place, run, patched)
    return apart(writes, stop - start) - run.writes[place.part.name]


def _for_heads(
    place: Place, units: Units, run: Run, difference: torch.Tensor, start: int, stop: int, copies: int
) -> Iterator[Change]:
    """Each set of heads with each of these positions, some at a time."""
    name = place.part.name
    at_once = max(1, copies // (stop - start))
    for first in range(0, len(units.heads), at_once):
        sets = units.heads[first : first + at_once]
        if all(len(heads) == 1 for heads in sets):
            chosen = torch.stack([difference[:, :, heads[0]] for heads in sets])
        else:
            chosen = torch.stack([difference[:, :, list(heads)].sum(2) for heads in sets])
        totals = (run.totals[name] + chosen).flatten(0, 1)
        numbers = [
            (first + head) * units.n_places + place_number
            for head in range(len(sets))
            for place_number in range(start, stop)
        ]
        yield Change(numbers, {name: totals}, {})


def _by_units(
    machine: Machine,
    place: Place,
    units: Units,
    batch: Task,
    run: Run,
    values: tuple[torch.Tensor, torch.Tensor],
    copies: int,
) -> Iterator[Change]:
    """Each unit by itself, where a norm makes what a head writes depend on the others."""
    own, other = values
    for number, heads in enumerate(units.heads):
        is_patched = torch.zeros(own.shape[1], dtype=torch.bool, device=own.device)
        is_patched[list(heads)] = True
        of_heads = torch.where(is_patched.reshape(1, -1, *[1] * (own.ndim - 2)), other, own)
        for start, stop in units.blocks(copies):
            mask = _masks(units, batch, own, start, stop)
            writes, rest = write_patched(machine, place, run, torch.where(mask, of_heads, own))
            totals = apart(machine.total(writes, rest), stop - start)
            first = number * units.n_places
            yield Change(list(range(first + start, first + stop)), {place.part.name: totals}, {})


def write_patched(
    machine: Machine, place: Place, run: Run, patched: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What heads write, and the rest, with an activation inside the part given.

    Args:
        machine: the model.
        place: which activation.
        run: what the part reads otherwise.
        patched: [copies, n, heads, *shape].

    Returns:
        as `PartFunctions.inner`, of [copies * n].
    """
    copies, given = len(patched), run.given
    functions = machine.functions(given)[place.part.name]
    entries = functions.entered_by_all(machine.read(place.part, run), given)
    beside = [name for name in _BESIDE.get(place.site.node, ()) if name in functions.nodes]
    plain = functions.activations(beside, entries, given) if beside else {}
    values = {name: repeated(value, copies) for name, value in plain.items()}
    values[place.site.node] = patched.flatten(0, 1)
    n_axes = len(place.part.axes)
    shared = [repeated(entry[(slice(None), *[slice(0, 1)] * n_axes)], copies) for entry in entries]
    entered = [value.expand(len(value), *place.part.axes, *value.shape[1 + n_axes :]) for value in shared]
    return functions.write_with(values, entered, repeated_given(given, copies))


def is_additive(part: Part) -> bool:
    """Whether what each head writes does not depend on the others: no norm follows their sum."""
    if part.heads is None:
        return True
    each, rest = part.heads.written
    own = part.heads.output
    inside = each.children[0] if each is not own and each.children else each
    return (inside is own or own not in inside.free_symbols) and (rest is None or own not in rest.free_symbols)


def _masks(units: Units, batch: Task, like: torch.Tensor, start: int, stop: int) -> torch.Tensor:
    """Masks of units for an activation [n, heads, ..., seq, last], [units, n, 1, ..., seq, last or 1]."""
    masks = units.masks(batch, like.shape[-1], start, stop).to(like.device)
    return masks.reshape(*masks.shape[:2], *[1] * (like.ndim - 3), *masks.shape[2:])
