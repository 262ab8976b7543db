"""Generated cases for rules of rearranging: any spec for a shape, and functions of all kinds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from scrub.graph import Array, Expr, GeneralFunction, Rearrange, Shape, elementwise
from scrub.graph.functions.power import Pow
from scrub.graph.functions.reduce import Max, Min
from scrub.graph.rearrange import Groups

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker

Spec = tuple[Groups, Groups, dict[int, int]]
"""Groups of the axes of the child, of the result, and sizes."""


def random_spec(maker: Maker, shape: Shape, *, keep: int = 0, split: float = 0.3) -> Spec:
    """Axes split (with chance `split`), permuted, merged, inserted and repeated; the last `keep` stay as they are."""
    chance = maker.random.random
    sizes: dict[int, int] = {}
    left: list[tuple[int, ...]] = []
    for size in shape:
        factors = maker.factors(size) if chance() < split else (size,)
        left.append(() if size == 1 and chance() < 0.3 else tuple(range(len(sizes), len(sizes) + len(factors))))
        sizes |= dict(enumerate(factors, start=len(sizes))) if left[-1] else {}
    kept = tuple(left[len(left) - keep :])
    parts = [part for group in left[: len(left) - keep] for part in group]
    if chance() < 0.3:
        parts.append(len(sizes))
        sizes[len(sizes)] = maker.random.choice([1, 2, 2, 0])
    if chance() < 0.7:
        maker.random.shuffle(parts)
    right: list[tuple[int, ...]] = []
    for part in parts:
        if right and chance() < 0.3:
            right[-1] = (*right[-1], part)
        else:
            right.append((part,))
        if chance() < 0.1:
            right.append(())
    return tuple(left), (*right, *kept), sizes


def random_rearrange(maker: Maker, expr: Expr, *, keep: int = 0) -> Rearrange:
    """Any rearrangement that leaves the last `keep` axes alone."""
    return rearranged_by(maker, expr, random_spec(maker, expr.shape, keep=keep))


def rearranged_by(maker: Maker, expr: Expr, spec: Spec) -> Rearrange:
    """The expression rearranged, under a name or none."""
    return Rearrange.from_groups(expr, *spec, name=maker.name("n") if maker.random.random() < 0.4 else None)


def random_function(maker: Maker, shape: Shape) -> Expr:
    """A power, an extreme, a gather, or one of the functions of one argument; of about that shape."""
    kind = maker.random.choice(["power", "extreme", "gather", "gather", "one argument", "one argument"])
    if kind == "power":
        base = elementwise("sigmoid", maker.expr(maker.some(shape), 1))  # roots of negative numbers are not numbers
        return GeneralFunction(base, maker.expr(maker.some(shape), 1), spec=Pow())
    if kind == "extreme":
        spec = maker.random.choice([Min(), Max()])
        return GeneralFunction(maker.expr((*shape, maker.random.randint(1, 3)), 2), spec=spec)
    return _gather(maker, shape) if kind == "gather" else maker.pattern(GeneralFunction, shape=shape)


def _gather(maker: Maker, shape: Shape) -> Expr:
    """From a table, row by row of a table, or with the index in the middle of the table's axes."""
    cut = maker.random.randint(0, len(shape))
    of_index, rest = shape[:cut], shape[cut:]
    dim, size = maker.random.randint(0, len(rest)), maker.random.randint(1, 4)
    table = (*rest[:dim], size, *rest[dim:])
    batch_x, batch_index = maker.random.choice([(False, True), (True, True), (True, False), (False, False)])
    x = maker.expr((*of_index, *table) if batch_x and batch_index else table, 2)
    index = Array(maker.positions(size, math.prod(of_index)).reshape(of_index), maker.name("x"))
    is_negative = (batch_x and not batch_index) or maker.random.random() < 0.5
    index_dim = dim - len(table) if is_negative else dim
    return GeneralFunction.gen_index(x, index, index_dim, batch_x, batch_index)
