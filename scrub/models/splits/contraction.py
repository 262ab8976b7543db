"""Splitting the sum over an axis that an einsum contracts into named groups of that axis.

sum_m a[s, m] w[m, d]  ->  sum_{m in g} a[s, m] w[m, d]  +  sum_{m in h} a[s, m] w[m, d]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from scrub.graph import Add, Einsum, Expr, Index
from scrub.graph.errors import SplitError
from scrub.models.splits.axes import Axis, axis_number, label_of, pushed
from scrub.models.splits.partition import Group, Groups, every_position, partition
from scrub.rewrite.iterative import IterativeMatcherIn
from scrub.rewrite.rules.concatenation.parts import part_name
from scrub.rewrite.rules.sums.terms import is_identity

ContractedAxis = tuple[int, Axis] | str | None
"""An axis that an einsum sums over: (operand, axis of that operand), the name of the axis, or None for the only one."""


def split_contraction(
    groups: Groups, *, axis: ContractedAxis = None, noun: str = "position", push: IterativeMatcherIn = False
) -> Callable[[Expr], Expr]:
    """A transform for `update`: an einsum as the sum over named groups of an axis that it contracts.

        x  ->  x.{label} + ...

    `x.{label}` is the einsum of the operands, each indexed by the group: `{operand}.{label}`.

    Args:
        groups: label -> positions, or pairs (positions, label), which partition the axis; "full" for one group for
            each position, named by the first letter of `noun` and the position. An int drops the axis, a slice or
            list keeps it and sums.
        axis: which of the axes that are summed: (operand, axis), the name of the axis, or None if there is only one.
        noun: what lies along the axis, for errors and names.
        push: which nodes an index by a group may pass on its way down: True for as far as it goes, so that each group
            only computes what is its own. See `push_index_down`, whose `traversal` this is; nodes that it passes are
            named `{name}.{label}`.

    Raises:
        SplitError: the node is no einsum, it does not sum over such an axis, or the groups do not partition
            the axis.

    >>> import torch
    >>> from scrub.graph import Array
    >>> heads, w = Array(torch.zeros(4, 5, 3), "z"), Array(torch.zeros(4, 3, 8), "w")
    >>> out = Einsum.from_string("h s e, h e d -> s d", heads, w, name="a0")
    >>> split_contraction({"prev": 1, "rest": [0, 2, 3]}, axis=(0, 0), noun="head")(out).print(max_depth=2)
    'a0' [5, 8] Add
      'a0.prev' [5, 8] Einsum ab,bc->ac
        'z.prev' [5, 3] Index [1, :, :] ...
        'w.prev' [3, 8] Index [1, :, :] ...
      'a0.rest' [5, 8] Einsum abc,acd->bd
        'z.rest' [3, 5, 3] Index [[0, 2, 3], :, :] ...
        'w.rest' [3, 3, 8] Index [[0, 2, 3], :, :] ...
    """

    def transform(expr: Expr) -> Expr:
        return Add(*contraction_groups("split_contraction", expr, groups, axis, noun, push, expr.name), name=expr.name)

    return transform


def contraction_groups(
    what: str,
    expr: Expr,
    groups: Groups,
    axis: ContractedAxis,
    noun: str,
    push: IterativeMatcherIn,
    name: str | None,
) -> list[Expr]:
    """What `split_contraction` adds up, under names that begin with `name`; `what` is what errors call it."""
    einsum = _einsum(what, expr)
    summed = _contracted(what, einsum, axis)
    size = next(child.shape[axes.index(summed)] for child, axes in einsum.operands if summed in axes)
    where = f"{what} of {label_of(expr)}"
    chosen = every_position(size, noun[0]) if groups == "full" else groups
    found = partition(chosen, size, where=where, noun=noun, nodes=[expr])
    return [_group(einsum, summed, group, name, push) for group in found]


def _einsum(what: str, expr: Expr) -> Einsum:
    if not isinstance(expr, Einsum):
        raise SplitError(
            f"{what}: {label_of(expr)} is a {type(expr).__name__}, not an Einsum",
            nodes=[expr],
            expected=Einsum,
            found=type(expr),
            hint="find the node that sums over the axis; expr.print() shows it",
        )
    return expr


def _contracted(what: str, einsum: Einsum, axis: ContractedAxis) -> int:
    """The einsum's own number of the axis to split."""
    places = {
        inner: f"({i}, {at})"
        for i, axes in reversed(list(enumerate(einsum.in_axes)))
        for at, inner in reversed(list(enumerate(axes)))
        if inner not in einsum.out_axes
    }
    if axis is None:
        found = set(places)
        problem = f"it sums over {len(places)} axes" if places else "it sums over no axis"
    elif isinstance(axis, str):
        named = {
            inner
            for child, axes in einsum.operands
            for name, inner in zip(child.axis_names, axes, strict=True)
            if name == axis
        }
        found = named & set(places)
        problem = f"it sums over {len(found)} axes named {axis!r}" if found else f"it sums over no axis named {axis!r}"
    else:
        inner = _inner_axis(what, einsum, axis)
        found = {inner} & set(places)
        problem = f"axis {axis[1]!r} of operand {axis[0]} is not summed"
    if len(found) == 1:
        return found.pop()
    listed = ", ".join(places[inner] for inner in sorted(places))
    raise SplitError(
        f"{what} of {label_of(einsum)}: {problem}",
        nodes=[einsum],
        axis=axis,
        expected="one axis that is summed",
        found=len(found),
        hint=f"the axes that it sums over are axis={listed}" if places else "split_axis splits an axis that stays",
    )


def _inner_axis(what: str, einsum: Einsum, axis: Any) -> int:
    pair = cast("tuple[Any, ...]", axis if isinstance(axis, tuple) else ())
    operand: Any = pair[0] if len(pair) == 2 else None
    if not isinstance(operand, int) or not 0 <= operand < len(einsum.children):
        raise SplitError(
            f"{what} of {label_of(einsum)}: {axis!r} is no pair (operand, axis) of its {len(einsum.children)} operands",
            nodes=[einsum],
            expected="(operand, axis)",
            found=cast("object", axis),
            hint="or the name of the axis, or None where it sums over only one",
        )
    return einsum.in_axes[operand][axis_number(what, einsum.children[operand], pair[1])]


def _group(einsum: Einsum, summed: int, group: Group, name: str | None, push: IterativeMatcherIn) -> Expr:
    """The einsum of what a group takes; where that is one operand as it is, the operand."""
    kept = [group.entry if inner == summed else slice(None) for inner in range(_num_axes(einsum))]
    operands: list[tuple[Expr, tuple[int, ...]]] = []
    for child, axes in einsum.operands:
        if summed not in axes:
            operands.append((child, axes))
            continue
        own_name = None if child.name is None else part_name(child, group.label)
        index = Index(child, [kept[inner] for inner in axes], own_name)
        left = tuple(inner for inner in axes if not (group.is_single and inner == summed))
        operands.append((pushed(index, push, group.label), left))
    label = group.label if name is None else f"{name}.{group.label}"
    (first, axes), *others = operands
    if not others and is_identity(axes, einsum.out_axes):
        return first.rename(label)
    return Einsum(*operands, out_axes=einsum.out_axes, name=label)


def _num_axes(einsum: Einsum) -> int:
    return 1 + max(inner for axes in einsum.in_axes for inner in axes)
