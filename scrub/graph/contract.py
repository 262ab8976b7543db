"""Contraction of tensors with integer axes, by any number of axes.

The order of contraction is opt_einsum's; each step is one `torch.einsum` of two operands, or, beyond its 52 letters,
a broadcast product and a sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import opt_einsum
import torch

Axes = tuple[int, ...]
_SMALL_INTEGERS = {torch.bool, torch.int8, torch.uint8, torch.int16, torch.int32}
_LETTERS = 52  # what torch.einsum can tell apart in one call


def contract(operands: Sequence[torch.Tensor], in_axes: Sequence[Axes], out_axes: Axes) -> torch.Tensor:
    """Sum of products; repeated axes within an operand take the diagonal, `out_axes` has no repeats.

    >>> contract([torch.ones(2, 3), torch.ones(3)], [(0, 1), (1,)], (0,))
    tensor([3., 3.])
    """
    values: list[torch.Tensor] = []
    axes_of: list[Axes] = []
    for value, axes in zip(operands, in_axes, strict=True):
        diagonal, distinct = take_diagonals(value, axes)
        values.append(diagonal)
        axes_of.append(distinct)
    for step in _path(tuple(axes_of), tuple(tuple(v.shape) for v in values), out_axes):
        chosen = [values[i] for i in step]
        chosen_axes = [axes_of[i] for i in step]
        for i in sorted(step, reverse=True):
            del values[i], axes_of[i]
        needed = {axis for axes in axes_of for axis in axes} | set(out_axes)
        is_last = not values
        present = dict.fromkeys(axis for axes in chosen_axes for axis in axes)
        kept = out_axes if is_last else tuple(axis for axis in present if axis in needed)
        values.append(_step(chosen, chosen_axes, kept))
        axes_of.append(kept)
    return values[0]


def contraction_flops(shapes: Sequence[tuple[int, ...]], in_axes: Sequence[Axes], out_axes: Axes) -> int:
    """Operations of `contract` along its path: each step multiplies, and adds where it sums (opt_einsum's count).

    A product of matrices (n, k) and (k, m) is 2 n k m. Where sizes are not all numbers, which decide the path, the
    count is for contraction from left to right.

    >>> contraction_flops([(2, 3), (3, 4)], [(0, 1), (1, 2)], (0, 2))
    48
    """
    size = {axis: n for axes, shape in zip(in_axes, shapes, strict=True) for axis, n in zip(axes, shape, strict=True)}
    axes_of = [tuple(dict.fromkeys(axes)) for axes in in_axes]
    are_numbers = all(isinstance(n, int) for n in size.values())  # pyright: ignore[reportUnnecessaryIsInstance]
    path: Sequence[tuple[int, ...]] = ((0, 1),) + ((0, -1),) * (len(axes_of) - 2)
    if are_numbers or len(axes_of) < 2:
        distinct_shapes = tuple(tuple(size[axis] for axis in axes) for axes in axes_of)
        path = _path(tuple(axes_of), distinct_shapes, tuple(dict.fromkeys(out_axes)))
    total = 0
    for step in path if axes_of else ():
        at = {i % len(axes_of) for i in step}
        chosen = [axes_of[i] for i in at]
        axes_of = [axes for i, axes in enumerate(axes_of) if i not in at]
        total += _step_flops(chosen, axes_of, out_axes, size)
    return total


def _step_flops(chosen: Sequence[Axes], rest: list[Axes], out_axes: Axes, size: dict[int, int]) -> int:
    """Operations of one step; its result is appended to `rest`."""
    needed = {axis for axes in rest for axis in axes} | set(out_axes)
    present = list(dict.fromkeys(axis for axes in chosen for axis in axes))
    kept = tuple(axis for axis in present if axis in needed)
    rest.append(kept)
    count = len(chosen) - 1 + (len(kept) < len(present))
    for axis in present:
        count *= size[axis]
    return count


def take_diagonals(value: torch.Tensor, axes: Axes) -> tuple[torch.Tensor, Axes]:
    """The tensor with each repeated axis replaced by one, along its diagonal."""
    while len(set(axes)) < len(axes):
        repeated = next(axis for axis in axes if axes.count(axis) > 1)
        first = axes.index(repeated)
        second = axes.index(repeated, first + 1)
        value = value.diagonal(dim1=first, dim2=second)  # puts the diagonal last
        axes = (*axes[:first], *axes[first + 1 : second], *axes[second + 1 :], repeated)
    return value, axes


def place_on_diagonal(value: torch.Tensor, axes: Axes, out_axes: Axes) -> torch.Tensor:
    """Inverse of `take_diagonals`: repeated axes of `out_axes` hold the values on their diagonal, zeros elsewhere."""
    if axes == out_axes:
        return value
    size = dict(zip(axes, value.shape, strict=True))
    result = value.new_zeros([size[axis] for axis in out_axes])
    diagonal, order = take_diagonals(result, out_axes)
    diagonal.copy_(value.permute([axes.index(axis) for axis in order]))
    return result


@lru_cache(maxsize=4096)
def _path(
    in_axes: tuple[Axes, ...], shapes: tuple[tuple[int, ...], ...], out_axes: Axes
) -> tuple[tuple[int, ...], ...]:
    if len(in_axes) <= 2:
        return (tuple(range(len(in_axes))),)
    symbols = {
        axis: opt_einsum.get_symbol(i) for i, axis in enumerate(dict.fromkeys(a for axes in in_axes for a in axes))
    }
    text = ",".join("".join(symbols[a] for a in axes) for axes in in_axes)
    text += "->" + "".join(symbols[a] for a in out_axes)
    path, _ = opt_einsum.contract_path(text, *shapes, shapes=True, optimize="auto")
    return tuple(tuple(step) for step in path)


def _step(values: list[torch.Tensor], axes_of: list[Axes], kept: Axes) -> torch.Tensor:
    dtype = values[0].dtype
    if dtype in _SMALL_INTEGERS:  # torch sums no booleans, and sums small integers to large ones
        total = _step([value.to(torch.int64) for value in values], axes_of, kept)
        return total > 0 if dtype == torch.bool else total.to(dtype)  # of booleans: "and", then "or"
    distinct = list(dict.fromkeys(axis for axes in axes_of for axis in axes))
    if len(distinct) <= _LETTERS:
        number = {axis: i for i, axis in enumerate(distinct)}
        arguments: list[torch.Tensor | list[int]] = []
        for value, axes in zip(values, axes_of, strict=True):
            arguments += [value, [number[axis] for axis in axes]]
        return torch.einsum(*arguments, [number[axis] for axis in kept])
    order = [*kept, *(axis for axis in distinct if axis not in kept)]
    product: torch.Tensor | None = None
    for value, axes in zip(values, axes_of, strict=True):
        present = sorted(range(len(axes)), key=lambda i, axes=axes: order.index(axes[i]))
        aligned = value.permute(present)
        for position, axis in enumerate(order):
            if axis not in axes:
                aligned = aligned.unsqueeze(position)
        product = aligned if product is None else product * aligned
    if product is None:
        raise ValueError("a contraction step needs an operand")
    summed = tuple(range(len(kept), len(order)))
    return product.sum(summed) if summed else product
