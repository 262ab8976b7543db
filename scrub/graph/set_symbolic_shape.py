"""`SetSymbolicShape`: a claim about sizes, and names for axes of inner nodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch

from scrub.graph.array import Array
from scrub.graph.axis_names import AxisNames, as_axis_names, axis_text, carried_names
from scrub.graph.errors import ShapeError
from scrub.graph.expr import AxisMap, AxisUse, Expr
from scrub.graph.fluent import provide
from scrub.graph.registry import node
from scrub.graph.scalar import Scalar
from scrub.graph.sizes import Shape, Size, as_size, is_surely_less
from scrub.graph.symbol import Symbol


@node
class SetSymbolicShape(Expr):
    """The value of `expr`, whose sizes are said to be those of `shape`.

    Two symbolic sizes that are not written alike count as different; where they are meant to be equal, this says so.
    Sizes that are known must agree at once, others as soon as they are known.

    Args:
        expr: whose sizes the claim is about.
        shape: one size an axis; None leaves an axis as it is.
        axis_names: one name an axis; None leaves the name that the axis has, if any.

    Raises:
        ShapeError: two known sizes differ, or the number of axes does.

    >>> from scrub.graph.sizes import symbolic_sizes
    >>> d_model, n_heads, d_head = symbolic_sizes("d_model n_heads d_head")
    >>> SetSymbolicShape(Symbol.new_from_name((3, d_model), "x"), (None, n_heads * d_head)).shape
    (3, d_head*n_heads)
    """

    __slots__ = ()
    axis_names_at = 1
    sizes_at = (0,)

    def __new__(
        cls,
        expr: Expr,
        shape: Sequence[Size | None],
        name: str | None = None,
        *,
        axis_names: Sequence[str | None] | None = None,
    ) -> Self:
        claimed = tuple(None if size is None else as_size(size) for size in shape)
        return cls.make((expr,), (claimed, *as_axis_names(f"SetSymbolicShape {name!r}", axis_names, expr.ndim)), name)

    @property
    def claimed(self) -> tuple[Size | None, ...]:
        """The sizes that are claimed; None where nothing is."""
        return self.params[0]

    @property
    def given_names(self) -> AxisNames:
        """The names of axes that this node gives; None where it gives none."""
        return self.params[1] if len(self.params) > 1 else (None,) * self.ndim

    @classmethod
    def infer(
        cls, children: tuple[Expr, ...], params: tuple[Any, ...], name: str | None
    ) -> tuple[Shape, torch.dtype | None]:
        (child,), claimed = children, params[0]
        if len(claimed) != child.ndim:
            raise ShapeError(
                f"SetSymbolicShape {name!r}: {len(claimed)} sizes for {child.ndim} axes",
                nodes=[child],
                expected=child.ndim,
                found=len(claimed),
                hint="one size an axis; None leaves an axis as it is",
            )
        shape = tuple(own if said is None else said for own, said in zip(child.shape, claimed, strict=True))
        for axis, (own, said) in enumerate(zip(child.shape, shape, strict=True)):
            if own != said and (is_surely_less(own, said) or is_surely_less(said, own)):
                raise ShapeError(
                    f"SetSymbolicShape {name!r}: {axis_text(child, axis)} of {child!r} is {own}, not {said}",
                    nodes=[child],
                    axis=axis,
                    expected=said,
                    found=own,
                    hint="change the claim, or what has that size",
                )
        return shape, child.dtype

    def axis_map(self) -> AxisMap:
        return (tuple(axis if said is None else AxisUse.FIXED for axis, said in enumerate(self.claimed)),)

    def name_map(self) -> AxisMap:
        return (tuple(range(self.ndim)),)

    def infer_axis_names(self) -> AxisNames | None:
        carried = carried_names(self) or (None,) * self.ndim
        return tuple(own or below for own, below in zip(self.given_names, carried, strict=True))

    def batched(self, children: tuple[Expr, ...], ranks: tuple[int, ...], batch: Shape) -> Expr:
        params = tuple((None,) * ranks[0] + param for param in self.params)
        return SetSymbolicShape.make(children, params, self.name)

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        return values[0]

    def derived_name(self, names: Sequence[str]) -> str:
        return names[0]

    @classmethod
    def examples(cls) -> Iterator[Expr]:
        x = Array(torch.arange(6.0).reshape(2, 3), "x")
        yield cls(x, (None, 3), name="x of known shape")
        yield cls(x, (None, None), axis_names=("pos", None))
        yield cls(Array(torch.tensor(1.5)), ())


@provide
def with_axis_names(expr: Expr, axis_names: Sequence[str | None]) -> Expr:
    """The expression with names for its axes: a leaf is made anew, around anything else comes a `SetSymbolicShape`.

    Args:
        expr: whose axes to name.
        axis_names: one an axis. None leaves an inner node's axis the name that it has from its children, if any.

    >>> Scalar(1.0, (2, 3)).with_axis_names(["pos", None])
    1.0 [pos:2, 3] Scalar 1.0
    """
    if isinstance(expr, Array):
        return Array(expr.frozen, expr.name, axis_names=axis_names)
    if isinstance(expr, Scalar):
        return Scalar(expr.value, expr.shape, expr.name, axis_names=axis_names)
    if isinstance(expr, Symbol):
        return Symbol(expr.shape, expr.uuid, expr.name, axis_names=axis_names)
    claimed: Sequence[Size | None] = (None,) * expr.ndim
    if isinstance(expr, SetSymbolicShape):
        child, claimed = expr.children[0], expr.claimed
        return SetSymbolicShape(child, claimed, expr.name, axis_names=axis_names)
    return SetSymbolicShape(expr, claimed, axis_names=axis_names)
