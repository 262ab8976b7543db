"""Rules that several node types share: broadcasting, mixing of dtypes, identifiers that are the same everywhere."""

from __future__ import annotations

import operator
import uuid
from collections.abc import Sequence

import torch

from scrub.graph.axis_names import axis_text
from scrub.graph.errors import DtypeError, ShapeError
from scrub.graph.expr import Expr
from scrub.graph.sizes import Shape, Size, mismatch_hint

_NAMESPACE = uuid.UUID("5c2ab0de-0000-4000-8000-736372756200")  # fixed, so that named identifiers never change


def uuid_from_name(name: str) -> str:
    """The same uuid for the same name, in every process."""
    return str(uuid.uuid5(_NAMESPACE, name))


def resolve_axis(problem: str, axis: int, ndim: int, *, nodes: Sequence[Expr], hint: str) -> int:
    """The axis counted from 0, or a `ShapeError` that begins with `problem` if there is none."""
    if not -ndim <= axis < ndim:
        raise ShapeError(problem, nodes=nodes, axis=axis, expected=f"{-ndim} to {ndim - 1}", found=axis, hint=hint)
    return operator.index(axis) % ndim


def broadcast_shapes(what: str, children: Sequence[Expr]) -> Shape:
    """Shape of an elementwise operation, by numpy's rule."""
    ndim = max((child.ndim for child in children), default=0)
    result: list[Size] = [1] * ndim
    source: list[Expr | None] = [None] * ndim
    for child in children:
        offset = ndim - child.ndim
        for axis, size in enumerate(child.shape, start=offset):
            if size == 1 or size == result[axis]:
                continue
            if source[axis] is not None:
                raise ShapeError(
                    f"{what}: {axis_text(child, axis - ndim)} is {result[axis]} in {source[axis]!r} "
                    f"but {size} in {child!r}",
                    nodes=children,
                    axis=axis - ndim,
                    expected=result[axis],
                    found=size,
                    hint=mismatch_hint(
                        (result[axis], size),
                        "only axes of size 1 broadcast, aligned from the right; insert axes with Rearrange",
                    ),
                )
            result[axis], source[axis] = size, child
    return tuple(result)


def common_dtype(what: str, children: Sequence[Expr]) -> torch.dtype | None:
    """Dtype of a value computed from all children; two different floating dtypes are an error (SPEC 2.8)."""
    result: torch.dtype | None = None
    source: Expr | None = None
    for child in children:
        dtype = child.dtype
        if dtype is None or dtype == result:
            continue
        if result is not None and source is not None and result.is_floating_point and dtype.is_floating_point:
            raise DtypeError(
                f"{what}: {result} in {source!r} meets {dtype} in {child!r}",
                nodes=[source, child],
                expected=result,
                found=dtype,
                hint="convert one with rc.cast(expr, dtype=...)",
            )
        promoted = dtype if result is None else torch.promote_types(result, dtype)
        if promoted != result:
            result, source = promoted, child
    return result


def to_common_dtype(what: str, values: Sequence[torch.Tensor], dtype: torch.dtype | None) -> list[torch.Tensor]:
    """Values in the dtype of the node; values without a dtype of their own (float64 scalars) must survive it."""
    target = torch.float64 if dtype is None else dtype
    converted = [value if value.dtype == target else value.to(target) for value in values]
    if not target.is_floating_point and not target.is_complex:
        for before, after in zip(values, converted, strict=True):
            if before.is_floating_point() and not torch.equal(after.to(before.dtype), before):
                raise DtypeError(
                    f"{what}: a scalar that is not a {target} meets values that are",
                    expected=target,
                    found=before.reshape(-1)[0].item(),
                    hint="cast the integer operand to a floating dtype with rc.cast_to(expr, torch.float32)",
                )
    return converted
