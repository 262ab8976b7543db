"""What the lowering of an operator is given: its tensors as `Operand`s, and the `Call` that says what must come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from scrub.graph import Array, CheckpointError, Expr, Rearrange, Scalar, cast_to
from scrub.models.exported.axes import expand, ints

Number = int | float | bool


class Operand:
    """A tensor argument: an expression, or a tensor that is known when the model is exported (a mask, positions).

    Attributes:
        dtype: torch's; an expression of symbols does not know its own.
        constant: the tensor, where it is known.
        name: of the expression, where a tensor is known.
    """

    __slots__ = ("_expr", "constant", "dtype", "name", "shape")

    def __init__(
        self, expr: Expr | None, dtype: torch.dtype, constant: torch.Tensor | None = None, name: str | None = None
    ) -> None:
        if expr is None:
            assert constant is not None
            shape: tuple[int, ...] = tuple(constant.shape)
        else:
            shape = ints(expr.shape)
        self.shape = shape
        self.dtype = dtype
        self.constant = constant
        self.name = name
        self._expr = expr

    @property
    def expr(self) -> Expr:
        """The expression; of a known tensor an `Array`, or a `Scalar` where it is one floating number everywhere."""
        if self._expr is None:
            assert self.constant is not None
            self._expr = constant_expr(self.constant, self.name)
        return self._expr

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)


@dataclass(frozen=True)
class Call:
    """One call of an operator in an exported program.

    Attributes:
        operator: "aten.add.Tensor".
        name: of the node in the expression, for the names of inner nodes: `call.named("scores")`.
        shapes, dtypes: of the results, in order.
    """

    operator: str
    name: str
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[torch.dtype, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the result, or the first one."""
        return self.shapes[0]

    @property
    def dtype(self) -> torch.dtype:
        """Of the result, or the first one."""
        return self.dtypes[0]

    def named(self, part: str) -> str:
        """Name of an inner node."""
        return f"{self.name}.{part}"

    def operand(self, value: Operand | Number, dtype: torch.dtype | None = None) -> Expr:
        """The value as an expression of that dtype (by default of the result's), as torch promotes arguments.

        >>> call = Call("aten.add.Tensor", "add", ((2,),), (torch.float32,))
        >>> call.operand(Operand(None, torch.int64, torch.tensor(2)))
        2.0 [] Scalar 2.0
        """
        dtype = self.dtype if dtype is None else dtype
        if not isinstance(value, Operand):
            return Scalar(float(value) if dtype.is_floating_point else int(value))
        if value.dtype == dtype:
            return value.expr
        if value.constant is not None:
            return constant_expr(value.constant.to(dtype), value.name)
        return cast_to(value.expr, dtype)

    def factor(self, value: Operand | Number, dtype: torch.dtype | None = None) -> Expr:
        """The same for where shapes are broadcast: of a known tensor, 1 for the size of axes along which it repeats."""
        dtype = self.dtype if dtype is None else dtype
        if isinstance(value, Operand) and value.constant is not None:
            return constant_expr(small(value.constant).to(dtype), value.name)
        return self.operand(value, dtype)

    def whole(self, value: Operand | Number, dtype: torch.dtype | None = None) -> Expr:
        """The same, expanded to the shape of the result."""
        return expand(self.operand(value, dtype), self.shape)


def constant_expr(value: torch.Tensor, name: str | None = None) -> Expr:
    """A known tensor as an expression that holds each number once: axes along which it repeats are repeated.

    >>> constant_expr(torch.zeros(2, 3))
    0.0 [2, 3] Scalar 0.0
    >>> constant_expr(torch.arange(3).expand(2, 3), "positions").children
    ('positions' [3] Array ...,)
    """
    shape = tuple(value.shape)
    if value.dtype.is_floating_point and is_uniform(value):
        return Scalar(float(value.reshape(-1)[0]), shape, name)
    once = small(value)
    repeated = [axis for axis in range(value.ndim) if once.shape[axis] != shape[axis]]
    if not repeated:
        return Array(value, name)
    picked = once[tuple(0 if axis in repeated else slice(None) for axis in range(value.ndim))]
    every = tuple((axis,) for axis in range(value.ndim))
    kept = tuple((axis,) for axis in range(value.ndim) if axis not in repeated)
    return Rearrange.from_groups(
        Array(picked.contiguous(), name), kept, every, {axis: shape[axis] for axis in repeated}
    )


def small(value: torch.Tensor) -> torch.Tensor:
    """A tensor with size 1 in place of axes along which it repeats.

    >>> small(torch.tensor([[1, 2], [1, 2]])).shape
    torch.Size([1, 2])
    """
    if value.is_meta or not value.numel():
        return value
    for axis, size in enumerate(value.shape):
        first = value.narrow(axis, 0, 1)
        if size > 1 and (value.stride(axis) == 0 or bool((value == first).all())):
            value = first
    return value


def is_uniform(value: torch.Tensor) -> bool:
    """Whether a tensor is one finite number everywhere."""
    if value.is_meta or not value.numel():
        return False
    first = value.reshape(-1)[0]
    return bool(torch.isfinite(first)) and bool((value == first).all())


def axis_of(dim: int, ndim: int) -> int:
    """An axis counted from 0; torch lets 0 and -1 name the axis that a single number has not."""
    return dim % ndim if ndim else 0


def axes_of(dims: Sequence[int] | int | None, ndim: int) -> list[int]:
    """Axes counted from 0, in order; all of them for None or none."""
    if dims is None or (not isinstance(dims, int) and len(dims) == 0):
        return list(range(ndim))
    return sorted({axis_of(dim, ndim) for dim in ([dims] if isinstance(dims, int) else dims)}) if ndim else []


def no_dropout(call: Call, p: float) -> None:
    """Raise a `CheckpointError` if a module drops values in evaluation mode too."""
    if p:
        raise CheckpointError(
            f"{call.operator} ({call.name!r}) drops values with probability {p}, although this is evaluation mode",
            expected=0.0,
            found=p,
            hint="give it training=self.training, or draw the mask outside and pass it in as an argument",
        )
