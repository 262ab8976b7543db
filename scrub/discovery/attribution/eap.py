"""Edge attribution patching: the effect of patching to first order, for all edges from two runs and one way back.

    s(u, v) = sum (z~_u - z_u) * dM / d(input of v)

The cost grows with components, not with edges.
"""

from __future__ import annotations

from scrub.discovery.attribution.chunk import Chunk
from scrub.discovery.attribution.registry import register


@register("EAP")
def eap(chunk: Chunk) -> None:
    """Gradients at the clean run. It is the gradient with respect to each edge's mask where nothing is patched.

    Source: Syed et al. 2023, "Attribution patching outperforms automated circuit discovery".
    """
    chunk.take_corrupted()
    tape, differences = chunk.recorded_clean()
    for gradients in chunk.gradients(tape):
        chunk.add(gradients, differences)
