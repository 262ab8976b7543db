"""Values that are there before anything is computed: numbers, tensors, and what is bound at run time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import fx

from scrub.compiler.values import DRAWS, Axis, Op, Sizes, Value, Writer


@dataclass(frozen=True)
class Fill(Op):
    """One number, in a shape."""

    number: float
    shape: Sizes

    def infer(self, args: Sequence[Value]) -> tuple[Sizes, torch.dtype | None]:
        return self.shape, None

    def emit(self, value: Value, write: Writer) -> fx.Node:
        return write.tensor(torch.tensor(float(self.number), dtype=torch.float64).expand(self.shape))

    @property
    def label(self) -> str:
        return repr(self.number)


@dataclass(frozen=True)
class Constant(Op):
    """A tensor that the program holds, told by its digest and device."""

    digest: str
    device: torch.device
    tensor: torch.Tensor = field(compare=False, repr=False)

    def infer(self, args: Sequence[Value]) -> tuple[Sizes, torch.dtype | None]:
        return tuple(self.tensor.shape), self.tensor.dtype

    def emit(self, value: Value, write: Writer) -> fx.Node:
        return write.tensor(self.tensor)


@dataclass(frozen=True)
class Input(Op):
    """What is bound at run time.

    Attributes:
        key: digest of the symbol, or of the group of random variables, that it is bound to.
        shape, dtype, device: of the tensor; without the axis of draws.
        is_drawn: whether the tensor has one value for every draw, along its first axis.
    """

    key: str
    shape: Sizes
    dtype: torch.dtype
    device: torch.device
    is_drawn: bool

    def infer(self, args: Sequence[Value]) -> tuple[Sizes, torch.dtype | None]:
        return self.shape, self.dtype

    def axes(self, args: Sequence[Value]) -> tuple[Axis, ...]:
        return (DRAWS,) if self.is_drawn else ()

    def emit(self, value: Value, write: Writer) -> fx.Node:
        return write.graph.placeholder(f"input_{self.key[:12]}")
