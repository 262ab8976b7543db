"""Sums, products, quotients and powers."""

from __future__ import annotations

import math

import torch

from scrub.graph import Add, Expr, GeneralFunction, Scalar, elementwise
from scrub.graph.functions.binary import Binary
from scrub.graph.functions.power import Pow
from scrub.models.exported.axes import expand, multiply
from scrub.models.exported.call import Call, Number, Operand
from scrub.models.exported.registry import aten


@aten("aten.add.Tensor", "aten.add.Scalar")
def add(call: Call, x: Operand, y: Operand | Number, alpha: Number = 1) -> Expr:
    """x + alpha y; of booleans "or", as `Add` has it."""
    return _sum(call, call.factor(x), call.factor(y), alpha)


@aten("aten.sub.Tensor", "aten.sub.Scalar")
def sub(call: Call, x: Operand, y: Operand | Number, alpha: Number = 1) -> Expr:
    """x - alpha y."""
    return _sum(call, call.factor(x), call.factor(y), -alpha)


@aten("aten.neg.default")
def neg(call: Call, x: Operand) -> Expr:
    """-x."""
    return multiply(x.expr, Scalar(_like(call, -1)))


@aten("aten.mul.Tensor", "aten.mul.Scalar")
def mul(call: Call, x: Operand | Number, y: Operand | Number) -> Expr:
    """x y; of booleans "and"."""
    if call.dtype == torch.bool:
        return GeneralFunction(call.whole(x), call.whole(y), spec=Binary("bitwise_and"))
    return expand(multiply(call.factor(x), call.factor(y)), call.shape)


@aten("aten.div.Tensor", "aten.div.Scalar")
def div(call: Call, x: Operand, y: Operand | Number) -> Expr:
    """x / y, as a product with the reciprocal."""
    divisor = call.factor(y)
    if isinstance(divisor, Scalar):
        if not divisor.value:
            return GeneralFunction(call.whole(x), call.whole(y), spec=Binary("divide"))
        return expand(multiply(call.factor(x), Scalar(1.0 / divisor.value)), call.shape)
    inverse = elementwise("reciprocal", divisor, call.named("reciprocal"))
    return expand(multiply(call.factor(x), inverse), call.shape)


@aten("aten.div.Tensor_mode", "aten.div.Scalar_mode")
def div_mode(call: Call, x: Operand, y: Operand | Number, rounding_mode: str | None = None) -> Expr:
    """x / y, rounded down ("floor") or towards zero ("trunc")."""
    if rounding_mode is None:
        return div(call, x, y)
    return GeneralFunction(call.whole(x), call.whole(y), spec=Binary(f"divide_{rounding_mode}"))


@aten("aten.remainder.Tensor", "aten.remainder.Scalar", "aten.fmod.Tensor", "aten.fmod.Scalar")
def remainder(call: Call, x: Operand, y: Operand | Number) -> Expr:
    """What is left of x after division by y: with the sign of y (`remainder`) or of x (`fmod`)."""
    return GeneralFunction(call.whole(x), call.whole(y), spec=Binary(call.operator.split(".")[1]))


@aten("aten.reciprocal.default")
def reciprocal(call: Call, x: Operand) -> Expr:
    """1 / x."""
    return elementwise("reciprocal", call.operand(x))


@aten("aten.pow.Tensor_Scalar", "aten.pow.Tensor_Tensor", "aten.pow.Scalar")
def power(call: Call, x: Operand | Number, exponent: Operand | Number) -> Expr:
    """x to a power; small whole powers are products, halves are roots."""
    base = call.operand(x)
    number = exponent
    if isinstance(exponent, Operand) and isinstance(exponent.expr, Scalar):
        number = exponent.expr.value
    if isinstance(number, int | float) and isinstance(x, Operand):
        if number in (2, 3, 4):
            return multiply(*[base] * int(number))
        root = {0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}.get(float(number))
        if root is not None and call.dtype.is_floating_point:
            return elementwise(root, base)
        if number == 1:
            return base
        return GeneralFunction(base, call.operand(number), spec=Pow())
    return GeneralFunction(expand(base, call.shape), call.whole(exponent), spec=Pow())


@aten("aten.maximum.default", "aten.minimum.default", "aten.atan2.default")
def binary(call: Call, x: Operand, y: Operand) -> Expr:
    """Functions of two numbers that torch and `Binary` call by the same name."""
    return GeneralFunction(call.whole(x), call.whole(y), spec=Binary(call.operator.split(".")[1]))


@aten("aten.clamp.default", "aten.clamp.Tensor")
def clamp(call: Call, x: Operand, low: Operand | Number | None = None, high: Operand | Number | None = None) -> Expr:
    """x, but at least `low` and at most `high`."""
    result = call.whole(x)
    for function, bound in (("maximum", low), ("minimum", high)):
        if bound is not None and not _is_no_bound(bound):
            result = GeneralFunction(result, call.whole(bound), spec=Binary(function))
    return result


def _is_no_bound(bound: Operand | Number) -> bool:
    return isinstance(bound, float) and math.isinf(bound)


def _sum(call: Call, x: Expr, y: Expr, alpha: Number) -> Expr:
    if alpha != 1:
        y = Scalar(y.value * alpha, y.shape) if isinstance(y, Scalar) else multiply(y, Scalar(_like(call, alpha)))
    terms = [_number(term) for term in (x, y)]
    return expand(Add(*terms), call.shape)


def _number(term: Expr) -> Expr:
    """A scalar is added as one number, whatever shape it was broadcast to."""
    return Scalar(term.value, (), term.name) if isinstance(term, Scalar) else term


def _like(call: Call, number: Number) -> Number:
    return float(number) if call.dtype.is_floating_point else number
