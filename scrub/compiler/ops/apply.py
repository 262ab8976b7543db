"""Registered functions, and any other node by its own batching rule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import fx

from scrub.compiler.values import Op, Sizes, Value, Writer
from scrub.graph import Array, Expr, Scalar, postorder
from scrub.graph.functions import Function


@dataclass(frozen=True)
class Apply(Op):
    """A registered function of the cores; one by one where arguments that take no batch axes have some."""

    spec: Function

    def infer(self, args: Sequence[Value]) -> tuple[Sizes, torch.dtype | None]:
        return self.spec.infer_shape([arg.shape for arg in args]).shape, self.spec.infer_dtype(
            [arg.dtype for arg in args]
        )

    def emit(self, value: Value, write: Writer) -> fx.Node:
        is_batchable = self.spec.infer_shape([arg.shape for arg in value.args]).is_batchable
        if any(arg.axes and not takes for arg, takes in zip(value.args, is_batchable, strict=True)):
            return _emit_each(self.spec, value, write)
        batched = write.expanded([arg for arg, takes in zip(value.args, is_batchable, strict=True) if takes])
        rest = iter(batched)
        nodes = [next(rest) if takes else write.node(arg) for arg, takes in zip(value.args, is_batchable, strict=True)]
        return write.call(self.spec.compute, *nodes)

    def flops(self, value: Value) -> int:
        return self.spec.flops([arg.shape for arg in value.args])

    @property
    def label(self) -> str:
        return self.spec.label


@dataclass(frozen=True)
class ApplyEach(Apply):
    """A registered function, called once for each position of the batch axes: for arguments that take none."""

    def emit(self, value: Value, write: Writer) -> fx.Node:
        return _emit_each(self.spec, value, write)

    @property
    def label(self) -> str:
        return f"{self.spec.label} one by one"


@dataclass(frozen=True)
class NodeCall(Op):
    """Any other node, computed as the reference evaluator does; batch axes go in by the node's own batching rule."""

    node: Expr

    def infer(self, args: Sequence[Value]) -> tuple[Sizes, torch.dtype | None]:
        children = [_stand_in(arg.shape, arg.dtype, i) for i, arg in enumerate(args)]
        made = self.node.with_children(children)
        return made.shape, made.dtype

    def emit(self, value: Value, write: Writer) -> fx.Node:
        ranks = tuple(len(arg.axes) for arg in value.args)
        aligned = ranks if all(arg.axes in ((), value.axes) for arg in value.args) else (len(value.axes),) * len(ranks)
        if aligned == ranks:
            nodes = [write.node(arg, value.dtype if arg.dtype is None else None) for arg in value.args]
        else:
            nodes = write.expanded(value.args, value.dtype if any(arg.dtype is None for arg in value.args) else None)
        node = self.node

        def compute(*tensors: torch.Tensor) -> torch.Tensor:  # fx writes arguments into code, which nodes cannot be
            return computed_by_node(node, aligned, *tensors)

        return write.call(compute, *nodes)

    def flops(self, value: Value) -> int:
        return self.node.flops()

    @property
    def label(self) -> str:
        return type(self.node).__name__.lower()


def _emit_each(spec: Function, value: Value, write: Writer) -> fx.Node:
    batch = len(value.axes)

    def compute(*tensors: torch.Tensor) -> torch.Tensor:
        return computed_each(spec, batch, *tensors)

    return write.call(compute, *write.expanded(value.args))


def computed_each(spec: Function, batch: int, *tensors: torch.Tensor) -> torch.Tensor:
    """The function of the cores, for each position of the first `batch` axes, which all tensors have."""
    sizes = tensors[0].shape[:batch]
    flat = [tensor.reshape(math.prod(sizes), *tensor.shape[batch:]) for tensor in tensors]
    results = [spec.compute(*cores) for cores in zip(*flat, strict=True)]
    if not results:
        shape = spec.infer_shape([tuple(tensor.shape[batch:]) for tensor in tensors]).shape
        dtype = spec.infer_dtype([tensor.dtype for tensor in tensors])
        return torch.empty(*sizes, *shape, dtype=dtype, device=tensors[0].device)
    return torch.stack(results).reshape(*sizes, *results[0].shape)


def computed_by_node(node: Expr, ranks: tuple[int, ...], *tensors: torch.Tensor) -> torch.Tensor:
    """The value of a node on tensors of which each has `ranks[i]` leading batch axes."""
    stand_ins: list[Expr] = [_stand_in(tuple(t.shape), t.dtype, i) for i, t in enumerate(tensors)]
    batch = max((tuple(t.shape[:rank]) for t, rank in zip(tensors, ranks, strict=True)), key=len, default=())
    batched = node.batched(tuple(stand_ins), ranks, batch) if any(ranks) else node.with_children(stand_ins)
    values = dict(zip(stand_ins, tensors, strict=True))
    for below in postorder([batched], descend=lambda n: n not in values):
        if below not in values:
            values[below] = below.compute(*(values[child] for child in below.children))
    return values[batched]


def _stand_in(shape: Sizes, dtype: torch.dtype | None, number: int) -> Expr:
    """Something of a shape and dtype to build nodes on; two of them are never equal."""
    if dtype is None:
        return Scalar(0.0, shape, f"stands for argument {number}")
    return Array(torch.empty(shape, dtype=dtype, device="meta"))
