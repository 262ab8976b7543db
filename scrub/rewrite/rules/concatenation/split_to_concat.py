"""An axis split into named parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from scrub.graph import Concat, Expr, Index
from scrub.rewrite.rule import NoMatch, Options, rewrite
from scrub.rewrite.rules.concatenation.parts import AxisPart, part_name, part_positions, random_parts
from scrub.rewrite.testing.maker import Maker


def _choices(expr: Expr) -> Iterator[Options]:
    for axis, size in enumerate(expr.shape):
        yield {"axis": axis - expr.ndim * (axis % 2), "parts": random_parts(expr.digest, size)}


def _cases(maker: Maker) -> Expr:
    return maker.expr((*maker.shape(max_ndim=2), maker.random.choice([1, 2, 4, 5])), 2)


@rewrite(keeps="value", cases=_cases, choices=_choices)
def split_to_concat(expr: Expr, *, axis: int, parts: Sequence[AxisPart]) -> Expr | NoMatch:
    """The expression as a concat of named parts of one axis, each an index into it.

        x  ->  [x[0], x[1:]]

    Args:
        expr: what to split.
        axis: along which.
        parts: pairs (positions, name) that partition the axis: an int, a slice or a list of positions. A part "bos" of
            `x` is named `x.bos`. Where the parts are not in order, the concat is put in order by an index.

    >>> from scrub.graph import Scalar
    >>> x = Scalar(1.0, (3,)).scale(2.0, name="x")
    >>> split_to_concat(x, axis=0, parts=[(0, "bos"), (slice(1, 3), "rest")]).print(max_depth=1)
    'x' [3] Concat axis=0
      'x.bos' [1] Index [0:1] ...
      'x.rest' [2] Index [1:3] ...
    """
    if not -expr.ndim <= axis < expr.ndim:
        return NoMatch(f"axis {axis} is none of its {expr.ndim} axes")
    axis %= expr.ndim
    positions = part_positions(parts, expr.shape[axis])
    if isinstance(positions, NoMatch):
        return positions
    if not positions:
        return NoMatch("an axis of size 0 has no parts")
    whole = [slice(None)] * axis
    pieces = [
        Index(expr, [*whole, _entry(taken)], name=part_name(expr, name))
        for taken, (_, name) in zip(positions, parts, strict=True)
    ]
    joined = Concat(*pieces, axis=axis)
    order = [position for taken in positions for position in taken]
    if order == sorted(order):
        return joined
    return Index(joined, [*whole, torch.tensor(order).argsort()])


def _entry(positions: list[int]) -> slice | torch.Tensor:
    """A slice where the positions follow each other."""
    if positions and positions == list(range(positions[0], positions[0] + len(positions))):
        return slice(positions[0], positions[0] + len(positions))
    return torch.tensor(positions, dtype=torch.int64)
