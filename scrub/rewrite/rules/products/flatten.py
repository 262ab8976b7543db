"""Products of products as one product."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scrub.graph import Einsum, Expr
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.products.cases import product_with
from scrub.rewrite.rules.products.composition import compose
from scrub.rewrite.rules.sums.cases import DTYPES, array, some_dtype
from scrub.rewrite.rules.sums.terms import computes_in

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    if maker.random.random() < 0.4:
        return maker.pattern(Einsum, Einsum)
    if maker.random.random() < 0.15:
        some = Einsum((array(maker, (3, 2), torch.bool), (0, 1)), out_axes=(1,))  # "or", not how many
        return product_with(maker, some, maker.array((2,)), dtypes=[torch.float64], max_others=1)
    dtype, is_one_dtype = some_dtype(maker), maker.random.random() < 0.5
    inner = [
        product_with(maker, array(maker, maker.shape(max_ndim=2), dtype), dtypes=[dtype] if is_one_dtype else DTYPES)
        for _ in range(maker.random.choice([1, 2]))
    ]
    return product_with(maker, *inner)


@rewrite(keeps="value", pattern=(Einsum, Einsum), cases=_cases, simplifies=True)
def flatten_einsum(einsum: Einsum, *, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """Operands that are einsums are replaced by their own operands, one level deep.

        sum_j a[i, j] (sum_k b[j, k] c[k])  ->  sum_jk a[i, j] b[j, k] c[k]

    Diagonals, traces and results on a diagonal go along. A product of booleans is "and", its sum is "or", so it stays
    apart in a product of numbers.

    Args:
        einsum: the outer product.
        dissolve: which of the inner products to take apart; all if not given.

    >>> from scrub.graph import Scalar
    >>> a, b, c = Scalar(1.0, (2, 3), "a"), Scalar(2.0, (3, 4), "b"), Scalar(3.0, (4,), "c")
    >>> inner = Einsum.from_string("jk,k->j", b, c)
    >>> flatten_einsum(Einsum.from_string("ij,j->i", a, inner, name="s")).print()
    's' [2] Einsum ab,bc,c->a
      'a' [2, 3] Scalar 1.0
      'b' [3, 4] Scalar 2.0
      'c' [4] Scalar 3.0
    """
    may = Matcher(dissolve)
    chosen = {operand for operand in einsum.children if isinstance(operand, Einsum) and may(operand)}
    fitting = {operand for operand in chosen if computes_in(operand, einsum)}
    if not chosen:
        return NoMatch("no operand is an einsum that may be taken apart")
    if not fitting:
        apart = next(iter(chosen))
        return NoMatch(f"{apart!r} is a product of {apart.dtype} in one of {einsum.dtype}")
    flat = compose(einsum, fitting.__contains__, is_deep=False)
    return Einsum(*flat.operands, out_axes=flat.out_axes)
