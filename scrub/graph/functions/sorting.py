"""Order along the last axis: sorted values, the positions they come from, and the position of the largest."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from scrub.graph.expr import Shape
from scrub.graph.functions.base import Function, FunctionShape, function


@dataclass(frozen=True)
class _Sorted(Function):
    descending: bool = False

    def infer_shape(self, shapes: Sequence[Shape]) -> FunctionShape:
        (shape,) = shapes
        if not shape:
            raise ValueError("needs at least one axis")
        return FunctionShape(shape, 1, (True,), (1,))

    def flops(self, shapes: Sequence[Shape]) -> int:
        """n log n comparisons for each row."""
        (shape,) = shapes
        rounds = max(int(shape[-1]), 2).bit_length() if shape and type(shape[-1]) is int else 1
        return math.prod(shape) * rounds

    @classmethod
    def examples(cls) -> Iterator[tuple[Function, tuple[torch.Tensor, ...]]]:
        yield cls(), (torch.tensor([[3.0, -1.0, 2.0], [0.5, 2.0, -7.0]]),)
        yield cls(descending=True), (torch.tensor([[3.0, -1.0, 2.0], [0.5, 2.0, -7.0]]),)


@function
@dataclass(frozen=True)
class Sort(_Sorted):
    """The values along the last axis in order."""

    def infer_dtype(self, dtypes: Sequence[torch.dtype | None]) -> torch.dtype | None:
        return dtypes[0]

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        return values[0].sort(dim=-1, descending=self.descending, stable=True).values


@function
@dataclass(frozen=True)
class Argsort(_Sorted):
    """Where along the last axis the values in order come from, int64; equal values keep their order."""

    def infer_dtype(self, dtypes: Sequence[torch.dtype | None]) -> torch.dtype | None:
        return torch.int64

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        return values[0].sort(dim=-1, descending=self.descending, stable=True).indices


@function
@dataclass(frozen=True)
class Argmax(Function):
    """Position of the largest value along the last axis, int64; the first of equal ones."""

    def infer_shape(self, shapes: Sequence[Shape]) -> FunctionShape:
        (shape,) = shapes
        if not shape or shape[-1] == 0:
            raise ValueError("needs a last axis that is not empty")
        return FunctionShape(shape[:-1], 0, (True,), (1,))

    def infer_dtype(self, dtypes: Sequence[torch.dtype | None]) -> torch.dtype | None:
        if dtypes[0] == torch.bool:
            raise ValueError("booleans have no largest one")
        return torch.int64

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        return values[0].argmax(dim=-1)

    def flops(self, shapes: Sequence[Shape]) -> int:
        """One comparison for each element of the argument."""
        return math.prod(shapes[0])

    @classmethod
    def examples(cls) -> Iterator[tuple[Function, tuple[torch.Tensor, ...]]]:
        yield cls(), (torch.tensor([[3.0, -1.0, 2.0], [0.5, 2.0, -7.0]]),)
