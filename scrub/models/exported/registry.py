"""The registry of ATen operators: what each one becomes as an expression. A user's operator registers alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from scrub.graph import ConstructionError, Expr
from scrub.graph.functions.base import is_same_code

Lowering = Callable[..., "Expr | tuple[Expr | None, ...]"]
L = TypeVar("L", bound=Lowering)

ATEN: dict[str, Lowering] = {}
"""Operator ("aten.add.Tensor") -> the function that lowers a call of it."""

KEPT: set[str] = set()
"""Operators that are lowered as they are, though torch would decompose them into smaller ones."""


def aten(*operators: str, keep: bool = False) -> Callable[[L], L]:
    """Register the lowering of one or more operators of torch.

    The decorated function takes a `Call` and then the operator's own arguments, those of its schema: tensors as
    `Operand`s, everything else as it is. It returns the expression of the result, of the shape that `call.shape` says,
    or a tuple of expressions where the operator has several results (None for one that is not supported).

    Args:
        operators: as `torch.export` prints them: "aten.add.Tensor", "my_library.my_op.default".
        keep: torch knows a decomposition of the operator, but it is to be lowered whole.

    Raises:
        ConstructionError: a name is not written that way, or another function is registered for it.

    >>> import torch
    >>> from scrub.graph import elementwise
    >>> from scrub.models.exported import Call, Operand
    >>> @aten("my_library.swish.default")
    ... def swish(call: Call, x: Operand) -> Expr:
    ...     return elementwise("silu", x.expr)
    >>> sorted(name for name in ATEN if name.startswith("my_library"))
    ['my_library.swish.default']
    >>> del ATEN["my_library.swish.default"]
    """
    for name in operators:
        if name.count(".") != 2:
            raise ConstructionError(
                f"aten: {name!r} is no operator with its overload",
                expected="library.operator.overload",
                found=name,
                hint='for example "aten.add.Tensor"; an operator without overloads has "default"',
            )

    def register(lowering: L) -> L:
        for name in operators:
            known = ATEN.get(name)
            if known is not None and not is_same_code(known, lowering):  # running a notebook cell twice is fine
                raise ConstructionError(
                    f"aten: {name!r} is registered already, by {known.__module__}.{known.__qualname__}",
                    found=name,
                    hint="del scrub.models.exported.ATEN[name] first, to replace it",
                )
            ATEN[name] = lowering
            if keep:
                KEPT.add(name)
        return lowering

    return register


def operator_name(target: Any) -> str:
    """What an operator is called in the registry: `torch.ops.aten.add.Tensor` is "aten.add.Tensor".

    >>> import torch
    >>> operator_name(torch.ops.aten.add.Tensor)
    'aten.add.Tensor'
    """
    import torch

    if isinstance(target, torch._ops.OpOverload):  # pyright: ignore[reportPrivateUsage]
        return str(target)  # pyright: ignore[reportUnknownArgumentType]
    name = getattr(target, "__name__", None)
    if isinstance(target, torch._ops.HigherOrderOperator):  # pyright: ignore[reportPrivateUsage]
        return f"higher_order.{name}.default"
    return f"python.{name or target}.default"
