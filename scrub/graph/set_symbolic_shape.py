"""`SetSymbolicShape`: a claim about sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch

from scrub.graph.array import Array
from scrub.graph.errors import ShapeError
from scrub.graph.expr import AxisMap, AxisUse, Expr
from scrub.graph.registry import node
from scrub.graph.sizes import Shape, Size, as_size, is_surely_less


@node
class SetSymbolicShape(Expr):
    """The value of `expr`, whose sizes are said to be those of `shape`.

    Two symbolic sizes that are not written alike count as different; where they are meant to be equal, this says so.
    Sizes that are known must agree at once, others as soon as they are known.

    Args:
        expr: whose sizes the claim is about.
        shape: one size an axis; None leaves an axis as it is.

    Raises:
        ShapeError: two known sizes differ, or the number of axes does.

    >>> from scrub.graph.sizes import symbolic_sizes
    >>> from scrub.graph.symbol import Symbol
    >>> d_model, n_heads, d_head = symbolic_sizes("d_model n_heads d_head")
    >>> SetSymbolicShape(Symbol.new_from_name((3, d_model), "x"), (None, n_heads * d_head)).shape
    (3, d_head*n_heads)
    """

    __slots__ = ()
    sizes_at = (0,)

    def __new__(cls, expr: Expr, shape: Sequence[Size | None], name: str | None = None) -> Self:
        if len(shape) != expr.ndim:
            raise ShapeError(
                f"SetSymbolicShape {name!r}: {len(shape)} sizes for {expr.ndim} axes",
                nodes=[expr],
                expected=expr.ndim,
                found=len(shape),
                hint="one size an axis; None leaves an axis as it is",
            )
        sizes = tuple(own if said is None else as_size(said) for own, said in zip(expr.shape, shape, strict=True))
        return cls.make((expr,), (sizes,), name)

    @property
    def claimed(self) -> Shape:
        """The sizes that are claimed."""
        return self.params[0]

    @classmethod
    def infer(
        cls, children: tuple[Expr, ...], params: tuple[Any, ...], name: str | None
    ) -> tuple[Shape, torch.dtype | None]:
        (child,), (claimed,) = children, params
        for axis, (own, said) in enumerate(zip(child.shape, claimed, strict=True)):
            if own != said and (is_surely_less(own, said) or is_surely_less(said, own)):
                raise ShapeError(
                    f"SetSymbolicShape {name!r}: axis {axis} of {child!r} is {own}, not {said}",
                    nodes=[child],
                    axis=axis,
                    expected=said,
                    found=own,
                    hint="change the claim, or what has that size",
                )
        return claimed, child.dtype

    def axis_map(self) -> AxisMap:
        return ((AxisUse.FIXED,) * self.ndim,)

    def batched(self, children: tuple[Expr, ...], ranks: tuple[int, ...], batch: Shape) -> Expr:
        return SetSymbolicShape.make(children, (batch + self.claimed,), self.name)

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        return values[0]

    def derived_name(self, names: Sequence[str]) -> str:
        return names[0]

    @classmethod
    def examples(cls) -> Iterator[Expr]:
        x = Array(torch.arange(6.0).reshape(2, 3), "x")
        yield cls(x, (None, 3), name="x of known shape")
        yield cls(Array(torch.tensor(1.5)), ())
