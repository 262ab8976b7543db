"""Scatters that place everything where it is."""

from __future__ import annotations

from scrub.graph import Expr, FrozenTensor, Scatter
from scrub.graph.index import Entry
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.concatenation.cases import placed_whole


@rewrite(keeps="value", cases=placed_whole, simplifies=True)
def drop_identity_scatter(scatter: Scatter) -> Expr | NoMatch:
    """A scatter that fills every axis whole, in order, is what it places.

        scatter(x at [:, :])  ->  x

    >>> import torch
    >>> from scrub.graph import Scalar
    >>> drop_identity_scatter(Scatter(Scalar(1.0, (2,), name="x"), (torch.tensor([0, 1]),), (2,)))
    'x' [2] Scalar 1.0
    """
    for axis, (entry, size) in enumerate(zip(scatter.entries, scatter.shape, strict=True)):
        if not _is_whole(entry, size):
            return NoMatch(f"axis {axis} is not filled whole and in order")
    return scatter.children[0]


def _is_whole(entry: Entry, size: object) -> bool:
    if isinstance(entry, FrozenTensor):
        return entry.value.tolist() == list(range(len(entry.value))) and len(entry.value) == size
    return entry is None
