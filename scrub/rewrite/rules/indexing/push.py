"""Indices pushed below whatever they pick from, one step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from scrub.graph import Array, Expr, Index
from scrub.rewrite.matcher import MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.indexing.cases import random_index
from scrub.rewrite.rules.indexing.descent import push
from scrub.rewrite.rules.indexing.through_array import push_index_through_array

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def any_index(maker: Maker) -> Expr:
    """Cases: an index of an expression of any kind, in half of the cases with random variables."""
    make = maker.random_expr if maker.random.random() < 0.5 else maker.expr
    return random_index(maker, make(maker.shape(), 3))


def _choices(index: Index) -> Iterator[dict[str, Any]]:
    yield {}
    yield {"partial": True}
    yield {"fold": True}


@rewrite(keeps="value", cases=any_index, choices=_choices)
def push_index(
    index: Index, *, partial: bool = False, fold: bool = False, dissolve: MatcherIn = True
) -> Expr | NoMatch:
    """An index of any node is pushed below that, by the rule for its type (`push_index_through_...`).

    Args:
        index: the index.
        partial: let those entries pass that can, where others cannot; these stay above.
        fold: work out an index of an array.
        dissolve: whether what it picks from may be taken apart.

    >>> from scrub.graph import Add, I, Scalar
    >>> a = Scalar(1.0, (2, 3), name="a")
    >>> push_index(Index(Add(a, name="s"), I[0], name="i")).print()
    'i' [3] Add
      a[0, :] [3] Index [0, :]
        'a' [2, 3] Scalar 1.0
    """
    if fold and isinstance(index.children[0], Array):
        return push_index_through_array.function(index)
    return push(index, partial=partial, dissolve=dissolve)
