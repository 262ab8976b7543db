"""Rules of `simplify` that start at a `Sum`."""

from __future__ import annotations

from scrub.compiler.ops import Fill, Sum, ToCore
from scrub.compiler.ops.arithmetic import broadcast, common_dtype
from scrub.compiler.passes.simplifying import Found, Rule, Simplifying, is_floating, is_floating_together
from scrub.compiler.values import Value, union_of_axes

MAX_TERMS = 64
"""Terms of a sum that sums are merged into: all terms of one sum are in memory at the same time."""
MOST_OFFSET = 1.0


def coefficients_out(s: Simplifying, op: Sum, args: tuple[Value, ...]) -> Found:
    """x + 3 a -> a term a with coefficient 3; the same term twice is one."""
    is_repeated = len(set(args)) < len(args)
    if not (is_repeated or any(arg in s.scaled for arg in args)) or not is_floating_together(args):
        return None
    coefficients: dict[Value, float] = {}
    for arg, coefficient in zip(args, op.coefficients, strict=True):
        factor, bare = s.scaled.get(arg, (1.0, arg))
        coefficients[bare] = coefficients.get(bare, 0.0) + coefficient * factor
    return Sum(tuple(coefficients.values()), op.offset), tuple(coefficients)


def nested_sums(s: Simplifying, op: Sum, args: tuple[Value, ...]) -> Found:
    """(a + b) + c -> a + b + c, if a + b has the shape of the result and is not needed for itself.

    Not where a + b holds a large number that the rest of it may cancel, as in c + 3e4 (mask - 1): c would lose digits.
    """
    if not any(isinstance(arg.op, Sum) for arg in args):
        return None
    dtype, shape, axes = common_dtype(args), broadcast([arg.shape for arg in args]), union_of_axes(args)
    terms: list[Value] = []
    coefficients: list[float] = []
    offset, is_merged, room = op.offset, False, MAX_TERMS - len(args)
    for arg, coefficient in zip(args, op.coefficients, strict=True):
        inner = arg.op
        fits = arg.dtype == dtype and arg.shape == shape and arg.axes == axes and is_floating(arg)
        is_small = isinstance(inner, Sum) and abs(coefficient * inner.offset) <= MOST_OFFSET
        if isinstance(inner, Sum) and is_small and fits and s.is_used_once(arg) and len(arg.args) <= room:
            terms += arg.args
            coefficients += [coefficient * own for own in inner.coefficients]
            offset, is_merged, room = offset + coefficient * inner.offset, True, room - len(arg.args)
        else:
            terms.append(arg)
            coefficients.append(coefficient)
    return (Sum(tuple(coefficients), offset), tuple(terms)) if is_merged else None


def one_term(s: Simplifying, op: Sum, args: tuple[Value, ...]) -> Found:
    """A sum of one term as it is."""
    return args[0] if op.coefficients == (1.0,) and op.offset == 0.0 else None


def sum_by_batch_axis(s: Simplifying, op: Sum, args: tuple[Value, ...]) -> Found:
    """A sum of values whose first core axis was made of one batch axis is that sum along the batch axis."""
    first = args[0]
    if not isinstance(first.op, ToCore) or first.op.axis not in first.args[0].axes:
        return None
    axis, ndim = first.op.axis, len(first.shape)
    bare: list[Value] = []
    for arg in args:
        is_moved = isinstance(arg.op, ToCore) and arg.op.axis == axis and len(arg.shape) == ndim
        if not is_moved and len(arg.shape) >= ndim:
            return None
        moved = arg.args[0] if is_moved else arg
        if any(other.order == axis.order and not (is_moved and other == axis) for other in moved.axes):
            return None
        bare.append(moved)
    return ToCore(axis), (s.build(op, tuple(bare)),)


def numbers_to_offset(s: Simplifying, op: Sum, args: tuple[Value, ...]) -> Found:
    """One number in all places is part of the offset, if another term has the shape of the sum."""
    if not any(isinstance(arg.op, Fill) for arg in args):
        return None
    rest = [(arg, c) for arg, c in zip(args, op.coefficients, strict=True) if not isinstance(arg.op, Fill)]
    if not any(arg.dtype is not None and arg.dtype.is_floating_point for arg, _ in rest):
        return None
    if broadcast([arg.shape for arg, _ in rest]) != broadcast([arg.shape for arg in args]):
        return None
    numbers = (arg.op.number * c for arg, c in zip(args, op.coefficients, strict=True) if isinstance(arg.op, Fill))
    terms, coefficients = zip(*rest, strict=True)
    return Sum(coefficients, op.offset + sum(numbers)), terms


SUM_RULES: tuple[Rule, ...] = (numbers_to_offset, coefficients_out, nested_sums, one_term, sum_by_batch_axis)
