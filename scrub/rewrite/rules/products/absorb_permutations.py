"""Permutations next to an einsum, as permuted axes of the einsum."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrub.graph import Einsum, Expr, Rearrange
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.products.axes import Operand, einsum_over, sizes_of, unused_axis
from scrub.rewrite.rules.products.cases import product_with
from scrub.rewrite.rules.sums.cases import maybe_name, part, some_dtype

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def permuted(maker: Maker, expr: Expr) -> Expr:
    """The axes in another order, some of size 1 dropped, some new, of size 1 or repeated."""
    axes = [axis for axis, size in enumerate(expr.shape) if size != 1 or maker.random.random() < 0.5]
    left = tuple((axis,) if axis in axes else () for axis in range(expr.ndim))
    right: list[tuple[int, ...]] = [(axis,) for axis in axes]
    sizes: dict[int, int] = {}
    for _ in range(maker.random.choice([0, 0, 1, 2])):
        if maker.random.random() < 0.5:
            right.append(())
        else:
            number = expr.ndim + len(sizes)
            sizes[number] = maker.random.choice([1, 2, 3])
            right.append((number,))
    maker.random.shuffle(right)
    return Rearrange.from_groups(expr, left, tuple(right), sizes, name=maybe_name(maker))


def _cases(maker: Maker) -> Expr:
    if maker.random.random() < 0.3:
        return maker.pattern(Einsum, Rearrange)
    dtype = some_dtype(maker)
    children = [part(maker, maker.shape(), dtype) for _ in range(maker.random.choice([1, 1, 2]))]
    return product_with(maker, *(permuted(maker, child) for child in children))


@rewrite(keeps="value", pattern=(Einsum, Rearrange), cases=_cases, simplifies=True)
def absorb_permutations(einsum: Einsum, *, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """Operands that are permuted, or gain or lose axes of size 1, or are repeated along axes, are taken as they were.

        sum_j (j i -> i j)(x)[i, j] y[j]  ->  sum_j x[j, i] y[j]

    Splitting and merging of axes stays. A scalar 1 gives the axes that then no operand has.

    Args:
        einsum: the product.
        dissolve: which of the permutations may be taken away.

    >>> from scrub.graph import Scalar
    >>> x, y = Scalar(2.0, (3, 4), name="x"), Scalar(1.0, (3,), name="y")
    >>> turned = Rearrange(x, "a b -> b a")
    >>> absorb_permutations(Einsum.from_string("ij,j->i", turned, y, name="s")).print()
    's' [4] Einsum ab,a->b
      'x' [3, 4] Scalar 2.0
      'y' [3] Scalar 1.0
    """
    may = Matcher(dissolve)
    fresh = unused_axis(einsum)
    operands: list[Operand] = []
    num_absorbed = 0
    reason = "no operand is a permutation that may be taken away"
    for operand, axes in einsum.operands:
        if not isinstance(operand, Rearrange) or not may(operand):
            operands.append((operand, axes))
        elif not is_permutation(operand):
            reason = f"{operand!r} splits or merges axes"
            operands.append((operand, axes))
        else:
            axis_of = {group[0]: axis for group, axis in zip(operand.right, axes, strict=True) if group}
            dropped = range(fresh, fresh + operand.left.count(()))
            fresh += len(dropped)
            spare = iter(dropped)
            own = [axis_of[group[0]] if group else next(spare) for group in operand.left]
            operands.append((operand.children[0], own))
            num_absorbed += 1
    return einsum_over(operands, einsum.out_axes, sizes_of(einsum)) if num_absorbed else NoMatch(reason)


def is_permutation(rearrange: Rearrange) -> bool:
    """Whether no axis is split or merged."""
    return all(len(group) <= 1 for group in (*rearrange.left, *rearrange.right))
