"""Change of dtype, and of values in place."""

from __future__ import annotations

from scrub.graph import CheckpointError, Expr, cast_to
from scrub.models.exported.axes import expand
from scrub.models.exported.call import Call, Operand
from scrub.models.exported.registry import aten


@aten("aten._to_copy.default")
def to_copy(call: Call, x: Operand, *_: object, **__: object) -> Expr:
    """Another dtype; devices and orders in memory are of no concern to an expression."""
    if call.dtype.is_complex:
        raise CheckpointError(
            f"{call.operator} ({call.name!r}) makes complex numbers",
            expected="real dtypes",
            found=call.dtype,
            hint="export a variant of the module that keeps real and imaginary parts apart",
        )
    return x.expr if x.dtype == call.dtype else cast_to(x.expr, call.dtype)


@aten("aten.copy.default")
def copy(call: Call, x: Operand, source: Operand, non_blocking: bool = False) -> Expr:
    """Other values in the shape and dtype of x, as assigning to a part of a tensor does."""
    return expand(call.operand(source), call.shape)
