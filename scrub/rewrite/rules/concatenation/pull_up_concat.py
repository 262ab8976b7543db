"""A concat below an operation moves above it."""

from __future__ import annotations

from scrub.graph import (
    Add,
    AxisUse,
    Concat,
    Einsum,
    Expr,
    GeneralFunction,
    Index,
    Rearrange,
    ScrubError,
    Tag,
    rebuild_batched,
)
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    kind = maker.random.choice([Add, Einsum, GeneralFunction, Rearrange, Index, Concat])
    return maker.pattern(kind, Concat)


@rewrite(keeps="value", cases=_cases)
def pull_up_concat(expr: Expr, *, child: int | None = None, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """An operation on a concat becomes the concat of the operation on each part.

        f([a, b])  ->  [f(a), f(b)]        [a, b] + c  ->  [a + c[:n], b + c[n:]]

    The axis of the concat must be one that the operation carries over to its result position by position; other
    children that share it are cut accordingly.

    Args:
        expr: the operation.
        child: index of the child that is the concat; the first for which it is possible if not given.
        dissolve: which concats may be taken apart.

    >>> from scrub.graph import Scalar, elementwise
    >>> parts = [Scalar(1.0, (2,), name="a"), Scalar(2.0, (3,), name="b")]
    >>> pull_up_concat(elementwise("exp", Concat(*parts, axis=0), name="e")).print()
    'e' [5] Concat axis=0
      exp(a) [2] GeneralFunction exp
        'a' [2] Scalar 1.0
      exp(b) [3] GeneralFunction exp
        'b' [3] Scalar 2.0
    """
    if isinstance(expr, Tag):
        return NoMatch("a tag is an identity, and its parts would be others")
    may = Matcher(dissolve)
    reason = "no child is a concat that may be taken apart"
    for index, node in enumerate(expr.children):
        if isinstance(node, Concat) and child in (None, index) and may(node):
            result = _pull(expr, index, node)
            if not isinstance(result, NoMatch):
                return result
            reason = result.reason
    return NoMatch(reason)


def _pull(expr: Expr, index: int, concat: Concat) -> Expr | NoMatch:
    uses = expr.axis_map()
    at = uses[index][concat.axis]
    if isinstance(at, AxisUse):
        return NoMatch(f"axis {concat.axis} of child {index}: {at.value}")
    if concat.children[0].ndim != concat.ndim or expr.shape[at] != concat.shape[concat.axis]:
        return NoMatch(f"axis {concat.axis} of child {index} is broadcast")
    pieces: list[Expr] = []
    start = 0
    for part in concat.children:
        stop = start + part.shape[concat.axis]
        children = [
            part if i == index else _cut(node, uses[i], at, expr, slice(start, stop))
            for i, node in enumerate(expr.children)
        ]
        try:
            piece = rebuild_batched(expr, children).rename(None)
        except ScrubError as error:
            return NoMatch(f"it cannot be rebuilt on a part: {error.problem}")
        pieces.append(piece)
        start = stop
    result = Concat(*pieces, axis=at)
    if result.shape != expr.shape or result.dtype != expr.dtype:
        return NoMatch(f"the parts would make {list(result.shape)} {result.dtype}, not {list(expr.shape)} {expr.dtype}")
    return result


def _cut(node: Expr, uses: tuple[int | AxisUse, ...], at: int, expr: Expr, part: slice) -> Expr:
    """The part of another child that goes with a part of the concat; the whole if it is broadcast along the axis."""
    if at not in uses or node.shape[uses.index(at)] != expr.shape[at]:
        return node
    axis = uses.index(at)
    return Index(node, [part if i == axis else slice(None) for i in range(node.ndim)])
