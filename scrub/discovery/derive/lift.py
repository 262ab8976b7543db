"""What each of several summed parts becomes: a function that is linear in their sum, of each of them.

    w(y) = L(y) + rest,  y = sum over h of x_h    ->    w = sum over h of L(x_h) + rest

Where y also sets a scale, as in a norm of what attention writes, the scale stays that of the sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from scrub.discovery.derive.walks import outside_bodies, reads, with_reads
from scrub.graph import Add, Concat, Einsum, Expr, Index, Module, Rearrange, Scalar, Symbol


class Lifted(NamedTuple):
    """The linear part of each of the parts, [*axes, *shape], and what is added to their sum, or None."""

    each: Expr
    rest: Expr | None


def lift(whole: Expr, summed: Expr, parts: Expr, total: Expr, replaced: Mapping[Expr, Expr]) -> Lifted | None:
    """Distribute an expression over the parts of a sum in it; None where it is not linear in the sum.

    Args:
        whole: the expression.
        summed: a node of it, the sum over the leading axes of `parts`.
        parts: what is summed, [*axes, *shape of summed].
        total: what to read instead of the sum where the expression is not linear in it.
        replaced: nodes below the sum or beside it -> what to read instead, in all that comes out.
    """
    if whole is summed:
        return Lifted(parts, None)
    y = Symbol.new_with_random_uuid(summed.shape, "discovery.part")
    linear: dict[Expr, Expr] = {summed: y}
    rest: dict[Expr, Expr | None] = {summed: None}
    plain: dict[Expr, Expr] = {**replaced, summed: total}
    touched = {summed}
    for node in outside_bodies([whole], {summed, *replaced}):
        if node in plain:
            continue
        below = reads(node)
        plain[node] = with_reads(node, [plain[child] for child in below])
        if any(child in touched for child in below):
            touched.add(node)
            _lift_node(node, linear, rest, plain)
    if whole not in linear:
        return None
    return Lifted(Module.from_bindings(linear[whole], {y: parts}, whole.name), rest[whole])


def _lift_node(node: Expr, linear: dict[Expr, Expr], rest: dict[Expr, Expr | None], plain: dict[Expr, Expr]) -> None:
    """Add the linear part of a node and its rest, if it is linear in what is linear below."""
    below = reads(node)
    if isinstance(node, Add):
        _lift_sum(node, linear, rest, plain)
        return
    moving = [i for i, child in enumerate(below) if child in linear]
    if len(moving) != 1 or not isinstance(node, Einsum | Rearrange | Index | Concat):
        return
    if isinstance(node, Concat) and len(below) > 1:
        return

    def with_moving(value: Expr) -> Expr:
        return with_reads(node, [value if i == moving[0] else plain[child] for i, child in enumerate(below)])

    linear[node] = with_moving(linear[below[moving[0]]])
    other, shape = rest[below[moving[0]]], below[moving[0]].shape
    if other is not None and other.shape != shape:  # a bias, say
        other = Add(other, Scalar(0.0, shape))
    rest[node] = None if other is None else with_moving(other)


def _lift_sum(node: Add, linear: dict[Expr, Expr], rest: dict[Expr, Expr | None], plain: dict[Expr, Expr]) -> None:
    moving = [child for child in node.children if child in linear]
    if not moving:
        return
    others = [rest[child] if child in linear else plain[child] for child in node.children]
    kept = [other for other in others if other is not None]
    linear[node] = Add(*(linear[child] for child in moving))
    rest[node] = Add(*kept) if len(kept) > 1 else kept[0] if kept else None
    if linear[node].shape != node.shape:
        del linear[node]
