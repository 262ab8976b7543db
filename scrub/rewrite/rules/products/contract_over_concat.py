"""Contraction of an axis along which an operand is concatenated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from scrub.graph import Add, Concat, Einsum, Expr, Index
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, Options, rewrite
from scrub.rewrite.rules.products.axes import Operand, is_known
from scrub.rewrite.rules.products.cases import product_with
from scrub.rewrite.rules.products.distribute import dtype_problem
from scrub.rewrite.rules.sums.cases import maybe_name, part, some_dtype

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    if maker.random.random() < 0.2:
        return maker.pattern(Einsum, Concat)
    shape, dtype = (maker.random.choice([2, 3, 4]), *maker.shape(max_ndim=2)), some_dtype(maker)
    axis = maker.random.randrange(len(shape))
    sizes = maker.split(shape[axis], maker.random.choice([1, 2, 2, 3]))
    parts = [part(maker, (*shape[:axis], size, *shape[axis + 1 :]), dtype) for size in sizes]
    return product_with(maker, Concat(*parts, axis=axis, name=maybe_name(maker)))


def _choices(einsum: Einsum) -> Iterator[Options]:
    yield {}
    yield {"operand": len(einsum.children) - 1}


@rewrite(keeps="value", pattern=(Einsum, Concat), cases=_cases, choices=_choices)
def contract_over_concat(einsum: Einsum, *, operand: int | None = None, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """An axis that is summed, along which an operand is concatenated, is summed part by part.

        sum_i concat(a, b)[i] x[i]  ->  sum_i a[i] x[:3][i] + sum_i b[i] x[3:][i]

    Args:
        einsum: the product.
        operand: position of the concatenation; the first that fits if not given.
        dissolve: which concatenations may be taken apart.

    >>> from scrub.graph import Scalar
    >>> a, b, x = Scalar(1.0, (3,), name="a"), Scalar(2.0, (2,), name="b"), Scalar(3.0, (5,), name="x")
    >>> contract_over_concat(Einsum.from_string("i,i->", Concat(a, b, axis=0), x, name="s")).print()
    's' [] Add
      a * x[0:3] [] Einsum a,a->
        'a' [3] Scalar 1.0
        x[0:3] [3] Index [0:3]
          'x' [5] Scalar 3.0
      b * x[3:5] [] Einsum a,a->
        'b' [2] Scalar 2.0
        x[3:5] [2] Index [3:5]
          'x'
    """
    may = Matcher(dissolve)
    reason = "no operand is a concatenation that may be taken apart"
    for position, (concat, axes) in enumerate(einsum.operands):
        if not isinstance(concat, Concat) or operand not in (None, position) or not may(concat):
            continue
        if axes[concat.axis] in einsum.out_axes:
            reason = f"axis {concat.axis} of {concat!r}, along which it is concatenated, is not summed"
        elif not all(is_known(own.shape[concat.axis]) for own in concat.children):
            reason = f"the sizes of the parts of {concat!r} are not known yet"
        else:
            return _by_parts(einsum, position, concat)
    return NoMatch(reason)


def _by_parts(einsum: Einsum, position: int, concat: Concat) -> Expr | NoMatch:
    axis = einsum.in_axes[position][concat.axis]
    start = 0
    terms: list[Expr] = []
    for own in concat.children:
        stop = start + own.shape[concat.axis]
        operands: list[Operand] = []
        for i, (child, axes) in enumerate(einsum.operands):
            new, cut = (own, concat.axis) if i == position else (child, None)
            operands.append(
                (_sliced(new, [k for k, a in enumerate(axes) if a == axis and k != cut], start, stop), axes)
            )
        terms.append(Einsum(*operands, out_axes=einsum.out_axes))
        start = stop
    reason = dtype_problem(concat, terms, einsum)
    return Add(*terms) if reason is None else NoMatch(reason)


def _sliced(expr: Expr, axes: list[int], start: int, stop: int) -> Expr:
    """Positions from start to stop on these axes; itself if that is all of them."""
    if all((start, stop) == (0, expr.shape[axis]) for axis in axes):
        return expr
    return Index(expr, [slice(start, stop) if axis in axes else slice(None) for axis in range(expr.ndim)])
