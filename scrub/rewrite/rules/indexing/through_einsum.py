"""Indices of einsums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from scrub.graph import Einsum, Expr, FrozenTensor, Index
from scrub.graph.index import Entry
from scrub.rewrite.matcher import MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.indexing.cases import random_index, whole_or_partial
from scrub.rewrite.rules.indexing.descent import Blocked, Plan, plans, push
from scrub.rewrite.rules.indexing.entries import Entries, runs
from scrub.rewrite.rules.products.cases import product_with

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    """Some axes stand twice in the output, then often with the same entry."""
    einsum = maker.pattern(Einsum).cast(Einsum)
    if maker.random.random() < 0.3:
        einsum = product_with(maker, maker.expr((3, 3), 1), dtypes=[torch.float64])
    axes = einsum.out_axes
    if axes and maker.random.random() < 0.5:
        axes = (*axes, maker.random.choice(axes))
    index = random_index(maker, Einsum(*einsum.operands, out_axes=axes, name=einsum.name))
    if maker.random.random() < 0.7:
        entries = tuple(index.entries[axes.index(axis)] for axis in axes)
        index = Index.make(index.children, (entries,), index.name)
    return index


@rewrite(keeps="value", cases=_cases, choices=whole_or_partial)
def push_index_through_einsum(index: Index, *, partial: bool = False, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """An index of an einsum becomes an einsum of indexed operands; an int drops the axis.

        (ab,bc->ac)[i, j]  ->  (b,b->) of a[i] and b[:, j]

    An axis that stands twice in the output is zero off the diagonal, so its entries pass only if they are all equal.

    Args:
        index: of an einsum.
        partial: let those entries pass that can, where others cannot.
        dissolve: whether the einsum may be taken apart.

    >>> from scrub.graph import I, Scalar
    >>> a, b = Scalar(1.0, (2, 3), name="a"), Scalar(2.0, (3, 4), name="b")
    >>> push_index_through_einsum(Index(Einsum.from_string("ab,bc->ac", a, b), I[1, 0:2], name="i")).print()
    'i' [2] Einsum a,ab->b
      a[1, :] [3] Index [1, :]
        'a' [2, 3] Scalar 1.0
      b[:, 0:2] [3, 2] Index [:, 0:2]
        'b' [3, 4] Scalar 2.0
    """
    return push(index, Einsum, partial=partial, dissolve=dissolve)


@plans(Einsum)
def plan_einsum(einsum: Einsum, entries: Entries) -> Plan | Blocked:
    """By the einsum's own axes: each has one entry, wherever it stands."""
    entry_of: dict[int, Entry] = {}
    blocked: Blocked = {}
    for axis in dict.fromkeys(einsum.out_axes):
        positions = [i for i, other in enumerate(einsum.out_axes) if other == axis]
        found = entries[positions[0]]
        why = _why_not_on_diagonal(positions, [entries[i] for i in positions]) if len(positions) > 1 else None
        if why is None:
            entry_of[axis] = found
        else:
            blocked |= {i: why for i in positions if entries[i] is not None}
    if blocked:
        return blocked

    def is_kept(axis: int) -> bool:
        return not isinstance(entry_of.get(axis), int)

    def build(children: Sequence[Expr], name: str | None) -> Expr:
        axes_of = (tuple(filter(is_kept, axes)) for axes in einsum.in_axes)
        return Einsum(*zip(children, axes_of, strict=True), out_axes=tuple(filter(is_kept, einsum.out_axes)), name=name)

    below = tuple((i, tuple(entry_of.get(axis) for axis in axes)) for i, axes in enumerate(einsum.in_axes))
    return Plan(below, build)


def _why_not_on_diagonal(positions: list[int], entries: list[Entry]) -> str | None:
    where = " and ".join(map(str, positions))
    if any(entry != entries[0] for entry in entries):
        return f"axes {where} are one axis on the diagonal, which only equal entries on all of them cut"
    first = entries[0]
    if isinstance(first, FrozenTensor) and len(runs(first.value.sort().values)) < len(first.value):
        return f"axes {where} are one axis on the diagonal, and a position picked twice is off it"
    return None
