"""Rearrangements as arithmetic on elementary axes: two of them in one, and each in its simplest form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from scrub.compiler.ops import Rearranged

Group = tuple[int, ...]
Groups = tuple[Group, ...]


def composed(first: Rearranged, second: Rearranged) -> Rearranged | None:
    """Both in one; None if one splits an axis where the other does not.

    >>> split = Rearranged(((0, 1), (2,)), ((0,), (1,), (2,)), (2, 3, 4))
    >>> merge = Rearranged(((0,), (1,), (2,)), ((0,), (1, 2)), (2, 3, 4))
    >>> composed(split, merge)
    Rearranged(left=((0, 1), (2,)), right=((0,), (1, 2)), sizes=(2, 3, 4))
    """
    if 0 in first.sizes or 0 in second.sizes:
        return None
    pieces_of_first: dict[int, list[int]] = {}
    pieces_of_second: dict[int, list[int]] = {}
    sizes: list[int] = []
    for own, other in zip(first.right, second.left, strict=True):
        if not _refine(own, first.sizes, other, second.sizes, pieces_of_first, pieces_of_second, sizes):
            return None
    known = {axis for group in second.left for axis in group}
    for axis in (axis for group in second.right for axis in group if axis not in known):
        pieces_of_second[axis] = [len(sizes)]
        sizes.append(second.sizes[axis])
    left = tuple(tuple(p for axis in group for p in pieces_of_first[axis]) for group in first.left)
    right = tuple(tuple(p for axis in group for p in pieces_of_second[axis]) for group in second.right)
    return normalised(Rearranged(left, right, tuple(sizes)))


def _refine(
    own: Group,
    own_sizes: Sequence[int],
    other: Group,
    other_sizes: Sequence[int],
    pieces_of_own: dict[int, list[int]],
    pieces_of_other: dict[int, list[int]],
    sizes: list[int],
) -> bool:
    """Cuts two lists of axes of the same product into common pieces, axes of size 1 into none."""
    pieces_of_own.update((axis, []) for axis in own)
    pieces_of_other.update((axis, []) for axis in other)
    mine = [(axis, own_sizes[axis]) for axis in reversed(own) if own_sizes[axis] > 1]
    theirs = [(axis, other_sizes[axis]) for axis in reversed(other) if other_sizes[axis] > 1]
    while mine and theirs:
        (a, n), (b, m) = mine.pop(), theirs.pop()
        size = min(n, m)  # of the piece, the first of both
        if max(n, m) % size:
            return False
        pieces_of_own[a].append(len(sizes))
        pieces_of_other[b].append(len(sizes))
        sizes.append(size)
        if n > size:
            mine.append((a, n // size))
        elif m > size:
            theirs.append((b, m // size))
    return not mine and not theirs


def normalised(op: Rearranged) -> Rearranged:
    """The same with axes that stay together as one, numbered in order; sizes of 1 only where they are a whole axis.

    >>> normalised(Rearranged(((1, 2), (0,)), ((0,), (1, 2)), (4, 2, 3)))
    Rearranged(left=((0,), (1,)), right=((1,), (0,)), sizes=(6, 4))
    """
    left, right = _without_ones(op)
    after = _neighbours(left)
    together = {a: b for a, b in _neighbours(right).items() if after.get(a) == b}
    if together:
        return _merged(left, right, op.sizes, together)
    return _numbered(left, right, op.sizes)


def _without_ones(op: Rearranged) -> tuple[Groups, Groups]:
    """Groups without axes of size 1, except those that are alone on both sides."""
    if 1 not in op.sizes:
        return op.left, op.right
    alone = {group for group in op.left if len(group) == 1}.intersection(op.right)
    kept = {axis for axis, size in enumerate(op.sizes) if size != 1} | {group[0] for group in alone}
    left, right = (tuple(tuple(a for a in group if a in kept) for group in side) for side in (op.left, op.right))
    return left, right


def _neighbours(groups: Iterable[Group]) -> dict[int, int]:
    """What comes after each axis in its group."""
    return {a: b for group in groups for a, b in pairwise(group)}


def _merged(left: Groups, right: Groups, sizes: Sequence[int], together: dict[int, int]) -> Rearranged:
    """Each run of axes becomes its first, of the product of the sizes."""
    product = list(sizes)
    inner = set(together.values())
    for first in (axis for axis in together if axis not in inner):
        axis = first
        while axis in together:
            axis = together[axis]
            product[first] *= sizes[axis]
    left, right = (tuple(tuple(a for a in group if a not in inner) for group in side) for side in (left, right))
    return _numbered(left, right, product)


def _numbered(left: Groups, right: Groups, sizes: Sequence[int]) -> Rearranged:
    order = list(dict.fromkeys(axis for group in (*left, *right) for axis in group))
    number = {axis: i for i, axis in enumerate(order)}
    left, right = (tuple(tuple(number[a] for a in group) for group in side) for side in (left, right))
    return Rearranged(left, right, tuple(sizes[axis] for axis in order))
