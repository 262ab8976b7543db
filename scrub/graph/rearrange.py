"""`Rearrange`: permute, split, merge, insert, drop size-1 axes and repeat; never sums (einops' "repeat" semantics).

Internally every elementary axis has a number. Each side of the spec is a tuple of groups of numbers, one group per
tensor axis; an empty group is an axis of size 1. Numbers that stand on the right only are repeats.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import torch

from scrub.graph.array import Array
from scrub.graph.errors import ConstructionError, ShapeError
from scrub.graph.expr import AxisMap, AxisUse, Expr, Shape
from scrub.graph.registry import node
from scrub.graph.sizes import Size, as_size, mismatch_hint, product, quotient

Groups = tuple[tuple[int, ...], ...]
_TOKEN = re.compile(r"\(|\)|[^\s()]+")


@node
class Rearrange(Expr):
    """Rearranged axes, after an einops-like spec.

    Args:
        expr: what to rearrange.
        spec: for example "a (b c) -> c b a", "a 1 -> a", "a -> a 10".
        sizes: sizes of elementary axes that the shape does not decide, ints or symbolic.

    >>> Rearrange(Array(torch.zeros(2, 6)), "a (b c) -> c b a", b=2).shape
    (3, 2, 2)
    """

    __slots__ = ()
    sizes_at = (2,)

    def __new__(cls, expr: Expr, spec: str, name: str | None = None, **sizes: Size) -> Self:
        left, right, known = _parse(spec, sizes)
        return cls.from_groups(expr, left, right, known, name=name)

    @classmethod
    def from_groups(
        cls, expr: Expr, left: Groups, right: Groups, sizes: Mapping[int, Size], name: str | None = None
    ) -> Self:
        """The same from groups of axis numbers; `sizes` of what neither the shape nor a single-axis group decides."""
        order = list(dict.fromkeys(axis for group in (*left, *right) for axis in group))
        number = {axis: index for index, axis in enumerate(order)}
        alone = {group[0] for group in left if len(group) == 1}
        kept = tuple(None if axis in alone else sizes.get(axis) for axis in order)
        for axis in alone:
            size = sizes.get(axis)
            position = left.index((axis,))
            if size is not None and position < expr.ndim and expr.shape[position] != size:
                raise ShapeError(
                    f"Rearrange {name!r}: axis {position} is {expr.shape[position]}, the spec says {size}",
                    nodes=[expr],
                    axis=position,
                    expected=size,
                    found=expr.shape[position],
                )
        params = (_renumber(left, number), _renumber(right, number), kept)
        return cls.make((expr,), params, name)

    @property
    def left(self) -> Groups:
        """Groups of elementary axes that make up each axis of the child."""
        return self.params[0]

    @property
    def right(self) -> Groups:
        """Groups that make up each axis of the result."""
        return self.params[1]

    @property
    def sizes(self) -> tuple[Size | None, ...]:
        """Size of each elementary axis that the child's shape does not decide."""
        return self.params[2]

    @classmethod
    def infer(
        cls, children: tuple[Expr, ...], params: tuple[Any, ...], name: str | None
    ) -> tuple[Shape, torch.dtype | None]:
        sizes = _solve(f"Rearrange {name!r}", children[0], params)
        right: Groups = params[1]
        return tuple(product([sizes[axis] for axis in group]) for group in right), children[0].dtype

    def axis_map(self) -> AxisMap:
        return (
            tuple(
                AxisUse.FIXED if not group else self.right.index(group) if group in self.right else AxisUse.MIXED
                for group in self.left
            ),
        )

    def batched(self, children: tuple[Expr, ...], ranks: tuple[int, ...], batch: Shape) -> Expr:
        base = len(self.sizes)
        extra = tuple((base + i,) for i in range(ranks[0]))
        sizes = {axis: size for axis, size in enumerate(self.sizes) if size is not None}
        return Rearrange.from_groups(children[0], extra + self.left, extra + self.right, sizes, name=self.name)

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        sizes = _solve(f"Rearrange {self.name!r}", self.children[0], self.params)
        on_left = [axis for group in self.left for axis in group]
        on_right = [axis for group in self.right for axis in group]
        split = values[0].reshape([sizes[axis] for axis in on_left])
        permuted = split.permute([on_left.index(axis) for axis in on_right if axis in on_left])
        for position, axis in enumerate(on_right):
            if axis not in on_left:
                permuted = permuted.unsqueeze(position)
        return permuted.expand([sizes[axis] for axis in on_right]).reshape(self.shape)

    def param_text(self) -> str:
        return f"{_side(self.left)} -> {_side(self.right)}"

    def derived_name(self, names: Sequence[str]) -> str:
        return f"rearrange({names[0]})"

    @classmethod
    def examples(cls) -> Iterator[Expr]:
        x = Array(torch.arange(12.0).reshape(2, 6), "x")
        yield cls(x, "a b -> b a", name="transposed")
        yield cls(x, "a (b c) -> c b a", b=2)
        yield cls(x, "a b -> a 1 b 4")
        yield cls(Array(torch.ones(3, 1)), "a 1 -> a")
        yield cls(x, "a b -> (b a)")


def insert_axes(expr: Expr, *, at: int, count: int) -> Expr:
    """`expr` with `count` axes of size 1 in front of axis `at`; itself if count is 0."""
    if count == 0:
        return expr
    left = tuple((axis,) for axis in range(expr.ndim))
    return Rearrange.from_groups(expr, left, left[:at] + ((),) * count + left[at:], {})


def repeat_axes(expr: Expr, shape: Shape, *, at: int = 0) -> Expr:
    """`expr` repeated along new axes of that shape in front of axis `at`; itself if there are none."""
    if not shape:
        return expr
    left = tuple((axis,) for axis in range(expr.ndim))
    new = tuple((expr.ndim + i,) for i in range(len(shape)))
    sizes = {expr.ndim + i: size for i, size in enumerate(shape)}
    return Rearrange.from_groups(expr, left, left[:at] + new + left[at:], sizes)


def _renumber(groups: Groups, number: Mapping[int, int]) -> Groups:
    return tuple(tuple(number[axis] for axis in group) for group in groups)


def _parse(spec: str, sizes: Mapping[str, Size]) -> tuple[Groups, Groups, dict[int, Size]]:
    sides = spec.split("->")
    if len(sides) != 2:
        raise ConstructionError(f"Rearrange: {spec!r} needs one '->'", found=spec, hint="for example 'a b -> b a'")
    numbers: dict[str, int] = {}
    known: dict[int, Size] = {}
    parsed: list[Groups] = []
    for is_right, side in enumerate(sides):
        groups: list[tuple[int, ...]] = []
        depth = 0
        for token in _TOKEN.findall(side):
            if token in "()":
                depth += 1 if token == "(" else -1
                if depth not in (0, 1):
                    raise ConstructionError(f"Rearrange: unbalanced or nested parentheses in {spec!r}", found=spec)
                if token == "(":
                    groups.append(())
                continue
            if token.isdigit():
                if int(token) == 1:
                    elementary: tuple[int, ...] = ()
                else:
                    key = f"{token}@{len(numbers)}"  # no two are the same axis
                    elementary = (numbers.setdefault(key, len(numbers)),)
                    known[elementary[0]] = int(token)
                    if not is_right:
                        raise ConstructionError(
                            f"Rearrange: {spec!r} would drop an axis of size {token}",
                            found=token,
                            hint="only axes of size 1 can be dropped; name it to keep it, or use Index or Einsum",
                        )
            elif token.isidentifier():
                elementary = (numbers.setdefault(token, len(numbers)),)
            else:
                raise ConstructionError(f"Rearrange: {token!r} in {spec!r} is not an axis name", found=token)
            if depth:
                groups[-1] += elementary
            else:
                groups.append(elementary)
        if depth:
            raise ConstructionError(f"Rearrange: unbalanced parentheses in {spec!r}", found=spec)
        parsed.append(tuple(groups))
    for axis_name, size in sizes.items():
        if axis_name not in numbers:
            raise ConstructionError(f"Rearrange: {spec!r} has no axis {axis_name!r}", found=axis_name)
        known[numbers[axis_name]] = as_size(size)
    return parsed[0], parsed[1], known


def _solve(what: str, child: Expr, params: tuple[Any, ...]) -> list[Size]:
    """Size of every elementary axis, or the error that says what does not fit."""
    left: Groups = params[0]
    right: Groups = params[1]
    text = f"{_side(left)} -> {_side(right)}"
    if len(left) != child.ndim:
        raise ShapeError(
            f"{what}: {text!r} is for {len(left)} axes, {child!r} has {child.ndim}",
            nodes=[child],
            expected=len(left),
            found=child.ndim,
        )
    for side in (left, right):
        flat = [axis for group in side for axis in group]
        if len(flat) != len(set(flat)):
            raise ConstructionError(f"{what}: an axis stands twice on one side of {text!r}", hint="Einsum does this")
    solved: list[Size | None] = list(params[2])
    for position, (group, size) in enumerate(zip(left, child.shape, strict=True)):
        if len(group) == 1 and solved[group[0]] is None:
            solved[group[0]] = size
            continue
        unknown = [axis for axis in group if solved[axis] is None]
        rest = product(solved[axis] for axis in group if solved[axis] is not None)
        if len(unknown) > 1 or (unknown and rest == 0):
            raise ShapeError(f"{what}: sizes of axis {position} in {text!r} are not decided", axis=position)
        if unknown:
            solved[unknown[0]] = quotient(size, rest)
        if product(solved[axis] for axis in group) != size:
            raise ShapeError(
                f"{what}: axis {position} of {child!r} is {size}, which {text!r} cannot split",
                nodes=[child],
                axis=position,
                expected=f"a multiple of {rest}" if group else 1,
                found=size,
                hint=mismatch_hint(
                    (size, rest), "give sizes whose product is that of the axis; an axis of size 1 is written 1"
                ),
            )
    on_right = {axis for group in right for axis in group}
    for axis, size in enumerate(solved):
        if size is None:
            raise ShapeError(f"{what}: the size of repeated axis {_letter(axis)!r} in {text!r} is not given")
        if axis not in on_right:
            raise ConstructionError(
                f"{what}: {text!r} drops axis {_letter(axis)!r}", hint="Einsum sums axes, Index picks from them"
            )
    return [size for size in solved if size is not None]


def _letter(axis: int) -> str:
    return chr(ord("a") + axis) if axis < 26 else f"x{axis}"


def _side(groups: Groups) -> str:
    return " ".join(
        "1" if not group else _letter(group[0]) if len(group) == 1 else f"({' '.join(map(_letter, group))})"
        for group in groups
    )
