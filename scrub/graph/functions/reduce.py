"""Extremes over the last axis."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from scrub.graph.expr import Shape
from scrub.graph.functions.base import Function, FunctionShape, function


@dataclass(frozen=True)
class _ReduceLast(Function):
    def infer_shape(self, shapes: Sequence[Shape]) -> FunctionShape:
        (shape,) = shapes
        if not shape or shape[-1] == 0:
            raise ValueError("needs a last axis that is not empty")
        return FunctionShape(shape[:-1], 0, (True,), (1,))

    def infer_dtype(self, dtypes: Sequence[torch.dtype | None]) -> torch.dtype | None:
        return dtypes[0]

    def flops(self, shapes: Sequence[Shape]) -> int:
        """One comparison for each element of the argument."""
        return math.prod(shapes[0])

    @classmethod
    def examples(cls) -> Iterator[tuple[Function, tuple[torch.Tensor, ...]]]:
        yield cls(), (torch.tensor([[3.0, -1.0], [0.5, 2.0], [7.0, 7.0]]),)
        yield cls(), (torch.tensor([4, 2, 9]),)


@function
@dataclass(frozen=True)
class Min(_ReduceLast):
    """Smallest value along the last axis."""

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        return values[0].amin(dim=-1)


@function
@dataclass(frozen=True)
class Max(_ReduceLast):
    """Largest value along the last axis."""

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        return values[0].amax(dim=-1)


@function
@dataclass(frozen=True)
class Argmax(_ReduceLast):
    """Position of the largest value along the last axis, int64; the first of equal ones."""

    def infer_dtype(self, dtypes: Sequence[torch.dtype | None]) -> torch.dtype | None:
        if dtypes[0] == torch.bool:
            raise ValueError("booleans have no largest one")
        return torch.int64

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        return values[0].argmax(dim=-1)
