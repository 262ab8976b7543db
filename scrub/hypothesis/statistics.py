"""Estimates from numbers per reference."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from scrub.sampling.estimates import Estimate, Estimates, Joint

_NUM_BLOCKS = 64


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
    return Estimates({name: Estimate(name, mean[i], stderr[i], n, seed, joint) for i, name in enumerate(names)})
