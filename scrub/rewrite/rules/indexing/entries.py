"""Arithmetic of index entries: one after another, on merged axes, and in the simplest form.

An entry is what `Index` stores for an axis: None for all of it, one position, (start, stop), or a tensor of positions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import cast

import torch

from scrub.graph import Expr, FrozenTensor, Index, Shape
from scrub.graph.index import Entry

Entries = tuple[Entry, ...]


def indexed(expr: Expr, entries: Sequence[Entry]) -> Expr:
    """`Index` of the expression; the expression itself where all of every axis is taken.

    >>> from scrub.graph import Scalar
    >>> indexed(Scalar(1.0, (2, 3)), (None, 1)).shape
    (2,)
    """
    return expr if is_whole(entries) else Index.make((expr,), (tuple(entries),), None)


def is_whole(entries: Sequence[Entry]) -> bool:
    """Whether all of every axis is taken.

    >>> is_whole((None, None)), is_whole((None, (0, 1)))
    (True, False)
    """
    return all(entry is None for entry in entries)


def count(entry: Entry, size: int) -> int:
    """Size of an axis of that size where the entry has picked; the entry is not an int.

    >>> count(None, 5), count((1, 4), 5), count(FrozenTensor(torch.tensor([2, 2])), 5)
    (5, 3, 2)
    """
    if isinstance(entry, tuple):
        return entry[1] - entry[0]
    return len(entry.value) if isinstance(entry, FrozenTensor) else size


def picked_shape(entries: Sequence[Entry], shape: Shape) -> Shape:
    """Shape of what the entries pick.

    >>> picked_shape((0, None, (1, 3)), (2, 3, 4))
    (3, 2)
    """
    return tuple(count(entry, size) for entry, size in zip(entries, shape, strict=True) if not isinstance(entry, int))


def from_range(start: int, stop: int, size: int) -> Entry:
    """Entry for start to stop on an axis of that size.

    >>> from_range(0, 5, 5), from_range(0, 4, 5)
    (None, (0, 4))
    """
    return None if (start, stop) == (0, size) else (start, stop)


def from_positions(positions: torch.Tensor, size: int) -> Entry:
    """Entry for these positions: a range where they follow each other, which is a view and not a copy.

    >>> from_positions(torch.tensor([2, 3]), 5)
    (2, 4)
    """
    first = int(positions[0]) if len(positions) else 0
    if torch.equal(positions, torch.arange(first, first + len(positions), device=positions.device)):
        return from_range(first, first + len(positions), size)
    return FrozenTensor(positions)


def positions_of(entry: Entry, size: int) -> torch.Tensor:
    """The positions that an entry picks from an axis of that size, 1-d.

    >>> positions_of((1, 3), 5), positions_of(4, 5)
    (tensor([1, 2]), tensor([4]))
    """
    if isinstance(entry, FrozenTensor):
        return entry.value
    if isinstance(entry, int):
        return torch.tensor([entry])
    start, stop = (0, size) if entry is None else entry
    return torch.arange(start, stop)


def runs(values: torch.Tensor) -> list[tuple[int, int]]:
    """Equal values that follow each other: pairs (value, how many).

    >>> runs(torch.tensor([4, 4, 1, 4]))
    [(4, 2), (1, 1), (4, 1)]
    """
    return [(value, len(list(same))) for value, same in groupby(cast("list[int]", values.tolist()))]


def compose(inner: Entry, outer: Entry, size: int) -> Entry:
    """The entry that picks from an axis of that size what `outer` picks from what `inner` (not an int) picks.

    >>> compose((2, 5), (1, 2), 7), compose((2, 5), 1, 7)
    ((3, 4), 3)
    >>> compose(FrozenTensor(torch.tensor([6, 0, 3])), 2, 7)
    3
    """
    if inner is None or outer is None:
        return inner if outer is None else outer
    if isinstance(inner, tuple):
        start = inner[0]
        if isinstance(outer, int):
            return start + outer
        if isinstance(outer, tuple):
            return from_range(start + outer[0], start + outer[1], size)
        return from_positions(outer.value + start, size)
    picked = positions_of(inner, size)
    if isinstance(outer, int):
        return int(picked[outer])
    if isinstance(outer, tuple):
        return from_positions(picked[outer[0] : outer[1]], size)
    return from_positions(picked[outer.value.to(picked.device)], size)


def join(entries: Sequence[Entry], sizes: Sequence[int]) -> Entry:
    """The entry on axes merged into one that picks what one entry each picks from the parts.

    >>> join([1, (0, 2)], [3, 4]), join([None, 1], [3, 4]).value
    ((4, 6), tensor([1, 5, 9]))
    """
    if len(entries) == 1 or is_whole(entries):
        return entries[0] if entries else None
    start = 0
    for at, entry in enumerate(entries):
        block = math.prod(sizes[at + 1 :])
        if isinstance(entry, int):
            start += entry * block
        elif not isinstance(entry, FrozenTensor) and is_whole(entries[at + 1 :]):
            first, last = (0, sizes[at]) if entry is None else entry
            return from_range(start + first * block, start + last * block, math.prod(sizes))
        else:
            break
    else:
        return start
    positions = torch.tensor([0])
    for entry, size in zip(entries, sizes, strict=True):
        positions = (positions[:, None] * size + positions_of(entry, size).cpu()).reshape(-1)
    return from_positions(positions, math.prod(sizes))


def split(entry: Entry, sizes: Sequence[int]) -> list[Entry] | None:
    """Entries on the parts of a merged axis that together pick what `entry` picks; None if there are none.

    >>> split(7, [3, 4]), split((4, 8), [3, 4]), split((2, 6), [3, 4])
    ([1, 3], [(1, 2), None], None)
    """
    if len(sizes) == 1 or entry is None:
        return [entry] + [None] * (len(sizes) - 1)
    if isinstance(entry, int):
        return [entry // math.prod(sizes[at + 1 :]) % size for at, size in enumerate(sizes)]
    if count(entry, 0) == 0:
        return [from_range(0, 0, sizes[0])] + [None] * (len(sizes) - 1)
    return _split_range(entry, sizes) if isinstance(entry, tuple) else _split_positions(entry.value, sizes)


def _split_range(entry: tuple[int, int], sizes: Sequence[int]) -> list[Entry] | None:
    start, stop = entry
    found: list[Entry] = []
    for at, size in enumerate(sizes):
        block = math.prod(sizes[at + 1 :])
        if start % block == 0 and stop % block == 0:
            found.append(from_range(start // block, stop // block, size))
            return found + [None] * (len(sizes) - len(found))
        at_row = start // block
        if at_row != (stop - 1) // block:
            return None
        found.append(at_row)
        start, stop = start - at_row * block, stop - at_row * block
    return None


def _split_positions(positions: torch.Tensor, sizes: Sequence[int]) -> list[Entry] | None:
    """By blocks over which the leading position stays the same: all of them must pick the same from the rest."""
    found: list[Entry] = []
    for at, size in enumerate(sizes[:-1]):
        block = math.prod(sizes[at + 1 :])
        leading = positions // block
        length = math.gcd(*(length for _, length in runs(leading)))
        rest = (positions % block).reshape(-1, length)
        if not torch.equal(rest, rest[:1].expand_as(rest)):
            return None
        found.append(from_positions(leading[::length], size))
        positions = rest[0]
    return [*found, from_positions(positions, sizes[-1])]
