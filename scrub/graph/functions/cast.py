"""Change of dtype."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from scrub.graph.expr import Shape
from scrub.graph.functions.base import Function, FunctionShape, function


@function
@dataclass(frozen=True)
class Cast(Function):
    """Values in another dtype, given by its name in torch: "float32"."""

    dtype: str

    @property
    def label(self) -> str:
        return f"cast[{self.dtype}]"

    def infer_shape(self, shapes: Sequence[Shape]) -> FunctionShape:
        (shape,) = shapes
        return FunctionShape(shape, 0, (True,), (0,))

    def infer_dtype(self, dtypes: Sequence[torch.dtype | None]) -> torch.dtype | None:
        return dtype_from_name(self.dtype)

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        return values[0].to(dtype_from_name(self.dtype))

    def flops(self, shapes: Sequence[Shape]) -> int:
        """None: conversion is no arithmetic."""
        return 0

    @classmethod
    def examples(cls) -> Iterator[tuple[Function, tuple[torch.Tensor, ...]]]:
        yield cls("float64"), (torch.tensor([1, 2]),)
        yield cls("int64"), (torch.tensor([[1.7, -2.0]]),)


def dtype_from_name(name: str) -> torch.dtype:
    """`torch.float32` for "float32"."""
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"torch has no dtype {name!r}")
    return dtype
