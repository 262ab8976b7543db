"""Moves of axes as torch knows them, each as a `Rearrange`; and products that broadcast."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from scrub.graph import Einsum, Expr, Index, Rearrange, Scalar

Groups = tuple[tuple[int, ...], ...]


def permute(expr: Expr, order: Sequence[int]) -> Expr:
    """Axis i of the result is axis `order[i]` of the expression.

    >>> from scrub.graph import Scalar
    >>> permute(Scalar(1.0, (2, 3, 4)), (2, 0, 1)).shape
    (4, 2, 3)
    """
    axes = [axis % expr.ndim for axis in order]
    if axes == list(range(expr.ndim)):
        return expr
    return Rearrange.from_groups(expr, _alone(range(expr.ndim)), _alone(axes), {})


def move_last(expr: Expr, axis: int) -> Expr:
    """The axis moved behind all others."""
    axis %= expr.ndim
    return permute(expr, [*(i for i in range(expr.ndim) if i != axis), axis])


def move_from_last(expr: Expr, axis: int) -> Expr:
    """The last axis moved to where `axis` of the result is: undoes `move_last`."""
    axis %= expr.ndim
    rest = list(range(expr.ndim - 1))
    return permute(expr, [*rest[:axis], expr.ndim - 1, *rest[axis:]])


def unsqueeze(expr: Expr, *axes: int) -> Expr:
    """Axes of size 1 put in, at these places of the result.

    >>> unsqueeze(Scalar(1.0, (2, 3)), 0, -1).shape
    (1, 2, 3, 1)
    """
    if not axes:
        return expr
    ndim = expr.ndim + len(axes)
    new = {axis % ndim for axis in axes}
    old = iter(range(expr.ndim))
    right = tuple(() if i in new else (next(old),) for i in range(ndim))
    return Rearrange.from_groups(expr, _alone(range(expr.ndim)), right, {})


def squeeze(expr: Expr, *axes: int) -> Expr:
    """Axes of size 1 taken out."""
    if not axes:
        return expr
    gone = {axis % expr.ndim for axis in axes}
    left = tuple(() if i in gone else (i,) for i in range(expr.ndim))
    return Rearrange.from_groups(expr, left, tuple(group for group in left if group), {})


def expand(expr: Expr, shape: Sequence[int]) -> Expr:
    """Repeated to that shape by numpy's rule: axes of size 1 and missing leading axes.

    >>> expand(Scalar(1.0, (3, 1), name="one"), (2, 3, 4)).shape
    (2, 3, 4)
    """
    if expr.shape == tuple(shape):
        return expr
    if isinstance(expr, Scalar):
        return Scalar(expr.value, tuple(shape), expr.name)
    offset = len(shape) - expr.ndim
    left: list[tuple[int, ...]] = []
    right: list[tuple[int, ...]] = [(i,) for i in range(offset)]
    for axis in range(expr.ndim):
        at = offset + axis
        is_repeated = expr.shape[axis] == 1 and shape[at] != 1
        left.append(() if is_repeated else (at,))
        right.append((at,))
    sizes = {i: size for i, size in enumerate(shape) if i < offset or left[i - offset] == ()}
    return Rearrange.from_groups(expr, tuple(left), tuple(right), sizes)


def reshape(expr: Expr, shape: Sequence[int]) -> Expr:
    """The same values in row-major order in another shape: one `Rearrange`, or two where no split of axes fits both.

    >>> reshape(Scalar(1.0, (2, 6)), (2, 3, 2)).shape
    (2, 3, 2)
    >>> reshape(Scalar(1.0, (2, 3)), (3, 2)).shape
    (3, 2)
    """
    old, new = ints(expr.shape), tuple(shape)
    if old == new:
        return expr
    if isinstance(expr, Scalar):
        return Scalar(expr.value, new, expr.name)
    if 0 in new:
        return Scalar(0.0, new)  # nothing is in it
    stretches = _stretches(old, new)
    left: list[tuple[int, ...]] = [()] * len(old)
    right: list[tuple[int, ...]] = [()] * len(new)
    sizes: dict[int, int] = {}
    for on_left, on_right in stretches:
        if not _split(old, new, on_left, on_right, left, right, sizes):
            flat = [math.prod(old[i] for i in stretch) for stretch, _ in stretches]
            return reshape(reshape(expr, flat), new)
    return Rearrange.from_groups(expr, tuple(left), tuple(right), sizes)


def _stretches(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """The axes of both shapes (those of size 1 apart), in the shortest stretches that hold as many values."""
    on_left, on_right = ([i for i, size in enumerate(shape) if size != 1] for shape in (old, new))
    stretches: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(on_left):
        start = i, j
        count_old, count_new = old[on_left[i]], new[on_right[j]]
        i, j = i + 1, j + 1
        while count_old != count_new:
            if count_old < count_new:
                count_old *= old[on_left[i]]
                i += 1
            else:
                count_new *= new[on_right[j]]
                j += 1
        stretches.append((on_left[start[0] : i], on_right[start[1] : j]))
    return stretches


def _split(
    old: Sequence[int],
    new: Sequence[int],
    on_left: Sequence[int],
    on_right: Sequence[int],
    left: list[tuple[int, ...]],
    right: list[tuple[int, ...]],
    sizes: dict[int, int],
) -> bool:
    """Make elementary axes of a stretch, as far as what is left of one axis divides what is left of the other."""
    pending = [(new[j], j) for j in reversed(on_right)]
    for i in on_left:
        rest = old[i]
        while rest > 1:
            size, j = pending.pop()
            part = math.gcd(rest, size)
            if part not in (rest, size):
                return False
            axis = len(sizes)
            sizes[axis] = part
            left[i] += (axis,)
            right[j] += (axis,)
            rest //= part
            if size > part:
                pending.append((size // part, j))
    return True


def product(*factors: Expr, axes: Sequence[Sequence[int]], out: Sequence[int], name: str | None = None) -> Einsum:
    """An `Einsum` whose operands broadcast: an axis that is 1 in one of them and more in another counts once.

    >>> product(Scalar(1.0, (1, 3)), Scalar(2.0, (2, 3)), axes=[(0, 1), (0, 1)], out=(0, 1)).shape
    (2, 3)
    """
    sizes: dict[int, int] = {}
    for factor, own in zip(factors, axes, strict=True):
        for axis, size in zip(own, ints(factor.shape), strict=True):
            sizes[axis] = size if sizes.get(axis, 1) == 1 else sizes[axis]
    operands: list[tuple[Expr, tuple[int, ...]]] = []
    for factor, own in zip(factors, axes, strict=True):
        dropped = [i for i, axis in enumerate(own) if factor.shape[i] == 1 and sizes[axis] != 1]
        kept = tuple(axis for i, axis in enumerate(own) if i not in dropped)
        small = Scalar(factor.value, (), factor.name) if isinstance(factor, Scalar) and not kept else None
        operands.append((small or squeeze(factor, *dropped), kept))
    return Einsum(*operands, out_axes=out, name=name)


def multiply(*factors: Expr, name: str | None = None) -> Einsum:
    """The elementwise product, broadcast like numpy. A `Scalar` counts as one number, whatever its shape.

    >>> multiply(Scalar(2.0), Scalar(3.0, (2, 1)), Scalar(1.0, (3,))).shape
    (2, 3)
    """
    ndim = max(factor.ndim for factor in factors)
    shape = broadcast(*(ints(factor.shape) for factor in factors))
    others = [factor for factor in factors if not isinstance(factor, Scalar)]
    if broadcast(*(ints(factor.shape) for factor in others)) == shape:
        factors = tuple(Scalar(f.value, (), f.name) if isinstance(f, Scalar) else f for f in factors)
    axes = [tuple(range(ndim - factor.ndim, ndim)) for factor in factors]
    return product(*factors, axes=axes, out=range(ndim), name=name)


def broadcast(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape to which numpy's rule brings all of these, which must fit."""
    ndim = max((len(shape) for shape in shapes), default=0)
    result = [1] * ndim
    for shape in shapes:
        for axis, size in enumerate(shape, start=ndim - len(shape)):
            result[axis] = size if result[axis] == 1 else result[axis]
    return tuple(result)


def take(expr: Expr, axis: int, entry: int | slice | Sequence[int]) -> Expr:
    """`Index` of one axis; itself where the slice takes it whole.

    >>> take(Scalar(1.0, (2, 5)), -1, slice(1, 3)).shape
    (2, 2)
    """
    axis %= expr.ndim
    if isinstance(entry, slice) and entry.start in (None, 0) and entry.stop in (None, expr.shape[axis]):
        return expr
    if not isinstance(entry, int | slice):
        entry = list(entry)
        first = entry[0] if entry else 0
        if entry == list(range(first, first + len(entry))):
            return take(expr, axis, slice(first, first + len(entry)))
        entry = torch.tensor(entry, dtype=torch.int64, device=expr.device)  # pyright: ignore[reportAssignmentType]
    return Index(expr, [*[slice(None)] * axis, entry])


def ints(shape: Sequence[object]) -> tuple[int, ...]:
    """Sizes, which are ints in exported models."""
    return tuple(shape)  # pyright: ignore[reportReturnType]


def _alone(axes: Sequence[int]) -> Groups:
    return tuple((axis,) for axis in axes)
