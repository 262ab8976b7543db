"""`Estimate`: a value with its standard error, and `Estimates`: several from the same draws, with their covariance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import torch

from scrub.graph import EstimateError


@dataclass(frozen=True, eq=False)
class Joint:
    """What estimates from the same draws share.

    Attributes:
        replicates: for each name, its delete-one-block estimates [blocks, *shape].
        scalar_covariance: covariance of the estimates of `scalars`, from every draw.
        scalars: names whose estimates are means of one number per draw, in the order of that matrix.
        is_exact: the draws were an enumeration, so that there is no error.
    """

    replicates: Mapping[str, torch.Tensor]
    scalars: tuple[str, ...]
    scalar_covariance: torch.Tensor
    is_exact: bool


@dataclass(frozen=True, eq=False)
class Estimate:
    """An estimated value.

    Attributes:
        name: what was estimated.
        value, stderr: float64 tensors of the shape of the expression; the standard error is 0 for an enumeration.
        n: number of draws.
        seed: of the draws, None where they come from a seeder or an enumeration.
        seconds: its part of the wall time of evaluating everything estimated with it on all draws. What they share is
            computed once, so it cannot be measured: the time is divided in proportion to the operations that each
            adds to those before it (in the order they were given in, but those that are means first).
    """

    name: str
    value: torch.Tensor
    stderr: torch.Tensor
    n: int
    seed: int | None
    joint: Joint
    seconds: float = 0.0

    def interval(self, level: float = 0.95) -> tuple[torch.Tensor, torch.Tensor]:
        """Lower and upper end of the normal interval of that coverage."""
        half = self.half_width(level)
        return self.value - half, self.value + half

    def half_width(self, level: float = 0.95) -> torch.Tensor:
        """Half the width of `interval(level)`."""
        return normal_quantile(level) * self.stderr

    def __float__(self) -> float:
        if self.value.ndim:
            raise EstimateError(
                f"{self.name!r} has shape {tuple(self.value.shape)}, it is not one number",
                expected=(),
                found=tuple(self.value.shape),
                hint="read .value, or estimate the mean of the expression",
            )
        return self.value.item()

    def __repr__(self) -> str:
        seed = "" if self.seed is None else f", seed={self.seed}"
        if self.value.ndim:
            return f"Estimate {self.name!r} of shape {tuple(self.value.shape)} (n={self.n}{seed})"
        return f"{self.value.item():.4g} ± {self.half_width().item():.2g} (95%, n={self.n}{seed})"


class Estimates(Mapping[str, Estimate]):
    """Estimates by name, all from the same draws."""

    def __init__(self, estimates: Mapping[str, Estimate]) -> None:
        self._estimates = dict(estimates)

    def __getitem__(self, name: str) -> Estimate:
        return self._estimates[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._estimates)

    def __len__(self) -> int:
        return len(self._estimates)

    def covariance(self, a: str, b: str) -> torch.Tensor:
        """Covariance of two estimates, element by element if they have the same shape."""
        return covariance(self[a], self[b])

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {estimate!r}" for name, estimate in self._estimates.items())


def covariance(a: Estimate, b: Estimate) -> torch.Tensor:
    """Covariance of two estimates from the same draws.

    Raises:
        EstimateError: they come from different calls, or have different shapes.

    >>> from scrub.graph import Array, Cumulant, DiscreteVar
    >>> from scrub.sampling import estimate
    >>> x = DiscreteVar(Array(torch.arange(4.0)))
    >>> e = estimate({"x": Cumulant(x), "-x": Cumulant(x.scale(-1.0))}, n=64)
    >>> torch.allclose(covariance(e["x"], e["-x"]), -(e["x"].stderr ** 2))
    True
    """
    if a.joint is not b.joint:
        raise EstimateError(
            f"{a.name!r} and {b.name!r} do not share draws",
            hint="estimate them in one call: rc.estimate({'a': ..., 'b': ...}, n=...)",
        )
    if a.value.shape != b.value.shape:
        raise EstimateError(
            f"{a.name!r} and {b.name!r} have different shapes",
            expected=tuple(a.value.shape),
            found=tuple(b.value.shape),
        )
    joint = a.joint
    if joint.is_exact:
        return torch.zeros_like(a.value)
    if a.name in joint.scalars and b.name in joint.scalars:
        return joint.scalar_covariance[joint.scalars.index(a.name), joint.scalars.index(b.name)]
    unknown = [name for name in (a.name, b.name) if name not in joint.replicates]
    if unknown:
        raise EstimateError(
            f"the covariance of {a.name!r} and {b.name!r} cannot be estimated",
            expected="estimates that `estimate` gave, from more draws than their order",
            found=unknown,
            hint="covariances are those of what `estimate` returned; with very few draws there are none",
        )
    return jackknife_covariance(joint.replicates[a.name], joint.replicates[b.name])


def covariance_matrix(estimates: Sequence[Estimate]) -> torch.Tensor:
    """Covariances of scalar estimates from the same draws, all by one method, so that the matrix is a covariance."""
    every = torch.stack([torch.stack([covariance(a, b) for b in estimates]) for a in estimates])
    joint = estimates[0].joint
    if joint.is_exact or all(estimate.name in joint.scalars for estimate in estimates):
        return every
    replicates = [joint.replicates[estimate.name] for estimate in estimates]
    return torch.stack([torch.stack([jackknife_covariance(a, b) for b in replicates]) for a in replicates])


def jackknife_covariance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Covariance of two estimates from their delete-one-block replicates [blocks, ...] (Efron 1982)."""
    blocks = a.shape[0]
    return (blocks - 1) / blocks * ((a - a.mean(0)) * (b - b.mean(0))).sum(0)


def normal_quantile(level: float) -> float:
    """Half width, in standard errors, of a central normal interval of that coverage."""
    if not 0 < level < 1:
        raise EstimateError(f"level is a coverage between 0 and 1, not {level}", found=level, hint="0.95")
    return NormalDist().inv_cdf(0.5 + level / 2)
