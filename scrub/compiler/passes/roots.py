"""Finds the roots that LayerNorm and RMSNorm divide by, in the ways in which they are written.

    (factor * sum(c^2 over the last axis) + eps) ^ -1/2,   c = x - mean(x) or anything

The power is `rsqrt`, `pow` or the reciprocal of a root; factors may stand anywhere.
"""

from __future__ import annotations

from typing import NamedTuple

from scrub.compiler.ops import Contract, Fill, Rearranged, Sum
from scrub.compiler.passes.recognising import applied, is_floating, without_factor
from scrub.compiler.values import Value
from scrub.graph.functions.elementwise import Elementwise
from scrub.graph.functions.power import Pow

_ROUNDING = 1e-12


class Root(NamedTuple):
    """A value `factor / sqrt(mean(square^2) + eps)`; `centred` is x where `square` is x minus its mean, else None."""

    square: Value
    centred: Value | None
    eps: float
    factor: float


def root_of(value: Value) -> Root | None:
    """The root that a value is, if it is one."""
    radicand = _radicand(value)
    if radicand is None or not is_floating(value):
        return None
    eps = 0.0
    if isinstance(radicand.op, Sum) and len(radicand.args) == 1:
        eps, factor = radicand.op.offset, radicand.op.coefficients[0]
        radicand = radicand.args[0]
    else:
        factor = 1.0
    total, scale = without_factor(radicand)
    square = _squared_in_sum(total)
    if square is None or not isinstance(total.op, Contract):
        return None
    count = factor * scale * total.op.scale * square.shape[-1]  # 1 where the mean is meant
    if not count > 0.0 or not eps >= 0.0:
        return None
    return Root(square, _centred(square), eps / count, 1.0 if abs(count - 1.0) < _ROUNDING else count**-0.5)


def _radicand(value: Value) -> Value | None:
    """u, if the value is 1 / sqrt(u)."""
    match applied(value):
        case Elementwise("rsqrt"):
            return value.args[0]
        case Elementwise("reciprocal"):
            root = value.args[0]
            if applied(root) == Elementwise("sqrt"):
                return root.args[0]
            return _power(root, 0.5)
        case _:
            return _power(value, -0.5)


def _power(value: Value, exponent: float) -> Value | None:
    """What is raised to that power."""
    if not isinstance(applied(value), Pow):
        return None
    base, of = value.args
    fits = base.shape == value.shape and base.axes == value.axes
    return base if fits and isinstance(of.op, Fill) and of.op.number == exponent else None


def _squared_in_sum(total: Value) -> Value | None:
    """c, if the value is a number times the sum of c^2 over the last core axis."""
    op = total.op
    if not isinstance(op, Contract) or op.reduced or op.out != op.ins[0][:-1] or len(set(op.ins[0])) < len(op.ins[0]):
        return None
    if not op.ins[0] or not total.args[0].shape[-1]:
        return None
    if len(op.ins) == 2 and op.ins[0] == op.ins[1] and total.args[0] is total.args[1]:
        return total.args[0]
    if len(op.ins) > 1:
        return None
    (square,) = total.args
    inner = square.op
    if isinstance(inner, Contract) and not inner.reduced and inner.ins == (inner.out, inner.out):
        return square.args[0] if square.args[0] is square.args[1] and inner.scale == 1.0 else None
    return _power(square, 2.0)


def _centred(value: Value) -> Value | None:
    """x, if the value is x minus its mean over the last core axis."""
    op = value.op
    if not isinstance(op, Sum) or op.offset != 0.0 or len(value.args) < 2:
        return None
    for at, term in enumerate(value.args):
        x, factor = _mean_along_last(term, value.shape)
        if x is None or x.shape != value.shape or x.axes != value.axes:
            continue
        rest = [
            (arg, coefficient)
            for i, (arg, coefficient) in enumerate(zip(value.args, op.coefficients, strict=True))
            if i != at
        ]
        is_x = rest == [(x, 1.0)] or (
            isinstance(x.op, Sum) and x.op.offset == 0.0 and rest == list(zip(x.args, x.op.coefficients, strict=True))
        )
        if is_x and abs(op.coefficients[at] * factor + 1.0) < _ROUNDING:
            return x
    return None


def _mean_along_last(term: Value, shape: tuple[int, ...]) -> tuple[Value | None, float]:
    """x and a, if a term of a sum of that shape is a times the mean of x over the last core axis, for each position."""
    spread, outer = without_factor(term)
    if isinstance(spread.op, Rearranged):
        left, right = spread.op.left, spread.op.right
        is_new = len(right) == len(left) + 1 and (not right[-1] or right[-1] not in left)
        if right[:-1] != left or not is_new or any(len(group) != 1 for group in left) or len(right[-1]) > 1:
            return None, 0.0
        spread = spread.args[0]
    elif len(shape) > 1:
        return None, 0.0
    total, inner = without_factor(spread)
    op = total.op
    if not isinstance(op, Contract) or op.reduced or len(op.ins) != 1 or op.out != op.ins[0][:-1] or not op.ins[0]:
        return None, 0.0
    if len(set(op.ins[0])) < len(op.ins[0]):
        return None, 0.0
    (x,) = total.args
    return x, outer * inner * op.scale * x.shape[-1]
