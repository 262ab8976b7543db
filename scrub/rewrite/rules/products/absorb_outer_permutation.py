"""A permutation of an einsum, as an einsum with permuted axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrub.graph import Einsum, Expr, Rearrange
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.products.absorb_permutations import is_permutation, permuted
from scrub.rewrite.rules.products.axes import einsum_over, sizes_of, unused_axis
from scrub.rewrite.rules.products.cases import product_with
from scrub.rewrite.rules.sums.cases import part, some_dtype

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    if maker.random.random() < 0.3:
        return maker.pattern(Rearrange, Einsum)
    return permuted(maker, product_with(maker, part(maker, maker.shape(), some_dtype(maker))))


@rewrite(keeps="value", pattern=(Rearrange, Einsum), cases=_cases, simplifies=True)
def absorb_outer_permutation(rearrange: Rearrange, *, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """A product that is permuted, or gains or loses axes of size 1, or is repeated, has its axes in that order itself.

        (i j -> j i)(sum_k x[i, k] y[k, j])  ->  sum_k x[i, k] y[k, j] with axes j, i

    Splitting and merging of axes stays. A scalar 1 gives the new axes.

    Args:
        rearrange: the permutation.
        dissolve: whether the product may be taken apart, if it has a name.

    >>> from scrub.graph import Scalar
    >>> product = Einsum.from_string("ik,kj->ij", Scalar(1.0, (2, 3), "x"), Scalar(2.0, (3, 4), "y"))
    >>> absorb_outer_permutation(Rearrange(product, "i j -> j i", name="turned")).print()
    'turned' [4, 2] Einsum ab,bc->ca
      'x' [2, 3] Scalar 1.0
      'y' [3, 4] Scalar 2.0
    """
    (einsum,) = rearrange.children
    if not isinstance(einsum, Einsum) or not Matcher(dissolve)(einsum):
        return NoMatch(f"{einsum!r} is no einsum that may be taken apart")
    if not is_permutation(rearrange):
        return NoMatch("it splits or merges axes")
    axis_of = {group[0]: axis for group, axis in zip(rearrange.left, einsum.out_axes, strict=True) if group}
    sizes = sizes_of(einsum)
    fresh = unused_axis(einsum)
    out: list[int] = []
    for group, size in zip(rearrange.right, rearrange.shape, strict=True):
        if group and group[0] in axis_of:
            out.append(axis_of[group[0]])
        else:
            sizes[fresh] = size
            out.append(fresh)
            fresh += 1
    return einsum_over(einsum.operands, out, sizes)
