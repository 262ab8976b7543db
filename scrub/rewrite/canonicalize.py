"""`canonicalize`: one expression for all that differ in the order of terms and factors alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from scrub.graph import Add, Cumulant, DiscreteVar, Einsum, Expr, rebuild
from scrub.rewrite.matcher import MatcherIn
from scrub.rewrite.simplify import simplify

_MAX_ORDERS = 720  # orders of equal operands that are tried, to find the one with the least axis numbers


def canonicalize(expr: Expr, *, keep_names: MatcherIn = True) -> Expr:
    """The simplified expression, with terms of sums, operands of products and scalar arguments of cumulants in order.

    The order is that of digests, so it means nothing, but it is the same everywhere. Two expressions that differ in the
    order of such things alone become the same object; nothing is promised of expressions that are equal for other
    reasons. Names are kept. Sums and products in another order round otherwise: values agree to about the precision of
    the dtype times the number of terms, not bit by bit.

    Args:
        expr: what to put in order.
        keep_names: as in `simplify`.

    >>> from scrub.graph import Scalar
    >>> a, b = Scalar(1.0, name="a"), Scalar(2.0, name="b")
    >>> canonicalize(a.mul(b).add(a)) is canonicalize(a.add(b.mul(a)))
    True
    """
    ordered = _in_order(expr)
    while True:
        simple = simplify(ordered, keep_names=keep_names)
        following = _in_order(simple)
        if following is simple:
            return simple
        ordered = following


def _in_order(expr: Expr) -> Expr:
    def transform(node: Expr, children: tuple[Expr, ...]) -> Expr:
        if isinstance(node, Add):
            return node.with_children(sorted(children, key=_key))
        if isinstance(node, Cumulant) and node.ndim == 0:
            return node.with_children(sorted(children, key=_key))
        if isinstance(node, DiscreteVar):  # another group would be another draw
            return node.with_children((children[0], node.probs_and_group))
        rebuilt = node.with_children(children)
        return _ordered_product(rebuilt) if isinstance(rebuilt, Einsum) else rebuilt

    return rebuild([expr], transform)[expr]


def _key(expr: Expr) -> str:
    return expr.digest


def _ordered_product(einsum: Einsum) -> Expr:
    """Operands by digest; equal operands by which of their axes go where, as far as that tells them apart."""
    operands = einsum.operands
    roles = _axis_roles(einsum)
    keys = [(child.digest, tuple(roles[axis] for axis in axes)) for child, axes in operands]
    order = sorted(range(len(operands)), key=keys.__getitem__)
    groups = [list(group) for _, group in itertools.groupby(order, key=keys.__getitem__)]
    candidates = [order]
    if math.prod(math.factorial(len(group)) for group in groups) <= _MAX_ORDERS:
        each = itertools.product(*(itertools.permutations(group) for group in groups))
        candidates = [[i for group in chosen for i in group] for chosen in each]
    return min((_with_order(einsum, chosen) for chosen in candidates), key=lambda made: made.params)


def _with_order(einsum: Einsum, order: Sequence[int]) -> Einsum:
    return Einsum(*(einsum.operands[i] for i in order), out_axes=einsum.out_axes, name=einsum.name)


def _axis_roles(einsum: Einsum) -> dict[int, int]:
    """A number for each axis that does not depend on the order of operands; different ones where axes play visibly
    different parts: where they stand in the result, and in which operands, next to which axes."""
    roles = {axis: 0 for axes in einsum.in_axes for axis in axes}
    described: dict[int, tuple[object, ...]] = {
        axis: tuple(i for i, out in enumerate(einsum.out_axes) if out == axis) for axis in roles
    }
    for _ in range(len(roles) + 1):
        numbers = {text: i for i, text in enumerate(sorted({repr(value) for value in described.values()}))}
        following = {axis: numbers[repr(value)] for axis, value in described.items()}
        if following == roles:
            break
        roles = following
        described = {
            axis: (
                roles[axis],
                tuple(
                    sorted(
                        (child.digest, tuple(i for i, own in enumerate(axes) if own == axis), _neighbours(axes, roles))
                        for child, axes in einsum.operands
                        if axis in axes
                    )
                ),
            )
            for axis in roles
        }
    return roles


def _neighbours(axes: Sequence[int], roles: dict[int, int]) -> tuple[int, ...]:
    return tuple(roles[axis] for axis in axes)
