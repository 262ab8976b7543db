"""Functions of scalars as scalars."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from scrub.graph import Expr, GeneralFunction, Scalar, elementwise, log_softmax, softmax
from scrub.graph.functions.elementwise import ELEMENTWISE, Elementwise
from scrub.graph.functions.power import Pow
from scrub.graph.functions.reduce import Max, Min
from scrub.graph.functions.softmax import LogSoftmax, Softmax
from scrub.rewrite.rule import NoMatch, rewrite

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _case(maker: Maker) -> Expr:
    shape = maker.shape()
    x = maker.scalar(shape) if maker.random.random() < 0.8 else maker.expr(shape, 1)
    name = maker.name("n") if maker.random.random() < 0.4 else None
    kind = maker.random.choice(["elementwise", "elementwise", "softmax", "log_softmax", "max", "min", "pow"])
    if kind in ("softmax", "log_softmax") and shape:
        return (softmax if kind == "softmax" else log_softmax)(x, name)
    if kind in ("max", "min") and shape and shape[-1]:
        return GeneralFunction(x, spec=Max() if kind == "max" else Min(), name=name)
    if kind == "pow":
        return GeneralFunction(x, maker.scalar(maker.some(shape)), spec=Pow(), name=name)
    return elementwise(maker.random.choice(sorted(ELEMENTWISE)), x, name)


@rewrite(keeps="value", cases=_case, simplifies=True, idempotent=True)
def function_of_scalar(function: GeneralFunction) -> Expr | NoMatch:
    """A function of scalars that gives the same number everywhere becomes a scalar.

        exp(0.0)  ->  1.0        softmax(s[.., n])  ->  1/n

    Not where the number is infinite or undefined: that is left for evaluation to show.

    >>> function_of_scalar(elementwise("exp", Scalar(0.0, (2,)), "e"))
    'e' [2] Scalar 1.0
    """
    others = [child for child in function.children if not isinstance(child, Scalar)]
    if others:
        return NoMatch(f"{others[0]!r} is no scalar")
    numbers = [child.value for child in function.children if isinstance(child, Scalar)]
    spec = function.spec
    if isinstance(spec, Softmax | LogSoftmax):
        size = function.shape[-1]
        if not isinstance(size, int) or size == 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            return NoMatch("the size of its last axis is not a number above 0")
        return Scalar(1 / size if isinstance(spec, Softmax) else -math.log(size), function.shape)
    if not isinstance(spec, Elementwise | Pow | Max | Min):
        return NoMatch(f"what {spec.label} makes of scalars is not one number without a dtype")
    points = [Scalar(number, (1,) if isinstance(spec, Max | Min) else ()).compute() for number in numbers]
    value = spec.compute(*points).item()
    if not math.isfinite(value):
        return NoMatch(f"{spec.label} of {numbers} is {value}")
    return Scalar(value, function.shape)
