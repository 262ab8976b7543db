"""Scatters that place nothing."""

from __future__ import annotations

from scrub.graph import Expr, Scalar, Scatter, cast_to
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    shape = [maker.random.choice([1, 2, 3]) for _ in range(maker.random.choice([1, 2, 3]))]
    cut = maker.random.randrange(len(shape))
    start = maker.random.randint(0, shape[cut])
    stop = start if maker.random.random() < 0.8 else shape[cut]
    inner = tuple(stop - start if axis == cut else size for axis, size in enumerate(shape))
    return Scatter(maker.expr(inner, 2), [*[slice(None)] * cut, slice(start, stop)], shape)


@rewrite(keeps="value", cases=_cases, simplifies=True)
def drop_empty_scatter(scatter: Scatter) -> Expr | NoMatch:
    """Nothing among zeros is zeros, of the same dtype.

        scatter(empty at [1:1], (3,))  ->  0

    >>> from scrub.graph import I
    >>> drop_empty_scatter(Scatter(Scalar(1.0, (0,), name="empty"), I[1:1], (3,), name="nothing"))
    'nothing' [3] Scalar 0.0
    """
    if all(size != 0 for size in scatter.children[0].shape):
        return NoMatch("what is placed is not empty")
    zeros = Scalar(0.0, scatter.shape)
    return zeros if scatter.dtype is None else cast_to(zeros, scatter.dtype)
