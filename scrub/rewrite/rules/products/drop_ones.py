"""Ones among the operands of an einsum."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from scrub.graph import Einsum, Expr, Scalar
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.products.axes import sizes_of
from scrub.rewrite.rules.products.cases import product_with
from scrub.rewrite.rules.sums.cases import NUMBERS

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    """Ones, and now and then a number that is none."""
    shapes = [maker.shape(max_ndim=2)] * 2
    shapes = shapes if maker.random.random() < 0.3 else [maker.shape(max_ndim=2) for _ in shapes]
    ones = [Scalar(maker.random.choice([1, 1.0]), shape) for shape in shapes[maker.random.choice([0, 1]) :]]
    if maker.random.random() < 0.2:
        return product_with(maker, *ones, Scalar(maker.random.choice([-1, 2]), maker.shape(max_ndim=1)), dtypes=NUMBERS)
    return product_with(maker, *ones, Scalar(1.0, (), "one"))


@rewrite(keeps="value", cases=_cases, simplifies=True, idempotent=True)
def drop_one_operands(einsum: Einsum, *, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """Operands that are the scalar 1 are left out, unless they alone give the size of an axis.

        a * 1 * b  ->  a * b

    Args:
        einsum: the product.
        dissolve: which of the ones may be left out.

    >>> x = Scalar(2.0, (3,), name="x")
    >>> drop_one_operands(Einsum((x, (0,)), (Scalar(1.0, (3,)), (0,)), out_axes=(0,), name="s")).print()
    's' [3] Einsum a->a
      'x' [3] Scalar 2.0
    """
    may = Matcher(dissolve)
    sizes = sizes_of(einsum)
    givers = Counter(axis for axes in einsum.in_axes for axis in set(axes))
    kept: list[tuple[Expr, tuple[int, ...]]] = []
    needed = "no operand is a scalar 1 that may be left out"
    for operand, axes in einsum.operands:
        if not (isinstance(operand, Scalar) and operand.value == 1 and may(operand)):
            kept.append((operand, axes))
        elif all(givers[axis] > 1 or (axis not in einsum.out_axes and sizes[axis] == 1) for axis in axes):
            givers.subtract(set(axes))
        else:
            needed = f"axes get their sizes from {operand!r} alone"
            kept.append((operand, axes))
    if len(kept) == len(einsum.children):
        return NoMatch(needed)
    return Einsum(*kept, out_axes=einsum.out_axes)
