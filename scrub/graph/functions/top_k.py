"""The k largest entries of the last axis, with zeros in the place of all others: a router of experts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from scrub.graph.errors import ConstructionError
from scrub.graph.expr import Shape
from scrub.graph.functions.base import Function, FunctionShape, function, require_floating


@function
@dataclass(frozen=True)
class KeepTopK(Function):
    """x where it is among the k largest of its last axis, 0 elsewhere. Of equal entries, which are kept is open."""

    k: int

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConstructionError(f"keep_top_k of k={self.k}", expected="k >= 1", found=self.k)

    def infer_shape(self, shapes: Sequence[Shape]) -> FunctionShape:
        (shape,) = shapes
        if not shape:
            raise ValueError("needs at least one axis")
        if isinstance(shape[-1], int) and shape[-1] < self.k:
            raise ValueError(f"{self.k} largest of {shape[-1]} entries")
        return FunctionShape(shape, 1, (True,), (1,))

    def infer_dtype(self, dtypes: Sequence[torch.dtype | None]) -> torch.dtype | None:
        return require_floating(self.label, dtypes[0])

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        (x,) = values
        top = x.topk(self.k, dim=-1)
        return torch.zeros_like(x).scatter(-1, top.indices, top.values)

    @classmethod
    def examples(cls) -> Iterator[tuple[Function, tuple[torch.Tensor, ...]]]:
        yield cls(2), (torch.tensor([[0.3, -1.0, 2.0], [0.1, 0.2, -0.5]]),)
        yield cls(1), (torch.tensor([4.0, 1.0]),)
