"""Sums and diagonals that concern one operand, done in that operand."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import torch

from scrub.graph import Einsum, Expr
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.products.axes import Operand
from scrub.rewrite.rules.products.cases import product_with
from scrub.rewrite.rules.sums.cases import array, part, some_dtype
from scrub.rewrite.rules.sums.terms import computes_in

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    if maker.random.random() < 0.15:
        return product_with(maker, array(maker, (3, 2), torch.bool), maker.array((2,)), dtypes=[torch.float64])
    dtype = some_dtype(maker)
    return product_with(maker, *(part(maker, maker.shape(), dtype) for _ in range(2)))


@rewrite(keeps="value", cases=_cases, idempotent=True)
def push_down_traces(einsum: Einsum) -> Expr | NoMatch:
    """What concerns one operand alone becomes an einsum of that operand: sums over its own axes, and diagonals.

        sum_ij x[i, i] y[j, k]  ->  (sum_i x[i, i]) (sum_j y[j, k])

    Args:
        einsum: a product of two operands or more.

    >>> from scrub.graph import Scalar
    >>> x, y = Scalar(1.0, (2, 2), "x"), Scalar(2.0, (3, 4), "y")
    >>> push_down_traces(Einsum.from_string("ii,jk->k", x, y, name="s")).print()
    's' [4] Einsum ,a->a
      x [] Einsum aa->
        'x' [2, 2] Scalar 1.0
      y [4] Einsum ab->b
        'y' [3, 4] Scalar 2.0
    """
    if len(einsum.children) < 2:
        return NoMatch("it has one operand only")
    users = Counter(axis for axes in einsum.in_axes for axis in set(axes))
    operands: list[Operand] = []
    for operand, axes in einsum.operands:
        is_summable = computes_in(operand, einsum)  # a sum of booleans is "or"
        needed = [axis for axis in dict.fromkeys(axes) if users[axis] > 1 or axis in einsum.out_axes or not is_summable]
        is_same = tuple(needed) == axes
        operands.append((operand, axes) if is_same else (Einsum((operand, axes), out_axes=needed), needed))
    if all(new is old for (new, _), old in zip(operands, einsum.children, strict=True)):
        return NoMatch("no operand has an axis twice, or one that is summed and that no other has")
    return Einsum(*operands, out_axes=einsum.out_axes)
