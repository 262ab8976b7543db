"""Indices of random variables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrub.graph import DiscreteVar, Expr, Index, StoredCumulantVar
from scrub.rewrite.matcher import MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.indexing.cases import random_index
from scrub.rewrite.rules.indexing.descent import Blocked, plan_by_axis_map, plans, push
from scrub.rewrite.rules.indexing.entries import Entries

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker

plans(DiscreteVar)(plan_by_axis_map)


@plans(StoredCumulantVar)
def plan_stored(variable: StoredCumulantVar, entries: Entries) -> Blocked:
    """Nothing passes."""
    why = "what is stored are the cumulants of the whole variable, which is one and the same wherever it stands"
    return {axis: why for axis, entry in enumerate(entries) if entry is not None}


def _cases(maker: Maker) -> Expr:
    return random_index(maker, maker.variable(maker.shape()))


@rewrite(keeps="value", cases=_cases)
def push_index_through_discrete_var(
    index: Index, *, partial: bool = False, dissolve: MatcherIn = True
) -> Expr | NoMatch:
    """An index of a random variable becomes the variable whose table is indexed, drawn with the same group.

        random(values)[i]  ->  random(values[:, i])

    The rows are not touched, and the group is the same, so the variable is drawn together with what it was.

    Args:
        index: of a `DiscreteVar`.
        partial: let those entries pass that can, where others cannot. All entries of a variable can.
        dissolve: whether the variable may be replaced.

    >>> from scrub.graph import Array, I
    >>> import torch
    >>> x = DiscreteVar(Array(torch.ones(4, 3), "table"), name="x")
    >>> pushed = push_index_through_discrete_var(Index(x, I[0:2], name="i"))
    >>> pushed.children[0], pushed.children[1] is x.probs_and_group
    (table[:, 0:2] [4, 2] Index [:, 0:2], True)
    """
    return push(index, DiscreteVar, partial=partial, dissolve=dissolve)
