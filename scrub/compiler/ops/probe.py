"""Values with respect to which gradients are taken, and these gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import fx

from scrub.compiler.values import Axis, Op, Sizes, Value, Writer


@dataclass(frozen=True)
class Probe(Op):
    """The argument itself; whoever reads it through this reads what a gradient is taken with respect to.

    Passes may compute several probes as one, as they do with any operation, but must neither fold a probe nor look
    through it.

    Attributes:
        number: tells probes of one value apart.
    """

    number: int = 0
    is_view = True

    def infer(self, args: Sequence[Value]) -> tuple[Sizes, torch.dtype | None]:
        return args[0].shape, args[0].dtype

    def emit(self, value: Value, write: Writer) -> fx.Node:
        return write.call(probed, write.node(value.args[0]))

    @property
    def label(self) -> str:
        return "probe"


@dataclass(frozen=True)
class GradientOf(Op):
    """The gradient with respect to a probe, which is there once a program has run backwards.

    Attributes:
        number: of the probe.
        batch_axes, shape, dtype, device: those of the probe.
    """

    number: int
    batch_axes: tuple[Axis, ...]
    shape: Sizes
    dtype: torch.dtype | None
    device: torch.device | None

    def infer(self, args: Sequence[Value]) -> tuple[Sizes, torch.dtype | None]:
        return self.shape, self.dtype

    def axes(self, args: Sequence[Value]) -> tuple[Axis, ...]:
        return self.batch_axes


def probed(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor under a name of its own for autograd, which records nothing below the lowest probe."""
    return tensor.view_as(tensor) if tensor.requires_grad else tensor.detach().requires_grad_()
