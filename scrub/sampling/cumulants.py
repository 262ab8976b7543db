"""Joint cumulants out of moments.

kappa = sum over set partitions pi of the arguments of (-1)^(|pi|-1) (|pi|-1)! prod_{B in pi} m_B, with m_B the central
moment of the arguments in B. For i.i.d. draws the unbiased estimators are the k-statistics, here in their multilinear
form (Kendall & Stuart, The Advanced Theory of Statistics, vol. 1, ch. 12-13).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

import torch

from scrub.graph import EstimateError

Subset = tuple[int, ...]
"""Numbers of arguments, ascending."""


def joint_cumulant(
    raw: Mapping[Subset, torch.Tensor], ndims: Sequence[int], *, num_draws: float, biased: bool
) -> torch.Tensor:
    """The joint cumulant of two arguments or more, their shapes concatenated.

    Args:
        raw: for every subset of the arguments, the mean over draws of their product about any fixed shifts.
        ndims: number of axes of each argument.
        num_draws: how many draws these are means over.
        biased: that of the draws themselves. Otherwise the unbiased estimate, up to order 4.

    >>> raw = {(0,): torch.tensor(0.5), (1,): torch.tensor(0.5), (0, 1): torch.tensor(0.5)}
    >>> joint_cumulant(raw, [0, 0], num_draws=2, biased=False)
    tensor(0.5000)
    """
    order, n = len(ndims), num_draws
    everything = tuple(range(order))
    if biased or order > 4:
        return _plug_in(raw, ndims)
    if n < order:
        raise EstimateError(f"an unbiased cumulant of order {order} needs at least {order} draws", found=n)
    m = _central(raw, ndims, everything)
    if order == 2:
        return m * n / (n - 1)
    if order == 3:
        return m * n**2 / ((n - 1) * (n - 2))
    pairs: torch.Tensor | float = 0.0
    for partition in _partitions(everything):
        if sorted(map(len, partition)) == [2, 2]:
            pairs = pairs + _product(raw, ndims, partition)
    scale = n**2 / ((n - 1) * (n - 2) * (n - 3))
    return scale * ((n + 1) * m - (n - 1) * pairs)


def _plug_in(raw: Mapping[Subset, torch.Tensor], ndims: Sequence[int]) -> torch.Tensor:
    result: torch.Tensor | float = 0.0
    for partition in _partitions(tuple(range(len(ndims)))):
        if all(len(block) > 1 for block in partition):
            sign = (-1) ** (len(partition) - 1) * math.factorial(len(partition) - 1)
            result = result + sign * _product(raw, ndims, partition)
    return torch.as_tensor(result)


def _product(raw: Mapping[Subset, torch.Tensor], ndims: Sequence[int], partition: Sequence[Subset]) -> torch.Tensor:
    """Product of central moments of the parts, axes in the order of the arguments."""
    return _multiply([(_central(raw, ndims, block), block) for block in partition], ndims)


def _central(raw: Mapping[Subset, torch.Tensor], ndims: Sequence[int], subset: Subset) -> torch.Tensor:
    """E prod (x_i - mu_i) from moments about the shifts."""
    result: torch.Tensor | float = 0.0
    for size in range(len(subset) + 1):
        for kept in itertools.combinations(subset, size):
            rest = [i for i in subset if i not in kept]
            factors: list[tuple[torch.Tensor, Subset]] = [(raw[(i,)], (i,)) for i in rest]
            if kept:
                factors.append((raw[kept], kept))
            result = result + (-1) ** len(rest) * _multiply(factors, ndims)
    return torch.as_tensor(result)


def _multiply(factors: Sequence[tuple[torch.Tensor, Subset]], ndims: Sequence[int]) -> torch.Tensor:
    """Outer product of tensors that each belong to some arguments, axes in the order of the arguments."""
    order = [i for _, subset in factors for i in subset]
    product = factors[0][0]
    for tensor, _ in factors[1:]:
        product = product[(..., *[None] * tensor.ndim)] * tensor
    starts: dict[int, int] = {}
    position = 0
    for i in order:
        starts[i] = position
        position += ndims[i]
    axes = [starts[i] + k for i in sorted(order) for k in range(ndims[i])]
    return product.permute(axes)


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
