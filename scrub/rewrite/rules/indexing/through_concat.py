"""Indices of concatenations."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch

from scrub.graph import Concat, Expr, FrozenTensor, Index, cast_to
from scrub.graph.index import Entry
from scrub.rewrite.matcher import MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.indexing.cases import index_of, whole_or_partial
from scrub.rewrite.rules.indexing.descent import Blocked, Plan, plans, push
from scrub.rewrite.rules.indexing.entries import Entries, from_positions, from_range, runs

Piece = tuple[int, Entry]
"""Which part, and what to pick from it along the axis of the concatenation."""


@rewrite(keeps="value", cases=index_of(Concat), choices=whole_or_partial)
def push_index_through_concat(index: Index, *, partial: bool = False, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """An index of a concatenation becomes a concatenation of indexed parts: of those that it picks from.

        concat(a, b)[i]  ->  concat(a[j], b[k])

    An int picks one part. Positions that go to and fro between parts pick from a part as often as they come back to
    it. Where what is left has another dtype than the whole, it is cast.

    Args:
        index: of a concatenation.
        partial: let those entries pass that can, where others cannot.
        dissolve: whether the concatenation may be taken apart.

    >>> from scrub.graph import I, Scalar
    >>> a, b = Scalar(1.0, (2, 3), name="a"), Scalar(2.0, (2, 4), name="b")
    >>> push_index_through_concat(Index(Concat(a, b, axis=1), I[0, 2:5], name="i")).print()
    'i' [3] Concat axis=0
      a[0, 2:3] [1] Index [0, 2:3]
        'a' [2, 3] Scalar 1.0
      b[0, 0:2] [2] Index [0, 0:2]
        'b' [2, 4] Scalar 2.0
    """
    return push(index, Concat, partial=partial, dissolve=dissolve)


@plans(Concat)
def plan_concat(concat: Concat, entries: Entries) -> Plan | Blocked:
    """Other axes pass as they are; along the axis of the concatenation the entry is taken apart by parts."""
    axis, entry = concat.axis, entries[concat.axis]
    if entry is None:
        pieces: list[Piece] = [(i, None) for i in range(len(concat.children))]
    else:
        sizes = [part.shape[axis] for part in concat.children]
        if not all(isinstance(size, int) for size in sizes):  # pyright: ignore[reportUnnecessaryIsInstance]
            return {axis: "where the parts begin and end is not known before their sizes are"}
        pieces = _pieces(entry, sizes)
        if not _is_dtype_decided(concat):
            return {axis: "with the other parts goes what decides the dtype, which depends on parameters"}
    new_axis = axis - sum(isinstance(e, int) for e in entries[:axis])

    def build(children: Sequence[Expr], name: str | None) -> Expr:
        is_one_part = entry is not None and len(children) == 1
        made = children[0] if is_one_part else Concat(*children, axis=new_axis, name=name)
        return made if concat.dtype in (None, made.dtype) else cast_to(made, concat.dtype)

    return Plan(tuple((i, (*entries[:axis], e, *entries[axis + 1 :])) for i, e in pieces), build)


def _pieces(entry: int | tuple[int, int] | FrozenTensor, sizes: Sequence[int]) -> list[Piece]:
    starts = [0, *accumulate(sizes)]
    if isinstance(entry, int):
        part = max(i for i, start in enumerate(starts[:-1]) if start <= entry)
        return [(part, entry - starts[part])]
    if isinstance(entry, tuple):
        pieces: list[Piece] = []
        for part, (start, size) in enumerate(zip(starts, sizes, strict=False)):
            first, last = max(entry[0] - start, 0), min(entry[1] - start, size)
            if first < last:
                pieces.append((part, from_range(first, last, size)))
        return pieces or [(0, from_range(0, 0, sizes[0]))]
    positions = entry.value
    parts = torch.bucketize(positions, torch.tensor(starts[1:], device=positions.device), right=True)
    found: list[Piece] = []
    done = 0
    for part, length in runs(parts):
        found.append((part, from_positions(positions[done : done + length] - starts[part], sizes[part])))
        done += length
    return found or [(0, from_range(0, 0, sizes[0]))]


def _is_dtype_decided(concat: Concat) -> bool:
    """Whether a cast to the dtype of the whole gives what the whole would; a parameter may promote it further.

    Parameters and scalars alone have no dtype to be cast to: they are taken to have one in common.
    """
    if concat.dtype is None or concat.dtype.is_floating_point:
        return True
    return not any(child.free_symbols for child in concat.children)
