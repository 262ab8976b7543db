"""Indices of sums."""

from __future__ import annotations

from collections.abc import Sequence

from scrub.graph import Add, Expr, Index
from scrub.rewrite.matcher import MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.indexing.cases import index_of, whole_or_partial
from scrub.rewrite.rules.indexing.descent import Plan, plan_broadcast, plans, push
from scrub.rewrite.rules.indexing.entries import Entries


@rewrite(keeps="value", cases=index_of(Add), choices=whole_or_partial)
def push_index_through_add(index: Index, *, partial: bool = False, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """An index of a sum becomes a sum of indexed terms.

        (a + b)[i]  ->  a[i] + b[i]

    A term that is broadcast along an axis is not cut there: its axis of size 1 stays, or is dropped where the index
    drops the axis.

    Args:
        index: of a sum.
        partial: let those entries pass that can, where others cannot. All entries of a sum can.
        dissolve: whether the sum may be taken apart.

    >>> from scrub.graph import I, Scalar
    >>> a, b = Scalar(1.0, (2, 3), name="a"), Scalar(2.0, (2, 1), name="b")
    >>> push_index_through_add(Index(Add(a, b, name="s"), I[:, 1:3], name="i")).print()
    'i' [2, 2] Add
      a[:, 1:3] [2, 2] Index [:, 1:3]
        'a' [2, 3] Scalar 1.0
      'b' [2, 1] Scalar 2.0
    """
    return push(index, Add, partial=partial, dissolve=dissolve)


@plans(Add)
def plan_add(add: Add, entries: Entries) -> Plan:
    """Every axis passes."""

    def build(children: Sequence[Expr], name: str | None) -> Expr:
        return Add(*children, name=name)

    return plan_broadcast(add, entries, build)
