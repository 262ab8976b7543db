"""LayerNorm and RMSNorm, by torch's kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import fx

from scrub.compiler.values import Op, Sizes, Value, Writer


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
        parameters = iter(rest)
        weight = next(parameters) if self.has_weight else None
        bias = next(parameters) if self.has_bias else None
        size = (x.shape[-1],)
        node = write.aligned(x, value.axes)
        if not any(parameter.axes for parameter in rest):
            kernel_args = [None if each is None else write.node(each, value.dtype) for each in (weight, bias)]
            if self.is_centred:
                return write.call(F.layer_norm, node, size, *kernel_args, self.eps)
            return write.call(F.rms_norm, node, size, kernel_args[0], self.eps)
        plain = F.layer_norm if self.is_centred else F.rms_norm  # the kernels take one weight for all
        node = write.call(plain, node, size, eps=self.eps)
        for parameter, function in ((weight, torch.mul), (bias, torch.add)):
            if parameter is not None:
                own = write.aligned(parameter, value.axes, ndim=len(value.shape), dtype=value.dtype)
                node = write.call(function, node, own)
        return node

    def flops(self, value: Value) -> int:
        size = 1
        for n in value.shape:
            size *= n
        return size * (3 + 2 * self.is_centred + self.has_weight + self.has_bias)

    @property
    def label(self) -> str:
        return "layer_norm" if self.is_centred else "rms_norm"
