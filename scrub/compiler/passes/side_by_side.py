"""Values put side by side along a batch axis, without copying where they lie side by side already."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch

from scrub.compiler.ops import Contract, Picked, Rearranged, Run, Sibling, Stacked, Sum, ToBatch
from scrub.compiler.values import Axis, Graph, Value
from scrub.graph.frozen_tensor import FrozenTensor


class Place(NamedTuple):
    """Where a value is that was computed with others: at a position of a batch axis of their value."""

    group: Value
    axis: Axis
    at: int


def side_by_side(graph: Graph, members: Sequence[Place | Value], axis: Axis) -> Value:
    """The members along `axis`: positions of one axis of a weight as that axis, runs of a group as views.

    Args:
        graph: where the value goes.
        members: as many as the axis is long, all of one shape.
        axis: a batch axis that no member has; it may be that of a group of which the members are all.
    """
    weights = _positions_of_one(members)
    along = None if weights is None else _along_batch_axis(graph, *weights, axis)
    if along is not None:
        return along
    runs: list[tuple[Run, Value]] = []
    for member in members:
        if isinstance(member, Value):
            runs.append((Run(), member))
            continue
        last, source = runs[-1] if runs else (Run(), None)
        if source is member.group and last.axis == member.axis and last.start + last.length == member.at:
            runs[-1] = (last._replace(length=last.length + 1), member.group)
        else:
            runs.append((Run(member.axis, member.at), member.group))
    first, source = runs[0]
    if len(runs) == 1 and first.axis is not None:
        if first.axis == axis:
            return source
        return graph.value(Sibling(first.axis, first.start, axis), source)
    return graph.value(Stacked(axis, tuple(run for run, _ in runs)), *(source for _, source in runs))


def _positions_of_one(
    members: Sequence[Place | Value],
) -> tuple[Value, tuple[int, ...], list[tuple[int, ...]]] | None:
    """The value, some of its axes, and the positions on these, if all members are single positions on them."""
    found: list[tuple[Value, tuple[int, ...], tuple[int, ...]]] = []
    for member in members:
        position = None if isinstance(member, Place) else one_position(member)
        if position is None or isinstance(member, Place):
            return None
        found.append((member.args[0], *position))
    base, at, _ = found[0]
    if any(other is not base or axes != at for other, axes, _ in found):
        return None
    return base, at, [positions for _, _, positions in found]


def _along_batch_axis(
    graph: Graph, base: Value, at: tuple[int, ...], positions: list[tuple[int, ...]], axis: Axis
) -> Value | None:
    """Positions on axes of a value along a batch axis; None if they are no rows, columns or blocks of it."""
    columns = list(zip(*positions, strict=True))
    varying = [i for i, column in enumerate(columns) if len(set(column)) > 1]
    fixed = {at[i]: columns[i][0] for i in range(len(at)) if i not in varying}
    if fixed:
        ndim = len(base.shape)
        base = graph.value(Picked(tuple(fixed.get(i) for i in range(ndim))), base)
        shifted = [at[i] - sum(f < at[i] for f in fixed) for i in varying]
        return _along_batch_axis(graph, base, tuple(shifted), [tuple(p[i] for i in varying) for p in positions], axis)
    if len(at) == 1:
        return graph.value(ToBatch(axis), _rows(graph, base, at[0], list(columns[0])))
    if not at or positions != list(itertools.product(*(range(base.shape[i]) for i in at))):
        return None
    left = tuple((i,) for i in range(len(base.shape)))
    rest = tuple((i,) for i in range(len(base.shape)) if i not in at)
    return graph.value(ToBatch(axis), graph.value(Rearranged(left, (at, *rest), base.shape), base))


def _rows(graph: Graph, base: Value, at: int, positions: list[int]) -> Value:
    """Positions on an axis, which comes first."""
    start, ndim = positions[0], len(base.shape)
    entry: tuple[int, int] | FrozenTensor | None = None
    if positions != list(range(start, start + len(positions))):
        entry = FrozenTensor(torch.tensor(positions))
    elif len(positions) < base.shape[at]:
        entry = (start, start + len(positions))
    if entry is not None:
        base = graph.value(Picked(tuple(entry if i == at else None for i in range(ndim))), base)
    if at:
        left = tuple((i,) for i in range(ndim))
        base = graph.value(Rearranged(left, (left[at], *left[:at], *left[at + 1 :]), base.shape), base)
    return base


def one_position(value: Value) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Axes and positions of a value that is single positions on axes of its argument, which is else whole."""
    if not isinstance(value.op, Picked):
        return None
    chosen = [(axis, entry) for axis, entry in enumerate(value.op.entries) if entry is not None]
    if not all(isinstance(entry, int) for _, entry in chosen):
        return None
    return tuple(axis for axis, _ in chosen), tuple(entry for _, entry in chosen if isinstance(entry, int))


def sums_of_runs(graph: Graph, value: Value, args: tuple[Value, ...]) -> Value:
    """A sum in which terms are runs of siblings, each run summed along its batch axis at once."""
    if not isinstance(value.op, Sum) or len(args) < 3:
        return graph.again(value, args)
    by_source: dict[tuple[Value, Axis, float], list[int]] = {}
    for i, (arg, coefficient) in enumerate(zip(args, value.op.coefficients, strict=True)):
        if isinstance(arg.op, Sibling) and arg.op.into is None:
            by_source.setdefault((arg.args[0], arg.op.axis, coefficient), []).append(i)
    taken: set[int] = set()
    summed: list[Value] = []
    for (source, axis, coefficient), at in by_source.items():
        for run in _consecutive(at, args):
            if len(run) > 2:
                taken.update(run)
                summed.append(_sum_along(graph, source, axis, _position(args[run[0]]), len(run), coefficient))
    if not taken:
        return graph.again(value, args)
    rest = [i for i in range(len(args)) if i not in taken]
    terms = [*(args[i] for i in rest), *summed]
    coefficients = (*(value.op.coefficients[i] for i in rest), *(1.0 for _ in summed))
    if len(terms) == 1 and value.op.offset == 0.0 and terms[0].shape == value.shape:
        return terms[0]
    return graph.value(Sum(coefficients, value.op.offset), *terms, name=value.name)


def _position(value: Value) -> int:
    return value.op.at if isinstance(value.op, Sibling) else 0


def _consecutive(at: list[int], args: Sequence[Value]) -> list[list[int]]:
    runs: list[list[int]] = []
    for i in sorted(at, key=lambda i: _position(args[i])):
        if runs and _position(args[runs[-1][-1]]) + 1 == _position(args[i]):
            runs[-1].append(i)
        else:
            runs.append([i])
    return runs


def _sum_along(graph: Graph, source: Value, axis: Axis, start: int, count: int, scale: float) -> Value:
    if (start, count) != (0, axis.size):
        into = graph.axis(count)
        source, axis = graph.value(Sibling(axis, start, into), source), into
    letters = tuple(range(len(source.shape)))
    return graph.value(Contract((letters,), letters, scale, (axis,)), source)
