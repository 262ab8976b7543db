"""Streaming joint cumulants: sums of products over draws, kept per block of draws, merged by addition.

With arguments x_1..x_r and a fixed shift c_i near their means, the sums of prod_{i in I} (x_i - c_i) for all subsets I
of the arguments decide every joint central moment, and these the joint cumulant: over set partitions pi of the
arguments, kappa = sum_pi (-1)^(|pi|-1) (|pi|-1)! prod_{B in pi} m_B. For i.i.d. draws the unbiased estimators are the
k-statistics, here in their multilinear form (Kendall & Stuart, The Advanced Theory of Statistics, vol. 1, ch. 12-13).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import torch

from scrub.graph import EstimateError

Subset = tuple[int, ...]


class BlockMoments:
    """Sums over draws of products of centred arguments, apart for each block of draws.

    Args:
        shifts: one per argument, its shape without sample axis, float64; anything near the mean.
        num_blocks: draw i belongs to block i mod num_blocks, whatever the batches are.
    """

    def __init__(self, shifts: Sequence[torch.Tensor], *, num_blocks: int) -> None:
        self.shifts = tuple(shifts)
        self.total = torch.zeros(num_blocks, dtype=torch.float64)
        order = range(len(self.shifts))
        self.subsets: list[Subset] = [
            s for size in range(1, len(self.shifts) + 1) for s in itertools.combinations(order, size)
        ]
        self.sums = {
            subset: torch.zeros(num_blocks, *(n for i in subset for n in self.shifts[i].shape), dtype=torch.float64)
            for subset in self.subsets
        }

    def add(self, values: Sequence[torch.Tensor], weights: torch.Tensor, blocks: torch.Tensor) -> None:
        """Take in a batch: values[i] is [batch, *shape_i]; weights and block numbers are [batch]."""
        centred = [v.to("cpu", torch.float64) - shift for v, shift in zip(values, self.shifts, strict=True)]
        self.total.index_add_(0, blocks, weights)
        products: dict[Subset, torch.Tensor] = {(): weights}
        for subset in self.subsets:
            left, right = products[subset[:-1]], centred[subset[-1]]
            products[subset] = _outer(left, right)
            self.sums[subset].index_add_(0, blocks, products[subset])

    def merge(self, other: BlockMoments) -> None:
        """Take in what another worker summed, with the same shifts."""
        self.total += other.total
        for subset in self.subsets:
            self.sums[subset] += other.sums[subset]

    def cumulant(self, *, biased: bool, without_block: int | None = None) -> torch.Tensor:
        """The joint cumulant of the arguments, their shapes concatenated; without the draws of one block if given."""
        order = len(self.shifts)
        if order == 0:
            return torch.ones((), dtype=torch.float64)
        total = float(self.total.sum() - (0 if without_block is None else self.total[without_block]))
        raw = {s: self._sum(s, without_block) / total for s in self.subsets}
        if order == 1:
            return raw[(0,)] + self.shifts[0]
        everything = tuple(range(order))
        if biased or order > 4:
            return self._plug_in(raw)
        if total < order:
            raise EstimateError(f"an unbiased cumulant of order {order} needs at least {order} draws", found=total)
        m = self._central(raw, everything)
        if order == 2:
            return m * total / (total - 1)
        if order == 3:
            return m * total**2 / ((total - 1) * (total - 2))
        pairs: torch.Tensor | float = 0.0
        for partition in _partitions(everything):
            if sorted(map(len, partition)) == [2, 2]:
                pairs = pairs + self._product(raw, partition)
        scale = total**2 / ((total - 1) * (total - 2) * (total - 3))
        return scale * ((total + 1) * m - (total - 1) * pairs)

    def _plug_in(self, raw: dict[Subset, torch.Tensor]) -> torch.Tensor:
        result: torch.Tensor | float = 0.0
        for partition in _partitions(tuple(range(len(self.shifts)))):
            if all(len(block) > 1 for block in partition):
                sign = (-1) ** (len(partition) - 1) * math.factorial(len(partition) - 1)
                result = result + sign * self._product(raw, partition)
        return torch.as_tensor(result)

    def _product(self, raw: dict[Subset, torch.Tensor], partition: Sequence[Subset]) -> torch.Tensor:
        """Product of central moments of the parts, axes in the order of the arguments."""
        return self._multiply([(self._central(raw, block), block) for block in partition])

    def _central(self, raw: dict[Subset, torch.Tensor], subset: Subset) -> torch.Tensor:
        """E prod (x_i - mu_i) from moments about the shifts."""
        result: torch.Tensor | float = 0.0
        for size in range(len(subset) + 1):
            for kept in itertools.combinations(subset, size):
                rest = [i for i in subset if i not in kept]
                factors: list[tuple[torch.Tensor, Subset]] = [(raw[(i,)], (i,)) for i in rest]
                if kept:
                    factors.append((raw[kept], kept))
                result = result + (-1) ** len(rest) * self._multiply(factors)
        return torch.as_tensor(result)

    def _multiply(self, factors: Sequence[tuple[torch.Tensor, Subset]]) -> torch.Tensor:
        """Outer product of tensors that each belong to some arguments, axes in the order of the arguments."""
        order = [i for _, subset in factors for i in subset]
        product = factors[0][0]
        for tensor, _ in factors[1:]:
            product = product[(..., *[None] * tensor.ndim)] * tensor
        starts: dict[int, int] = {}
        position = 0
        for i in order:
            starts[i] = position
            position += self.shifts[i].ndim
        axes = [starts[i] + k for i in sorted(order) for k in range(self.shifts[i].ndim)]
        return product.permute(axes)

    def _sum(self, subset: Subset, without_block: int | None) -> torch.Tensor:
        sums = self.sums[subset]
        return sums.sum(0) if without_block is None else sums.sum(0) - sums[without_block]


def _outer(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Outer product within each draw."""
    return left.reshape(*left.shape, *(1,) * (right.ndim - 1)) * right.reshape(
        right.shape[0], *(1,) * (left.ndim - 1), *right.shape[1:]
    )


def _partitions(items: Subset) -> Iterator[list[Subset]]:
    """All set partitions, each part in ascending order."""
    if not items:
        yield []
        return
    first, rest = items[0], items[1:]
    for size in range(len(rest) + 1):
        for together in itertools.combinations(rest, size):
            remaining = tuple(i for i in rest if i not in together)
            for partition in _partitions(remaining):
                yield [(first, *together), *partition]
