"""Products that are zero."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from scrub.graph import Array, Einsum, Expr, Scalar
from scrub.rewrite.rule import NoMatch, Options, rewrite
from scrub.rewrite.rules.products.cases import product_with
from scrub.rewrite.rules.sums.terms import is_zero, zero

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    shape = maker.shape(max_ndim=2)
    array = Array(torch.zeros(shape, dtype=torch.float64), "nothing")
    kinds = [Scalar(0, shape), Scalar(-0.0, shape, "none"), zero(shape, torch.int64), zero(shape, torch.bool), array]
    return product_with(maker, maker.random.choice(kinds))


def _choices(einsum: Einsum) -> Iterator[Options]:
    yield {}
    yield {"arrays": True}


@rewrite(keeps="value", cases=_cases, choices=_choices, simplifies=True, idempotent=True)
def drop_zero_product(einsum: Einsum, *, arrays: bool = False) -> Expr | NoMatch:
    """A product with an operand 0 is 0, of the same shape and dtype.

        0 * x  ->  0

    Values are taken to be finite: 0 times infinity is 0 here. The result is on no device.

    Args:
        einsum: the product.
        arrays: look for arrays of zeros too; their contents are read.

    >>> drop_zero_product(Einsum((Scalar(0.0), ()), (Scalar(2.0, (3,), "x"), (0,)), out_axes=(0,), name="s"))
    's' [3] Scalar 0.0
    """
    if not any(is_zero(operand, arrays=arrays) for operand in einsum.children):
        return NoMatch("no operand is a zero")
    if einsum.free_symbols and einsum.dtype is not None and not einsum.dtype.is_floating_point:
        return NoMatch(f"it is of {einsum.dtype} only if {einsum.free_symbols[0]!r} does not stand for another dtype")
    return zero(einsum.shape, einsum.dtype, einsum.name)
