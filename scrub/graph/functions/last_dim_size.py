"""The size of the last axis, as a value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from scrub.graph.expr import Shape
from scrub.graph.functions.base import Function, FunctionShape, function


@function
@dataclass(frozen=True)
class LastDimSize(Function):
    """How many values there are along the last axis: in the dtype of the input if that is floating, else int64."""

    def infer_shape(self, shapes: Sequence[Shape]) -> FunctionShape:
        (shape,) = shapes
        if not shape:
            raise ValueError("needs at least one axis")
        return FunctionShape(shape[:-1], 0, (True,), (1,))

    def infer_dtype(self, dtypes: Sequence[torch.dtype | None]) -> torch.dtype | None:
        (dtype,) = dtypes
        return dtype if dtype is None or dtype.is_floating_point else torch.int64

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        (x,) = values
        dtype = x.dtype if x.dtype.is_floating_point else torch.int64
        return torch.full(x.shape[:-1], x.shape[-1], dtype=dtype, device=x.device)

    @classmethod
    def examples(cls) -> Iterator[tuple[Function, tuple[torch.Tensor, ...]]]:
        yield cls(), (torch.zeros(2, 3),)
        yield cls(), (torch.zeros(4, dtype=torch.int64),)
