"""Elementary axes of a `Rearrange`, and nodes made from them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from scrub.graph import Expr, Rearrange
from scrub.graph.rearrange import Groups


def elementary_sizes(node: Rearrange) -> tuple[int, ...]:
    """Size of each elementary axis of the node, by number.

    >>> from scrub.graph import Scalar
    >>> elementary_sizes(Rearrange(Scalar(1.0, (2, 6)), "a (b c) -> c b a 5", b=2))
    (2, 2, 3, 5)
    """
    known = {axis: size for axis, size in enumerate(node.sizes) if size is not None}
    for group, size in zip(node.left, node.children[0].shape, strict=True):
        unknown = [axis for axis in group if axis not in known]
        if len(group) == 1:
            known[group[0]] = size
        elif unknown:
            known[unknown[0]] = size // math.prod([known[axis] for axis in group if axis in known])
    return tuple(known[axis] for axis in range(len(node.sizes)))


def declared_sizes(node: Rearrange) -> dict[int, int]:
    """Sizes of the elementary axes that the node fixes; the others follow from the child's shape."""
    return {axis: size for axis, size in enumerate(node.sizes) if size is not None}


def rearranged(expr: Expr, left: Groups, right: Groups, sizes: Mapping[int, int], name: str | None = None) -> Expr:
    """`Rearrange` from groups; the expression itself where nothing changes.

    >>> from scrub.graph import Scalar
    >>> rearranged(Scalar(1.0, (2, 3)), ((0,), (1,)), ((0,), (1,)), {}).shape
    (2, 3)
    """
    return expr if left == right else Rearrange.from_groups(expr, left, right, sizes, name=name)


def singles(first: int, count: int) -> Groups:
    """`count` axes that are not merged, numbered from `first`.

    >>> singles(2, 3)
    ((2,), (3,), (4,))
    """
    return tuple((axis,) for axis in range(first, first + count))
