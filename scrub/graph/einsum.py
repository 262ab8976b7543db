"""`Einsum`: a sum of products over named axes, with diagonals on either side.

Axes are integers, renumbered by first appearance, so that equal contractions are equal nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch

from scrub.graph.array import Array
from scrub.graph.contract import contract, contraction_flops, place_on_diagonal
from scrub.graph.errors import ConstructionError, ShapeError
from scrub.graph.expr import AxisMap, AxisUse, Expr, Shape
from scrub.graph.registry import node
from scrub.graph.rules import common_dtype, to_common_dtype
from scrub.graph.sizes import Size, mismatch_hint

Axes = tuple[int, ...]


@node
class Einsum(Expr):
    """Product of the operands, summed over the axes that are not in `out_axes`.

    Args:
        operands: pairs (expression, axes); an axis twice in one operand takes the diagonal.
        out_axes: axes of the result; an axis twice embeds on the diagonal. Sizes must agree exactly.

    >>> import torch
    >>> w, x = Array(torch.ones(4, 3), "w"), Array(torch.arange(3.0), "x")
    >>> Einsum((w, (0, 1)), (x, (1,)), out_axes=(0,)).evaluate()
    tensor([3., 3., 3., 3.])
    """

    __slots__ = ()
    infix = True

    def __new__(cls, *operands: tuple[Expr, Sequence[int]], out_axes: Sequence[int], name: str | None = None) -> Self:
        for operand in operands:
            if not (isinstance(operand, tuple) and len(operand) == 2 and isinstance(operand[0], Expr)):  # pyright: ignore[reportUnnecessaryIsInstance, reportUnnecessaryComparison]
                raise ConstructionError(
                    f"Einsum {name!r}: each operand is a pair (expression, axes), not {operand!r}",
                    hint="Einsum((x, (0, 1)), (y, (1,)), out_axes=(0,)), or Einsum.from_string('ab,b->a', x, y)",
                )
        number: dict[int, int] = {}
        in_axes = tuple(tuple(number.setdefault(a, len(number)) for a in axes) for _, axes in operands)
        unknown = [a for a in out_axes if a not in number]
        if unknown:
            raise ConstructionError(
                f"Einsum {name!r}: output axis {unknown[0]} is in no operand",
                nodes=[operand for operand, _ in operands],
                axis=unknown[0],
                hint="Rearrange repeats along new axes",
            )
        return cls.make(tuple(operand for operand, _ in operands), (in_axes, tuple(number[a] for a in out_axes)), name)

    @classmethod
    def from_string(cls, spec: str, *operands: Expr, name: str | None = None) -> Self:
        """From "ab,bc->ac", or with spaces between longer axis names: "pos d, d e -> pos e"."""
        left, arrow, right = spec.partition("->")
        terms = left.split(",") if left.strip() or operands else []
        if not arrow or len(terms) != len(operands):
            raise ConstructionError(
                f"Einsum {name!r}: {spec!r} is for {len(terms)} operands, {len(operands)} were given",
                nodes=operands,
                expected=len(terms),
                found=len(operands),
            )
        # "ab,bc -> ac" is short axis names with room around the arrow; "pos -> pos" is one long name a term
        fits_letters = all(len(term.strip()) == operand.ndim for term, operand in zip(terms, operands, strict=True))
        has_inner_space = any(" " in part.strip() for part in (*terms, right))
        is_spaced = has_inner_space or (" -> " in spec and not fits_letters)
        number: dict[str, int] = {}

        def axes(term: str) -> Axes:
            names = term.split() if is_spaced else list(term.strip())
            if not all(re.fullmatch(r"\w+", axis) for axis in names):
                raise ConstructionError(f"Einsum {name!r}: malformed term {term!r} in {spec!r}", found=term)
            return tuple(number.setdefault(axis, len(number)) for axis in names)

        pairs = [(operand, axes(term)) for operand, term in zip(operands, terms, strict=True)]
        return cls(*pairs, out_axes=axes(right), name=name)

    @property
    def in_axes(self) -> tuple[Axes, ...]:
        """Axes of each operand."""
        return self.params[0]

    @property
    def out_axes(self) -> Axes:
        """Axes of the result."""
        return self.params[1]

    @property
    def operands(self) -> tuple[tuple[Expr, Axes], ...]:
        """Pairs (expression, axes), as given to the constructor."""
        return tuple(zip(self.children, self.in_axes, strict=True))

    @classmethod
    def infer(
        cls, children: tuple[Expr, ...], params: tuple[Any, ...], name: str | None
    ) -> tuple[Shape, torch.dtype | None]:
        in_axes, out_axes = params
        size: dict[int, Size] = {}
        source: dict[int, int] = {}
        for i, (child, axes) in enumerate(zip(children, in_axes, strict=True)):
            if len(axes) != child.ndim:
                raise ShapeError(
                    f"Einsum {name!r}: argument {i} has {child.ndim} axes, the spec {_text(in_axes, out_axes)!r} "
                    f"gives it {len(axes)}",
                    nodes=[child],
                    expected=len(axes),
                    found=child.ndim,
                )
            for axis, n in zip(axes, child.shape, strict=True):
                if size.setdefault(axis, n) != n:
                    j = source[axis]
                    named = _axis_name(child, axes, axis) or _axis_name(children[j], in_axes[j], axis)
                    raise ShapeError(
                        f"Einsum {name!r}: axis {_letter(axis)!r} of {_text(in_axes, out_axes)!r} is {size[axis]} in "
                        f"argument {j} ({_label(children[j])}) but {n} in argument {i} ({_label(child)})"
                        + (f" (axis {named!r})" if named else ""),
                        nodes=[children[j], child],
                        axis=_letter(axis),
                        expected=size[axis],
                        found=n,
                        hint=mismatch_hint((size[axis], n), _transposition_hint(children, in_axes, out_axes, i, size)),
                    )
                source.setdefault(axis, i)
        return tuple(size[axis] for axis in out_axes), common_dtype(f"Einsum {name!r}", children)

    def axis_map(self) -> AxisMap:
        position = {axis: i for i, axis in enumerate(self.out_axes) if self.out_axes.count(axis) == 1}
        return tuple(
            tuple(
                AxisUse.REDUCED
                if axis not in self.out_axes
                else position.get(axis, AxisUse.MIXED)
                if axes.count(axis) == 1
                else AxisUse.MIXED
                for axis in axes
            )
            for axes in self.in_axes
        )

    def batched(self, children: tuple[Expr, ...], ranks: tuple[int, ...], batch: Shape) -> Expr:
        first = 1 + max((axis for axes in self.in_axes for axis in axes), default=-1)
        extra = tuple(range(first, first + len(batch)))
        pairs = [
            (child, extra[len(batch) - rank :] + axes)
            for child, rank, axes in zip(children, ranks, self.in_axes, strict=True)
        ]
        return Einsum(*pairs, out_axes=extra + self.out_axes, name=self.name)

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        operands = to_common_dtype(f"Einsum {self.name!r}", values, self.dtype)
        unique_out = tuple(dict.fromkeys(self.out_axes))
        if not operands:
            return torch.ones((), dtype=torch.float64)
        return place_on_diagonal(contract(operands, self.in_axes, unique_out), unique_out, self.out_axes)

    def flops(self) -> int:
        return contraction_flops([child.shape for child in self.children], self.in_axes, self.out_axes)

    def param_text(self) -> str:
        return _text(self.in_axes, self.out_axes)

    def derived_name(self, names: Sequence[str]) -> str:
        return " * ".join(names) if names else "1"

    @classmethod
    def examples(cls) -> Iterator[Expr]:
        x = Array(torch.arange(6.0).reshape(2, 3), "x")
        w = Array(torch.arange(12.0).reshape(3, 4), "w")
        square = Array(torch.arange(9.0).reshape(3, 3), "square")
        yield cls.from_string("ab,bc->ac", x, w, name="product")
        yield cls.from_string("pos d, d e, pos d -> e", x, w, x)
        yield cls.from_string("aa->", square, name="trace")
        yield cls.from_string("aa->aa", square, name="diagonal kept")
        yield cls.from_string("a->aa", Array(torch.tensor([1, 2, 3])), name="diagonal")
        yield cls(out_axes=())


def _letter(axis: int) -> str:
    return chr(ord("a") + axis) if axis < 26 else f"x{axis}"


def _axis_name(operand: Expr, axes: Axes, axis: int) -> str | None:
    return operand.axis_names[axes.index(axis)]


def _label(expr: Expr) -> str:
    return repr(expr.name) if expr.name is not None else repr(expr)


def _text(in_axes: Sequence[Axes], out_axes: Axes) -> str:
    wide = any(axis >= 26 for axes in in_axes for axis in axes)
    glue = " " if wide else ""
    return ",".join(glue.join(map(_letter, axes)) for axes in in_axes) + "->" + glue.join(map(_letter, out_axes))


def _transposition_hint(
    children: Sequence[Expr], in_axes: Sequence[Axes], out_axes: Axes, at: int, size: dict[int, Size]
) -> str:
    axes = in_axes[at]
    expected = [size.get(axis, n) for axis, n in zip(axes, children[at].shape, strict=True)]
    if len(axes) == 2 and tuple(reversed(children[at].shape)) == tuple(
        size.get(axis, other) for axis, other in zip(axes, reversed(children[at].shape), strict=True)
    ):
        swapped = [*in_axes[:at], axes[::-1], *in_axes[at + 1 :]]
        return f"transposed, argument {at} fits: {_text(swapped, out_axes)!r}"
    return f"sizes must agree exactly, 1 does not broadcast; argument {at} would fit with shape {expected}"
