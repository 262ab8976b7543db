"""One index as two, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from scrub.graph import Expr, Index
from scrub.graph.rules import resolve_axis
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.indexing.cases import random_index

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    return random_index(maker, maker.expr(maker.shape(max_ndim=4)))


def _choices(index: Index) -> Iterator[dict[str, Any]]:
    """Every axis first; then the even ones, counted from the end."""
    for axis in range(len(index.entries)):
        yield {"axes": [axis]}
    yield {"axes": range(-len(index.entries), 0, 2)}


@rewrite(keeps="value", cases=_cases, choices=_choices)
def split_index(index: Index, *, axes: Sequence[int]) -> Expr | NoMatch:
    """An index on several axes becomes two: the inner one on the axes given, the outer one on the others.

        x[i, j]  ->  x[i][:, j]   for axes=[0]

    Args:
        index: the index.
        axes: of what it picks from, those picked from first. Negative ones count from the end.

    Raises:
        ShapeError: an axis does not exist.

    >>> from scrub.graph import I, Scalar
    >>> x = Scalar(1.0, (5, 6, 7), name="x")
    >>> split_index(Index(x, I[2, 0:3, 1], name="i"), axes=[0, 1]).print()
    'i' [3] Index [:, 1]
      x[2, 0:3, :] [3, 7] Index [2, 0:3, :]
        'x' [5, 6, 7] Scalar 1.0
    """
    (inner,) = index.children
    hint = "axes count in what the index picks from"
    chosen = {
        resolve_axis(f"axis {axis} does not exist in {inner!r}", axis, inner.ndim, nodes=[index, inner], hint=hint)
        for axis in axes
    }
    cut = {axis for axis, entry in enumerate(index.entries) if entry is not None}
    if not cut & chosen:
        return NoMatch(f"it takes all of the axes {sorted(chosen)} of {inner!r}, so there is nothing to do first")
    if cut <= chosen:
        return NoMatch(f"it takes all of the axes other than {sorted(chosen)} of {inner!r}, so none is left to do then")
    first = tuple(entry if axis in chosen else None for axis, entry in enumerate(index.entries))
    then = tuple(
        None if axis in chosen else entry
        for axis, entry in enumerate(index.entries)
        if not (axis in chosen and isinstance(entry, int))
    )
    return Index.make((Index.make((inner,), (first,), None),), (then,), None)
