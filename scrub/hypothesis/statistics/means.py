"""Estimates from numbers per reference: means and their covariances, loss recovered, and cumulants over references."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from scrub.graph import EstimateError, UndefinedRatioError
from scrub.hypothesis.statistics.intervals import MeanEstimate, RecoveredEstimate
from scrub.hypothesis.statistics.student import t_quantile
from scrub.sampling import loss_recovered
from scrub.sampling.estimates import Estimate, Estimates, Joint, covariance_matrix, jackknife_covariance
from scrub.sampling.moments import BlockMoments

_NUM_BLOCKS = 64
_HIGHEST_ORDER = 4


def estimates_of(values: Mapping[str, torch.Tensor], *, seed: int | None) -> Estimates:
    """The means of values of the same references, with their covariance.

    Args:
        values: float64 [n] each; the i-th are of the same reference.
        seed: of the draws.

    >>> both = estimates_of({"a": torch.tensor([0.0, 1.0]), "b": torch.tensor([0.0, 2.0])}, seed=0)
    >>> float(both["a"]), float(both.covariance("a", "b"))
    (0.5, 0.5)
    """
    names = tuple(values)
    stacked = torch.stack([values[name].to(torch.float64) for name in names])
    n = stacked.shape[1]
    mean = stacked.mean(1)
    centred = stacked - mean[:, None]
    covariance = centred @ centred.T / ((n - 1) * n) if n > 1 else torch.full((len(names), len(names)), float("inf"))
    joint = Joint({}, names, covariance.to(torch.float64), False)
    stderr = covariance.diagonal().clamp_min(0).sqrt()
    skewness = (centred**3).mean(1) / (centred**2).mean(1) ** 1.5
    skewness = torch.where(skewness.isfinite(), skewness, 0.0)  # where nothing varies
    return Estimates(
        {
            name: MeanEstimate(name, mean[i], stderr[i], n, seed, joint, skewness=float(skewness[i]))
            for i, name in enumerate(names)
        }
    )


def mean_of(values: torch.Tensor, *, name: str, seed: int | None) -> MeanEstimate:
    """The mean of one number for each reference.

    >>> mean_of(torch.tensor([0.0, 1.0, 2.0]), name="a", seed=0)
    1 ± 2.5 (95%, n=3, seed=0)
    """
    estimate = estimates_of({name: values}, seed=seed)[name]
    assert isinstance(estimate, MeanEstimate)
    return estimate


def recovered(
    estimates: Estimates, name: str, *, original: str, baseline: str, level: float = 0.95
) -> RecoveredEstimate:
    """`loss_recovered` of estimates by name, with an interval that is honest for few references too.

    Raises:
        UndefinedRatioError: baseline and original are closer than the error of their difference.
    """
    scrubbed, first, last = (estimates[key] for key in (name, original, baseline))
    matrix = covariance_matrix([scrubbed, first, last])
    to_parts = torch.tensor([[-1.0, 0.0, 1.0], [0.0, -1.0, 1.0]], dtype=torch.float64)  # numerator and gap
    parts = to_parts @ matrix @ to_parts.T
    gap, gap_error = float(last) - float(first), math.sqrt(max(0.0, float(parts[1, 1])))
    if not abs(gap) > t_quantile(level, scrubbed.n - 1) * gap_error:  # one reference gives an undefined error
        raise UndefinedRatioError(
            f"loss recovered is undefined: {baseline!r} and {original!r} differ by {gap:.4g}, within the error of that "
            f"difference ({gap_error:.4g})",
            expected="a gap beyond its error",
            found=gap,
            hint="more references, or a baseline that hurts the model",
        )
    e = loss_recovered(scrubbed, original=first, baseline=last, level=level)
    numerator = float(last) - float(scrubbed)
    return RecoveredEstimate(
        e.name, e.value, e.stderr, e.n, e.seed, e.joint, e.seconds, numerator=numerator, gap=gap, covariance=parts
    )


def pairing_of(estimates: Estimates, name: str, *, original: str, baseline: str) -> float:
    """Variance of loss recovered with all covariances set to 0, over its variance; infinite if it has none.

    Raises:
        UndefinedRatioError: there is no gap between baseline and original.
    """
    scrubbed, first, last = (float(estimates[key]) for key in (name, original, baseline))
    gap = last - first
    if gap == 0:
        raise UndefinedRatioError(f"{baseline!r} and {original!r} have the same mean", expected="a gap", found=gap)
    ratio = (last - scrubbed) / gap
    gradient = torch.tensor([-1.0, ratio, 1.0 - ratio], dtype=torch.float64)
    matrix = covariance_matrix([estimates[key] for key in (name, original, baseline)])
    paired = float(gradient @ matrix @ gradient)
    unpaired = float((gradient**2 * matrix.diagonal()).sum())
    return unpaired / paired if paired > 1e-14 * unpaired else math.inf


def cumulants_of(
    values: Mapping[str, torch.Tensor], wanted: Sequence[tuple[str, ...]], *, seed: int | None
) -> Estimates:
    """Joint cumulants over references of order 1 to 4, unbiased, with jackknife errors and covariances.

    Args:
        values: float64 [n] each, by name.
        wanted: names of the arguments of each; they are called "loss", "loss, loss" and so on.
        seed: of the draws.

    >>> values = {"a": torch.tensor([0.0, 1.0, 2.0, 3.0])}
    >>> float(cumulants_of(values, [("a", "a")], seed=0)["a, a"])
    1.6666666666666667
    """
    n = len(next(iter(values.values())))
    highest = max(len(arguments) for arguments in wanted)
    if highest > _HIGHEST_ORDER or not all(wanted):
        raise EstimateError(
            f"a cumulant over references is of 1 to {_HIGHEST_ORDER} metrics, not of {[len(a) for a in wanted]}",
            expected=f"1 to {_HIGHEST_ORDER} metrics each",
            found=wanted,
            hint="result.cumulant('loss', 'loss') is the variance of the loss",
        )
    num_blocks = min(_NUM_BLOCKS, n)
    blocks = range(num_blocks if n - math.ceil(n / max(num_blocks, 1)) >= max(highest, 2) else 0)
    moments = {", ".join(arguments): _moments([values[a] for a in arguments], num_blocks) for arguments in wanted}
    replicates = {
        name: torch.stack([each.cumulant(biased=False, without_block=block) for block in blocks])
        for name, each in moments.items()
        if len(blocks)
    }
    joint = Joint(replicates, (), torch.zeros(0, 0, dtype=torch.float64), False)
    infinite = torch.tensor(float("inf"), dtype=torch.float64)
    result: dict[str, Estimate] = {}
    for name, each in moments.items():
        found = replicates.get(name)
        stderr = infinite if found is None else jackknife_covariance(found, found).sqrt()
        result[name] = MeanEstimate(name, each.cumulant(biased=False), stderr, n, seed, joint)
    return Estimates(result)


def _moments(arguments: Sequence[torch.Tensor], num_blocks: int) -> BlockMoments:
    shifts = [argument.mean() for argument in arguments]
    empty = BlockMoments.empty(shifts, num_blocks=num_blocks)
    return empty.plus(arguments, torch.ones(len(arguments[0]), dtype=torch.float64), start=0)
