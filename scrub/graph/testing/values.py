"""Arguments to try a function on, and how results are compared."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch

from scrub.graph.expr import Shape

Values = tuple[torch.Tensor, ...]


class Drawer:
    """Draws arguments in the range of examples: floats between their extremes, integers too.

    Args:
        examples: arguments that are accepted; at least one tuple.

    >>> x = Drawer([(torch.tensor([0.0, 0.5]),)], seed=0).draw([(2, 3)], [torch.float32])[0]
    >>> x.shape, bool((x <= 0.5).all())
    (torch.Size([2, 3]), True)
    """

    def __init__(self, examples: Sequence[Values], *, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        arity = max(len(arguments) for arguments in examples)
        self.pools = [
            torch.cat([arguments[i].reshape(-1).double() for arguments in examples if i < len(arguments)])
            for i in range(arity)
        ]
        self.is_floating = [
            any(arguments[i].is_floating_point() for arguments in examples if i < len(arguments)) for i in range(arity)
        ]

    def draw(self, shapes: Sequence[Shape], dtypes: Sequence[torch.dtype]) -> Values:
        """One tensor for each shape and dtype."""
        return tuple(self._one(i, shape, dtype) for i, (shape, dtype) in enumerate(zip(shapes, dtypes, strict=True)))

    def _one(self, i: int, shape: Shape, dtype: torch.dtype) -> torch.Tensor:
        at = min(i, len(self.pools) - 1)
        pool = self.pools[at]
        share = torch.rand(shape, generator=self.generator, dtype=torch.float64)
        if dtype == torch.bool:
            return share < 0.5
        low, high = (float(pool.min()), float(pool.max())) if len(pool) else (-2.0, 2.0)
        if self.is_floating[at] and not dtype.is_floating_point:
            low, high = 1.0, 3.0  # a range of fractions may hold no integer
        if self.is_floating[at] and dtype.is_floating_point:
            return (low + share * (high - low)).to(dtype)
        return (low + (share * (high - low + 1)).floor()).clamp(max=high).to(dtype)


def other_layout(value: torch.Tensor) -> torch.Tensor:
    """The same values, in another order in memory where there is one."""
    return value.transpose(0, -1).contiguous().transpose(0, -1) if value.ndim > 1 else value.clone()


def is_same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal shape and dtype, and values equal up to rounding, nan where nan."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if not a.is_floating_point():
        return torch.equal(a, b)
    tolerance = 1e-9 if a.dtype == torch.float64 else 1e-5 if a.dtype == torch.float32 else 3e-2
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)


def loop(call: Callable[..., torch.Tensor], values: Values, is_batched: Sequence[bool], batch: Shape) -> torch.Tensor:
    """`call` once for each entry of the batch axes in front of the batched values, stacked."""
    results: list[torch.Tensor] = []
    for entry in itertools.product(*(range(size) for size in batch)):
        picked = [value[entry] if has else value for value, has in zip(values, is_batched, strict=True)]
        results.append(call(*picked))
    return torch.stack(results).reshape((*batch, *results[0].shape))
