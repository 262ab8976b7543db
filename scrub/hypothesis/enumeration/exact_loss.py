"""Exact results: the mean of a metric over everything that a hypothesis may draw, and the law of the output.

Every draw is given the row of another, so the draws form a tree, from the reference down. It is worked up from the
leaves: of a draw and all those given it, only the law of what the rest of the model reads of them matters. This is
variable elimination (Zhang and Poole 1994) on the tree of draws, with laws of values in place of tables over rows.
Equal values are added up, and rows that have the same consequences are treated as one. So the work is that of the
largest product of laws that meet in one place, not that of all combinations of draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from scrub.graph import HypothesisError
from scrub.hypothesis.dataset import Dataset
from scrub.hypothesis.enumeration.laws import distinct_values
from scrub.hypothesis.enumeration.outcomes import Outcomes
from scrub.hypothesis.experiment import Experiment
from scrub.hypothesis.metrics import Metric
from scrub.sampling.estimates import Estimate, Joint

MAX_OUTCOMES = 100_000_000
_MOST_VALUES = 2**22
_EXACT = Joint({}, (), torch.zeros(0, 0, dtype=torch.float64), True)
"""Estimates without error share all their draws, so that ratios of any of them can be formed."""


def exact(experiment: Experiment, *, metric: str = "loss", max_outcomes: int = MAX_OUTCOMES) -> Estimate:
    """The mean of a metric over all references and all draws, each as likely as the hypothesis makes it.

    Its standard error is 0. `rc.loss_recovered` takes such values of any experiments. Floating point is all that is
    inexact: use float64 in dataset and model for twelve digits or so.

    Args:
        experiment: its samplers say how likely each row is.
        metric: which of the experiment's. Of references, it should read only the arrays it needs: references that
            agree in these, and in all that the hypothesis makes of them, are treated as one.
        max_outcomes: most combinations to compute the output for.

    Raises:
        HypothesisError: there are more; or a sampler does not say how likely each row is.

    >>> from scrub.graph import Symbol
    >>> from scrub.hypothesis import Correspondence, ExactSampler, InterpNode, corr_root_matcher
    >>> x, y = (Symbol.new_from_name((), name) for name in "xy")
    >>> root, corr = InterpNode(ExactSampler(), "product"), Correspondence()
    >>> corr.add(root, corr_root_matcher)
    >>> corr.add(root.make_descendant(ExactSampler(), "left"), "x")
    >>> data = Dataset({"x": torch.tensor([0.0, 1.0, 1.0]), "y": torch.tensor([0.0, 1.0, 1.0])})
    >>> exact(Experiment(x.mul(y), data, corr))
    0.4444 ± 0 (95%, n=3)
    """
    if metric not in experiment.metrics:
        names = list(experiment.metrics)
        raise HypothesisError(
            f"the experiment has no metric {metric!r}", expected=names, found=metric, hint=f"there are {names}"
        )
    measure = experiment.metrics[metric]
    outcomes = Outcomes(experiment, max_outcomes=max_outcomes)
    reads: set[str] = set()
    total = _total(experiment, outcomes, measure, reads)
    while total is None:  # the metric read an array that the groups of references do not agree in
        total = _total(experiment, outcomes, measure, reads)
    mean, num_outcomes = total
    zero = torch.zeros((), dtype=torch.float64)
    name = experiment.hypothesis.name
    return Estimate(name, torch.tensor(mean, dtype=torch.float64), zero, num_outcomes, None, _EXACT)


def _total(experiment: Experiment, outcomes: Outcomes, measure: Metric, reads: set[str]) -> tuple[float, int] | None:
    """The mean of a metric and the number of outcomes; None, and `reads` grows, if it reads further arrays."""
    mean, num_outcomes = 0.0, 0
    for outputs, rows, weights in outcomes.portions(sorted(reads)):
        watched = _Watched(experiment.source.data.take(rows))
        values = measure(outputs, watched)
        if not watched.were_read <= reads:
            reads |= watched.were_read
            return None
        if tuple(values.shape) != (len(rows),):
            raise HypothesisError(
                f"the metric gave values of shape {list(values.shape)} for {len(rows)} outcomes",
                expected=f"[{len(rows)}]",
                found=tuple(values.shape),
                hint="a metric gives one number for each reference; average over positions in it",
            )
        mean += float((values.detach().to("cpu", torch.float64) * weights).sum())
        num_outcomes += len(rows)
    return mean, num_outcomes


@dataclass(frozen=True, eq=False)
class Law:
    """A distribution of values.

    Attributes:
        values: [k, *shape], different from one another.
        weights: how likely each is, float64 [k].
    """

    values: torch.Tensor
    weights: torch.Tensor

    def and_also(self, values: torch.Tensor, weights: torch.Tensor) -> Law:
        """With further values, equal ones added up."""
        values, weights = torch.cat([self.values, values]), torch.cat([self.weights, weights])
        found = distinct_values([values])
        totals = torch.zeros(len(found.first), dtype=torch.float64).index_add_(0, found.inverse, weights)
        return Law(values[found.first.to(values.device)], totals)


def exact_law(experiment: Experiment, *, max_outcomes: int = MAX_OUTCOMES) -> Law:
    """The law of the output over all references and draws.

    Args:
        experiment: its samplers say how likely each row is; its metrics are not asked.
        max_outcomes: as for `exact`.

    Raises:
        HypothesisError: as for `exact`; or there are too many different outputs to hold.

    >>> from scrub.graph import Symbol
    >>> from scrub.hypothesis import Correspondence, ExactSampler, InterpNode, corr_root_matcher
    >>> x, y = (Symbol.new_from_name((), name) for name in "xy")
    >>> root, corr = InterpNode(ExactSampler(), "product"), Correspondence()
    >>> corr.add(root, corr_root_matcher)
    >>> corr.add(root.make_descendant(ExactSampler(), "left"), "x")
    >>> data = Dataset({"x": torch.tensor([0.0, 1.0, 1.0]), "y": torch.tensor([0.0, 1.0, 1.0])})
    >>> exact_law(Experiment(x.mul(y), data, corr))
    Law(values=tensor([0., 1.]), weights=tensor([0.5556, 0.4444], dtype=torch.float64))
    """
    merged: Law | None = None
    for outputs, _, weights in Outcomes(experiment, max_outcomes=max_outcomes).portions():
        merged = Law(outputs, weights) if merged is None else merged.and_also(outputs, weights)
        if len(merged.weights) > _MOST_VALUES:
            raise HypothesisError(
                f"{experiment.hypothesis.name!r}: the output has more than {_MOST_VALUES:,} different values",
                expected=f"at most {_MOST_VALUES:,}",
                found=len(merged.weights),
                hint="exact(experiment) needs to hold none of them",
            )
    assert merged is not None
    return merged.and_also(merged.values[:0], merged.weights[:0])


class _Watched(Dataset):
    """References, and which of their arrays were read."""

    def __init__(self, data: Dataset) -> None:
        self.were_read: set[str] = set()
        super().__init__(data.arrays, inputs=data.inputs, name=data.name)

    def __getitem__(self, name: str) -> torch.Tensor:
        self.were_read.add(name)
        return super().__getitem__(name)

    @property
    def arrays(self) -> dict[str, torch.Tensor]:
        self.were_read.update(self.names)
        return super().arrays
