"""Naming the parts of an axis: pairs (positions, name) that partition it."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch

from scrub.graph import Expr
from scrub.graph.index import IndexEntry
from scrub.rewrite.rule import NoMatch

AxisPart = tuple[IndexEntry, str]
"""(positions, name): an int, a slice without step, or a list or 1-d tensor of positions, and what to call that part."""


def part_positions(parts: Sequence[AxisPart], size: object) -> list[list[int]] | NoMatch:
    """The positions of each part, or why the parts do not partition an axis of that size.

    >>> part_positions([(0, "first"), (slice(1, 3), "rest")], 3)
    [[0], [1, 2]]
    >>> part_positions([(0, "first"), ([0, 1], "both")], 2).reason
    "position 0 is in part 'first' and in part 'both'"
    """
    if not isinstance(size, int):
        return NoMatch(f"the size of the axis is {size}, which is not known yet")
    owner: dict[int, str] = {}
    result: list[list[int]] = []
    for entry, name in parts:
        positions = _positions(entry, size)
        if positions is None:
            return NoMatch(f"part {name!r} takes {entry!r}, the axis has positions 0 to {size - 1}")
        for position in positions:
            if position in owner:
                return NoMatch(f"position {position} is in part {owner[position]!r} and in part {name!r}")
            owner[position] = name
        result.append(positions)
    missing = sorted(set(range(size)) - set(owner))
    if missing:
        return NoMatch(f"positions {missing} are in no part; add ({missing}, 'rest')")
    return result


def part_name(expr: Expr, name: str) -> str:
    """`a0` and "prev" give `a0.prev`."""
    return name if expr.name is None else f"{expr.name}.{name}"


def random_parts(seed: str, size: int) -> list[AxisPart]:
    """A random partition of an axis, for generated cases."""
    chance = random.Random(seed)
    order = list(range(size))
    if chance.random() < 0.5:
        chance.shuffle(order)
    parts: list[AxisPart] = []
    while order:
        count = chance.randint(1, len(order))
        taken, order = order[:count], order[count:]
        is_slice = taken == list(range(taken[0], taken[0] + count))
        entry: IndexEntry = torch.tensor(taken)
        if count == 1 and chance.random() < 0.5:
            entry = taken[0]
        elif is_slice and chance.random() < 0.5:
            entry = slice(taken[0], taken[0] + count)
        parts.append((entry, f"part{len(parts)}"))
    return parts


def _positions(entry: IndexEntry, size: int) -> list[int] | None:
    if isinstance(entry, slice):
        start = 0 if entry.start is None else entry.start
        stop = size if entry.stop is None else entry.stop
        start, stop = (bound + size if bound < 0 else bound for bound in (start, stop))
        is_fitting = 0 <= start <= stop <= size and entry.step in (None, 1)
        return list(range(start, stop)) if is_fitting else None
    listed = [entry] if isinstance(entry, int) else [int(position) for position in entry]
    return listed if all(0 <= position < size for position in listed) else None
