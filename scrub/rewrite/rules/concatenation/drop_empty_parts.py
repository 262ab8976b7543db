"""Concats without their empty parts."""

from __future__ import annotations

from scrub.graph import Concat, Expr
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    shape = (maker.random.choice([0, 1, 2, 3]), *maker.shape(max_ndim=2))
    sizes = maker.split(shape[0], maker.random.choice([1, 2, 3, 4]))
    axis = maker.random.randrange(len(shape))
    moved = [(*shape[1 : axis + 1], size, *shape[axis + 1 :]) for size in sizes]
    return Concat(*(maker.expr(s, 2) for s in moved), axis=axis, name="joined" if maker.random.random() < 0.5 else None)


@rewrite(keeps="value", cases=_cases, simplifies=True)
def drop_empty_parts(concat: Concat) -> Expr | NoMatch:
    """Parts of size 0 are left out; a concat of one part is that part.

        [a, empty, b]  ->  [a, b]        [a]  ->  a

    >>> from scrub.graph import Scalar
    >>> a, empty = Scalar(1.0, (2,), name="a"), Scalar(1.0, (0,), name="empty")
    >>> drop_empty_parts(Concat(a, empty, axis=0))
    'a' [2] Scalar 1.0
    """
    axis = concat.axis
    kept = [part for part in concat.children if part.shape[axis] != 0]
    if not kept:  # all are empty: one that has the dtype of the whole stands for them
        kept = [next((part for part in concat.children if part.dtype == concat.dtype), concat.children[0])]
    if len(kept) == len(concat.children) > 1:
        return NoMatch(f"no part is empty along axis {axis}")
    result = kept[0] if len(kept) == 1 else Concat(*kept, axis=axis)
    if result.dtype != concat.dtype:
        return NoMatch(f"an empty part makes the dtype {concat.dtype}, without it it would be {result.dtype}")
    return result
