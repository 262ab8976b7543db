"""EAP with integrated gradients over inputs: gradients averaged over runs between the corrupted prompt and the clean.

    s(u, v) = sum (z~_u - z_u) * mean over t of dM / d(input of v),   embeddings  e' + t (e - e')

e are the token embeddings of the clean prompt, e' those of the corrupted one.
"""

from __future__ import annotations

import torch

from scrub.discovery.attribution.chunk import Chunk
from scrub.discovery.attribution.registry import register
from scrub.discovery.machine import Tape, record


@register("EAP-IG-inputs", has_steps=True)
def ig_inputs(chunk: Chunk) -> None:
    """The scores of edges out of the input sum to the metric's change from clean to corrupted, as steps grow.

    Token embeddings are interpolated, embeddings of positions are not. With an ablation that has no corrupted prompt
    (zero, mean) what the input writes is interpolated to what replaces it.

    Source: Hanna et al. 2024, "Have faith in faithfulness"; Sundararajan et al. 2017, "Axiomatic attribution".
    """
    differences = chunk.differences
    for places, weights in chunk.groups_of_steps():
        for gradients in chunk.gradients(_recorded_at(chunk, places), weights):
            chunk.add(gradients, differences)


def _recorded_at(chunk: Chunk, places: torch.Tensor) -> Tape:
    """Runs with the input at places of the path, 1 the clean one."""
    machine, clean, copies = chunk.machine, chunk.given.embeds, len(places)
    if chunk.setting.ablation.fixed is None:
        corrupted = chunk.corrupted_given.embeds
        embeds = corrupted + places.reshape(-1, *[1] * clean.ndim) * (clean - corrupted)
        batch = chunk.repeated_batch(copies)
        given = machine.source.given(batch.tokens, batch.mask, embeds=embeds.flatten(0, 1))
        return record(machine, given, keep_writes=False)
    inputs = [part.name for part in machine.anatomy.parts if part.kind == "input"]
    replaced = {name: chunk.interpolated(name, places) for name in inputs}
    return record(machine, chunk.repeated(copies).given, replaced=replaced, keep_writes=False)
