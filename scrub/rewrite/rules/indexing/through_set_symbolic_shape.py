"""An index of an expression with claimed sizes moves below the claim."""

from __future__ import annotations

from scrub.graph import Expr, Index, SetSymbolicShape
from scrub.rewrite.matcher import MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.indexing.cases import index_of
from scrub.rewrite.rules.indexing.descent import Blocked, Plan, plans, push
from scrub.rewrite.rules.indexing.entries import Entries


@plans(SetSymbolicShape)
def _plan(node: SetSymbolicShape, entries: Entries) -> Plan | Blocked:
    """Entries pass where the claim is settled; it goes on being made about the axes that are taken whole."""
    sizes = zip(entries, node.claimed, node.children[0].shape, strict=True)
    blocked = {
        axis: f"it is {said} by the claim alone"
        for axis, (entry, said, own) in enumerate(sizes)
        if entry is not None and said is not None and said != own
    }
    if blocked:
        return blocked
    kept = [axis for axis, entry in enumerate(entries) if not isinstance(entry, int)]
    claimed = tuple(node.claimed[axis] if entries[axis] is None else None for axis in kept)
    names = tuple(node.given_names[axis] if isinstance(entries[axis], tuple | None) else None for axis in kept)
    return Plan(((0, entries),), lambda children, name: SetSymbolicShape(children[0], claimed, name, axis_names=names))


@rewrite(keeps="value", cases=index_of(SetSymbolicShape))
def push_index_through_set_symbolic_shape(
    index: Index, *, partial: bool = False, dissolve: MatcherIn = True
) -> Expr | NoMatch:
    """An index of an expression with claimed sizes becomes the indexed expression with the claims that are left.

    Args:
        index: of a claim.
        partial: let those entries pass that can, where others cannot.
        dissolve: whether the claim may be moved.

    >>> from scrub.graph import I, Scalar
    >>> claim = SetSymbolicShape(Scalar(1.0, (2, 3), name="a"), (2, 3))
    >>> push_index_through_set_symbolic_shape(Index(claim, I[0], name="i")).children
    (a[0, :] [3] Index [0, :],)
    """
    return push(index, SetSymbolicShape, partial=partial, dissolve=dissolve)
