"""Attention without the pattern in memory, by torch's scaled_dot_product_attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import fx

from scrub.compiler.ops.arithmetic import broadcast
from scrub.compiler.values import Op, Sizes, Value, Writer

Presence = tuple[bool, ...]


@dataclass(frozen=True)
class Attention(Op):
    """`softmax(scale * q k^T + bias) v` of queries [s, e], keys [t, e], values [t, f] and a bias [s, t], if any.

    Attributes:
        scale: of the scores.
        is_causal: whether a query sees only the keys up to its own position; then there is no bias.
    """

    scale: float
    is_causal: bool = False

    def infer(self, args: Sequence[Value]) -> tuple[Sizes, torch.dtype | None]:
        return (args[0].shape[0], args[2].shape[1]), args[0].dtype

    def emit(self, value: Value, write: Writer) -> fx.Node:
        present = tuple(tuple(axis in arg.axes for axis in value.axes) for arg in value.args)
        nodes = [write.node(arg, value.dtype) for arg in value.args]
        for arg in value.args[3:]:
            for _ in range(2 - len(arg.shape)):
                nodes[3] = write.call(torch.unsqueeze, nodes[3], len(arg.axes))
        return write.call(attended, present, self.scale, self.is_causal, *nodes)

    def flops(self, value: Value) -> int:
        (s, e), (t, f) = value.args[0].shape, value.args[2].shape
        return 2 * s * t * e + 2 * s * t * f + 3 * s * t + s * t * (len(value.args) - 3)

    @property
    def label(self) -> str:
        return f"attention{' causal' if self.is_causal else ''} * {self.scale:g}"


def attended(present: tuple[Presence, ...], scale: float, is_causal: bool, *tensors: torch.Tensor) -> torch.Tensor:
    """Attention of tensors that have those of the batch axes, before their last two, where `present` says so.

    The kernel wants two batch axes, batch and heads, and writes its result as [batch, s, heads, f]. Axes that lie
    inside of the positions in memory become heads, so that a projection that was made for all heads at once is read
    where it is, and the result lies as the projection that comes next reads it.
    """
    q, k, v, *bias = (_with_axes(tensor, own) for tensor, own in zip(tensors, present, strict=True))
    sizes = broadcast([tuple(tensor.shape[:-2]) for tensor in (q, k, v, *bias)])
    s, t, f = q.shape[-2], k.shape[-2], v.shape[-1]
    if not q.numel() or not v.numel() or 0 in sizes:  # the kernel does not say what it does with these
        scores = torch.matmul(q, k.transpose(-1, -2)) * scale
        scores = sum(bias, _causal(scores) if is_causal else scores)
        return torch.matmul(torch.softmax(scores, -1), v).expand(*sizes, s, f)
    batch, heads = _layout(q if q.shape[:-2] == sizes else v, len(sizes), s if q.shape[:-2] == sizes else t)
    order = (*batch, *heads)
    if not scale > 0.0:  # the kernel scales scores after it has masked them with -inf
        q, scale = q * scale, 1.0
    grouped = [_grouped(tensor, sizes, batch, heads) for tensor in (q, k, v)]
    mask = _grouped_bias(bias[0].expand(*bias[0].shape[:-2], s, t), sizes, batch, heads) if bias else None
    result = F.scaled_dot_product_attention(*grouped, attn_mask=mask, is_causal=is_causal, scale=scale)
    result = result.reshape(*(sizes[axis] for axis in order), s, f)
    if order == tuple(range(len(order))):
        return result
    return result.permute([*(order.index(axis) for axis in range(len(order))), len(order), len(order) + 1])


def _with_axes(tensor: torch.Tensor, present: Presence) -> torch.Tensor:
    """With an axis of size 1 for each batch axis that it lacks."""
    for position, is_there in enumerate(present):
        if not is_there:
            tensor = tensor.unsqueeze(position)
    return tensor


def _causal(scores: torch.Tensor) -> torch.Tensor:
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
    return scores.masked_fill(hidden, -torch.inf)


def _layout(tensor: torch.Tensor, count: int, positions: int) -> tuple[list[int], list[int]]:
    """Which batch axes are batch and which heads, each from the outermost in memory to the innermost."""
    if torch.compiler.is_compiling():  # which decides itself how tensors lie
        return [*range(count - 1)], [*range(count)][-1:]
    strides = tensor.stride()
    axes = sorted(range(count), key=lambda axis: -strides[axis])
    inside = [axis for axis in axes if tensor.shape[axis] > 1 and strides[axis] < strides[-2]] if positions > 1 else []
    if not inside and count > 1:
        inside = [max(axes, key=lambda axis: (tensor.shape[axis] > 1, axis))]
    return [axis for axis in axes if axis not in inside], inside


def _grouped(tensor: torch.Tensor, sizes: Sequence[int], batch: Sequence[int], heads: Sequence[int]) -> torch.Tensor:
    """As [batch, heads, positions, features]: a view where the memory layout permits."""
    tensor = tensor.expand(*sizes, -1, -1)
    count = len(sizes)
    if tensor.stride(-1) != 1 and tensor.shape[-1] > 1:
        tensor = tensor.contiguous()  # the kernel that saves memory needs the features side by side
    permuted = tensor.permute([*batch, *heads, count, count + 1])
    if len(batch) == len(heads) == 1:
        return permuted
    return permuted.reshape(*_two(sizes, batch, heads), *tensor.shape[-2:])


def _grouped_bias(bias: torch.Tensor, sizes: Sequence[int], batch: Sequence[int], heads: Sequence[int]) -> torch.Tensor:
    """As [batch or 1, heads or 1, s, t]."""
    own: list[int] = list(bias.shape[:-2])
    for group in (batch, heads):
        if any(own[axis] > 1 for axis in group):
            for axis in group:
                own[axis] = sizes[axis]
    count = len(sizes)
    permuted = bias.expand(*own, -1, -1).permute([*batch, *heads, count, count + 1])
    return permuted.reshape(*_two(own, batch, heads), *bias.shape[-2:])


def _two(sizes: Sequence[int], batch: Sequence[int], heads: Sequence[int]) -> tuple[int, int]:
    first = second = 1
    for axis in batch:
        first *= sizes[axis]
    for axis in heads:
        second *= sizes[axis]
    return first, second
