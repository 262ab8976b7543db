"""Functions that undo each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrub.graph import Expr, GeneralFunction, elementwise
from scrub.graph.functions.elementwise import Elementwise
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker

INVERSES: dict[tuple[str, str], str] = {
    ("exp", "log"): "x >= 0",
    ("log", "exp"): "exp(x) neither overflows nor underflows",
    ("reciprocal", "reciprocal"): "all x",
    ("logit", "sigmoid"): "sigmoid(x) is not rounded to 0 or 1",
    ("sigmoid", "logit"): "0 <= x <= 1",
}
"""(outer, inner) -> where outer(inner(x)) is x."""


def _case(maker: Maker) -> Expr:
    outer, inner = maker.random.choice(sorted(INVERSES))
    shape = maker.shape()
    x = maker.random_expr(shape, 1) if maker.random.random() < 0.2 else maker.expr(shape, 1)
    if inner in ("log", "logit"):
        x = elementwise("sigmoid", x)
    elif inner in ("exp", "sigmoid"):
        x = elementwise("tanh", x)
    names = [maker.name("n") if maker.random.random() < 0.4 else None for _ in range(2)]
    return elementwise(outer, elementwise(inner, x, names[0]), names[1])


@rewrite(keeps="value", cases=_case, simplifies=True)
def cancel_inverses(function: GeneralFunction, *, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """A function of its own inverse is dropped with it, where that is defined (`INVERSES`).

        exp(log(x))  ->  x  for x >= 0          log(exp(x))  ->  x

    Outside its domain the input is nan or infinite, and the result is not.

    Args:
        function: the outer function.
        dissolve: which inner functions may go.

    >>> from scrub.graph import Scalar
    >>> cancel_inverses(elementwise("log", elementwise("exp", Scalar(2.0, name="x"))))
    'x' [] Scalar 2.0
    """
    inner = _elementwise_child(function)
    if isinstance(inner, NoMatch):
        return inner
    pair = (function.spec.label, inner.spec.label)
    if pair not in INVERSES:
        return NoMatch(f"{pair[0]} is not the inverse of {pair[1]}")
    if not Matcher(dissolve)(inner):
        return NoMatch(f"{inner!r} may not be taken apart")
    return inner.children[0]


def _elementwise_child(function: GeneralFunction) -> GeneralFunction | NoMatch:
    """The function of one number that this function of one number is applied to."""
    if not isinstance(function.spec, Elementwise):
        return NoMatch(f"{function.spec.label} is not a function of one number")
    inner = function.children[0]
    if not isinstance(inner, GeneralFunction) or not isinstance(inner.spec, Elementwise):
        return NoMatch(f"{inner!r} is not a function of one number")
    return inner
