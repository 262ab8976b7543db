"""Log-probabilities of labels without those of all words: tile by tile, so that what is thrown away stays in the cache.

    log softmax(l)[label] = l[label] - logsumexp(l)

Over tiles of the vocabulary the logarithm of the sum is kept as a running maximum and a sum relative to it (Milakov and
Gimelshein 2018, "Online normalizer calculation for softmax"). Gradients compute the tiles again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.autograd.function import once_differentiable

from scrub.compiler.values import Op, Sizes, Value, Writer
from scrub.graph.functions.gen_index import GenIndex

ROWS, COLUMNS = 1024, 2048
"""Positions and words of a tile of logits: a few megabytes."""
TILE_BYTES = 2 << 20
"""Of the logits that are normalized at a time where all are there."""
_GATHER = GenIndex(0, batch_x=True, batch_index=True)


@dataclass(frozen=True)
class LogProbability(Op):
    """`log_softmax(logits)[label]` of logits [.., words] and labels [..]."""

    def infer(self, args: Sequence[Value]) -> tuple[Sizes, torch.dtype | None]:
        return args[0].shape[:-1], args[0].dtype

    def emit(self, value: Value, write: Writer) -> fx.Node:
        return write.call(log_probability, *write.expanded(value.args))

    def flops(self, value: Value) -> int:
        return 3 * math.prod(value.args[0].shape)

    @property
    def label(self) -> str:
        return "log probability"


@dataclass(frozen=True)
class LinearLogProbability(Op):
    """`log_softmax(scale * x @ weight + bias)[label]` of x [.., d], labels [..], weight [d, words], perhaps a bias."""

    scale: float = 1.0

    def infer(self, args: Sequence[Value]) -> tuple[Sizes, torch.dtype | None]:
        return args[0].shape[:-1], args[0].dtype

    def emit(self, value: Value, write: Writer) -> fx.Node:
        x, labels = write.expanded(value.args[:2])
        return write.call(linear_log_probability, self.scale, x, labels, *map(write.node, value.args[2:]))

    def flops(self, value: Value) -> int:
        d, words = value.args[2].shape
        return math.prod(value.shape) * words * (2 * d + 3)

    @property
    def label(self) -> str:
        return "linear, log probability"


def log_probability(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The log-probability of each label under logits [*labels.shape, words]."""
    if torch.compiler.is_compiling():
        return _as_one_graph(logits, labels)
    _check(labels, logits.shape[-1], logits)
    words = logits.shape[-1]
    flat = logits.reshape(labels.numel(), words)
    return _LogProbability.apply(flat, labels.reshape(-1)).view(labels.shape)  # pyright: ignore[reportReturnType, reportOptionalMemberAccess, reportUnknownMemberType, reportUnknownVariableType, reportAttributeAccessIssue]


def linear_log_probability(
    scale: float, x: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """The log-probability of each label under the logits `scale * x @ weight + bias`, which are never there at once."""
    if torch.compiler.is_compiling():
        logits = x @ weight * scale
        return _as_one_graph(logits if bias is None else logits + bias, labels)
    _check(labels, weight.shape[1], x)
    flat = x.reshape(labels.numel(), x.shape[-1])
    if (
        torch.is_grad_enabled()
        and x.requires_grad
        and not weight.requires_grad
        and (bias is None or not bias.requires_grad)
    ):
        return _SlopedLogProbability.apply(scale, flat, labels.reshape(-1), weight, bias).view(labels.shape)  # pyright: ignore[reportReturnType, reportOptionalMemberAccess, reportUnknownMemberType, reportUnknownVariableType, reportAttributeAccessIssue]
    return _LinearLogProbability.apply(scale, flat, labels.reshape(-1), weight, bias).view(labels.shape)  # pyright: ignore[reportReturnType, reportOptionalMemberAccess, reportUnknownMemberType, reportUnknownVariableType, reportAttributeAccessIssue]


def _as_one_graph(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The same for torch's compiler, which makes kernels of its own and takes no check that depends on data."""
    return torch.log_softmax(logits, -1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)


def _check(labels: torch.Tensor, words: int, like: torch.Tensor) -> None:
    """Raise what the gather raises for labels that are no words."""
    _GATHER.compute(like.new_zeros(()).expand(*labels.shape, words), labels)


class _LogProbability(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(logits, labels)
        result = logits.new_empty(len(logits))
        for rows in _slices(len(logits), _rows_of_a_tile(logits)):
            result[rows] = torch.log_softmax(logits[rows], -1).gather(1, labels[rows, None])[:, 0]
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        logits, labels = ctx.saved_tensors
        result = torch.empty_like(logits)
        for rows in _slices(len(logits), _rows_of_a_tile(logits)):
            own = gradients[0][rows, None]
            torch.mul(torch.softmax(logits[rows], -1), -own, out=result[rows])
            result[rows].scatter_add_(1, labels[rows, None], own.contiguous())
        return result, None


class _LinearLogProbability(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, scale: float, x: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        wide = _wide(x.dtype)
        picked = x.new_zeros(len(x), dtype=wide)
        log_total = x.new_empty(len(x), dtype=wide)
        for rows in _slices(len(x), ROWS):
            log_total[rows], picked[rows] = _log_total(scale, x[rows], labels[rows], weight, bias)
        ctx.save_for_backward(x, labels, weight, bias, log_total)
        ctx.scale = scale
        return (picked - log_total).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, labels, weight, bias, log_total = ctx.saved_tensors
        wide = log_total.dtype
        _, needs_x, _, needs_weight, needs_bias = ctx.needs_input_grad
        of_x = torch.zeros_like(x, dtype=wide) if needs_x else None
        of_weight = torch.zeros_like(weight, dtype=wide) if needs_weight else None
        of_bias = torch.zeros_like(bias, dtype=wide) if needs_bias else None
        for rows in _slices(len(x), ROWS):
            own = gradients[0][rows, None].to(wide)
            for columns in _slices(weight.shape[1], COLUMNS):
                tile = _tile(ctx.scale, x[rows], weight, bias, columns).sub_(log_total[rows, None]).exp_().mul_(-own)
                at, is_here = _within(labels[rows], columns)
                tile.scatter_add_(1, at, torch.where(is_here, own, 0.0))
                if of_bias is not None:
                    of_bias[columns] += tile.sum(0)
                tile = tile.mul_(ctx.scale).to(x.dtype)
                if of_x is not None:
                    of_x[rows] += tile @ weight[:, columns].T
                if of_weight is not None:
                    of_weight[:, columns] += x[rows].T @ tile
        results = (of_x, of_weight, of_bias)
        of_x, of_weight, of_bias = (None if each is None else each.to(x.dtype) for each in results)
        return None, of_x, None, of_weight, of_bias


class _SlopedLogProbability(torch.autograd.Function):
    """The same for gradients with respect to x alone, which is computed on the way: no tile is computed twice.

    d log p(label) / dx = scale (weight[label] - sum over words of p(word) weight[word])
    """

    @staticmethod
    def forward(
        ctx: Any, scale: float, x: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        wide = _wide(x.dtype)
        slope, result = x.new_empty(x.shape, dtype=wide), x.new_empty(len(x), dtype=wide)
        for rows in _slices(len(x), ROWS):
            log_total, picked = _log_total(scale, x[rows], labels[rows], weight, bias, mean=slope[rows])
            result[rows] = picked - log_total
        ctx.save_for_backward(slope.neg_().add_(weight.T[labels]).mul_(scale))
        return result.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (slope,) = ctx.saved_tensors
        return None, (slope * gradients[0][:, None]).to(gradients[0].dtype), None, None, None


def _log_total(
    scale: float,
    x: torch.Tensor,
    labels: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    *,
    mean: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """For each row, the logarithm of the sum of exponentials of its logits, and the logit of its label.

    Args:
        scale, x, labels, weight, bias: what logits and labels are.
        mean: where to write the mean of the words' weights under their probabilities.
    """
    if mean is not None:
        mean.zero_()
    largest = x.new_full((len(x),), -torch.inf, dtype=_wide(x.dtype))
    total = torch.zeros_like(largest)
    picked = torch.zeros_like(largest)
    for columns in _slices(weight.shape[1], COLUMNS):
        tile = _tile(scale, x, weight, bias, columns)
        at, is_here = _within(labels, columns)
        picked = torch.where(is_here[:, 0], tile.gather(1, at)[:, 0], picked)
        larger = torch.maximum(largest, tile.amax(1))
        shift = larger.masked_fill(larger == -torch.inf, 0.0)
        before, tile = (largest - shift).exp_(), tile.sub_(shift[:, None]).exp_()
        total = total * before + tile.sum(1)
        if mean is not None:
            mean.mul_(before[:, None]).add_(tile.to(x.dtype) @ weight[:, columns].T)
        largest = larger
    if mean is not None:
        mean.div_(total[:, None])
    return largest + total.log(), picked


def _tile(
    scale: float, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, columns: slice
) -> torch.Tensor:
    """Logits of some words, rounded as all of them would be, in a dtype to sum in."""
    if bias is None:
        tile = torch.mm(x, weight[:, columns])
        tile = tile if scale == 1.0 else tile.mul_(scale)
    else:
        tile = torch.addmm(bias[columns], x, weight[:, columns], alpha=scale)
    return tile.to(_wide(x.dtype))


def _within(labels: torch.Tensor, columns: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions of labels among some words, and whether they are there, each [rows, 1]."""
    at = labels[:, None] - columns.start
    size = columns.stop - columns.start
    return at.clamp(0, size - 1), (at >= 0) & (at < size)


def _slices(size: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, size)) for start in range(0, size, step))


def _rows_of_a_tile(logits: torch.Tensor) -> int:
    return max(1, TILE_BYTES // max(1, logits.shape[1] * logits.itemsize))


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
