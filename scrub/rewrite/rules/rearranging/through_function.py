"""Rearrangements of functions, and functions of rearranged arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrub.graph import Array, Expr, GeneralFunction, Rearrange, elementwise, softmax
from scrub.graph.functions.power import Pow
from scrub.graph.functions.reduce import Max
from scrub.rewrite.matcher import MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.rearranging.cases import random_function, random_rearrange, random_spec, rearranged_by
from scrub.rewrite.rules.rearranging.move import pull, push

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _rearranged_function(maker: Maker) -> Expr:
    function = random_function(maker, maker.shape()).cast(GeneralFunction)
    keep = function.function_shape().num_opaque if maker.random.random() < 0.7 else 0
    return random_rearrange(maker, function, keep=keep)


def _function_of_rearranged(maker: Maker) -> Expr:
    shape = maker.shape() or (2,)
    keep = maker.random.choice([0, 0, 1])
    spec = random_spec(maker, shape, keep=keep)
    x = rearranged_by(maker, maker.expr(shape, 2), spec)
    kind = maker.random.choice(["one", "power", "softmax", "extreme", "gather"])
    if kind == "power":
        base = rearranged_by(maker, elementwise("sigmoid", maker.expr(shape, 1)), spec)
        return GeneralFunction(base, maker.random.choice([x, maker.scalar(()), base]), spec=Pow())
    if kind == "gather":
        rows = Array(maker.positions(3, x.children[0].numel).reshape(shape), "rows")
        return GeneralFunction.gen_index(maker.expr((3, 2), 1), rearranged_by(maker, rows, spec), index_dim=0)
    if kind == "one" or x.ndim == 0 or x.shape[-1] == 0:
        return elementwise("tanh", x)
    return softmax(x) if kind == "softmax" else GeneralFunction(x, spec=Max())


@rewrite(keeps="value", cases=_rearranged_function)
def push_rearrange_through_function(rearrange: Rearrange, *, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """A rearranged function becomes the function of the rearranged arguments.

        (a b -> b a) of f(x)  ->  f((a b -> b a) of x)

    Axes along which the function computes its values together, such as the last one of softmax, must be kept as they
    are. Through a power it goes as through a sum.

    Args:
        rearrange: of a function.
        dissolve: whether the function may be taken apart.

    >>> from scrub.graph import Scalar
    >>> x = Scalar(1.0, (2, 3, 4), name="x")
    >>> push_rearrange_through_function(Rearrange(softmax(x), "a b c -> (a b) c", name="r")).print()
    'r' [6, 4] GeneralFunction softmax
      rearrange(x) [6, 4] Rearrange a b c -> (a b) c
        'x' [2, 3, 4] Scalar 1.0
    """
    return push(rearrange, GeneralFunction, dissolve)


@rewrite(keeps="value", cases=_function_of_rearranged)
def pull_rearrange_through_function(function: GeneralFunction, *, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """A function of rearranged arguments becomes the rearranged function of these.

        f((a b -> b a) of x)  ->  (a b -> b a) of f(x)

    Several arguments must be rearranged in the same way, except for those without axes, and for tables that are
    gathered from.

    Args:
        function: the function.
        dissolve: which of the rearranged arguments may be taken apart.

    >>> from scrub.graph import Scalar
    >>> x = Scalar(1.0, (2, 3), name="x")
    >>> pull_rearrange_through_function(elementwise("exp", Rearrange(x, "a b -> b a"), name="e")).print()
    'e' [3, 2] Rearrange a b -> b a
      exp(x) [2, 3] GeneralFunction exp
        'x' [2, 3] Scalar 1.0
    """
    return pull(function, dissolve)
