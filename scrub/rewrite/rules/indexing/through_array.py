"""Indices of arrays."""

from __future__ import annotations

from scrub.graph import Array, Expr, Index
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.indexing.cases import index_of


@rewrite(keeps="value", cases=index_of(Array), idempotent=True)
def push_index_through_array(index: Index) -> Expr | NoMatch:
    """An index of an array is an array of what it picks, with the name of the index; the array itself if that is all.

    It makes expressions smaller, but a list of positions copies what it picks: so it is done only where asked for.

    >>> from scrub.graph import I
    >>> import torch
    >>> push_index_through_array(Index(Array(torch.tensor([3.0, 5.0]), "a"), I[1], name="i")).evaluate()
    tensor(5.)
    """
    (array,) = index.children
    if not isinstance(array, Array):
        return NoMatch(f"it picks from {array!r}, which is no Array")
    if array.value.is_meta:
        return NoMatch(f"{array!r} is a meta tensor, without values to pick from")
    picked = index.compute(array.value)
    made = Array(picked, index.name, axis_names=index.axis_names)
    return array if made.frozen.digest == array.frozen.digest else made
