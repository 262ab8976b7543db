"""Rules of `simplify` that start at an operation about batch axes."""

from __future__ import annotations

from scrub.compiler.ops import Picked, Rearranged, Run, Sibling, Stacked, ToBatch, ToCore
from scrub.compiler.passes.simplifying import Found, Rule, Simplifying
from scrub.compiler.values import Value


def batch_axis_of_one(s: Simplifying, op: ToBatch, args: tuple[Value, ...]) -> Found:
    """A batch axis of size 1 is none: what takes part in it broadcasts by itself."""
    return (Picked((0, *(None,) * (len(args[0].shape) - 1))), args) if op.axis.size == 1 else None


def batch_axis_of_itself(s: Simplifying, op: ToBatch, args: tuple[Value, ...]) -> Found:
    """A batch axis made a core axis and back."""
    inner = args[0].op
    if isinstance(inner, ToCore) and inner.axis == op.axis and op.axis in args[0].args[0].axes:
        return args[0].args[0]
    return None


def core_axis_of_itself(s: Simplifying, op: ToCore, args: tuple[Value, ...]) -> Found:
    """A core axis made a batch axis and back."""
    inner = args[0].op
    return args[0].args[0] if isinstance(inner, ToBatch) and inner.axis == op.axis else None


def core_axis_of_nothing(s: Simplifying, op: ToCore, args: tuple[Value, ...]) -> Found:
    """A core axis made of a batch axis of size 1 that is none any more, see `batch_axis_of_one`."""
    if op.axis.size != 1 or op.axis in args[0].axes:
        return None
    left = tuple((i,) for i in range(len(args[0].shape)))
    return Rearranged(left, ((), *left), args[0].shape), args


def position_along_nothing(s: Simplifying, op: Sibling, args: tuple[Value, ...]) -> Found:
    """A position along a batch axis of size 1 that is none any more, see `batch_axis_of_one`."""
    return args[0] if op.axis not in args[0].axes else None


def stacked_of_nothing(s: Simplifying, op: Stacked, args: tuple[Value, ...]) -> Found:
    """One argument side by side with none; one that is no run any more, see `batch_axis_of_one`."""
    there = tuple(
        run if run.axis is None or run.axis in arg.axes else Run() for run, arg in zip(op.runs, args, strict=True)
    )
    if op.axis.size == 1 and there == (Run(),):
        return args[0]
    return None if there == op.runs else (Stacked(op.axis, there), args)


TO_BATCH_RULES: tuple[Rule, ...] = (batch_axis_of_itself, batch_axis_of_one)
TO_CORE_RULES: tuple[Rule, ...] = (core_axis_of_itself, core_axis_of_nothing)
SIBLING_RULES: tuple[Rule, ...] = (position_along_nothing,)
STACKED_RULES: tuple[Rule, ...] = (stacked_of_nothing,)
