"""Scalars among the operands of an einsum."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from scrub.graph import Einsum, Expr, Scalar
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.products.axes import is_known, sizes_of
from scrub.rewrite.rules.products.cases import product_with
from scrub.rewrite.rules.sums.cases import NUMBERS
from scrub.rewrite.rules.sums.terms import fits

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    shapes = [maker.shape(max_ndim=2) for _ in range(maker.random.choice([1, 2, 2, 3]))]
    if maker.random.random() < 0.5:
        scalars = [maker.scalar(shape) for shape in shapes]
        return product_with(maker, *scalars, dtypes=[torch.float64], max_others=maker.random.choice([0, 1, 2]))
    return product_with(maker, *(Scalar(maker.random.choice([-1, 2]), shape) for shape in shapes), dtypes=NUMBERS)


@rewrite(keeps="value", cases=_cases, simplifies=True, idempotent=True)
def merge_scalar_operands(einsum: Einsum, *, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """Scalars become one, in the place of the first, with only those axes that no other operand has.

        2 * x * 3  ->  6 * x

    An axis of scalars alone that is summed becomes a factor, its size. A product of nothing but scalars is a scalar.
    Booleans are left alone, and so are integers whose dtype does not hold the result.

    Args:
        einsum: the product.
        dissolve: which scalars to merge.

    >>> merge_scalar_operands(Einsum((Scalar(2.0), ()), (Scalar(0.5, (3, 4)), (0, 1)), out_axes=(0,), name="s"))
    's' [3] Scalar 4.0
    """
    may = Matcher(dissolve)
    is_chosen = [isinstance(operand, Scalar) and may(operand) for operand in einsum.children]
    is_all = all(is_chosen)
    is_diagonal = len(set(einsum.out_axes)) < len(einsum.out_axes)
    if sum(is_chosen) < 2 and (not is_all or is_diagonal):
        return NoMatch(f"{sum(is_chosen)} of its operands are scalars that may be merged")
    if einsum.dtype == torch.bool:
        return NoMatch("it is a product of booleans")
    sizes = sizes_of(einsum)
    elsewhere = {axis for axes, chosen in zip(einsum.in_axes, is_chosen, strict=True) if not chosen for axis in axes}
    own = [axis for axis in sizes if axis not in elsewhere]
    kept = [axis for axis in own if axis in einsum.out_axes or not is_known(sizes[axis])]
    value = math.prod(sizes[axis] for axis in own if axis not in kept)
    value *= math.prod(operand.value for operand in einsum.children if isinstance(operand, Scalar) and may(operand))
    if not fits(value, einsum.dtype):
        return NoMatch(f"{einsum.dtype} does not hold {value}")
    if is_all and not is_diagonal and all(axis in einsum.out_axes for axis in kept):
        return Scalar(value, einsum.shape, einsum.name)
    if sum(is_chosen) < 2:
        return NoMatch("it sums a scalar over an axis whose size is not known yet")
    merged = (Scalar(value, tuple(sizes[axis] for axis in kept)), kept)
    first = is_chosen.index(True)
    operands = [
        merged if i == first else pair for i, pair in enumerate(einsum.operands) if i == first or not is_chosen[i]
    ]
    return Einsum(*operands, out_axes=einsum.out_axes)
