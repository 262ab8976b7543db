"""EAP with integrated gradients over activations: what one group of writers writes is interpolated, the rest runs on.

Groups are the parts of a model: the input, the heads of a layer together, an MLP. For each in turn

    outputs of the group at   z~ + t (z - z~)

Own group: an edge takes the gradients of its writer's group. All groups: an edge averages over all of them.
"""

from __future__ import annotations

import torch

from scrub.discovery.attribution.chunk import Chunk
from scrub.discovery.attribution.registry import register
from scrub.discovery.machine import Tape, backward, record


@register("EAP-IG-activations", has_steps=True)
def ig_activations(chunk: Chunk) -> None:
    """Own group: node scores of a group sum to the effect of patching the group, as steps grow.

    Only what comes after the group is computed again.

    Source: Hanna et al. 2024, "Have faith in faithfulness".
    """
    differences = chunk.differences
    for group in chunk.machine.order[:-1]:
        columns = chunk.machine.anatomy.columns[group]
        for places, weights in chunk.groups_of_steps():
            tape = _recorded_at(chunk, group, places)
            for gradients in chunk.gradients(tape, weights, down_to=group):
                chunk.add(gradients, differences, columns=columns)


@register("EAP-IG-activations-all-groups", has_steps=True, is_exact_where_linear=False)
def ig_activations_all_groups(chunk: Chunk) -> None:
    """All groups: every edge averages over the gradients of all groups' runs.

    What comes before a group is as in the clean run. Gradients add up there, so one way back through it serves all
    groups and steps. A group that is held passes no gradient on: in its runs, what reaches the metric through it alone
    counts for nothing, so that even in a linear model these scores are smaller than the effects.

    Source: Hanna et al. 2024, in the variant of the published code.
    """
    machine = chunk.machine
    differences = chunk.differences
    groups = machine.order[:-1]
    seeds: dict[str, torch.Tensor] = {}
    for number, group in enumerate(groups):
        for places, weights in chunk.groups_of_steps():
            tape = _recorded_at(chunk, group, places)
            for gradients in chunk.gradients(tape, weights / len(groups)):
                name = gradients.part.name
                if name in groups[:number]:
                    seeds[name] = seeds[name] + gradients.writes if name in seeds else gradients.writes
                else:
                    chunk.add(gradients, differences)
    for gradients in backward(machine, record(machine, chunk.given, keep_writes=False), None, seeds=seeds):
        chunk.add(gradients, differences)


def _recorded_at(chunk: Chunk, group: str, places: torch.Tensor) -> Tape:
    """Runs with a group at places of its path, recorded from the group on."""
    repeated = chunk.repeated(len(places))
    replaced = {group: chunk.interpolated(group, places)}
    base = Tape(repeated.run_before(group))
    return record(chunk.machine, repeated.given, replaced=replaced, start=group, base=base, keep_writes=False)
