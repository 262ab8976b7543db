"""Gathering at positions that are known, as `Index`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scrub.graph import Array, Expr, GeneralFunction, Index, Rearrange, Shape
from scrub.graph.functions.gen_index import GenIndex
from scrub.rewrite.rule import NoMatch, rewrite

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _case(maker: Maker) -> Expr:
    choose = maker.random.choice
    index_shape = choose([(), (1,), (2,), (2,), (3,), (2, 2), (3, 1, 2), (0,)])
    own: Shape = tuple(choose([1, 3, 4, 5]) for _ in range(choose([1, 2, 3])))
    batch_x, batch_index = choose([(False, True), (False, True), (True, True), (True, False), (False, False)])
    dim = -maker.random.randint(1, len(own))
    size = own[dim]
    count = 1
    for n in index_shape:
        count *= n
    positions = maker.positions(size, count)
    if (batch_x and batch_index and maker.random.random() < 0.8) or maker.random.random() < 0.2:
        positions = positions[:1].expand(count) if count else positions
    elif maker.random.random() < 0.3 and count <= size:
        positions = torch.arange(count) + maker.random.randint(0, size - count)
    index = Array(positions.reshape(index_shape).clone(), maker.name("x") if maker.random.random() < 0.5 else None)
    x_shape = index_shape + own if batch_x and batch_index else own
    x = maker.random_expr(x_shape, 1) if maker.random.random() < 0.2 else maker.expr(x_shape, 1)
    if not batch_x and maker.random.random() < 0.5:
        dim += len(own)
    name = maker.name("n") if maker.random.random() < 0.4 else None
    return GeneralFunction.gen_index(x, index, dim, batch_x, batch_index, name)


@rewrite(keeps="value", cases=_case, simplifies="at times", idempotent=True)
def gather_to_index(gather: GeneralFunction) -> Expr | NoMatch:
    """`gen_index` at constant positions becomes an `Index`, with a `Rearrange` where the positions are a table.

    Where both `x` and the positions are batched, each batch entry has its own position; only if these are all the same
    can an `Index` pick them.

    >>> table = Array(torch.arange(10.0).reshape(5, 2), "table")
    >>> at = Array(torch.tensor([3, 4]))
    >>> gather_to_index(GeneralFunction.gen_index(table, at, index_dim=0)).cast(Index).entries
    ((3, 5), None)
    """
    spec = gather.spec
    if not isinstance(spec, GenIndex):
        return NoMatch(f"{spec.label} does not gather")
    x, index = gather.children
    if not isinstance(index, Array):
        return NoMatch(f"the positions {index!r} are not constant")
    if index.value.is_meta:
        return NoMatch(f"the positions {index!r} have no data")
    is_paired = spec.batch_x and spec.batch_index
    axis = index.ndim + spec.index_dim % (x.ndim - index.ndim) if is_paired else spec.index_dim % x.ndim
    positions = index.value.reshape(-1).cpu()
    size = x.shape[axis]
    outside = positions[(positions < 0) | (positions >= size)]
    if outside.numel():
        return NoMatch(f"position {int(outside[0])} is out of range for axis {axis} of size {size}")
    before = [slice(None)] * axis
    if index.ndim == 0 or (is_paired and positions.numel() and bool((positions == positions[0]).all())):
        return Index(x, [*before, int(positions[0])])
    if is_paired:
        return NoMatch("the positions differ between batch entries")
    picked = Index(x, [*before, _entry(positions)])
    groups = tuple((i,) for i in range(x.ndim))
    parts = tuple((x.ndim + i,) for i in range(index.ndim))
    left = (*groups[:axis], tuple(part for (part,) in parts), *groups[axis + 1 :])
    first = parts if spec.batch_index else ()
    inside = () if spec.batch_index else parts
    right = (*first, *groups[:axis], *inside, *groups[axis + 1 :])
    if left == right:
        return picked
    return Rearrange.from_groups(picked, left, right, {x.ndim + i: n for i, n in enumerate(index.shape)})


def _entry(positions: torch.Tensor) -> slice | torch.Tensor:
    """A slice where the positions follow each other."""
    start = int(positions[0]) if positions.numel() else 0
    stop = start + positions.numel()
    return slice(start, stop) if torch.equal(positions, torch.arange(start, stop)) else positions
