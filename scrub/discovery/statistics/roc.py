"""Found against known circuits: precision and recall of a set, ROC and average precision of scores.

Scores that are equal are taken together, so that no number depends on the order of edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from scrub.graph import DiscoveryError


@dataclass(frozen=True)
class PrecisionRecall:
    """How a set found compares with the true one.

    Attributes:
        precision: share of what was found that is true; NaN where nothing was found.
        recall: share of what is true that was found; NaN where nothing is true.
        true_positives, found, true: counts.
    """

    precision: float
    recall: float
    true_positives: int
    found: int
    true: int

    @property
    def f1(self) -> float:
        """Harmonic mean of both: 2 true_positives / (found + true); NaN where both sets are empty."""
        return 2 * self.true_positives / (self.found + self.true) if self.found + self.true else float("nan")


@dataclass(frozen=True, eq=False)
class RocCurve:
    """Rates where everything of at least a threshold is taken, float64 [points]; from nothing, (0, 0), to all, (1, 1).

    Attributes:
        false_positive_rate, true_positive_rate: shares of the false and of the true that are taken.
        thresholds: infinity, then every distinct score from the largest.
    """

    false_positive_rate: torch.Tensor
    true_positive_rate: torch.Tensor
    thresholds: torch.Tensor

    @property
    def area(self) -> float:
        """Area under the curve, equal to `roc_auc`: a tie is a slanted step."""
        return float(torch.trapezoid(self.true_positive_rate, self.false_positive_rate))


def precision_recall(found: torch.Tensor, truth: torch.Tensor, *, where: torch.Tensor | None = None) -> PrecisionRecall:
    """Precision and recall of a set.

    Args:
        found, truth: bool [*shape], membership.
        where: bool [*shape], what there is to find (the `exists` of a component graph); all, if None.

    Raises:
        DiscoveryError: shapes or types do not fit.

    >>> found, truth = torch.tensor([True, True, False, False]), torch.tensor([True, False, True, True])
    >>> result = precision_recall(found, truth)
    >>> result.precision, round(result.recall, 3), result.f1
    (0.5, 0.333, 0.4)
    """
    _require_bool("found", found)
    chosen, is_true = _candidates(found, truth, where)
    both, n_found, n_true = (int(each.sum()) for each in (chosen & is_true, chosen, is_true))
    nan = float("nan")
    return PrecisionRecall(both / n_found if n_found else nan, both / n_true if n_true else nan, both, n_found, n_true)


def roc_curve(scores: torch.Tensor, truth: torch.Tensor, *, where: torch.Tensor | None = None) -> RocCurve:
    """True against false positive rate over all thresholds.

    Args:
        scores: [*shape]; larger means more likely to be true. Take absolute values first where sign does not matter.
        truth: bool [*shape].
        where: bool [*shape], what there is to find; all, if None.

    Raises:
        DiscoveryError: shapes do not fit, a score is NaN, or everything or nothing is true.

    >>> curve = roc_curve(torch.tensor([3.0, 2.0, 2.0, 1.0]), torch.tensor([True, True, False, False]))
    >>> curve.true_positive_rate.tolist(), curve.false_positive_rate.tolist(), curve.area
    ([0.0, 0.5, 1.0, 1.0], [0.0, 0.0, 0.5, 1.0], 0.875)
    """
    values, is_true = _scored(scores, truth, where)
    thresholds, true_counts, counts = _taken(values, is_true)
    zero = torch.zeros(1, dtype=torch.float64)
    return RocCurve(
        torch.cat([zero, (counts - true_counts) / (~is_true).sum()]),
        torch.cat([zero, true_counts / is_true.sum()]),
        torch.cat([zero + torch.inf, thresholds]),
    )


def roc_auc(scores: torch.Tensor, truth: torch.Tensor, *, where: torch.Tensor | None = None) -> torch.Tensor:
    """Probability that a true member scores above a false one, ties counting half: area under the ROC curve.

    Args:
        scores: [*batch, *shape]; leading axes beyond those of `truth` are scorings of their own.
        truth: bool [*shape].
        where: bool [*shape], what there is to find; all, if None.

    Returns:
        float64 [*batch].

    Raises:
        DiscoveryError: as for `roc_curve`.

    Source: Hanley & McNeil 1982, by the ranks of Mann & Whitney 1947.

    >>> roc_auc(torch.tensor([3.0, 2.0, 2.0, 1.0]), torch.tensor([True, True, False, False]))
    tensor(0.8750, dtype=torch.float64)
    """
    lead = scores.shape[: max(scores.ndim - truth.ndim, 0)]
    values, is_true = _scored(scores, truth, where, lead)
    ordered = values.sort(-1).values
    below, up_to = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
    ranks = (below + up_to + 1).to(torch.float64) / 2
    n_true, n_false = int(is_true.sum()), int((~is_true).sum())
    wins = ranks[..., is_true].sum(-1) - n_true * (n_true + 1) / 2
    return wins / (n_true * n_false)


def average_precision(scores: torch.Tensor, truth: torch.Tensor, *, where: torch.Tensor | None = None) -> float:
    """Precision averaged over the steps of recall, from the largest score down: sum (R_i - R_{i-1}) P_i.

    Args and errors as for `roc_curve`.

    >>> round(average_precision(torch.tensor([3.0, 2.0, 1.0]), torch.tensor([True, False, True])), 4)
    0.8333
    """
    values, is_true = _scored(scores, truth, where)
    _, true_counts, counts = _taken(values, is_true)
    steps = true_counts.diff(prepend=torch.zeros(1, dtype=torch.float64)) / is_true.sum()
    return float((steps * true_counts / counts).sum())


def _taken(values: torch.Tensor, is_true: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Distinct values from the largest; how many true members, and members, score at least that: float64 [points]."""
    ordered, order = values.sort(descending=True)
    is_last = torch.cat([ordered[1:] != ordered[:-1], torch.ones(1, dtype=torch.bool)])
    true_counts = is_true[order].to(torch.float64).cumsum(0)
    counts = torch.arange(1, len(values) + 1, dtype=torch.float64)
    return ordered[is_last], true_counts[is_last], counts[is_last]


def _scored(
    scores: torch.Tensor, truth: torch.Tensor, where: torch.Tensor | None, lead: Sequence[int] = ()
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of the candidates, float64 [*lead, candidates], and which are true; both kinds are there."""
    values, is_true = _candidates(scores, truth, where, lead)
    values = values.to(torch.float64)
    if bool(values.isnan().any()):
        raise DiscoveryError(
            f"{int(values.isnan().sum())} of {values.numel()} scores are NaN",
            expected="numbers",
            found=float("nan"),
            hint="score every candidate, or leave out the others with where=",
        )
    if not 0 < int(is_true.sum()) < len(is_true):
        raise DiscoveryError(
            f"a ranking cannot be judged: {int(is_true.sum())} of {len(is_true)} candidates are true",
            expected="at least one true and one false candidate",
            found=int(is_true.sum()),
            hint="choose the truth of the ablation that was used, or another known circuit",
        )
    return values, is_true


def _candidates(
    values: torch.Tensor, truth: torch.Tensor, where: torch.Tensor | None, lead: Sequence[int] = ()
) -> tuple[torch.Tensor, torch.Tensor]:
    """Values [*lead, *shape] and truth [*shape] at the candidates: [*lead, candidates] and [candidates]."""
    where = torch.ones_like(truth, dtype=torch.bool) if where is None else where
    _require_bool("truth", truth)
    _require_bool("where", where)
    if where.shape != truth.shape or values.shape != (*lead, *truth.shape):
        raise DiscoveryError(
            f"values {tuple(values.shape)}, truth {tuple(truth.shape)} and where {tuple(where.shape)} do not fit",
            expected=tuple(truth.shape),
            found=(tuple(values.shape), tuple(where.shape)),
            hint="all are over the same members; only scores for roc_auc may have leading axes",
        )
    values, truth, where = (each.detach().cpu() for each in (values, truth, where))
    return values[..., where], truth[where]


def _require_bool(name: str, members: torch.Tensor) -> None:
    if members.dtype != torch.bool:
        raise DiscoveryError(
            f"{name} is {members.dtype}, not a set",
            expected=torch.bool,
            found=members.dtype,
            hint=f"{name} != 0, or a threshold",
        )
