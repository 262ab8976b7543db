"""Views of leaves, and nodes made of axes: what the rules share."""

from __future__ import annotations

from scrub.graph import Array, Einsum, Expr, Index, Rearrange, Scalar, Size, Symbol
from scrub.graph.rearrange import Groups
from scrub.rewrite.rules import drop_identity_rearrange, fuse_rearrange


def viewed_leaf(expr: Expr) -> Expr | None:
    """The leaf that an expression is a view of: rearranged, indexed, or as it is; None where it is computed.

    >>> weight = Symbol.new_from_name((6, 4), "w")
    >>> viewed_leaf(Rearrange(weight, "(h e) d -> h e d", h=2)) is weight
    True
    """
    while isinstance(expr, Rearrange | Index):
        (expr,) = expr.children
    return expr if isinstance(expr, Array | Scalar | Symbol) else None


def is_view(expr: Expr) -> bool:
    """Whether an expression is a leaf, or one rearranged and indexed: what costs nothing to rearrange once more."""
    return viewed_leaf(expr) is not None


def is_scalar(expr: Expr) -> bool:
    """Whether it is a number."""
    return isinstance(expr, Scalar)


def factors(einsum: Einsum) -> list[int]:
    """Positions of the operands that are no numbers."""
    return [i for i, child in enumerate(einsum.children) if not is_scalar(child)]


def is_scaling(expr: Expr) -> bool:
    """Whether it is one expression times numbers.

    >>> is_scaling(Symbol.new_from_name((2,), "x").scale(2.0))
    True
    """
    if not isinstance(expr, Einsum):
        return False
    others = factors(expr)
    return len(others) == 1 and expr.in_axes[others[0]] == expr.out_axes


def is_linear(node: Einsum) -> bool:
    """A product of two, one of them a view of a leaf, that share only what is summed."""
    operands = factors(node)
    if len(operands) != 2 or not any(is_view(node.children[i]) for i in operands):
        return False
    first, second = (set(node.in_axes[i]) for i in operands)
    return bool(first & second) and not first & second & set(node.out_axes)


def rearranged(expr: Expr, left: Groups, right: Groups, sizes: dict[int, Size], name: str | None = None) -> Expr:
    """`Rearrange`, one with those below it, and none where nothing changes."""
    made: Expr = Rearrange.from_groups(expr, left, right, sizes, name=name)
    for rule in (fuse_rearrange, drop_identity_rearrange):
        made = result if isinstance(result := rule.attempt(made), Expr) else made
    return made


def permuted(expr: Expr, order: tuple[int, ...]) -> Expr:
    """The axes in another order: axis i of the result is axis `order[i]`.

    >>> permuted(Symbol.new_from_name((2, 3), "x"), (1, 0)).shape
    (3, 2)
    """
    if order == tuple(range(expr.ndim)):
        return expr
    return rearranged(expr, tuple((axis,) for axis in range(expr.ndim)), tuple((axis,) for axis in order), {})


def elementary_sizes(node: Rearrange) -> tuple[Size, ...]:
    """Size of each elementary axis."""
    from scrub.graph.sizes import product, quotient

    known: dict[int, Size] = {axis: size for axis, size in enumerate(node.sizes) if size is not None}
    for group, size in zip(node.left, node.children[0].shape, strict=True):
        open_parts = [part for part in group if part not in known]
        for part in open_parts:
            known[part] = quotient(size, product(known[other] for other in group if other in known))
    return tuple(known[axis] for axis in range(len(node.sizes)))
