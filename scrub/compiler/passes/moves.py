"""Rules of `simplify` that start at an operation which moves numbers along core axes."""

from __future__ import annotations

from scrub.compiler.ops import Fill, Joined, Picked, Rearranged, Sibling, Stacked, ToCore
from scrub.compiler.ops.moving import Entry
from scrub.compiler.passes.regroup import composed, normalised
from scrub.compiler.passes.simplifying import Found, Rule, Simplifying
from scrub.compiler.values import Value
from scrub.graph.frozen_tensor import FrozenTensor


def nothing_rearranged(s: Simplifying, op: Rearranged, args: tuple[Value, ...]) -> Found:
    """Axes that stay together are one axis; what then stays where it was is not moved at all."""
    simpler = normalised(op)
    if simpler.left == simpler.right:
        return args[0]
    if () in simpler.left:
        entries = tuple(None if group else 0 for group in simpler.left)
        left = tuple(group for group in simpler.left if group)
        return Rearranged(left, simpler.right, simpler.sizes), (s.build(Picked(entries), args),)
    return None if simpler == op else (simpler, args)


def rearranged_twice(s: Simplifying, op: Rearranged, args: tuple[Value, ...]) -> Found:
    """Two rearrangements are one, unless that would copy what the first has copied for others already."""
    inner = args[0].op
    if not isinstance(inner, Rearranged):
        return None
    both = composed(inner, op)
    if both is None or not (both.is_view or inner.is_view or s.is_used_once(args[0])):
        return None
    return both, args[0].args


def rearranged_behind_batch_axis(s: Simplifying, op: Rearranged, args: tuple[Value, ...]) -> Found:
    """A first core axis that was made of a batch axis, and stays first, is made of it afterwards."""
    inner = args[0].op
    if not isinstance(inner, ToCore) or len(op.left[0]) != 1 or not op.right or op.right[0] != op.left[0]:
        return None
    rest = Rearranged(op.left[1:], op.right[1:], op.sizes)
    return inner, (s.build(_renumbered(rest), args[0].args),)


def _renumbered(op: Rearranged) -> Rearranged:
    """The same with axes numbered in order, those that are gone left out."""
    order = list(dict.fromkeys(axis for group in (*op.left, *op.right) for axis in group))
    number = {axis: i for i, axis in enumerate(order)}
    left, right = (tuple(tuple(number[a] for a in group) for group in side) for side in (op.left, op.right))
    return Rearranged(left, right, tuple(op.sizes[axis] for axis in order))


def one_number(s: Simplifying, op: Rearranged | Picked, args: tuple[Value, ...]) -> Found:
    """One number in all places, moved."""
    number = args[0].op
    return (Fill(number.number, op.infer(args)[0]), ()) if isinstance(number, Fill) else None


def everything_picked(s: Simplifying, op: Picked, args: tuple[Value, ...]) -> Found:
    """All of every axis."""
    whole = (entry is None or entry == (0, n) for entry, n in zip(op.entries, args[0].shape, strict=True))
    return args[0] if all(whole) else None


def picked_twice(s: Simplifying, op: Picked, args: tuple[Value, ...]) -> Found:
    """Positions and ranges of positions and ranges."""
    inner = args[0].op
    if not isinstance(inner, Picked):
        return None
    rest = iter(op.entries)
    both = tuple(entry if isinstance(entry, int) else _part_of(entry, next(rest)) for entry in inner.entries)
    return (Picked(both), args[0].args) if _UNKNOWN not in both else None


_UNKNOWN: Entry = (-1, -1)


def _part_of(outer: Entry, entry: Entry) -> Entry:
    """What `entry` is of the positions `outer`."""
    if outer is None or entry is None:
        return entry if outer is None else outer
    if isinstance(outer, FrozenTensor) or isinstance(entry, FrozenTensor) or isinstance(outer, int):
        return _UNKNOWN
    start = outer[0]
    return start + entry if isinstance(entry, int) else (start + entry[0], start + entry[1])


def picked_of_joined(s: Simplifying, op: Picked, args: tuple[Value, ...]) -> Found:
    """What lies in one of the joined parts is picked from that part."""
    value = args[0]
    if not isinstance(value.op, Joined):
        return None
    axis, entry = value.op.axis, op.entries[value.op.axis]
    if entry is None or isinstance(entry, FrozenTensor):
        return None
    start, stop = (entry, entry + 1) if isinstance(entry, int) else entry
    before = 0
    for part in value.args:
        after = before + part.shape[axis]
        if before <= start < stop <= after:
            own: Entry = start - before if isinstance(entry, int) else (start - before, stop - before)
            is_same = part.axes == value.axes and part.dtype == value.dtype
            return (Picked((*op.entries[:axis], own, *op.entries[axis + 1 :])), (part,)) if is_same else None
        before = after
    return None


def picked_of_batch_axis(s: Simplifying, op: Picked, args: tuple[Value, ...]) -> Found:
    """A position along a core axis that was made of a batch axis is a position along the batch axis."""
    inner = args[0].op
    if not isinstance(inner, ToCore) or not isinstance(op.entries[0], int):
        return None
    (below,) = args[0].args
    at = op.entries[0]
    if inner.axis in below.axes:
        below = _sibling(s, below, Sibling(inner.axis, at))
    return Picked(op.entries[1:]), (below,)


def _sibling(s: Simplifying, value: Value, op: Sibling) -> Value:
    """A position along a batch axis; of arguments side by side, the argument that gives it."""
    if not isinstance(value.op, Stacked) or value.op.axis != op.axis:
        return s.build(op, (value,))
    before = 0
    for part, run in zip(value.args, value.op.runs, strict=True):
        if before <= op.at < before + run.length:
            found = part if run.axis is None else s.build(Sibling(run.axis, run.start + op.at - before), (part,))
            is_same = found.dtype == value.dtype and set(found.axes) == set(value.axes) - {op.axis}
            return found if is_same else s.build(op, (value,))
        before += run.length
    return s.build(op, (value,))


def joined_alone(s: Simplifying, op: Joined, args: tuple[Value, ...]) -> Found:
    """One part is all; parts of no size are nothing."""
    if len(args) == 1:
        return args[0]
    axes, dtype = {axis for arg in args for axis in arg.axes}, {arg.dtype for arg in args}
    rest = tuple(arg for arg in args if arg.shape[op.axis])
    if len(rest) == len(args) or not rest or {axis for arg in rest for axis in arg.axes} != axes:
        return None
    return (op, rest) if {arg.dtype for arg in rest} == dtype else None


def adjacent_parts(s: Simplifying, op: Joined, args: tuple[Value, ...]) -> Found:
    """x[0:2], x[2:5] joined again -> x[0:5]"""
    parts: list[Value] = []
    for arg in args:
        both = _adjacent(s, parts[-1], arg, op.axis) if parts else None
        if both is None:
            parts.append(arg)
        else:
            parts[-1] = both
    return (op, tuple(parts)) if len(parts) < len(args) else None


def _adjacent(s: Simplifying, first: Value, second: Value, axis: int) -> Value | None:
    a, b = first.op, second.op
    if not (isinstance(a, Picked) and isinstance(b, Picked) and first.args == second.args):
        return None
    at = [i for i, entry in enumerate(a.entries) if not isinstance(entry, int)][axis]
    one, other = a.entries[at], b.entries[at]
    if not (isinstance(one, tuple) and isinstance(other, tuple) and one[1] == other[0]):
        return None
    if a.entries[:at] != b.entries[:at] or a.entries[at + 1 :] != b.entries[at + 1 :]:
        return None
    return s.build(Picked((*a.entries[:at], (one[0], other[1]), *a.entries[at + 1 :])), first.args)


REARRANGED_RULES: tuple[Rule, ...] = (one_number, nothing_rearranged, rearranged_twice, rearranged_behind_batch_axis)
PICKED_RULES: tuple[Rule, ...] = (one_number, everything_picked, picked_twice, picked_of_joined, picked_of_batch_axis)
JOINED_RULES: tuple[Rule, ...] = (joined_alone, adjacent_parts)
