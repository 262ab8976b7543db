"""Loss recovered: how much of a loss gap an explanation closes (SPEC 9.6)."""

from __future__ import annotations

import torch

from scrub.graph import UndefinedRatioError
from scrub.sampling.estimates import Estimate, covariance_matrix, normal_quantile


def loss_recovered(scrubbed: Estimate, *, original: Estimate, baseline: Estimate, level: float = 0.95) -> Estimate:
    """Fraction of the loss gap between `baseline` and `original` that `scrubbed` closes.

        (L_baseline - L_scrubbed) / (L_baseline - L_original)

    1 means the explanation loses nothing, 0 that it does no better than the baseline; values outside [0, 1] are
    possible. The three estimates come from the same draws; their covariance gives the standard error (delta method).

    Args:
        scrubbed, original, baseline: scalar estimates of a loss, in nats, from one call of `estimate`.
        level: coverage at which the gap between baseline and original must be distinguishable from none.

    Raises:
        UndefinedRatioError: it is not.
        EstimateError: the estimates do not share their draws.

    Source: Chan et al. 2022, "Causal Scrubbing", appendix 2.1.

    >>> from scrub.graph import Array, Cumulant, DiscreteVar
    >>> from scrub.sampling import estimate
    >>> x = DiscreteVar(Array(torch.arange(4.0)))
    >>> losses = {"original": Cumulant(x), "baseline": Cumulant(x.scale(3.0)), "scrubbed": Cumulant(x.scale(2.0))}
    >>> e = estimate(losses, n=100)
    >>> loss_recovered(e["scrubbed"], original=e["original"], baseline=e["baseline"])
    0.5 ± ... (95%, n=100, seed=0)
    """
    gap = float(baseline) - float(original)
    matrix = covariance_matrix([scrubbed, original, baseline])
    gap_error = float((matrix[1, 1] + matrix[2, 2] - 2 * matrix[1, 2]).clamp_min(0).sqrt())
    if not abs(gap) > normal_quantile(level) * gap_error:  # too few draws give an infinite or undefined error
        raise UndefinedRatioError(
            f"loss recovered is undefined: {baseline.name!r} and {original.name!r} differ by {gap:.4g}, within the "
            f"error of that difference ({gap_error:.4g})",
            expected="a gap beyond its error",
            found=gap,
            hint="draw more samples, or choose a baseline that hurts the model",
        )
    ratio = (float(baseline) - float(scrubbed)) / gap
    gradient = torch.tensor([-1.0, ratio, 1.0 - ratio], dtype=torch.float64) / gap
    variance = (gradient @ matrix @ gradient).clamp_min(0)
    value = torch.tensor(ratio, dtype=torch.float64)
    name = f"loss recovered by {scrubbed.name}"
    return Estimate(name, value, variance.sqrt(), scrubbed.n, scrubbed.seed, scrubbed.joint, scrubbed.seconds)
