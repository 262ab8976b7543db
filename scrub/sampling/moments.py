"""Streaming joint cumulants: sums of products over draws, kept per block of draws, merged by addition.

With arguments x_1..x_r and a fixed shift c_i near their means, the sums of prod_{i in I} (x_i - c_i) for all subsets I
of the arguments decide every joint central moment, and these the joint cumulant (`scrub.sampling.cumulants`).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from scrub.sampling.cumulants import Subset, joint_cumulant


@dataclass(frozen=True, eq=False)
class BlockMoments:
    """Sums over draws of products of centred arguments, apart for each block of draws. A value: never changed.

    Attributes:
        shifts: one per argument, its shape without sample axis, float64; anything near the mean.
        total: weight of the draws of each block; draw i belongs to block i mod their number, whatever the batches are.
        sums: for each subset of the arguments, [blocks, *shapes of its members].

    >>> draws = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64)
    >>> none = BlockMoments.empty([draws[0]], num_blocks=2)
    >>> none.plus([draws], torch.ones_like(draws), start=0).cumulant(biased=False)
    tensor(3., dtype=torch.float64)
    """

    shifts: tuple[torch.Tensor, ...]
    total: torch.Tensor
    sums: Mapping[Subset, torch.Tensor]

    @classmethod
    def empty(cls, shifts: Sequence[torch.Tensor], *, num_blocks: int) -> BlockMoments:
        """Of no draws."""
        order = range(len(shifts))
        subsets: list[Subset] = [s for size in order for s in itertools.combinations(order, size + 1)]
        shapes = {subset: [size for i in subset for size in shifts[i].shape] for subset in subsets}
        sums = {subset: torch.zeros(num_blocks, *shape, dtype=torch.float64) for subset, shape in shapes.items()}
        return cls(tuple(shifts), torch.zeros(num_blocks, dtype=torch.float64), sums)

    def plus(self, values: Sequence[torch.Tensor], weights: torch.Tensor, *, start: int) -> BlockMoments:
        """With one more batch, the draws from number start on: values[i] is [batch, *shape_i], weights [batch]."""
        centred = [v.to("cpu", torch.float64) - shift for v, shift in zip(values, self.shifts, strict=True)]
        products: dict[Subset, torch.Tensor] = {(): weights}
        sums: dict[Subset, torch.Tensor] = {}
        for subset, sum_so_far in self.sums.items():
            products[subset] = _outer(products[subset[:-1]], centred[subset[-1]])
            sums[subset] = _plus_draws(sum_so_far, products[subset], start)
        return BlockMoments(self.shifts, _plus_draws(self.total, weights, start), sums)

    def merged(self, other: BlockMoments) -> BlockMoments:
        """With what another worker summed, about the same shifts."""
        sums = {subset: sum_here + other.sums[subset] for subset, sum_here in self.sums.items()}
        return BlockMoments(self.shifts, self.total + other.total, sums)

    def cumulant(self, *, biased: bool, without_block: int | None = None) -> torch.Tensor:
        """The joint cumulant of the arguments, their shapes concatenated; without the draws of one block if given."""
        if not self.shifts:
            return torch.ones((), dtype=torch.float64)
        total = float(self.total.sum() - (0 if without_block is None else self.total[without_block]))
        raw = {subset: self._sum(subset, without_block) / total for subset in self.sums}
        if len(self.shifts) == 1:
            return raw[(0,)] + self.shifts[0]
        return joint_cumulant(raw, [shift.ndim for shift in self.shifts], num_draws=total, biased=biased)

    def _sum(self, subset: Subset, without_block: int | None) -> torch.Tensor:
        everything = self._over_blocks[subset]
        return everything if without_block is None else everything - self.sums[subset][without_block]

    @cached_property
    def _over_blocks(self) -> dict[Subset, torch.Tensor]:
        return {subset: sums.sum(0) for subset, sums in self.sums.items()}


def _plus_draws(sums: torch.Tensor, draws: torch.Tensor, start: int) -> torch.Tensor:
    """Sums per block with draws [batch, ...] added to blocks start, start + 1 and so on, round and round."""
    num_blocks, at = len(sums), start % len(sums)
    if not at and len(draws) == num_blocks:
        return sums + draws
    result = sums.clone()
    for portion in draws.tensor_split([*range(num_blocks - at, len(draws), num_blocks)]):
        result[at : at + len(portion)] += portion
        at = 0
    return result


def _outer(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Outer product within each draw."""
    return left.reshape(*left.shape, *(1,) * (right.ndim - 1)) * right.reshape(
        right.shape[0], *(1,) * (left.ndim - 1), *right.shape[1:]
    )
