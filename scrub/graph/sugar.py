"""Short ways to write common expressions, offered as methods of `Expr`."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from scrub.graph.add import Add
from scrub.graph.array import Array
from scrub.graph.einsum import Einsum
from scrub.graph.expr import Expr
from scrub.graph.fluent import provide
from scrub.graph.functions.cast import Cast
from scrub.graph.general_function import GeneralFunction
from scrub.graph.index import Index, IndexEntry
from scrub.graph.module import Module
from scrub.graph.rules import broadcast_shapes, resolve_axis
from scrub.graph.scalar import Scalar
from scrub.graph.size_values import reciprocal_of_size
from scrub.graph.sizes import Shape, product
from scrub.graph.tag import Tag
from scrub.graph.walk import rebuild


@provide
def cast_array(expr: Expr) -> Array:
    """`expr.cast(Array)`."""
    return expr.cast(Array)


@provide
def cast_module(expr: Expr) -> Module:
    """`expr.cast(Module)`."""
    return expr.cast(Module)


@provide
def cast_tag(expr: Expr) -> Tag:
    """`expr.cast(Tag)`."""
    return expr.cast(Tag)


@provide
def index(expr: Expr, idx: Sequence[IndexEntry], name: str | None = None) -> Index:
    """`Index(expr, idx)`."""
    return Index(expr, idx, name)


@provide
def add(expr: Expr, *others: Expr, name: str | None = None) -> Add:
    """`Add(expr, *others)`."""
    return Add(expr, *others, name=name)


@provide
def scale(expr: Expr, factor: float, name: str | None = None, scalar_name: str | None = None) -> Einsum:
    """`factor * expr`."""
    axes = tuple(range(expr.ndim))
    return Einsum((expr, axes), (Scalar(factor, name=scalar_name), ()), out_axes=axes, name=name)


@provide
def sub(expr: Expr, other: Expr, name: str | None = None) -> Add:
    """`expr - other`."""
    return Add(expr, scale(other, -1.0), name=name)


@provide
def mul(expr: Expr, other: Expr, name: str | None = None) -> Einsum:
    """Elementwise product, broadcast like numpy.

    >>> Array(torch.ones(2, 3)).mul(Array(torch.ones(2, 1))).shape
    (2, 3)
    """
    shape = broadcast_shapes(f"product {name!r}", (expr, other))
    operands = [_broadcast_operand(operand, shape) for operand in (expr, other)]
    missing = set(range(len(shape))) - {axis for _, axes in operands for axis in axes}
    if missing:  # an axis of size 1 in both
        operands.append((Scalar(1, tuple(1 for _ in missing)), tuple(sorted(missing))))
    return Einsum(*operands, out_axes=tuple(range(len(shape))), name=name)


@provide
def sum(expr: Expr, axis: int | Sequence[int] | None = None, name: str | None = None) -> Einsum:  # noqa: A001
    """Sum over the given axes, or all."""
    axes = tuple(range(expr.ndim))
    reduced = _axes(expr, axis)
    return Einsum((expr, axes), out_axes=tuple(a for a in axes if a not in reduced), name=name)


@provide
def mean(
    expr: Expr, axis: int | Sequence[int] | None = None, name: str | None = None, scalar_name: str | None = None
) -> Einsum:
    """Mean over the given axes, or all.

    >>> Array(torch.tensor([1.0, 3.0])).mean().evaluate()
    tensor(2.)
    """
    axes = tuple(range(expr.ndim))
    reduced = _axes(expr, axis)
    factor = reciprocal_of_size(product(expr.shape[a] for a in reduced), scalar_name)
    return Einsum((expr, axes), (factor, ()), out_axes=tuple(a for a in axes if a not in reduced), name=name)


def cast_to(expr: Expr, dtype: torch.dtype, name: str | None = None) -> GeneralFunction:
    """The values of `expr` in another dtype, as a node.

    >>> cast_to(Array(torch.tensor([1, 2])), torch.float32).dtype
    torch.float32
    """
    return GeneralFunction(expr, spec=Cast(str(dtype).removeprefix("torch.")), name=name)


def cast(expr: Expr, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Expr:
    """The expression with its floating-point arrays in another dtype, and all its arrays on another device.

    Integer and boolean arrays keep their dtype (SPEC 2.8), so that tokens and masks survive.

    >>> cast(Array(torch.tensor([1, 2])), dtype=torch.float16).dtype
    torch.int64
    """

    def convert(node: Expr, children: tuple[Expr, ...]) -> Expr:
        if not isinstance(node, Array):
            return node.with_children(children)
        target = dtype if node.value.is_floating_point() else None
        names = node.axis_names if node.infer_axis_names() else None
        return Array(node.value.to(device=device, dtype=target), node.name, axis_names=names)

    return rebuild([expr], convert)[expr]


def _axes(expr: Expr, axis: int | Sequence[int] | None) -> set[int]:
    if axis is None:
        return set(range(expr.ndim))
    hint = "axes count from 0, or from -1 at the end"
    return {
        resolve_axis(f"axis {a} does not exist in {expr!r}", a, expr.ndim, nodes=[expr], hint=hint)
        for a in ([axis] if isinstance(axis, int) else axis)
    }


def _broadcast_operand(operand: Expr, shape: Shape) -> tuple[Expr, tuple[int, ...]]:
    """The operand with its broadcast axes dropped, and the output axes that remain."""
    offset = len(shape) - operand.ndim
    kept = [axis for axis, size in enumerate(operand.shape) if size == shape[offset + axis] != 1]
    if len(kept) < operand.ndim:
        operand = Index(operand, [slice(None) if axis in kept else 0 for axis in range(operand.ndim)])
    return operand, tuple(offset + axis for axis in kept)
