"""Splitting an axis of an expression into several, as far down as the axis goes.

An axis that a node carries over value by value from its children is split in these, and so on down to views of leaves,
where a split is a view, and to rearrangements that merged the axis out of just these parts, which it cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scrub.graph import Add, AxisUse, Concat, Einsum, Expr, GeneralFunction, Index, Module, Rearrange, Scalar, Size
from scrub.graph.functions.gen_index import GenIndex
from scrub.graph.rearrange import insert_axes
from scrub.graph.sizes import product, quotient
from scrub.graph.walk import settle
from scrub.models.exported.recover.views import elementary_sizes, is_view, rearranged
from scrub.rewrite import NoMatch

Place = tuple[Expr, int]
"""A node and one of its axes."""


@dataclass(frozen=True)
class _Descent:
    """Which axis of each child is to be split, None for none, and how the node is made of the results."""

    below: tuple[int | None, ...]
    build: Callable[[Sequence[Expr]], Expr]


def split_axis(expr: Expr, axis: int, sizes: Sequence[Size]) -> Expr | NoMatch:
    """The expression with one axis as several, of these sizes; without a `Rearrange` above anything that is computed.

    Args:
        expr: [..., product of `sizes`, ...].
        axis: counted from 0.
        sizes: of the parts, outermost first.

    Returns:
        The expression [..., *sizes, ...] under the name of the old one; or why there is none.

    >>> from scrub.graph import Symbol
    >>> x, w = Symbol.new_from_name((5, 8), "x"), Symbol.new_from_name((6, 8), "w")
    >>> split_axis(Einsum.from_string("s d, f d -> s f", x, w, name="q"), 1, (2, 3)).print()
    'q' [5, 2, 3] Einsum ab,cdb->acd
      'x' [5, 8] Symbol ...
      rearrange(w) [2, 3, 8] Rearrange (a b) c -> a b c, a=2, b=3
        'w' [6, 8] Symbol ...
    """
    wanted = tuple(sizes)
    if len(wanted) < 2 or expr.shape[axis] != product(wanted) or expr.shape[axis] == 1:
        return NoMatch(f"an axis of size {expr.shape[axis]} is not split into {wanted}")
    results: dict[Place, Expr | NoMatch] = {}

    def step(place: Place) -> Sequence[Place]:
        node, at = place
        plan = _plan(node, at, wanted)
        if not isinstance(plan, _Descent):
            results[place] = plan
            return ()
        below = [(child, own) for child, own in zip(node.children, plan.below, strict=True) if own is not None]
        waiting = [each for each in below if each not in results]
        if waiting:
            return waiting
        failed = next((result for each in below if isinstance(result := results[each], NoMatch)), None)
        if failed is not None:
            results[place] = failed
            return ()
        children = [
            child if own is None else _made(results[child, own])
            for child, own in zip(node.children, plan.below, strict=True)
        ]
        made = plan.build(children)
        if made.shape != (*node.shape[:at], *wanted, *node.shape[at + 1 :]):
            results[place] = NoMatch(f"{node!r} does not carry axis {at} value by value")
        else:
            results[place] = made if made.name is not None else made.rename(node.name)
        return ()

    settle((expr, axis), results, step)
    return results[expr, axis]


def _made(result: Expr | NoMatch) -> Expr:
    assert isinstance(result, Expr)
    return result


def _plan(node: Expr, axis: int, sizes: tuple[Size, ...]) -> _Descent | Expr | NoMatch:
    blocked = NoMatch(f"{node!r} does not carry axis {axis} value by value")
    if isinstance(node, Scalar):
        return Scalar(node.value, (*node.shape[:axis], *sizes, *node.shape[axis + 1 :]), node.name)
    if isinstance(node, Rearrange):
        return _plan_rearrange(node, axis, sizes)
    if is_view(node):
        return _split_view(node, axis, sizes)
    if isinstance(node, Einsum):
        return _plan_einsum(node, axis, len(sizes)) or blocked
    if isinstance(node, Index):
        kept = [i for i, use in enumerate(node.axis_map()[0]) if use == axis]
        if not kept:
            return NoMatch(f"{node!r} cuts axis {axis}")
        entries = node.entries[: kept[0]] + (None,) * len(sizes) + node.entries[kept[0] + 1 :]
        return _Descent((kept[0],), lambda children: Index.make(tuple(children), (entries,), None))
    if isinstance(node, Concat):
        if node.axis == axis:
            return NoMatch(f"{node!r} joins parts along axis {axis}")
        joined = node.axis + (len(sizes) - 1 if node.axis > axis else 0)
        return _Descent((axis,) * len(node.children), lambda children: Concat(*children, axis=joined))
    if isinstance(node, Add) or (isinstance(node, GeneralFunction) and not isinstance(node.spec, GenIndex)):
        return _plan_aligned(node, axis, len(sizes)) or blocked
    if isinstance(node, Module) and axis < node.num_batch:
        below = tuple(uses.index(axis) if axis in uses else None for uses in node.axis_map())
        return _Descent(below, node.with_children)
    return blocked


def _split_view(node: Expr, axis: int, sizes: tuple[Size, ...]) -> Expr:
    number = node.ndim + len(sizes)
    parts = tuple(range(number, number + len(sizes)))
    left = tuple(parts if i == axis else (i,) for i in range(node.ndim))
    right = tuple(group for i in range(node.ndim) for group in (tuple((p,) for p in parts) if i == axis else ((i,),)))
    return rearranged(node, left, right, dict(zip(parts, sizes, strict=True)))


def _plan_einsum(node: Einsum, axis: int, count: int) -> _Descent | None:
    label = node.out_axes[axis]
    if any(axes.count(label) > 1 for axes in (*node.in_axes, node.out_axes)):
        return None
    first = 1 + max(label for axes in node.in_axes for label in axes)
    parts = tuple(range(first, first + count))

    def replaced(axes: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(new for old in axes for new in (parts if old == label else (old,)))

    return _Descent(
        tuple(axes.index(label) if label in axes else None for axes in node.in_axes),
        lambda children: Einsum(
            *zip(children, map(replaced, node.in_axes), strict=True), out_axes=replaced(node.out_axes)
        ),
    )


def _plan_aligned(node: Add | GeneralFunction, axis: int, count: int) -> _Descent | None:
    """Sums, and functions that compute each entry of their leading axes from those at the same place."""
    own_ndims = (0,) * len(node.children) if isinstance(node, Add) else node.function_shape().own_ndims
    num_own = 0 if isinstance(node, Add) else node.function_shape().num_opaque
    if axis >= node.ndim - num_own:
        return None
    below: list[int | None] = []
    lacking: dict[int, int] = {}
    for i, (child, own, uses) in enumerate(zip(node.children, own_ndims, node.axis_map(), strict=True)):
        at = axis - (node.ndim - num_own) + (child.ndim - own)
        is_carried = at >= 0 and uses[at] == axis and child.shape[at] == node.shape[axis]
        below.append(at if is_carried else None)
        if at >= 0 and not is_carried:
            if uses[at] is not AxisUse.REDUCED and child.shape[at] != 1:
                return None
            lacking[i] = at

    def build(children: Sequence[Expr]) -> Expr:
        spread = tuple(
            insert_axes(child, at=lacking[i], count=count - 1) if i in lacking else child
            for i, child in enumerate(children)
        )
        return node.make(spread, node.params, None)

    return _Descent(tuple(below), build)


def _plan_rearrange(node: Rearrange, axis: int, sizes: tuple[Size, ...]) -> _Descent | Expr | NoMatch:
    """By the parts that the axis is merged of: they are the wanted ones, or one part of it is the whole axis."""
    (child,) = node.children
    own = elementary_sizes(node)
    group = tuple(part for part in node.right[axis] if own[part] != 1)
    declared = {part: size for part, size in enumerate(node.sizes) if size is not None}
    runs = _runs(group, own, sizes)
    if runs is not None:
        ones = tuple(part for part in node.right[axis] if own[part] == 1)
        runs[0] = (*ones, *runs[0])
        return rearranged(child, node.left, (*node.right[:axis], *runs, *node.right[axis + 1 :]), declared, node.name)
    if len(group) != 1:
        return NoMatch(f"{node!r} merges axis {axis} of other parts than {sizes}")
    (part,) = group
    parts = tuple(range(len(own), len(own) + len(sizes)))
    right = tuple(new for i, g in enumerate(node.right) for new in (tuple((p,) for p in parts) if i == axis else (g,)))
    declared |= dict(zip(parts, sizes, strict=True))
    declared.pop(part, None)
    at = next((i for i, g in enumerate(node.left) if part in g), None)
    if at is None or len(node.left[at]) > 1:  # it repeats, or splits the axis of the child already
        left = tuple(tuple(new for old in g for new in (parts if old == part else (old,))) for g in node.left)
        return rearranged(child, left, right, declared, node.name)
    if is_view(child):
        left = tuple(parts if i == at else g for i, g in enumerate(node.left))
        return rearranged(child, left, right, declared, node.name)
    left = tuple(new for i, g in enumerate(node.left) for new in (tuple((p,) for p in parts) if i == at else (g,)))
    return _Descent((at,), lambda children: rearranged(children[0], left, right, declared, node.name))


def _runs(group: tuple[int, ...], own: Sequence[Size], sizes: Sequence[Size]) -> list[tuple[int, ...]] | None:
    """The parts of a merged axis in consecutive runs of the wanted sizes; None if they do not fall into such."""
    runs: list[tuple[int, ...]] = []
    rest = list(group)
    for size in sizes:
        run: list[int] = []
        while rest and product(own[part] for part in run) != size and quotient(size, own[rest[0]]) != 0:
            run.append(rest.pop(0))
        if product(own[part] for part in run) != size:
            return None
        runs.append(tuple(run))
    return None if rest else runs
