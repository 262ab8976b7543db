"""Scatters to every position, in another order."""

from __future__ import annotations

from scrub.graph import Expr, FrozenTensor, Index, Scatter
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.concatenation.cases import placed_whole


@rewrite(keeps="value", cases=placed_whole)
def scatter_to_index(scatter: Scatter) -> Expr | NoMatch:
    """A scatter to every position of its axes, in another order, picks in the inverse order.

        scatter(x at [2, 0, 1])  ->  x[1, 2, 0]

    >>> import torch
    >>> from scrub.graph import Scalar
    >>> scatter_to_index(Scatter(Scalar(1.0, (3,), name="x"), (torch.tensor([2, 0, 1]),), (3,)))
    x[[1, 2, 0]] [3] Index [[1, 2, 0]]
    """
    for axis, (entry, size) in enumerate(zip(scatter.entries, scatter.shape, strict=True)):
        if entry is not None and not (isinstance(entry, FrozenTensor) and len(entry.value) == size):
            return NoMatch(f"axis {axis} leaves zeros")
    idx = [entry.value.argsort() if isinstance(entry, FrozenTensor) else slice(None) for entry in scatter.entries]
    return Index(scatter.children[0], idx)
