"""Clean-corrupted: the mean of the gradients at the two ends of the path, the clean run and the corrupted one."""

from __future__ import annotations

from scrub.discovery.attribution.chunk import Chunk
from scrub.discovery.attribution.registry import register

_NO_RUN = (
    "it takes gradients at the model's run on the corrupted prompts, and what this ablation puts in has no prompt that"
    " the model runs on"
)


@register("clean-corrupted", not_with=dict.fromkeys(("zero", "mean", "mean-positional"), _NO_RUN))
def clean_corrupted(chunk: Chunk) -> None:
    """The trapezoid rule with one interval: exact for an effect that is quadratic along the path.

    Source: Hanna et al. 2024, "Have faith in faithfulness".
    """
    tape, differences = chunk.recorded_pair()
    for gradients in chunk.gradients(tape, [0.5, 0.5]):
        chunk.add(gradients, differences)
