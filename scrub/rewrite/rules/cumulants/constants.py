"""Cumulants of constants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrub.graph import Cumulant, Expr, Scalar
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.cumulants.common import is_certain, maybe_name, random_argument, small_shapes
from scrub.rewrite.rules.sums.terms import zero

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _case(maker: Maker) -> Expr:
    order = maker.random.choice([0, 1, 1, 2, 2, 3])
    shapes = small_shapes(maker, order)
    args = [random_argument(maker, shape) for shape in shapes]
    if args and maker.random.random() < 0.8:
        i = maker.random.randrange(order)
        args[i] = maker.cumulant(shapes[i], 1) if maker.random.random() < 0.3 else maker.expr(shapes[i], 1)
    return Cumulant(*args, name=maybe_name(maker))


@rewrite(keeps="value", cases=_case, simplifies=True)
def cumulant_of_constants(cumulant: Cumulant) -> Expr | NoMatch:
    """The expectation of a constant is the constant, a higher cumulant with one is 0, and `Cumulant()` is 1.

        k(c)  ->  c        k(x, c, y)  ->  0        k()  ->  1

    What depends on a free symbol does not count as constant: the symbol may be bound to something random. Random
    variables under another cumulant do not make its value random.

    >>> cumulant_of_constants(Cumulant(Scalar(2.0, name="c")))
    'c' [] Scalar 2.0
    >>> cumulant_of_constants(Cumulant(Scalar(2.0, (3,)), Scalar(1.0), name="covariance"))
    'covariance' [3] Scalar 0.0
    """
    if not cumulant.children:
        return Scalar(1.0)
    constant = next((child for child in cumulant.children if is_certain(child)), None)
    if constant is None:
        symbols = cumulant.free_symbols
        unsure = f"; symbol {symbols[0].name!r} may be bound to something random" if symbols else ""
        return NoMatch(f"no argument is constant{unsure}")
    return constant if cumulant.order == 1 else zero(cumulant.shape, cumulant.dtype, cumulant.name)
