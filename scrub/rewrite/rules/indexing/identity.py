"""Indices that change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scrub.graph import Expr, FrozenTensor, Index
from scrub.graph.index import Entry
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.indexing.entries import from_positions

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    """Each axis taken whole, or by all of its positions, in most cases in order."""
    expr = maker.expr(maker.shape())
    chance = maker.random.random
    entries = (
        FrozenTensor(torch.arange(size).flip(0) if chance() < 0.2 else torch.arange(size)) if chance() < 0.4 else None
        for size in expr.shape
    )
    return Index.make((expr,), (tuple(entries),), maker.name("n") if chance() < 0.4 else None)


@rewrite(keeps="value", cases=_cases, simplifies=True)
def drop_identity_index(index: Index) -> Expr | NoMatch:
    """An index that takes all of every axis, whole or by all of its positions in order, is what it is taken of.

        x[:, [0, 1, 2]]  ->  x   where axis 1 has size 3

    >>> from scrub.graph import I, Scalar
    >>> drop_identity_index(Index(Scalar(1.0, (2, 3), name="x"), I[:, :]))
    'x' [2, 3] Scalar 1.0
    """
    (inner,) = index.children
    cut = [
        axis for axis, (entry, size) in enumerate(zip(index.entries, inner.shape, strict=True)) if _is_cut(entry, size)
    ]
    if cut:
        return NoMatch(f"it does not take all of axis {cut[0]} of {inner!r}")
    return inner


def _is_cut(entry: Entry, size: int) -> bool:
    if isinstance(entry, FrozenTensor):
        return len(entry.value) != size or from_positions(entry.value, size) is not None
    return entry is not None
