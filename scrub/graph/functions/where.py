"""Choice between two values, element by element."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from scrub.graph.expr import Shape
from scrub.graph.functions.base import Function, FunctionShape, function
from scrub.graph.rules import to_common_dtype


@function
@dataclass(frozen=True)
class Where(Function):
    """`x` where the condition holds, else `y`: three arguments (condition, x, y) of one shape, x and y of one dtype."""

    def infer_shape(self, shapes: Sequence[Shape]) -> FunctionShape:
        condition, x, y = shapes
        if not condition == x == y:
            raise ValueError(f"all arguments need the same shape, not {condition}, {x} and {y}")
        return FunctionShape(x, 0, (True, True, True), (0, 0, 0))

    def infer_dtype(self, dtypes: Sequence[torch.dtype | None]) -> torch.dtype | None:
        condition, x, y = dtypes
        if condition not in (None, torch.bool):
            raise ValueError(f"the condition must be bool, not {condition}")
        if x is not None and y is not None and x != y:
            raise ValueError(f"the two values have different dtypes: {x} and {y}")
        return x if x is not None else y

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        condition, x, y = values
        if x.dtype != y.dtype:  # then one is made of scalars alone, which take the dtype of the other
            x, y = to_common_dtype("where", (x, y), y.dtype if x.dtype == torch.float64 else x.dtype)
        return torch.where(condition.to(torch.bool), x, y)

    @classmethod
    def examples(cls) -> Iterator[tuple[Function, tuple[torch.Tensor, ...]]]:
        x = torch.linspace(-2, 2, 6).reshape(2, 3)
        yield cls(), (x > 0, x, -x)
        yield cls(), (torch.tensor(True), torch.tensor(3), torch.tensor(4))
