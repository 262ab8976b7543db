"""Indices of scattered values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from scrub.graph import Expr, Index, Scalar, Scatter, cast_to
from scrub.graph.index import Entry
from scrub.rewrite.matcher import MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.concatenation.cases import scattered
from scrub.rewrite.rules.indexing.cases import index_of, random_index, whole_or_partial
from scrub.rewrite.rules.indexing.descent import Blocked, Plan, plans, push
from scrub.rewrite.rules.indexing.entries import Entries, count, from_positions, is_whole, picked_shape, positions_of

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    """Half of them an index of values at slices and positions of every axis."""
    if maker.random.random() < 0.5:
        return index_of(Scatter)(maker)
    return random_index(maker, scattered(maker, maker.expr(maker.shape(max_ndim=2), 1)))


@rewrite(keeps="value", cases=_cases, choices=whole_or_partial)
def push_index_through_scatter(index: Index, *, partial: bool = False, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """An index of a scattered value becomes the part of the value that it meets, scattered where it meets it.

    Where it meets all zeros it becomes zeros; where it meets no zeros nothing is scattered.

    Args:
        index: of a `Scatter`.
        partial: let those entries pass that can, where others cannot.
        dissolve: whether the `Scatter` may be taken apart.

    >>> from scrub.graph import I
    >>> a = Scalar(1.0, (2, 3), name="a")
    >>> push_index_through_scatter(Index(Scatter(a, I[1:3], (5, 3)), I[2:4, 0], name="i")).print()
    'i' [2] Scatter [0:1]
      a[1:2, 0] [1] Index [1:2, 0]
        'a' [2, 3] Scalar 1.0
    """
    return push(index, Scatter, partial=partial, dissolve=dissolve)


@dataclass(frozen=True)
class _Axis:
    """What an entry becomes on one axis: the entry on the value's axis, where that goes, and the size around it."""

    below: Entry = None
    at: Entry = None
    size: int = 0
    is_dropped: bool = False
    is_zero: bool = False
    why: str | None = None


@plans(Scatter)
def plan_scatter(scatter: Scatter, entries: Entries) -> Plan | Blocked:
    """Axis by axis."""
    axes = [_meet(*parts) for parts in zip(scatter.entries, entries, scatter.shape, strict=True)]
    if any(axis.is_zero for axis in axes):
        return _zeros(scatter, entries)
    blocked = {i: axis.why for i, axis in enumerate(axes) if axis.why is not None}
    if blocked:
        return blocked
    kept = [axis for axis in axes if not axis.is_dropped]
    below = tuple(axis.below for axis, at in zip(axes, scatter.entries, strict=True) if not isinstance(at, int))

    def build(children: Sequence[Expr], name: str | None) -> Expr:
        at = tuple(axis.at for axis in kept)
        if is_whole(at):
            return children[0]
        sizes = tuple(None if axis.at is None else axis.size for axis in kept)
        return Scatter.make(tuple(children), (at, sizes), name)

    return Plan(((0, below),), build)


def _meet(at: Entry, entry: Entry, size: int) -> _Axis:
    """`at` is where the value lies on an axis, `entry` what is picked from the axis."""
    if at is None:
        is_int = isinstance(entry, int)
        return _Axis(below=entry, is_dropped=is_int)
    if entry is None:
        return _Axis(at=at, size=size)
    if not isinstance(size, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        return _Axis(why=f"its size {size} is not known")
    place = torch.full((size,), -1)  # for each position of the axis, which one of the value lies there
    place[positions_of(at, size).cpu()] = torch.arange(1 if isinstance(at, int) else count(at, size))
    met = place[positions_of(entry, size).cpu()]
    hits = (met >= 0).nonzero().reshape(-1)
    if isinstance(entry, int):
        if not len(hits):
            return _Axis(is_zero=True)
        return _Axis(below=None if isinstance(at, int) else int(met[0]), is_dropped=True)
    new_size = count(entry, size)
    if isinstance(at, int):
        if len(hits) > 1:
            return _Axis(why=f"it picks position {at}, the only one that is not zero, {len(hits)} times")
        return _Axis(at=int(hits[0]), size=new_size) if len(hits) else _Axis(is_zero=True)
    return _Axis(from_positions(met[hits], count(at, size)), from_positions(hits, new_size), new_size)


def _zeros(scatter: Scatter, entries: Entries) -> Plan | Blocked:
    if scatter.dtype is None and scatter.free_symbols:
        return {
            axis: "it picks zeros, whose dtype is that of a parameter"
            for axis, e in enumerate(entries)
            if e is not None
        }
    shape = picked_shape(entries, scatter.shape)

    def build(children: Sequence[Expr], name: str | None) -> Expr:
        zeros = Scalar(0.0, shape)
        return zeros if scatter.dtype is None else cast_to(zeros, scatter.dtype, name)

    return Plan((), build)
