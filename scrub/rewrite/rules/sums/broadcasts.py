"""Broadcasting of a sum, as nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrub.graph import Add, Expr
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.sums.cases import part, random_sum, some_dtype
from scrub.rewrite.rules.sums.terms import broadcast_to

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    shape, dtype = maker.shape(), some_dtype(maker)
    return random_sum(maker, part(maker, shape, dtype), part(maker, maker.some(shape), dtype), shape=shape)


@rewrite(keeps="value", cases=_cases, idempotent=True)
def make_broadcasts_explicit(add: Add) -> Expr | NoMatch:
    """Every term is repeated to the shape of the sum.

        x[i, j] + y[j]  ->  x[i, j] + (j -> i j)(y)

    Args:
        add: the sum.

    >>> from scrub.graph import Scalar
    >>> made = make_broadcasts_explicit(Add(Scalar(1.0, (2, 3), name="x"), Scalar(2.0, (3,), name="y"), name="s"))
    >>> [term.shape for term in made.children]
    [(2, 3), (2, 3)]
    """
    if all(term.shape == add.shape for term in add.children):
        return NoMatch("all terms have the shape of the sum")
    return Add(*(broadcast_to(term, add.shape) for term in add.children))
