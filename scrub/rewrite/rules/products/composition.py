"""Einsums of einsums as one list of operands: the contraction that they are together.

The axes of a result are those of the operand that it is. Axes that become the same, because an inner einsum has one of
its axes twice in its result or an outer one takes a diagonal of it, are merged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from scrub.graph import Einsum, Expr, postorder


@dataclass(frozen=True)
class InnerEinsum:
    """An einsum that was taken apart: which of the operands were its own, and the axes of its result."""

    einsum: Einsum
    start: int
    stop: int
    out_axes: tuple[int, ...]


@dataclass
class Composition:
    """The operands with their axes, the axes of the result, and the einsums that were taken apart."""

    operands: list[tuple[Expr, tuple[int, ...]]] = field(default_factory=list[tuple[Expr, tuple[int, ...]]])
    out_axes: tuple[int, ...] = ()
    inner: list[InnerEinsum] = field(default_factory=list[InnerEinsum])


def num_parts(root: Expr, opens: Callable[[Expr], bool]) -> int:
    """Of how many parts a node consists if all that `opens` matches is taken apart; found without doing so.

    >>> from scrub.graph import Scalar
    >>> square = Scalar(2.0).mul(Scalar(2.0))
    >>> num_parts(square.mul(square), lambda node: isinstance(node, Einsum))
    4
    """

    def is_open(node: Expr) -> bool:
        return node is root or opens(node)

    counts: dict[Expr, int] = {}
    for node in postorder([root], descend=is_open):
        counts[node] = sum(counts[child] for child in node.children) if is_open(node) else 1
    return counts[root]


def compose(einsum: Einsum, opens: Callable[[Expr], bool], *, is_deep: bool) -> Composition:
    """The composition of an einsum with the einsums among its operands.

    Args:
        einsum: the outermost einsum.
        opens: which operands to take apart; they must be einsums.
        is_deep: take apart the operands of those too, and so on.
    """
    parent: list[int] = []
    made = Composition()
    ranges: dict[int, tuple[Einsum, int, int, tuple[int, ...]]] = {}

    def new(inner: Einsum) -> dict[int, int]:
        axes = dict.fromkeys(axis for own in inner.in_axes for axis in own)
        numbers = {axis: len(parent) + i for i, axis in enumerate(axes)}
        parent.extend(numbers.values())
        return numbers

    def find(axis: int) -> int:
        while parent[axis] != axis:
            parent[axis] = parent[parent[axis]]
            axis = parent[axis]
        return axis

    outer = new(einsum)
    stack: list[tuple[Expr | int, tuple[int, ...], int]] = _entries(einsum, outer, 0)
    while stack:
        node, axes, depth = stack.pop()
        if isinstance(node, int):  # all operands of an inner einsum are done
            inner, start, _, out = ranges[node]
            ranges[node] = (inner, start, len(made.operands), out)
        elif isinstance(node, Einsum) and (is_deep or depth == 0) and opens(node):
            number = new(node)
            out = tuple(number[axis] for axis in node.out_axes)
            for own, other in zip(out, axes, strict=True):
                parent[find(own)] = find(other)
            stack.append((len(ranges), (), depth))
            ranges[len(ranges)] = (node, len(made.operands), 0, out)
            stack += _entries(node, number, depth + 1)
        else:
            made.operands.append((node, axes))
    made.operands = [(node, tuple(map(find, axes))) for node, axes in made.operands]
    made.out_axes = tuple(find(outer[axis]) for axis in einsum.out_axes)
    made.inner = [InnerEinsum(node, a, b, tuple(map(find, out))) for node, a, b, out in ranges.values()]
    return made


def _entries(einsum: Einsum, number: dict[int, int], depth: int) -> list[tuple[Expr | int, tuple[int, ...], int]]:
    """The operands, last first."""
    return [(child, tuple(number[axis] for axis in axes), depth) for child, axes in reversed(einsum.operands)]
