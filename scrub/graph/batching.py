"""The one batching rule (SPEC 3): when children gain leading axes, the node gains them in front.

Batch axes of several children are aligned from the right and must be equal or absent; 1 is never broadcast against n.
Other sizes may change where the change is consistent and the node does not cut or address that axis.
"""

from __future__ import annotations

from collections.abc import Sequence

from scrub.graph.errors import BatchError
from scrub.graph.expr import AxisUse, Expr, Shape


def rebuild_batched(node: Expr, children: Sequence[Expr]) -> Expr:
    """`node` on new children that may have leading axes and sizes the old ones did not have.

    Raises:
        BatchError: batch axes disagree, the node takes none there, or an axis it cuts changes size.

    >>> import scrub as rc
    >>> def ones(*shape): return rc.Scalar(1.0, shape)
    >>> product = rc.Einsum.from_string("ab,bc->ac", ones(2, 3), ones(3, 5))
    >>> rebuild_batched(product, [ones(5, 7, 2, 3), ones(7, 3, 5)]).shape
    (5, 7, 2, 5)
    """
    children = tuple(children)
    if children == node.children:
        return node
    ranks = tuple(new.ndim - old.ndim for new, old in zip(children, node.children, strict=True))
    _check_sizes(node, children, ranks)
    batch = common_batch(f"{type(node).__name__} {node.name!r}", children, ranks)
    if not any(ranks):
        return node.with_children(children)
    return node.batched(children, ranks, batch)


def common_batch(what: str, children: Sequence[Expr], ranks: Sequence[int]) -> Shape:
    """The batch axes of the result: those of the children, aligned from the right."""
    batch: Shape = ()
    for child, rank in zip(children, ranks, strict=True):
        own = child.shape[:rank]
        shared = min(rank, len(batch))
        if own[rank - shared :] != batch[len(batch) - shared :]:
            raise BatchError(
                f"{what}: batch axes {own} of {child!r} do not fit {batch} of another child",
                nodes=children,
                expected=batch,
                found=own,
                hint="batch axes are aligned from the right and must be equal; what shares a batch axis is replaced "
                "in one Expander call",
            )
        batch = own if rank > len(batch) else batch
    return batch


def _check_sizes(node: Expr, children: Sequence[Expr], ranks: Sequence[int]) -> None:
    for child, old, rank in zip(children, node.children, ranks, strict=True):
        if rank < 0:
            raise BatchError(
                f"{type(node).__name__} {node.name!r}: {old!r} cannot be replaced by something with fewer axes",
                nodes=[node, child],
                expected=old.ndim,
                found=child.ndim,
                hint="axes are only added, in front; insert the missing ones with Rearrange",
            )
    if all(new.shape[rank:] == old.shape for new, old, rank in zip(children, node.children, ranks, strict=True)):
        return
    for uses, child, old, rank in zip(node.axis_map(), children, node.children, ranks, strict=True):
        for axis, use in enumerate(uses):
            if use is AxisUse.FIXED and child.shape[rank + axis] != old.shape[axis]:
                raise BatchError(
                    f"{type(node).__name__} {node.name!r}: the size of axis {axis} of {old!r} cannot change, "
                    "the node cuts or addresses it",
                    nodes=[node, child],
                    axis=axis,
                    expected=old.shape[axis],
                    found=child.shape[rank + axis],
                    hint="rebuild the node for the new size, or keep the size",
                )
