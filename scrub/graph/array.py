"""`Array`: a tensor as a leaf."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch

from scrub.graph.axis_names import as_axis_names
from scrub.graph.errors import ConstructionError
from scrub.graph.expr import AxisMap, Expr, Shape
from scrub.graph.frozen_tensor import FrozenTensor
from scrub.graph.registry import node


@node
class Array(Expr):
    """A tensor. Equal to another `Array` when name, dtype, shape, content and device are equal.

    The tensor is shared with the caller, not copied; changing it in place afterwards is an error on the next use.

    >>> import torch
    >>> Array(torch.tensor([1.0, 2.0]), "x").evaluate()
    tensor([1., 2.])
    """

    __slots__ = ()
    axis_names_at = 1

    def __new__(
        cls,
        value: torch.Tensor | FrozenTensor,
        name: str | None = None,
        *,
        axis_names: Sequence[str | None] | None = None,
    ) -> Self:
        if isinstance(value, torch.Tensor):
            if value.layout is not torch.strided or value.is_quantized:
                raise ConstructionError(
                    f"Array {name!r}: expected a dense tensor, found {value.layout} of {value.dtype}",
                    expected=torch.strided,
                    found=value.layout,
                    hint="tensor.to_dense() or tensor.dequantize() makes one",
                )
            value = FrozenTensor(value)
        if not isinstance(value, FrozenTensor):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConstructionError(
                f"Array {name!r}: expected a torch.Tensor, found {type(value).__name__}",
                expected=torch.Tensor,
                found=type(value),
                hint="torch.tensor(value) makes one",
            )
        names = as_axis_names(f"Array {name!r}", axis_names, value.value.ndim) if axis_names is not None else ()
        return cls.make((), (value, *names), name)

    @classmethod
    def make(cls, children: tuple[Expr, ...], params: tuple[Any, ...], name: str | None) -> Self:
        made = super().make(children, params, name)
        made.frozen.restore(params[0])  # the node may exist already, on a tensor that was changed in place
        return made

    @property
    def frozen(self) -> FrozenTensor:
        """The tensor with its digest."""
        return self.params[0]

    @property
    def value(self) -> torch.Tensor:
        """The tensor."""
        return self.frozen.value

    @classmethod
    def infer(
        cls, children: tuple[Expr, ...], params: tuple[Any, ...], name: str | None
    ) -> tuple[Shape, torch.dtype | None]:
        value = params[0].value
        return tuple(value.shape), value.dtype

    @classmethod
    def own_device(cls, params: tuple[Any, ...]) -> torch.device | None:
        return params[0].value.device

    def axis_map(self) -> AxisMap:
        return ()

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        return self.value

    def param_text(self) -> str:
        return self.frozen.digest[:8]

    def derived_name(self, names: object) -> str:
        return f"Array {self.frozen.digest[:8]}"

    @classmethod
    def examples(cls) -> Iterator[Expr]:
        yield cls(torch.arange(6.0).reshape(2, 3), "x")
        yield cls(torch.tensor([True, False]))
        yield cls(torch.tensor(3))
        yield cls(torch.ones(2, 3), "named", axis_names=("pos", None))
