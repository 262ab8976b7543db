"""Indices of cumulants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrub.graph import Cumulant, Expr, Index
from scrub.rewrite.matcher import MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.indexing.cases import random_index
from scrub.rewrite.rules.indexing.descent import plan_by_axis_map, plans, push

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker

plans(Cumulant)(plan_by_axis_map)


def _cases(maker: Maker) -> Expr:
    return random_index(maker, maker.cumulant(maker.shape(), 2))


@rewrite(keeps="value", cases=_cases)
def push_index_through_cumulant(index: Index, *, partial: bool = False, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """An index of a cumulant becomes the cumulant of the indexed arguments: its axes are theirs, one after the other.

        K(x, y)[i, j]  ->  K(x[i], y[j])

    Args:
        index: of a `Cumulant`.
        partial: let those entries pass that can, where others cannot. All entries of a cumulant can.
        dissolve: whether the cumulant may be taken apart.

    >>> from scrub.graph import Array, DiscreteVar, I
    >>> import torch
    >>> x = DiscreteVar(Array(torch.ones(4, 3)), name="x")
    >>> push_index_through_cumulant(Index(Cumulant(x, x), I[0, 1:3], name="i")).children
    (x[0] [] Index [0], x[1:3] [2] Index [1:3])
    """
    return push(index, Cumulant, partial=partial, dissolve=dissolve)
