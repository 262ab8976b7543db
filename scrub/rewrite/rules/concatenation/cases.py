"""Generated cases for rules of scatters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from scrub.graph import Expr, Scatter
from scrub.graph.index import IndexEntry

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def scattered(maker: Maker, expr: Expr, sizes: Sequence[int] | None = None) -> Scatter:
    """The expression at a slice or at distinct positions of every axis.

    Args:
        maker: decides where.
        expr: what is placed.
        sizes: of the axes of the result; as large as the expression or a little larger if not given.
    """
    if sizes is None:
        sizes = [size + maker.random.choice([0, 1, 1, 2]) for size in expr.shape]
    idx: list[IndexEntry] = []
    for size, count in zip(sizes, expr.shape, strict=True):
        start = maker.random.randint(0, size - count)
        positions = torch.tensor(maker.random.sample(range(size), count), dtype=torch.int64)
        idx.append(maker.random.choice([slice(start, start + count), positions]))
    return Scatter(expr, idx, sizes, name=maker.name("n") if maker.random.random() < 0.4 else None)


def placed_whole(maker: Maker) -> Expr:
    """A scatter that likely fills its axes whole, in order or in another."""
    shape = maker.shape()
    child = maker.expr(shape, 2)
    idx = [
        maker.random.choice([slice(None), maker.random.sample(range(size), size)]) if size else slice(None)
        for size in shape
    ]
    if maker.random.random() < 0.2:
        return Scatter(child, [*idx, 0], (*shape, maker.random.choice([1, 2])))
    return Scatter(child, idx, shape, name="placed" if maker.random.random() < 0.5 else None)
