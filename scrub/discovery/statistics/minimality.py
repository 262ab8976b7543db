"""Whether every member of a circuit is needed: how much the metric moves when one is removed, beside random ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from scrub.discovery.statistics.bootstrap import BootstrapEstimate, Columns, IntervalMethod, bootstrap
from scrub.discovery.statistics.faithfulness import same_examples, undefined_error, why_undefined
from scrub.graph import DiscoveryError


@dataclass(frozen=True, eq=False, repr=False)
class Minimality:
    """Changes of the metric when members are removed from a circuit, as shares of the gap from clean to corrupted.

    Attributes:
        members: names, in order.
        changes: float64 [members], |M(C) - M(C without it)| / |M_clean - M_corrupt|, with intervals over examples.
        random: float64 [draws], the same of random members; empty where none were given.
    """

    members: tuple[str, ...]
    changes: BootstrapEstimate
    random: torch.Tensor

    @property
    def largest(self) -> tuple[str, float]:
        """The member that matters most, and its change."""
        index = int(self.changes.value.argmax())
        return self.members[index], float(self.changes.value[index])

    @property
    def smallest(self) -> tuple[str, float]:
        """The member that matters least, and its change: near 0, the circuit is not minimal."""
        index = int(self.changes.value.argmin())
        return self.members[index], float(self.changes.value[index])

    @property
    def p_values(self) -> torch.Tensor:
        """For each member, how likely a random one changes as much or more, [members]: (1 + count) / (1 + draws).

        Small: the member matters more than a random one does. 1 where there are no random members.
        """
        as_large = (self.random[None, :] >= self.changes.value[:, None]).sum(-1)
        return (1 + as_large).to(torch.float64) / (1 + len(self.random))

    def __repr__(self) -> str:
        (most, high), (least, low) = self.largest, self.smallest
        return f"{len(self.members)} members: {most!r} changes {high:.3g} of the gap, {least!r} {low:.3g}"


def minimality(
    without: torch.Tensor,
    *,
    circuit: torch.Tensor,
    clean: torch.Tensor,
    corrupt: torch.Tensor,
    members: Sequence[str],
    random_without: torch.Tensor | None = None,
    random_with: torch.Tensor | None = None,
    n_resamples: int = 2000,
    method: IntervalMethod = "bca",
    seed: int = 0,
) -> Minimality:
    """How much the metric changes when each member of a circuit is removed.

    Args:
        without: [members, n], the metric of each example for the circuit without that member.
        circuit, clean, corrupt: [n], for the whole circuit, nothing patched, everything patched.
        members: their names.
        random_without: [draws, n], for a circuit less a random member.
        random_with: [draws, n] or [n], for that circuit with it, such as this one and a random path beside it. The
            circuit itself, if None.
        n_resamples, method, seed: of the bootstrap.

    Raises:
        UndefinedRatioError: the gap from clean to corrupted is within its error.
        DiscoveryError: the numbers are not of the same members and examples.

    Source: Wang et al. 2022, section 4; random members as in Shi et al. 2024, "Hypothesis Testing the Circuit
    Hypothesis in LLMs".

    >>> clean, corrupt = torch.tensor([4.0, 5.0, 6.0, 5.0]), torch.tensor([0.0, 1.0, 1.0, 0.0])
    >>> minimality(torch.stack([corrupt, clean]), circuit=clean, clean=clean, corrupt=corrupt, members=["a", "b"])
    2 members: 'a' changes 1 of the gap, 'b' 0
    """
    if without.ndim != 2 or len(without) != len(members) or not members:
        raise DiscoveryError(
            f"there are {len(members)} members and metrics of shape {tuple(without.shape)}",
            expected=(len(members) or "1 or more", "n"),
            found=tuple(without.shape),
            hint="one row of metrics for each member that is removed",
        )
    circuit, clean, corrupt = same_examples(circuit, clean=clean, corrupt=corrupt)
    reason = why_undefined(clean, corrupt)
    if reason is not None:
        raise undefined_error("minimality", reason)

    def changes(columns: Columns) -> torch.Tensor:
        return columns["closed"].mean(-1).abs() / columns["gap"].mean(-1).abs()

    def columns(before: torch.Tensor, after: torch.Tensor) -> Columns:
        first, second = (same_examples(each, clean=clean, corrupt=corrupt)[0] for each in (before, after))
        return {"closed": first - second, "gap": (clean - corrupt).expand_as(second)}

    found = bootstrap(
        columns(circuit, without), changes, name="change", n_resamples=n_resamples, method=method, seed=seed
    )
    random = torch.zeros(0, dtype=torch.float64)
    if random_without is not None:
        random = changes(columns(circuit if random_with is None else random_with, random_without))
    return Minimality(tuple(members), found, random)
