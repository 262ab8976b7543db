"""Hypotheses compared on the same references: what they have in common drops out of their difference."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from scrub.graph import HypothesisError
from scrub.hypothesis.result import Result
from scrub.hypothesis.statistics.intervals import MeanEstimate
from scrub.hypothesis.statistics.means import estimates_of, mean_of, pairing_of
from scrub.sampling.estimates import Estimates

Better = Literal["lower", "higher"]


@dataclass(frozen=True, eq=False)
class Comparison:
    """How a metric differs between two hypotheses on the same references.

    Attributes:
        a, b: names of the hypotheses.
        metric: which.
        difference: mean of a's values less b's, with its error.
        better: which values of the metric are better.
    """

    a: str
    b: str
    metric: str
    difference: MeanEstimate
    better: Better

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Interval of that coverage for the difference ."""
        low, high = self.difference.interval(level)
        return float(low), float(high)

    @property
    def p_value(self) -> float:
        """How likely a difference so far from 0 is if there is none (two-sided)."""
        return self.difference.p_value()

    @property
    def p_a_better(self) -> float:
        """How likely a looks better than b by so much or more if it is not better (one-sided). Small: a is better."""
        tail = self.difference.upper_tail()
        return tail if self.better == "higher" else 1 - tail

    @property
    def p_b_better(self) -> float:
        """The same for b."""
        return 1 - self.p_a_better

    def __repr__(self) -> str:
        a_leads = (float(self.difference) < 0) == (self.better == "lower")
        leads = "equal" if float(self.difference) == 0 else f"{self.a if a_leads else self.b} is better"
        return f"{self.metric} of {self.a} - {self.b}: {self.difference!r}, {leads}, p={self.p_value:.2g}"


def compare(
    a: Result,
    b: Result,
    *,
    metric: str = "loss",
    better: Better = "lower",
    names: tuple[str, str] | None = None,
) -> Comparison:
    """Compare two hypotheses that were run on the same references.

    Args:
        a, b: results with equal references: same dataset, n and reference seed.
        metric: what is compared.
        better: "lower" for a loss, "higher" for an accuracy.
        names: of the two, if not those of the hypotheses.

    Raises:
        HypothesisError: they are not about the same references.

    >>> def result(name, values):
    ...     return Result(name, {"loss": torch.tensor(values)}, torch.arange(3), None, {})
    >>> compare(result("full", [1.0, 2.0, 3.0]), result("coarse", [2.0, 3.5, 5.0]))
    loss of full - coarse: -1.5 ± 1.2 (95%, n=3), full is better, p=0.035
    """
    if better not in ("lower", "higher"):
        raise HypothesisError(f"better={better!r} is no choice", expected=("lower", "higher"), found=better)
    check_paired([a, b])
    names = names or (a.name, b.name)
    if names[0] == names[1]:
        names = f"{names[0]} (1)", f"{names[1]} (2)"
    name = f"{metric} of {names[0]} - {names[1]}"
    seed = a.info.get("seed") if a.info.get("seed") == b.info.get("seed") else None
    found = mean_of(a.metric(metric) - b.metric(metric), name=name, seed=seed)
    return Comparison(*names, metric, found, better)


def joint_estimates(results: Mapping[str, Result], metric: str) -> Estimates:
    """Means of a metric by name of the result, with covariances: all results are about the same references."""
    seeds = {result.info.get("seed") for result in results.values()}
    seed = seeds.pop() if len(seeds) == 1 else None
    return estimates_of({name: result.metric(metric) for name, result in results.items()}, seed=seed)


def pairing_factor(
    results: Mapping[str, Result], name: str, *, original: str, baseline: str, metric: str = "loss"
) -> float:
    """How many times fewer references a paired estimate of loss recovered needs than an unpaired one.

    The variance of loss recovered, were the three losses from references and draws of their own, over what it is.

    >>> def result(*values):
    ...     return Result("a", {"loss": torch.tensor(values)}, torch.arange(3), None, {})
    >>> runs = {"o": result(0.0, 4.0, 0.1), "b": result(1.0, 5.0, 1.0), "s": result(0.5, 4.5, 0.6)}
    >>> pairing_factor(runs, "s", original="o", baseline="b") > 100
    True
    """
    check_named(results, [name, original, baseline])
    results = {key: results[key] for key in dict.fromkeys([name, original, baseline])}
    check_paired(list(results.values()))
    return pairing_of(joint_estimates(results, metric), name, original=original, baseline=baseline)


def check_named(results: Mapping[str, Result], names: Sequence[str]) -> None:
    """Raise a `HypothesisError` unless there are results of these names."""
    for name in names:
        if name not in results:
            close = difflib.get_close_matches(name, list(results), n=3, cutoff=0.4)
            raise HypothesisError(
                f"there is no result {name!r}",
                expected=list(results),
                found=name,
                hint=f"similar names: {close}" if close else f"there are {', '.join(map(repr, results))}",
            )


def check_paired(results: Sequence[Result]) -> None:
    """Raise a `HypothesisError` unless all results are about the same references."""
    first = results[0]
    for other in results[1:]:
        problem = _difference(first, other)
        if problem is not None:
            raise HypothesisError(
                f"{first.name!r} and {other.name!r} are not about the same references: {problem}",
                expected=first.name,
                found=other.name,
                hint="run both with the same dataset, n and seed (or reference_seed)",
            )


def _difference(a: Result, b: Result) -> str | None:
    for key, what in (("dataset", "their datasets differ"), ("references", "their reference datasets differ")):
        if a.info.get(key) != b.info.get(key):
            return what
    if a.n != b.n:
        return f"{a.n} and {b.n} of them"
    if not torch.equal(a.references, b.references):
        seeds = a.info.get("reference_seed"), b.info.get("reference_seed")
        return "other rows were drawn" + (
            f" (reference seeds {seeds[0]} and {seeds[1]})" if seeds[0] != seeds[1] else ""
        )
    return None
