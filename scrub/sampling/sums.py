"""`Sums`: everything that an estimation keeps of the draws it has taken in, as one value.

A batch makes a new value out of the old one, so that whoever holds the old one can be interrupted at any moment and
still has the sums of a whole number of batches. Memory does not grow with the number of draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from scrub.sampling.moments import BlockMoments

_NUM_BLOCKS = 64
_NUM_SHIFT_DRAWS = 16


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over draws 0 to n.

    Attributes:
        n: draws taken in.
        num_blocks: blocks of draws that are told apart; draw i belongs to block i mod `num_blocks`.
        means: for each expression of which the mean alone is wanted.
        squares: for each of these, the sum of squares about its shift, its shape.
        products: for those among them that are single numbers, sums of their products about the shifts.
        moments: for each cumulant, of its arguments.

    >>> draws = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64)
    >>> sums = Sums.empty([draws], num_means=1, orders=[], num_draws=3).plus([draws], torch.ones_like(draws))
    >>> sums.n, sums.mean(0)
    (3, tensor(3., dtype=torch.float64))
    """

    n: int
    num_blocks: int
    means: tuple[BlockMoments, ...]
    squares: tuple[torch.Tensor, ...]
    products: torch.Tensor
    moments: tuple[BlockMoments, ...]

    @classmethod
    def empty(cls, values: Sequence[torch.Tensor], *, num_means: int, orders: Sequence[int], num_draws: int) -> Sums:
        """Of no draws.

        Args:
            values: of the first batch, [batch, *shape]: those whose means are wanted, then every cumulant's arguments.
            num_means, orders: how many of the former, and numbers of arguments of the cumulants.
            num_draws: how many there will be in all.
        """
        shifts = [_near_mean(value) for value in values]
        num_blocks = min(_NUM_BLOCKS, num_draws)
        means = tuple(BlockMoments.empty([shift], num_blocks=num_blocks) for shift in shifts[:num_means])
        rest = iter(shifts[num_means:])
        moments = tuple(
            BlockMoments.empty([next(rest) for _ in range(order)], num_blocks=num_blocks) for order in orders
        )
        num_scalars = sum(shift.ndim == 0 for shift in shifts[:num_means])
        products = torch.zeros(num_scalars, num_scalars, dtype=torch.float64)
        squares = tuple(torch.zeros_like(shift) for shift in shifts[:num_means])
        return cls(0, num_blocks, means, squares, products, moments)

    def plus(self, values: Sequence[torch.Tensor], weights: torch.Tensor) -> Sums:
        """With the next batch of draws: values [batch, *shape] in the order of `empty`, weights [batch]."""
        rest = iter(values)
        means = tuple(moments.plus([next(rest)], weights, start=self.n) for moments in self.means)
        moments = tuple(m.plus([next(rest) for _ in m.shifts], weights, start=self.n) for m in self.moments)
        first = values[: len(means)]
        centred = [v.to("cpu", torch.float64) - m.shifts[0] for v, m in zip(first, means, strict=True)]
        batch: list[torch.Tensor] = [torch.tensordot(weights, value**2, dims=1) for value in centred]
        squares = tuple(before + new for before, new in zip(self.squares, batch, strict=True))
        products = self.products
        if len(products):
            scalars = torch.stack([value for value in centred if value.ndim == 1])
            products = products + (scalars * weights) @ scalars.T
        return Sums(self.n + len(weights), self.num_blocks, means, squares, products, moments)

    def mean(self, i: int) -> torch.Tensor:
        """The mean over the draws so far."""
        return self.means[i].cumulant(biased=True)

    def variance_of_mean(self, i: int) -> torch.Tensor:
        """Estimated variance of `mean(i)`, from all draws; infinite for one draw."""
        if self.n < 2:
            return torch.full_like(self.squares[i], float("inf"))
        about_shift = self.mean(i) - self.means[i].shifts[0]
        return (self.squares[i] / self.means[i].total.sum() - about_shift**2).clamp_min(0) / (self.n - 1)

    def covariance_of_means(self) -> torch.Tensor:
        """Estimated covariances of the means that are single numbers, from all draws."""
        if self.n < 2 or not len(self.products):
            return torch.full_like(self.products, float("inf"))
        scalars = [moments for moments in self.means if moments.shifts[0].ndim == 0]
        about_shift = torch.stack([moments.cumulant(biased=True) - moments.shifts[0] for moments in scalars])
        total = scalars[0].total.sum()
        return (self.products / total - torch.outer(about_shift, about_shift)) / (self.n - 1)


def _near_mean(value: torch.Tensor) -> torch.Tensor:
    """About what products are summed, so that no digits cancel. What is not finite would spoil every other draw."""
    shift = value[:_NUM_SHIFT_DRAWS].to("cpu", torch.float64).mean(0)
    return torch.where(shift.isfinite(), shift, 0.0)
