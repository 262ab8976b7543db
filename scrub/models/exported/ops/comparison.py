"""Comparisons, logic, and choice by a mask."""

from __future__ import annotations

import torch

from scrub.graph import Expr, GeneralFunction, Scalar, elementwise
from scrub.graph.functions.binary import Binary
from scrub.graph.functions.where import Where
from scrub.models.exported.axes import expand
from scrub.models.exported.call import Call, Number, Operand
from scrub.models.exported.registry import aten

_COMPARISONS = [f"aten.{name}.{kind}" for name in ("lt", "le", "gt", "ge", "eq", "ne") for kind in ("Tensor", "Scalar")]


@aten(*_COMPARISONS)
def compare(call: Call, x: Operand, y: Operand | Number) -> Expr:
    """Whether x is less than y, and so on, in the dtype to which torch promotes both."""
    dtype = torch.result_type(_sample(x), _sample(y))
    return GeneralFunction(call.whole(x, dtype), call.whole(y, dtype), spec=Binary(call.operator.split(".")[1]))


@aten(
    "aten.logical_and.default",
    "aten.logical_or.default",
    "aten.logical_xor.default",
    "aten.bitwise_and.Tensor",
    "aten.bitwise_or.Tensor",
    "aten.bitwise_xor.Tensor",
    "aten.bitwise_and.Scalar",
    "aten.bitwise_or.Scalar",
    "aten.bitwise_xor.Scalar",
)
def logic(call: Call, x: Operand, y: Operand | Number) -> Expr:
    """And, or, exclusive or: of bits, or of whether values differ from 0."""
    operation = call.operator.split(".")[1].removeprefix("logical_").removeprefix("bitwise_")
    if "logical" in call.operator:
        values = [expand(truth(value), call.shape) for value in (x, y) if isinstance(value, Operand)]
    else:
        values = [call.whole(value) for value in (x, y)]
    return GeneralFunction(*values, spec=Binary(f"bitwise_{operation}"))


@aten("aten.logical_not.default", "aten.bitwise_not.default")
def negation(call: Call, x: Operand) -> Expr:
    """Not."""
    if x.dtype == torch.bool or "logical" in call.operator:
        return GeneralFunction(x.expr, Scalar(0, x.shape), spec=Binary("eq"))
    return GeneralFunction(x.expr, Scalar(-1, x.shape), spec=Binary("bitwise_xor"))


@aten("aten.where.self")
def where(call: Call, condition: Operand, x: Operand | Number, y: Operand | Number) -> Expr:
    """x where the condition holds, else y."""
    return GeneralFunction(expand(truth(condition), call.shape), call.whole(x), call.whole(y), spec=Where())


@aten("aten.masked_fill.Scalar", "aten.masked_fill.Tensor", keep=True)
def masked_fill(call: Call, x: Operand, mask: Operand, value: Operand | Number) -> Expr:
    """The value where the mask holds, else x."""
    return where(call, mask, value, x)


@aten("aten.isnan.default", "aten.isinf.default")
def finiteness(call: Call, x: Operand) -> Expr:
    """Whether a number is NaN, or infinite."""
    if "isnan" in call.operator or not x.dtype.is_floating_point:
        return GeneralFunction(x.expr, x.expr, spec=Binary("ne"))
    return GeneralFunction(elementwise("abs", x.expr), Scalar(float("inf"), x.shape), spec=Binary("eq"))


def truth(value: Operand) -> Expr:
    """Whether each number differs from 0."""
    if value.dtype == torch.bool:
        return value.expr
    return GeneralFunction(value.expr, Scalar(0, value.shape), spec=Binary("ne"))


def _sample(value: Operand | Number) -> torch.Tensor | Number:
    """What `torch.result_type` takes for it: whether it has axes matters, its size does not."""
    return torch.empty((1,) * value.ndim, dtype=value.dtype) if isinstance(value, Operand) else value
