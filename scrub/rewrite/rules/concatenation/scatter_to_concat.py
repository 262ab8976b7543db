"""A scatter into a slice as a concat with zeros."""

from __future__ import annotations

from scrub.graph import Concat, Expr, FrozenTensor, Scalar, Scatter
from scrub.graph.rearrange import insert_axes
from scrub.rewrite.rule import NoMatch, Options, rewrite


def _choices(scatter: Scatter) -> list[Options]:
    return [{}, *({"axis": axis} for axis in range(scatter.ndim))]


@rewrite(keeps="value", pattern=(Scatter,), choices=_choices)
def scatter_to_concat(scatter: Scatter, *, axis: int | None = None) -> Expr | NoMatch:
    """Along one axis, what is placed at a slice or position becomes a concat with zeros before and behind.

        scatter(x at [2:4], (5,))  ->  [0, x, 0]

    Args:
        scatter: the scatter; other axes stay scattered, below the concat.
        axis: along which; the first at a slice or position if not given.

    >>> from scrub.graph import I
    >>> scatter_to_concat(Scatter(Scalar(1.0, (2,), name="x"), I[2:4], (5,), name="padded")).print()
    'padded' [5] Concat axis=0
      0.0 [2] Scalar 0.0
      'x' [2] Scalar 1.0
      0.0 [1] Scalar 0.0
    """
    entries = scatter.entries
    if axis is None:
        axis = next((i for i, e in enumerate(entries) if isinstance(e, int | tuple)), None)
        if axis is None:
            return NoMatch("no axis is scattered into a slice or position")
    if not 0 <= axis < scatter.ndim:
        return NoMatch(f"axis {axis} is none of its {scatter.ndim} axes")
    entry = entries[axis]
    if entry is None or isinstance(entry, FrozenTensor):
        return NoMatch(f"axis {axis} is " + ("filled whole" if entry is None else "scattered to listed positions"))
    start, stop = (entry, entry + 1) if isinstance(entry, int) else entry
    inner = scatter.children[0]
    if isinstance(entry, int):
        inner = insert_axes(inner, at=sum(not isinstance(e, int) for e in entries[:axis]), count=1)
    rest = [slice(None) if i == axis else e for i, e in enumerate(scatter.idx)]
    part_shape = [stop - start if i == axis else size for i, size in enumerate(scatter.shape)]
    if any(other is not None for i, other in enumerate(entries) if i != axis):
        inner = Scatter(inner, rest, part_shape)
    parts: list[Expr] = []
    for part, size in ((None, start), (inner, stop - start), (None, scatter.shape[axis] - stop)):
        shape = [size if i == axis else other for i, other in enumerate(scatter.shape)]
        if part is not None:
            parts.append(part)
        elif size != 0:
            parts.append(Scalar(0.0, shape))
    return Concat(*parts, axis=axis)
