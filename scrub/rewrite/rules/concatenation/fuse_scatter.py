"""A scatter of a scatter as one scatter."""

from __future__ import annotations

from scrub.graph import Expr, Scatter
from scrub.graph.index import Entry
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.indexing.entries import compose


@rewrite(keeps="value", pattern=(Scatter, Scatter), simplifies=True)
def fuse_scatter(scatter: Scatter, *, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """What is placed in a part of a part is placed where that part is.

        scatter(scatter(x at [1:3], (4,)) at [2:6], (9,))  ->  scatter(x at [3:5], (9,))

    Args:
        scatter: the outer scatter.
        dissolve: whether the inner scatter may be taken apart.

    >>> from scrub.graph import I, Scalar
    >>> inner = Scatter(Scalar(1.0, (2,), name="x"), I[1:3], (4,))
    >>> fuse_scatter(Scatter(inner, I[2:6], (9,), name="placed"))
    'placed' [9] Scatter [3:5]
    """
    inner = scatter.children[0]
    if not isinstance(inner, Scatter):
        return NoMatch("what is placed is no scatter")
    if not Matcher(dissolve)(inner):
        return NoMatch("the inner scatter may not be taken apart")
    below = iter(inner.entries)
    entries: list[Entry] = []
    for entry, size in zip(scatter.entries, scatter.shape, strict=True):
        entries.append(entry if isinstance(entry, int) else compose(entry, next(below), size))
    kept = tuple(None if entry is None else size for entry, size in zip(entries, scatter.shape, strict=True))
    return Scatter.make(inner.children, (tuple(entries), kept), None)
