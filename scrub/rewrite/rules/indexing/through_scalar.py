"""Indices of scalars."""

from __future__ import annotations

from scrub.graph import Expr, Index, Scalar
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.indexing.cases import index_of
from scrub.rewrite.rules.indexing.descent import Plan, plans, push
from scrub.rewrite.rules.indexing.entries import Entries, picked_shape


@rewrite(keeps="value", cases=index_of(Scalar), simplifies=True, idempotent=True)
def push_index_through_scalar(index: Index) -> Expr | NoMatch:
    """An index of a scalar is the scalar in another shape, with the name of the index if that has one.

    >>> from scrub.graph import I
    >>> push_index_through_scalar(Index(Scalar(1.0, (2, 3), name="a"), I[0], name="i"))
    'i' [3] Scalar 1.0
    """
    return push(index, Scalar, partial=False, dissolve=True)


@plans(Scalar)
def plan_scalar(scalar: Scalar, entries: Entries) -> Plan:
    """There is nothing below."""
    return Plan((), lambda children, name: Scalar(scalar.value, picked_shape(entries, scalar.shape), scalar.name))
