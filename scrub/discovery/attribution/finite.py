"""Values that are not finite: where they come up first, and what to do."""

from __future__ import annotations

import torch

from scrub.discovery.machine import Machine, PartGradients, Run
from scrub.graph import DiscoveryError

_HINT = "look at the weights and for overflow there; run the model in float32 or float64"


def first_broken(machine: Machine, run: Run, mask: torch.Tensor) -> DiscoveryError | None:
    """The error that names the first part whose output is not finite at a token; None if all are."""
    for name in machine.order[:-1]:
        total = run.totals[name]
        shown = mask.reshape(len(mask), *[1] * (total.ndim - 3), -1, 1).to(total.device) == 1
        broken = (~total.isfinite() & shown).flatten(1).any(1)
        if broken.any():
            example = int(broken.nonzero()[0])
            return DiscoveryError(
                f"{name} is the first part whose output is not finite, at example {example}"
                f" ({int(broken.sum())} of {len(broken)} examples)",
                nodes=[name],
                expected="finite numbers",
                found="NaN or infinity",
                hint=_HINT,
            )
    return None


def require_finite(
    values: torch.Tensor, gradients: PartGradients, differences: torch.Tensor, machine: Machine, metric: str
) -> None:
    """Raise a `DiscoveryError` unless scores are finite; it names what is not."""
    if values.isfinite().all():
        return
    broken = (~differences.isfinite()).movedim(1, 0).flatten(1).any(1)
    if broken.any():
        name = machine.graph.writers[int(broken.nonzero()[0])]
        raise DiscoveryError(
            f"{name} is the first writer whose output, clean or replaced, is not finite",
            nodes=[name],
            expected="finite numbers",
            found="NaN or infinity",
            hint=_HINT,
        )
    name = gradients.part.name
    at_logits = gradients.part is machine.readout
    raise DiscoveryError(
        f"the gradient of {metric!r} is not finite at {name}, the first part from the logits down where it is not",
        nodes=[name],
        expected="finite gradients",
        found="NaN or infinity",
        hint="the metric's own gradient is broken there: a logarithm or a root of 0, or a ratio with 0 below"
        if at_logits
        else f"look for a division by 0 or an overflow in {name}; run the model in float32 or float64",
    )
