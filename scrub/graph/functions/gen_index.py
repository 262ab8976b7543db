"""Gather: pick from an axis by an index that is itself computed (SPEC 2.7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from scrub.graph.errors import DtypeError, ShapeError
from scrub.graph.expr import Shape
from scrub.graph.functions.base import Function, FunctionShape, function


@function
@dataclass(frozen=True)
class GenIndex(Function):
    """`x` at `index` along `index_dim`. With X, J the shapes of x and index:

    - `batch_index` only: x is a table; result J + (X without index_dim)
    - both: J is a prefix of X, `index_dim` counts in the rest; result J + (rest without index_dim)
    - `batch_x` only: index_dim < 0; result X[:d] + J + X[d+1:]
    - neither: the same shapes, nothing batchable
    """

    index_dim: int
    batch_x: bool
    batch_index: bool

    @property
    def label(self) -> str:
        flags = [f"dim={self.index_dim}"]
        flags += ["batch_x"] if self.batch_x else []
        flags += [] if self.batch_index else ["batch_index=False"]
        return f"gen_index[{','.join(flags)}]"

    def infer_shape(self, shapes: Sequence[Shape]) -> FunctionShape:
        x, index = shapes
        if self.batch_x and self.batch_index:
            if x[: len(index)] != index:
                raise ValueError(f"the index shape {index} must be a prefix of the shape {x} of x")
            rest = x[len(index) :]
            dim = self._dim(len(rest))
            return FunctionShape(index + rest[:dim] + rest[dim + 1 :], len(rest) - 1, (True, True), (len(rest), 0))
        dim = self._dim(len(x))
        if self.batch_index:
            return FunctionShape(index + x[:dim] + x[dim + 1 :], len(x) - 1, (False, True), (len(x), 0))
        if self.batch_x and self.index_dim >= 0:
            raise ValueError(f"with batch_x alone, index_dim counts from the end: {dim - len(x)}, not {self.index_dim}")
        shape = x[:dim] + index + x[dim + 1 :]
        own = -self.index_dim if self.batch_x else len(x)
        opaque = len(index) + own - 1 if self.batch_x else len(shape)
        return FunctionShape(shape, opaque, (self.batch_x, False), (own, len(index)))

    def infer_dtype(self, dtypes: Sequence[torch.dtype | None]) -> torch.dtype | None:
        x, index = dtypes
        if index not in (None, torch.int64):
            raise ValueError(f"the index must be int64, not {index}")
        return x

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        x, index = values
        if index.dtype != torch.int64:
            raise DtypeError(
                f"{self.label}: the index must be int64, not {index.dtype}",
                expected=torch.int64,
                found=index.dtype,
                hint="an index is an Array of positions; a Scalar has no dtype of its own",
            )
        if self.batch_x and self.batch_index:
            return self._gather(x, index)
        dim = self._dim(x.ndim)
        self.check_range(index, x.shape[dim])
        flat = x.index_select(dim, index.reshape(-1))
        picked = flat.reshape((*x.shape[:dim], *index.shape, *x.shape[dim + 1 :]))
        if not self.batch_index:
            return picked
        order = [*range(dim, dim + index.ndim), *range(dim), *range(dim + index.ndim, picked.ndim)]
        return picked.permute(order)

    def _gather(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        dim = index.ndim + self._dim(x.ndim - index.ndim)
        self.check_range(index, x.shape[dim])
        wanted = index.reshape(index.shape + (1,) * (x.ndim - index.ndim))
        return x.gather(dim, wanted.expand(*x.shape[:dim], 1, *x.shape[dim + 1 :])).squeeze(dim)

    def _dim(self, ndim: int) -> int:
        if not -ndim <= self.index_dim < ndim:
            raise ValueError(f"index_dim {self.index_dim} is not an axis of {ndim}")
        return self.index_dim % ndim

    def check_range(self, index: torch.Tensor, size: int) -> None:
        """Raise a `ShapeError` that names the first position which an axis of that size has not."""
        if index.numel() and not bool(((index >= 0) & (index < size)).all()):
            bad = index[(index < 0) | (index >= size)]
            raise ShapeError(
                f"{self.label}: index {int(bad[0])} is out of range for an axis of size {size}",
                axis=self.index_dim,
                expected=f"0 to {size - 1}",
                found=int(bad[0]),
                hint="positions are not taken modulo the size, and negative ones do not count from the end",
            )

    def flops(self, shapes: Sequence[Shape]) -> int:
        """None: moving values is no arithmetic."""
        return 0

    @classmethod
    def examples(cls) -> Iterator[tuple[Function, tuple[torch.Tensor, ...]]]:
        table = torch.arange(35.0).reshape(5, 7)
        index = torch.tensor([[[0, 1], [2, 3], [4, 0], [1, 1]]])
        yield cls(-1, False, True), (table, index)
        yield cls(0, True, True), (torch.arange(280.0).reshape(1, 4, 2, 5, 7), index)
        yield cls(-2, True, False), (table, index)
        yield cls(0, False, False), (table, index)
