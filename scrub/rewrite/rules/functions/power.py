"""Powers by a number for which there is a function, or nothing to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrub.graph import Expr, GeneralFunction, Scalar, elementwise
from scrub.graph.functions.power import Pow
from scrub.rewrite.rule import NoMatch, rewrite

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker

POWERS: dict[float, str | None] = {1.0: None, -1.0: "reciprocal", 0.5: "sqrt", -0.5: "rsqrt"}
"""Exponent -> the function that it is; None for the base itself."""


def _case(maker: Maker) -> Expr:
    shape = maker.shape()
    base = maker.random_expr(shape, 1) if maker.random.random() < 0.2 else maker.expr(shape, 1)
    value = maker.random.choice([1, 1.0, -1.0, 0.5, -0.5, 2.0, 0.0])
    if value not in (1, 1.0):
        base = elementwise("sigmoid", base)
    name = maker.name("n") if maker.random.random() < 0.4 else None
    exponent = Scalar(value, maker.some(shape) if maker.random.random() < 0.9 else (2, *shape))
    return GeneralFunction(base, exponent, spec=Pow(), name=name)


@rewrite(keeps="value", cases=_case, simplifies=True, idempotent=True)
def power_to_function(power: GeneralFunction) -> Expr | NoMatch:
    """A power by 1, -1, 1/2 or -1/2 as the base, its reciprocal, its root, or the reciprocal of that.

    A power by 0 stays: a scalar 1 would have no dtype.

    >>> power_to_function(GeneralFunction(Scalar(4.0, (2,), name="x"), Scalar(-0.5), spec=Pow()))
    rsqrt(x) [2] GeneralFunction rsqrt
    """
    if not isinstance(power.spec, Pow):
        return NoMatch(f"{power.spec.label} is no power")
    base, exponent = power.children
    if not isinstance(exponent, Scalar):
        return NoMatch(f"the exponent {exponent!r} is no scalar")
    if exponent.value not in POWERS:
        return NoMatch(f"there is no function for the exponent {exponent.value}")
    if base.shape != power.shape:
        return NoMatch(f"the exponent repeats the base from {base.shape} to {power.shape}")
    function = POWERS[exponent.value]
    if function is None:
        return base
    if base.dtype is not None and not base.dtype.is_floating_point:
        return NoMatch(f"{function} is not for {base.dtype}")
    return elementwise(function, base)
