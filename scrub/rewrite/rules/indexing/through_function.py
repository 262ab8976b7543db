"""Indices of functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from scrub.graph import Expr, GeneralFunction, Index
from scrub.graph.functions.gen_index import GenIndex
from scrub.graph.functions.power import Pow
from scrub.rewrite.matcher import MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.indexing.cases import random_index, whole_or_partial
from scrub.rewrite.rules.indexing.descent import Blocked, Plan, plan_broadcast, plan_by_axis_map, plans, push
from scrub.rewrite.rules.indexing.entries import Entries
from scrub.rewrite.rules.rearranging.cases import random_function

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    return random_index(maker, random_function(maker, maker.shape()))


@rewrite(keeps="value", cases=_cases, choices=whole_or_partial)
def push_index_through_function(index: Index, *, partial: bool = False, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """An index of a function becomes the function of the indexed arguments.

        f(x)[i]  ->  f(x[i])

    Axes along which the function computes its values together, such as the last one of softmax, cannot be indexed
    below it. A gather (`gen_index`) passes each entry to the table or to the index, whichever has the axis.

    Args:
        index: of a function.
        partial: let those entries pass that can, where others cannot.
        dissolve: whether the function may be taken apart.

    >>> from scrub.graph import I, Scalar, softmax
    >>> x = Scalar(1.0, (2, 3), name="x")
    >>> push_index_through_function(Index(softmax(x), I[0], name="i")).print()
    'i' [3] GeneralFunction softmax
      x[0, :] [3] Index [0, :]
        'x' [2, 3] Scalar 1.0
    >>> push_index_through_function.attempt(Index(softmax(x), I[:, 0])).reason
    'the index cannot pass softmax(x) [2, 3] GeneralFunction softmax: axis 1: softmax computes its values together'
    """
    return push(index, GeneralFunction, partial=partial, dissolve=dissolve)


@plans(GeneralFunction)
def plan_function(node: GeneralFunction, entries: Entries) -> Plan | Blocked:
    """The axes before those the function computes together; powers and gathers have rules of their own."""

    def build(children: Sequence[Expr], name: str | None) -> Expr:
        return GeneralFunction(*children, spec=node.spec, name=name)

    if isinstance(node.spec, GenIndex):
        return _plan_gather(node, node.spec, entries)
    if isinstance(node.spec, Pow):
        return plan_broadcast(node, entries, build)
    found = plan_by_axis_map(node, entries)
    return found if isinstance(found, Plan) else dict.fromkeys(found, f"{node.spec.label} computes its values together")


def _plan_gather(node: GeneralFunction, spec: GenIndex, entries: Entries) -> Plan:
    """Each axis of the result is one of the table `x`, of the index, or of both."""
    x, index = node.children
    num_shared = index.ndim if spec.batch_x and spec.batch_index else 0
    dim = num_shared + spec.index_dim % (x.ndim - num_shared)
    before = index.ndim if spec.batch_index and not num_shared else 0  # axes of the result before those of x
    inserted = 0 if spec.batch_index else index.ndim  # and between those before and after dim
    first = dim if inserted else 0
    x_entries = tuple(
        None if axis == dim else entries[before + (axis if axis < dim else axis - 1 + inserted)]
        for axis in range(x.ndim)
    )
    is_kept = [not isinstance(entry, int) for entry in x_entries[num_shared:]]
    new_dim = sum(is_kept[: dim - num_shared])
    new_spec = dataclasses.replace(spec, index_dim=new_dim - (sum(is_kept) if spec.index_dim < 0 else 0))

    def build(children: Sequence[Expr], name: str | None) -> Expr:
        return GeneralFunction(*children, spec=new_spec, name=name)

    return Plan(((0, x_entries), (1, entries[first : first + index.ndim])), build)
