"""CPR and CMD, the two areas of the MIB benchmark: faithfulness of circuits of growing size as one number.

    CPR = area under f,          circuits chosen by signed score;     higher is better
    CMD = area under |1 - f|,    circuits chosen by absolute score;   lower is better

Over the fraction of edges asked for, by trapezoids on the linear axis from 0.001 to 1. A circuit that is perfect at
every size has CPR 0.999 and CMD 0. Choosing the circuits the other way changes a result by a factor of two, so the
selection is part of every result.

Source: Mueller et al. 2025, "MIB: A Mechanistic Interpretability Benchmark".
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import torch

from scrub.discovery.statistics.bootstrap import BootstrapEstimate
from scrub.discovery.statistics.faithfulness import Faithfulness, faithfulness
from scrub.graph import DiscoveryError

Selection: TypeAlias = Literal["signed", "absolute"]

MIB_SIZES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Fractions of all edges that circuits are asked to have."""

_STANDARD: dict[str, Selection] = {"CPR": "signed", "CMD": "absolute"}


@dataclass(frozen=True, eq=False, repr=False)
class Area:
    """An area over circuit sizes.

    Attributes:
        name: "CPR" or "CMD".
        selection: how the circuits were chosen: "signed" or "absolute" score.
        sizes: fractions of edges asked for.
        curve: faithfulness at each size, [sizes].
        estimate: the area with its error and intervals over examples; None where faithfulness is undefined.
    """

    name: str
    selection: Selection
    sizes: tuple[float, ...]
    curve: Faithfulness
    estimate: BootstrapEstimate | None

    @property
    def is_standard(self) -> bool:
        """Whether this is the benchmark's own: its sizes, its selection for this area, and a ratio of means."""
        same = self.sizes == MIB_SIZES and self.curve.convention == "ratio of means"
        return same and self.selection == _STANDARD[self.name]

    @property
    def value(self) -> float:
        """The area; NaN where faithfulness is undefined."""
        return float("nan") if self.estimate is None else float(self.estimate)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Lower and upper end of the interval of that coverage by bootstrap; NaN where undefined."""
        if self.estimate is None:
            return float("nan"), float("nan")
        low, high = self.estimate.interval(level)
        return float(low), float(high)

    def __float__(self) -> float:
        return self.value

    def __repr__(self) -> str:
        if self.curve.reason is not None:
            return f"{self.name} is undefined: {self.curve.reason}"
        low, high = self.interval()
        other = "" if self.is_standard else ", not the benchmark's definition"
        chosen = f"circuits by {self.selection} score, {self.curve.convention}, n={self.curve.n}"
        return f"{self.name} {self.value:.3g} [{low:.3g}, {high:.3g}] (95%, {chosen}{other})"


def cpr(circuits: torch.Tensor, *, selection: Selection, **options: Any) -> Area:
    """Area under the faithfulness of circuits of growing size.

    Args:
        circuits: [sizes, n], the metric of each example with everything outside of the circuit patched.
        selection: how the circuits were chosen. The benchmark's CPR takes "signed".
        options: `sizes`, ascending fractions of edges (those of the benchmark, if left out); `clean`, `corrupt` and
            others as for `faithfulness`.

    Raises:
        DiscoveryError: sizes and circuits do not fit, or the selection is unknown.
        UndefinedRatioError: faithfulness is undefined.

    >>> clean, corrupt = torch.tensor([4.0, 5.0, 6.0]), torch.tensor([0.0, 1.0, 1.0])
    >>> area = cpr(clean.expand(10, 3), clean=clean, corrupt=corrupt, selection="signed")
    >>> area
    CPR 0.999 [0.999, 0.999] (95%, circuits by signed score, ratio of means, n=3)
    """
    return _area("CPR", lambda f: f, circuits, selection, **options)


def cmd(circuits: torch.Tensor, *, selection: Selection, **options: Any) -> Area:
    """Area under the distance of faithfulness from 1, of circuits of growing size.

    Args and errors as for `cpr`; the benchmark's CMD takes circuits chosen by "absolute" score.

    >>> clean, corrupt = torch.tensor([4.0, 5.0, 6.0]), torch.tensor([0.0, 1.0, 1.0])
    >>> cmd(clean.expand(10, 3), clean=clean, corrupt=corrupt, selection="signed")
    CMD 0 [0, 0] (95%, circuits by signed score, ratio of means, n=3, not the benchmark's definition)
    """
    return _area("CMD", lambda f: (1 - f).abs(), circuits, selection, **options)


def area_under(values: torch.Tensor, sizes: Sequence[float]) -> torch.Tensor:
    """Area under values [..., sizes] by trapezoids: [...].

    >>> float(area_under(torch.tensor([0.0, 1.0]), [0.0, 1.0]))
    0.5
    """
    return torch.trapezoid(values, torch.tensor(sizes, dtype=values.dtype, device=values.device))


def _area(
    name: str,
    height: Callable[[torch.Tensor], torch.Tensor],
    circuits: torch.Tensor,
    selection: Selection,
    *,
    sizes: Sequence[float] = MIB_SIZES,
    **options: Any,
) -> Area:
    sizes = tuple(float(size) for size in sizes)
    if selection not in get_args(Selection):
        raise DiscoveryError(
            f"{name} of circuits chosen by {selection!r} score",
            expected=get_args(Selection),
            found=selection,
            hint=f"say how the circuits were chosen; the benchmark's {name} takes {_STANDARD[name]!r}",
        )
    is_ascending = all(a < b for a, b in itertools.pairwise(sizes))
    if circuits.ndim != 2 or len(circuits) != len(sizes) or len(sizes) < 2 or not is_ascending:
        raise DiscoveryError(
            f"{name} of circuits {tuple(circuits.shape)} at the sizes {sizes}",
            expected=(max(len(sizes), 2), "n"),
            found=tuple(circuits.shape),
            hint="one row of metrics for each size, sizes ascending and two or more",
        )
    curve = faithfulness(circuits, **options)

    def area(f: torch.Tensor) -> torch.Tensor:
        return area_under(height(f), sizes)

    estimate = None if curve.estimate is None else curve.estimate.then(area, name=name)
    return Area(name, selection, sizes, curve, estimate)
