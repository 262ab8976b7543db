"""Scatters that place everything where it is."""

from __future__ import annotations

from scrub.graph import Expr, FrozenTensor, Index, Scatter
from scrub.graph.index import Entry
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    shape = maker.shape()
    child = maker.expr(shape, 2)
    idx = [
        maker.random.choice([slice(None), maker.random.sample(range(size), size)]) if size else slice(None)
        for size in shape
    ]
    if maker.random.random() < 0.2:
        return Scatter(child, [*idx, 0], (*shape, maker.random.choice([1, 2])))
    return Scatter(child, idx, shape, name="placed" if maker.random.random() < 0.5 else None)


@rewrite(keeps="value", cases=_cases, simplifies=True)
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


@rewrite(keeps="value", cases=_cases)
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


def _is_whole(entry: Entry, size: object) -> bool:
    if isinstance(entry, FrozenTensor):
        return entry.value.tolist() == list(range(len(entry.value))) and len(entry.value) == size
    return entry is None
