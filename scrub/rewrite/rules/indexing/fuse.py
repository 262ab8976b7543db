"""Indices of indices as one index."""

from __future__ import annotations

from collections.abc import Sequence

from scrub.graph import Expr, Index
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.indexing.cases import index_of
from scrub.rewrite.rules.indexing.descent import Plan, plans
from scrub.rewrite.rules.indexing.entries import Entries, compose


@rewrite(keeps="value", cases=index_of(Index, Index), simplifies=True, idempotent=True)
def fuse_index(index: Index, *, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """An index of an index, and so on down, becomes one index.

        x[i][j]  ->  x[k]

    Positions picked from a slice, or one from positions, are worked out: the result has one entry per axis of x.

    Args:
        index: the outer index.
        dissolve: which of the inner indices to take up; it stops above the first that it may not.

    >>> from scrub.graph import I, Scalar
    >>> x = Scalar(1.0, (5, 6, 7), name="x")
    >>> fuse_index(Index(Index(x, I[2:5, 3, 1:6]), I[0, 2:4], name="i"))
    'i' [2] Index [2, 3, 3:5]
    """
    may = Matcher(dissolve)
    inner, entries = index.children[0], index.entries
    if not isinstance(inner, Index):
        return NoMatch(f"it picks from {inner!r}, which is no Index")
    if not may(inner):
        return NoMatch(f"{inner!r} may not be taken apart")
    while isinstance(inner, Index) and may(inner):
        entries = _one_after_another(inner, entries)
        inner = inner.children[0]
    return Index.make((inner,), (entries,), None)


def _one_after_another(inner: Index, entries: Entries) -> Entries:
    """Entries on what `inner` picks from, that pick what these do from what it picks."""
    outer = iter(entries)
    return tuple(
        entry if isinstance(entry, int) else compose(entry, next(outer), size)
        for entry, size in zip(inner.entries, inner.children[0].shape, strict=True)
    )


@plans(Index)
def plan_index(node: Index, entries: Entries) -> Plan:
    """Both become one, on what is below."""

    def build(children: Sequence[Expr], name: str | None) -> Expr:
        return children[0]

    return Plan(((0, _one_after_another(node, entries)),), build)
