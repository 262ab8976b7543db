"""Softmax and its logarithm over the last axis."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from scrub.graph.expr import Shape
from scrub.graph.functions.base import AlongLastAxis, Function, function, require_floating


@dataclass(frozen=True)
class _OverLastAxis(AlongLastAxis):
    def infer_dtype(self, dtypes: Sequence[torch.dtype | None]) -> torch.dtype | None:
        return require_floating(self.label, dtypes[0])

    def flops(self, shapes: Sequence[Shape]) -> int:
        """Three for each element: exponential, sum, division (Hoffmann et al. 2022, appendix F)."""
        return 3 * math.prod(shapes[0])

    @classmethod
    def examples(cls) -> Iterator[tuple[Function, tuple[torch.Tensor, ...]]]:
        yield cls(), (torch.linspace(-2, 2, 6).reshape(2, 3),)
        yield cls(), (torch.zeros(4),)


@function
@dataclass(frozen=True)
class Softmax(_OverLastAxis):
    """`exp(x) / sum(exp(x))` over the last axis."""

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        return torch.softmax(values[0], dim=-1)


@function
@dataclass(frozen=True)
class LogSoftmax(_OverLastAxis):
    """`x - log(sum(exp(x)))` over the last axis."""

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        return torch.log_softmax(values[0], dim=-1)
