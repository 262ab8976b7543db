"""Indices of tagged expressions."""

from __future__ import annotations

from scrub.graph import Expr, Index, Tag
from scrub.rewrite.matcher import MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.indexing.cases import index_of
from scrub.rewrite.rules.indexing.descent import plan_by_axis_map, plans, push

plans(Tag)(plan_by_axis_map)


@rewrite(keeps="value", cases=index_of(Tag))
def push_index_through_tag(index: Index, *, partial: bool = False, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """An index of a tagged expression becomes the indexed expression under the same tag.

    Tags that tell two expressions apart still do. But an expression that stands for a group of random variables is
    another group afterwards: apply it to all variables of a group, or to none.

    Args:
        index: of a tag.
        partial: let those entries pass that can, where others cannot. All entries of a tag can.
        dissolve: whether the tag may be moved.

    >>> from scrub.graph import I, Scalar
    >>> tag = Tag.new_from_name(Scalar(1.0, (2, 3), name="a"), "t")
    >>> push_index_through_tag(Index(tag, I[0], name="i")).children
    (a[0, :] [3] Index [0, :],)
    """
    return push(index, Tag, partial=partial, dissolve=dissolve)
