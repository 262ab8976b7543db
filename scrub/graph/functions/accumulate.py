"""Running sums and products along the last axis, and the product over it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from scrub.graph.expr import Shape
from scrub.graph.functions.base import AlongLastAxis, Function, FunctionShape, function


@dataclass(frozen=True)
class _OverLastAxis(AlongLastAxis):
    def infer_dtype(self, dtypes: Sequence[torch.dtype | None]) -> torch.dtype | None:
        (dtype,) = dtypes
        return dtype if dtype is None or dtype.is_floating_point else torch.int64

    @classmethod
    def examples(cls) -> Iterator[tuple[Function, tuple[torch.Tensor, ...]]]:
        yield cls(), (torch.tensor([[3.0, -1.0, 0.5], [0.5, 2.0, 1.0]]),)
        yield cls(), (torch.tensor([4, 2, 3]),)


@function
@dataclass(frozen=True)
class Cumsum(_OverLastAxis):
    """Sum of all values up to each position of the last axis; of integers and booleans in int64."""

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        return values[0].cumsum(-1)


@function
@dataclass(frozen=True)
class Cumprod(_OverLastAxis):
    """Product of all values up to each position of the last axis; of integers and booleans in int64."""

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        return values[0].cumprod(-1)


@function
@dataclass(frozen=True)
class Prod(_OverLastAxis):
    """Product over the last axis; of integers and booleans in int64."""

    def infer_shape(self, shapes: Sequence[Shape]) -> FunctionShape:
        (shape,) = shapes
        if not shape:
            raise ValueError("needs at least one axis")
        return FunctionShape(shape[:-1], 0, (True,), (1,))

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        return values[0].prod(-1)

    def flops(self, shapes: Sequence[Shape]) -> int:
        """One multiplication for each element of the argument."""
        return math.prod(shapes[0])
