"""What rules of sums and products share: in which dtype a part may be computed, zeros, names that would be lost."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from scrub.graph import Add, Array, Einsum, Expr, GeneralFunction, Rearrange, Scalar, Shape, Symbol, cast_to
from scrub.graph.functions.cast import Cast
from scrub.rewrite.matcher import Matcher


def computes_in(part: Expr, whole: Expr) -> bool:
    """Whether a part is computed on its own as it is within the whole, so that it may be split off or dissolved.

    Not so for booleans within numbers (where a sum is "or"), nor for small integers, which overflow; nor for either
    where free symbols leave open what the dtype of the whole will be. What has no dtype is made of scalars, computed in
    float64, and of symbols, which are taken to stand for values of the dtype of the whole.

    >>> x, yes = Array(torch.ones(2), "x"), Array(torch.tensor(True), "yes")
    >>> computes_in(x, x.mul(yes)), computes_in(Scalar(1.0), x), computes_in(yes, x.mul(yes))
    (True, True, False)
    """
    if part.dtype is None:
        return whole.dtype is None or whole.dtype.is_floating_point
    is_exact = part.dtype.is_floating_point or part.dtype.is_complex or not whole.free_symbols
    return part.dtype == whole.dtype and is_exact


def fits(value: float, dtype: torch.dtype | None) -> bool:
    """Whether a scalar of that value can be combined with values of the dtype; never with booleans, but for 0 and 1.

    >>> fits(200, torch.int8), fits(2.0, torch.int64), fits(0.5, torch.int64), fits(1e5, torch.float16)
    (False, True, False, False)
    """
    if dtype is None or dtype.is_complex or not math.isfinite(value):
        return dtype is None or dtype.is_complex or dtype.is_floating_point
    if dtype == torch.bool:
        return value in (0, 1)
    limits = torch.finfo(dtype) if dtype.is_floating_point else torch.iinfo(dtype)
    return limits.min <= value <= limits.max and (dtype.is_floating_point or value == int(value))


def is_zero(expr: Expr, *, arrays: bool = False) -> bool:
    """Whether it is a scalar 0, as it is or cast to a dtype, or an empty sum.

    Args:
        expr: what to look at.
        arrays: read the contents of arrays as well.

    >>> is_zero(Scalar(-0.0)), is_zero(Array(torch.zeros(3))), is_zero(Array(torch.zeros(3)), arrays=True)
    (True, False, True)
    """
    if isinstance(expr, GeneralFunction) and isinstance(expr.spec, Cast):
        expr = expr.children[0]
    if isinstance(expr, Array):
        return arrays and expr.value.device.type != "meta" and not expr.value.any()
    return expr.value == 0 if isinstance(expr, Scalar) else isinstance(expr, Add) and not expr.children


def zero(shape: Shape, dtype: torch.dtype | None, name: str | None = None) -> Expr:
    """Zeros of that shape and dtype: a scalar, cast if a dtype is wanted.

    >>> zero((2,), torch.int64).evaluate()
    tensor([0, 0])
    """
    return Scalar(0.0, shape, name) if dtype is None else cast_to(Scalar(0.0, shape), dtype, name)


def broadcast_to(expr: Expr, shape: Shape) -> Expr:
    """`expr` repeated to a shape that it broadcasts to; itself if that is its shape.

    >>> broadcast_to(Array(torch.ones(2, 1), "x"), (5, 2, 3)).shape
    (5, 2, 3)
    """
    if expr.shape == shape:
        return expr
    offset = len(shape) - expr.ndim
    is_kept = [size == shape[offset + axis] for axis, size in enumerate(expr.shape)]
    left = tuple((offset + axis,) if kept else () for axis, kept in enumerate(is_kept))
    sizes = {axis: size for axis, size in enumerate(shape) if (axis,) not in left}
    return Rearrange.from_groups(expr, left, tuple((axis,) for axis in range(len(shape))), sizes)


def split_coefficient(term: Expr, may: Matcher) -> tuple[float, Expr]:
    """A term as number times rest: `2 * x` is (2, x). The number is 1 where the term is not such a product.

    Args:
        term: what to split.
        may: which products may be taken apart.

    >>> split_coefficient(Array(torch.ones(2), "x").scale(2.0), Matcher(True))
    (2.0, 'x' [2] Array 2b55f495)
    """
    number: float = 1
    while isinstance(term, Einsum) and may(term):
        factors = [operand.value for operand, axes in term.operands if isinstance(operand, Scalar) and not axes]
        others = [(operand, axes) for operand, axes in term.operands if not (isinstance(operand, Scalar) and not axes)]
        if not factors or not others:
            break
        number *= math.prod(factors)
        is_plain = len(others) == 1 and is_identity(others[0][1], term.out_axes)
        term = others[0][0] if is_plain else Einsum(*others, out_axes=term.out_axes)
    return number, term


def is_identity(axes: Sequence[int], out_axes: Sequence[int]) -> bool:
    """Whether an einsum of one operand with these axes is the operand itself.

    >>> is_identity((0, 1), (0, 1)), is_identity((0, 1), (1, 0)), is_identity((0, 0), (0, 0))
    (True, False, False)
    """
    return tuple(axes) == tuple(out_axes) and len(set(axes)) == len(axes)


def is_leaf(expr: Expr) -> bool:
    """Whether it is of a type that is never renamed."""
    return isinstance(expr, Array | Scalar | Symbol)


def loses_name(expr: Expr, inner: Expr, may: Matcher) -> str | None:
    """Why `inner` cannot stand in for `expr`, of which it is a part: one of two names would be lost.

    The inner node would take the outer name, or, if it is a leaf, keep its own.

    Args:
        expr, inner: the node to be replaced, and what would replace it.
        may: which named nodes may be lost.
    """
    if expr.name is None or expr.name == inner.name or (inner.name is None and not is_leaf(inner)):
        return None
    lost = expr if is_leaf(inner) else inner
    return None if may(lost) else f"the name {lost.name!r} would be lost"
