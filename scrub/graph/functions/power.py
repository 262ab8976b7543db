"""Powers, broadcast like numpy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from scrub.graph.expr import Shape
from scrub.graph.functions.base import Function, FunctionShape, function
from scrub.graph.rules import broadcast_sizes, to_common_dtype


@function
@dataclass(frozen=True)
class Pow(Function):
    """`base ** exponent`, elementwise. The one with fewer axes takes no batch axes."""

    def infer_shape(self, shapes: Sequence[Shape]) -> FunctionShape:
        base, exponent = shapes
        try:
            shape = broadcast_sizes(base, exponent)
        except ValueError as error:
            raise ValueError(f"base {base} and exponent {exponent} do not broadcast") from error
        is_batchable = (len(base) == len(shape), len(exponent) == len(shape))
        return FunctionShape(shape, len(shape), is_batchable, (len(base), len(exponent)))

    def infer_dtype(self, dtypes: Sequence[torch.dtype | None]) -> torch.dtype | None:
        known = {dtype for dtype in dtypes if dtype is not None}
        if len(known) > 1:
            raise ValueError(f"base and exponent have different dtypes: {dtypes[0]} and {dtypes[1]}")
        return known.pop() if known else None

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        base, exponent = values
        if base.dtype != exponent.dtype:  # then one is made of scalars alone, which take the dtype of the other
            dtype = exponent.dtype if base.dtype == torch.float64 else base.dtype
            base, exponent = to_common_dtype("pow", values, dtype)
        return torch.pow(base, exponent)

    @classmethod
    def examples(cls) -> Iterator[tuple[Function, tuple[torch.Tensor, ...]]]:
        yield cls(), (torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor(-0.5))
        yield cls(), (torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0, 3.0]]))
