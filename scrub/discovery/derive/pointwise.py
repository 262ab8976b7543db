"""What acts on every element by itself: such functions are part of a component, never a component of their own."""

from __future__ import annotations

from scrub.discovery.derive.walks import outside_bodies, reads
from scrub.graph import Add, Einsum, Expr, GeneralFunction, Rearrange


def is_pointwise(root: Expr, source: Expr) -> bool:
    """Whether an element of `root` depends on `source` through that element of it alone, as c x^3 on x.

    False for what has a weight in it, or a mean; and for calls.
    """
    pointwise = {source: True}
    for node in outside_bodies([root], {source}):
        below = [child for child in reads(node) if child in pointwise]
        if below and node not in pointwise:
            pointwise[node] = all(pointwise[child] for child in below) and _keeps_elements(node, below)
    return pointwise.get(root, False)


def _keeps_elements(node: Expr, below: list[Expr]) -> bool:
    if isinstance(node, Add):
        return all(child.shape == node.shape for child in below)
    if isinstance(node, Einsum):
        operands = zip(node.children, node.in_axes, strict=True)
        return all(tuple(axes) == tuple(node.out_axes) for child, axes in operands if child in below)
    if isinstance(node, GeneralFunction):
        shape = node.spec.infer_shape([child.shape for child in node.children])
        return shape.num_opaque == 0 and all(child.shape == node.shape for child in below)
    return isinstance(node, Rearrange)
