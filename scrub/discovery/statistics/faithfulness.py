"""How much of a metric's gap between the clean and the corrupted run a circuit accounts for.

    f(C) = (M(C) - M_corrupt) / (M_clean - M_corrupt)

M(C) is the metric with all edges outside of C patched. The convention decides what is divided: the means over examples
(ratio of means), or each example's numbers before the mean (mean of ratios). They can differ much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import torch

from scrub.discovery.statistics.bootstrap import (
    BootstrapEstimate,
    IntervalMethod,
    Statistic,
    bootstrap,
    mean_of_ratios,
    ratio_of_means,
)
from scrub.graph import DiscoveryError, UndefinedRatioError
from scrub.hypothesis.statistics.means import mean_of
from scrub.hypothesis.statistics.student import t_quantile

Convention: TypeAlias = Literal["ratio of means", "mean of ratios"]
WhereUndefined: TypeAlias = Literal["error", "nan"]

_STATISTICS: dict[Convention, Statistic] = {
    "ratio of means": ratio_of_means("closed", "gap"),
    "mean of ratios": mean_of_ratios("closed", "gap"),
}
_ROUNDING = 4 * torch.finfo(torch.float32).eps


@dataclass(frozen=True, eq=False, repr=False)
class Faithfulness:
    """Faithfulness or completeness of one circuit, or of several on the same examples.

    Attributes:
        name: "faithfulness" or "completeness".
        value: float64 [*circuits]; NaN where it is undefined.
        convention: "ratio of means" or "mean of ratios".
        n: number of examples.
        estimate: the value with its error and intervals over examples; None where it is undefined.
        reason: why it is undefined, if it is.
    """

    name: str
    value: torch.Tensor
    convention: Convention
    n: int
    estimate: BootstrapEstimate | None
    reason: str | None = None

    def interval(self, level: float = 0.95) -> tuple[torch.Tensor, torch.Tensor]:
        """Lower and upper end of the interval of that coverage by bootstrap, [*circuits] each; NaN where undefined."""
        return (self.value, self.value) if self.estimate is None else self.estimate.interval(level)

    def __float__(self) -> float:
        return self.value.item()

    def __repr__(self) -> str:
        if self.reason is not None:
            return f"{self.name} is undefined: {self.reason}"
        triples = torch.stack([self.value, *self.interval()], -1).reshape(-1, 3)
        values = ", ".join("{:.3g} [{:.3g}, {:.3g}]".format(*map(float, triple)) for triple in triples)
        return f"{self.name} {values} (95%, {self.convention}, n={self.n})"


def faithfulness(
    circuit: torch.Tensor,
    *,
    clean: torch.Tensor,
    corrupt: torch.Tensor,
    convention: Convention = "ratio of means",
    undefined: WhereUndefined = "error",
    level: float = 0.95,
    n_resamples: int = 2000,
    method: IntervalMethod = "bca",
    seed: int = 0,
    name: str = "faithfulness",
) -> Faithfulness:
    """Share of the gap between corrupted and clean metric that circuits keep: 1 all, 0 none; others are possible.

    Args:
        circuit: [*circuits, n], the metric of each example with everything outside of the circuit patched.
        clean, corrupt: [n], the metric of the same examples with nothing and with everything patched.
        convention: what is divided.
        undefined: "error" raises where the denominator is within its error; "nan" gives NaN and the reason.
        level: coverage at which the denominator must be distinguishable from 0.
        n_resamples, method, seed: of the bootstrap.
        name: what it is called.

    Raises:
        UndefinedRatioError: the mean of clean less corrupt is within its error (as it is for one example, whose error
            is not known); or, for a mean of ratios, the two are equal on an example.
        DiscoveryError: the numbers are not of the same examples.

    Source: Wang et al. 2022, section 4; Hanna et al. 2024, "Have Faith in Faithfulness"; Miller et al. 2024.

    >>> clean, corrupt = torch.tensor([4.0, 5.0, 6.0, 5.0]), torch.tensor([0.0, 1.0, 1.0, 0.0])
    >>> result = faithfulness(torch.tensor([3.0, 4.0, 5.0, 3.0]), clean=clean, corrupt=corrupt)
    >>> round(float(result), 4), result.convention
    (0.7222, 'ratio of means')
    >>> faithfulness(clean, clean=clean, corrupt=clean, undefined="nan")
    faithfulness is undefined: clean and corrupted metric differ by 0, within the error of that difference (0)
    """
    if convention not in _STATISTICS or undefined not in get_args(WhereUndefined):
        raise DiscoveryError(
            f"convention {convention!r} with undefined={undefined!r} is no choice",
            expected=(*_STATISTICS, *get_args(WhereUndefined)),
            found=(convention, undefined),
        )
    circuit, clean, corrupt = same_examples(circuit, clean=clean, corrupt=corrupt)
    n = len(clean)
    reason = why_undefined(clean, corrupt, convention=convention, level=level)
    if reason is not None and undefined == "error":
        raise undefined_error(name, reason)
    if reason is not None:
        value = torch.full(circuit.shape[:-1], torch.nan, dtype=torch.float64)
        return Faithfulness(name, value, convention, n, None, reason)
    columns = {"closed": circuit - corrupt, "gap": (clean - corrupt).expand_as(circuit)}
    estimate = bootstrap(columns, _STATISTICS[convention], name=name, n_resamples=n_resamples, method=method, seed=seed)
    return Faithfulness(name, estimate.value, convention, n, estimate)


def completeness(
    complement: torch.Tensor, *, clean: torch.Tensor, corrupt: torch.Tensor, **options: Any
) -> Faithfulness:
    """Faithfulness of what is outside of a circuit: near 0 where the circuit is complete.

    Args:
        complement: [*circuits, n], the metric of each example with the circuit patched, and nothing else.
        clean, corrupt, options: as for `faithfulness`.

    >>> clean, corrupt = torch.tensor([4.0, 5.0, 6.0, 5.0]), torch.tensor([0.0, 1.0, 1.0, 0.0])
    >>> float(completeness(corrupt, clean=clean, corrupt=corrupt))
    0.0
    """
    return faithfulness(complement, clean=clean, corrupt=corrupt, name="completeness", **options)


def same_examples(
    circuit: torch.Tensor, *, clean: torch.Tensor, corrupt: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Metrics [*circuits, n], [n], [n] as float64 on the CPU.

    Raises:
        DiscoveryError: they are not of the same examples, or one is NaN.
    """
    if clean.ndim != 1 or not len(clean) or corrupt.shape != clean.shape or circuit.shape[-1:] != clean.shape:
        shapes = tuple(circuit.shape), tuple(clean.shape), tuple(corrupt.shape)
        raise DiscoveryError(
            f"metrics of circuit {shapes[0]}, clean {shapes[1]} and corrupt {shapes[2]} are not of the same examples",
            expected="[..., n], [n] and [n]",
            found=shapes,
            hint="one number for each example, not their mean: its error comes from them",
        )
    named = {"circuit": circuit, "clean": clean, "corrupt": corrupt}
    for name, values in named.items():
        bad = values.isnan().nonzero()
        if len(bad):
            example = int(bad[0, -1])
            raise DiscoveryError(
                f"the {name} metric is NaN at example {example}",
                expected="numbers",
                found=float("nan"),
                hint="find where the run has NaN or infinity before averaging over examples",
            )
    first, second, third = (values.detach().to("cpu", torch.float64) for values in named.values())
    return first, second, third


def why_undefined(
    clean: torch.Tensor, corrupt: torch.Tensor, *, convention: Convention = "ratio of means", level: float = 0.95
) -> str | None:
    """Why no share of the gap between metrics [n] can be given, or None where it can; as `faithfulness` has it.

    >>> why_undefined(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 2.0]), convention="mean of ratios")
    'clean and corrupted metric are equal on 1 of 2 examples, first 0'
    """
    gap = clean - corrupt
    if convention == "mean of ratios":
        equal = (gap.abs() <= _ROUNDING * torch.maximum(clean.abs(), corrupt.abs())).nonzero().flatten()
        if len(equal):
            return f"clean and corrupted metric are equal on {len(equal)} of {len(gap)} examples, first {int(equal[0])}"
        return None
    mean = mean_of(gap, name="gap", seed=None)
    error = float(mean.stderr)
    if abs(float(mean)) > t_quantile(level, len(gap) - 1) * error:
        return None
    within = f"within the error of that difference ({error:.4g})" if len(gap) > 1 else "and one example has no error"
    return f"clean and corrupted metric differ by {float(mean):.4g}, {within}"


def undefined_error(name: str, reason: str) -> UndefinedRatioError:
    """The error that says why `name` is undefined."""
    return UndefinedRatioError(
        f"{name} is undefined: {reason}",
        expected="a gap beyond its error",
        found=reason,
        hint="more examples, or counterfactuals that change the metric",
    )
