"""LayerNorm and RMSNorm, by torch's kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import fx

from scrub.compile.values import Op, Sizes, Value, Writer


@dataclass(frozen=True)
class Normalized(Op):
    """The first argument over the root of its mean square along the last core axis, plus `eps` under the root.

        x / sqrt(mean(x^2) + eps) * weight + bias

    Attributes:
        eps: added to the mean square.
        is_centred: whether the mean is subtracted first (LayerNorm, else RMSNorm).
        has_weight, has_bias: whether these are arguments, each as long as the last core axis.
    """

    eps: float
    is_centred: bool
    has_weight: bool = False
    has_bias: bool = False

    def infer(self, args: Sequence[Value]) -> tuple[Sizes, torch.dtype | None]:
        return args[0].shape, args[0].dtype

    def emit(self, value: Value, write: Writer) -> fx.Node:
        x, *rest = value.args
        parameters = iter([write.node(parameter, value.dtype) for parameter in rest])
        weight = next(parameters) if self.has_weight else None
        bias = next(parameters) if self.has_bias else None
        size = (x.shape[-1],)
        if self.is_centred:
            return write.call(F.layer_norm, write.node(x), size, weight, bias, self.eps)
        return write.call(F.rms_norm, write.node(x), size, weight, self.eps)

    def flops(self, value: Value) -> int:
        size = 1
        for n in value.shape:
            size *= n
        return size * (3 + 2 * self.is_centred + self.has_weight + self.has_bias)

    @property
    def label(self) -> str:
        return "layer_norm" if self.is_centred else "rms_norm"
