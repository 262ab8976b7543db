"""How products of two tensors are computed: the torch call that fits, without copies where there is a choice.

Axes are told by letters. Those of two tensors are

    batch    in both, and in the result
    summed   in both, and not in the result
    rows     in the left one and in the result
    columns  in the right one and in the result

so that a contraction is a product of matrices for every position of the batch axes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from string import ascii_letters
from typing import NamedTuple

import torch
from torch import fx

from scrub.compiler.values import Writer

Letters = tuple[int, ...]

_LETTERS = len(ascii_letters)  # what torch.einsum can tell apart


class Operand(NamedTuple):
    """A tensor, and a letter for each of its axes, all different."""

    node: fx.Node
    letters: Letters


def product_of_two(write: Writer, left: Operand, right: Operand, out: Letters, dtype: torch.dtype) -> fx.Node:
    """Write the calls that multiply two floating tensors and sum over all axes that are not in `out`."""
    left, right = (
        _without_own_sums(write, one, (*other.letters, *out)) for one, other in ((left, right), (right, left))
    )
    shared = set(left.letters).intersection(right.letters)
    if out and out[-1] in left.letters and out[-1] not in shared:
        left, right = right, left  # so that the result comes with its last axis last
    summed = tuple(letter for letter in left.letters if letter in shared and letter not in out)
    if not summed:
        return elementwise(write, [left, right], out)
    rows, columns = (
        tuple(letter for letter in out if letter in one.letters and letter not in shared) for one in (left, right)
    )
    batch = tuple(letter for letter in out if letter in shared)
    if not rows and not columns and dtype in (torch.float32, torch.float64):
        # for numbers of half the size, products must be summed before they are rounded
        return total(write, Operand(elementwise(write, [left, right], left.letters), left.letters), out)
    direct = _by_matmul(write, left, right, (batch, rows, summed, columns), out)
    if direct is not None:
        return direct
    number = {letter: i for i, letter in enumerate(dict.fromkeys((*left.letters, *right.letters)))}
    if rows and (batch or len(columns) == 1) and len(number) <= _LETTERS:
        equation = [letters_as_text(letters, number) for letters in (left.letters, right.letters, out)]
        return write.call(torch.einsum, "{},{}->{}".format(*equation), left.node, right.node)
    places = (
        *(tuple(left.letters.index(letter) for letter in letters) for letters in (batch, rows, summed)),
        *(tuple(right.letters.index(letter) for letter in letters) for letters in (batch, columns, summed)),
    )
    in_order = (*batch, *rows, *columns)
    return write.call(
        product_of_matrices, places, tuple(in_order.index(letter) for letter in out), left.node, right.node
    )


def _by_matmul(
    write: Writer, left: Operand, right: Operand, groups: tuple[Letters, Letters, Letters, Letters], out: Letters
) -> fx.Node | None:
    """One call of `torch.matmul` on the tensors, or their transposes, where it takes the axes as they are."""
    batch, rows, summed, columns = groups
    if left.letters == summed and len(summed) == 1 and not batch:  # a vector
        if right.letters == (*columns, *summed) and out == columns:
            return write.call(torch.matmul, right.node, left.node)
        if right.letters == (*columns[:-1], *summed, *columns[-1:]) and out == columns:
            return write.call(torch.matmul, left.node, right.node)
    if len(summed) > 1 or len(columns) > 1 or (batch and len(rows) != 1) or out != (*batch, *rows, *columns):
        return None
    if left.letters == (*batch, *rows, *summed) and not (batch and not columns):
        if right.letters == (*batch, *summed, *columns):
            return write.call(torch.matmul, left.node, right.node)
        if right.letters == (*batch, *columns, *summed):
            return write.call(torch.matmul, left.node, write.call(torch.transpose, right.node, -1, -2))
    if left.letters == (*batch, *summed, *rows) and len(rows) == 1 and columns:
        transposed = write.call(torch.transpose, left.node, -1, -2)
        if right.letters == (*batch, *summed, *columns):
            return write.call(torch.matmul, transposed, right.node)
    return None


def letters_as_text(letters: Letters, number: Mapping[int, int]) -> str:
    """Letters of the alphabet, as `torch.einsum` takes them."""
    return "".join(ascii_letters[number[letter]] for letter in letters)


def product_of_matrices(
    places: tuple[Letters, Letters, Letters, Letters, Letters, Letters],
    out: tuple[int, ...],
    left: torch.Tensor,
    right: torch.Tensor,
) -> torch.Tensor:
    """A product of matrices whose rows, columns and sums are any number of axes each, for what einsum is slow at.

    Rows and columns are taken in the order in which they lie in memory, and so is what is summed over in the larger
    tensor, so that axes become one without a copy where they can. Where the columns cannot, as in weights
    [heads, d_model, d_head] summed over d_model, there is a product for each position of the first of them.

    Args:
        places: of batch, rows and summed axes in `left`, and of batch, columns and summed axes in `right`.
        out: the axes of the result, as positions among batch, rows and columns.
        left, right: what is multiplied.
    """
    batch, rows, summed, batch_right, columns, summed_right = places
    row_order, column_order = _as_stored(left, rows), _as_stored(right, columns)
    sum_order = _as_stored(left, summed) if left.numel() >= right.numel() else _as_stored(right, summed_right)
    a = left.permute([*batch, *(rows[i] for i in row_order), *(summed[i] for i in sum_order)])
    b = right.permute([*batch_right, *(summed_right[i] for i in sum_order), *(columns[i] for i in column_order)])
    sizes = a.shape[: len(batch)]
    of_rows, of_columns = a.shape[len(batch) : len(batch) + len(rows)], b.shape[len(batch) + len(summed) :]
    num_rows, num_summed = math.prod(of_rows), math.prod(a.shape[len(batch) + len(rows) :])
    a = a.reshape(*sizes, num_rows, num_summed)
    order = [*range(len(batch)), *(len(batch) + i for i in row_order)]
    order += [len(batch) + len(rows) + i for i in column_order]
    if not batch and len(columns) > 1 and not _is_one_axis(b, len(summed)):
        first, rest = of_columns[0], of_columns[1:]
        b = b.movedim(len(summed), 0).reshape(first, num_summed, math.prod(rest))
        result = torch.bmm(a.expand(first, num_rows, num_summed), b).reshape(first, *of_rows, *rest)
        order.insert(0, order.pop(len(rows)))
    else:
        b = b.reshape(*sizes, num_summed, math.prod(of_columns))
        result = torch.matmul(a, b).reshape(*sizes, *of_rows, *of_columns)
    return result.permute([order.index(position) for position in out])


def _is_one_axis(tensor: torch.Tensor, first: int) -> bool:
    """Whether the axes from `first` on can become one without a copy."""
    axes = range(first, tensor.ndim - 1)
    return all(tensor.stride(i) == tensor.stride(i + 1) * tensor.shape[i + 1] for i in axes)


def _as_stored(tensor: torch.Tensor, axes: Sequence[int]) -> list[int]:
    """Positions among the axes, by descending stride; as they are where torch's compiler decides how tensors lie."""
    if torch.compiler.is_compiling():
        return list(range(len(axes)))
    return sorted(range(len(axes)), key=lambda i: -tensor.stride(axes[i]))


def _without_own_sums(write: Writer, operand: Operand, needed: Letters) -> Operand:
    """The operand summed over axes that nothing else has."""
    kept = tuple(letter for letter in operand.letters if letter in needed)
    return operand if kept == operand.letters else Operand(total(write, operand, kept), kept)


def total(write: Writer, operand: Operand, out: Letters) -> fx.Node:
    """Write the sum over all axes that are not in `out`, with the others in this order."""
    summed = tuple(i for i, letter in enumerate(operand.letters) if letter not in out)
    node = write.call(torch.sum, operand.node, dim=summed) if summed else operand.node
    rest = [letter for letter in operand.letters if letter in out]
    order = tuple(rest.index(letter) for letter in out)
    return node if order == tuple(range(len(order))) else write.call(torch.permute, node, order)


def elementwise(write: Writer, operands: Sequence[Operand], out: Letters) -> fx.Node:
    """Write a product without sums: every tensor permuted to the order of the result, size 1 where it lacks an axis."""
    factors: list[fx.Node] = []
    for node, letters in operands:
        order = sorted(range(len(letters)), key=lambda i, letters=letters: out.index(letters[i]))
        factor = node if order == list(range(len(letters))) else write.call(torch.permute, node, tuple(order))
        first = min((out.index(letter) for letter in letters), default=len(out))
        for position in range(first, len(out)):
            if out[position] not in letters:
                factor = write.call(torch.unsqueeze, factor, position - first)
        factors.append(factor)
    result = factors[0]
    for factor in factors[1:]:
        result = write.call(torch.mul, result, factor)
    return result
