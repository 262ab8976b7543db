"""Order along the last axis: sorted values, and the positions they come from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from scrub.graph.expr import Shape
from scrub.graph.functions.base import AlongLastAxis, Function, function


@dataclass(frozen=True)
class _Sorted(AlongLastAxis):
    descending: bool = False

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
