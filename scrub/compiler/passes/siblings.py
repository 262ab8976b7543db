"""Computes together what is computed alike: the heads of a layer that a rewrite split, the layers of many variants.

Values with the same operation on arguments of the same facts, none below another, become one value with a batch axis,
on arguments put side by side. Values are taken in the order of an agenda: of all that is ready to be computed, the
group that lies least deep on average comes first, so that what runs ahead in one variant waits for the others (Neubig
et al. 2017, "On-the-fly operation batching in dynamic computation graphs").

Weights decide what belongs together: two values are alike only if they read the same weights, or, as split heads do,
positions of the same axis of the same weights, which side by side are that axis again.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable, Sequence

from scrub.compiler.ops import Apply, Constant, Fill, Input, Sibling, Stacked
from scrub.compiler.passes.side_by_side import Place, one_position, side_by_side, sums_of_runs
from scrub.compiler.values import Axis, Graph, Value, rewritten, values_below

GROUP_BYTES = 32 << 20
"""Largest value made by putting siblings side by side: larger ones leave the caches and gain nothing."""
_SMALL_BYTES = 32 << 10
_MOST_COPIES = 2
_FLOPS_PER_BYTE = 8.0  # of an operation that is worth copying its arguments for


def batch_siblings(graph: Graph, outputs: Sequence[Value]) -> list[Value]:
    """The outputs, with siblings computed as one value with a batch axis."""
    current = list(outputs)
    for _ in range(2):  # siblings, and groups of siblings
        together = _Batching(graph, current).run()
        current, _ = rewritten(together, lambda value, args: sums_of_runs(graph, value, args))
    return current


class _Batching:
    """One pass over one graph.

    Attributes:
        new: what stands for each value so far.
        places: for each value that was computed in a group, where in it.
        static: values of constants alone. They are left as they are.
        axes: the batch axis of groups of each size.
    """

    def __init__(self, graph: Graph, outputs: Sequence[Value]) -> None:
        self.graph, self.outputs = graph, outputs
        self.order = list(values_below(outputs))
        self.new: dict[Value, Value] = {}
        self.places: dict[Value, Place] = {}
        self.static: set[Value] = set()
        self.axes: dict[int, Axis] = {}
        self.users: dict[Value, list[Value]] = {}
        self.waiting_for: dict[Value, int] = {}
        self.depth: dict[Value, int] = {}
        self.ready: dict[Hashable, list[Value]] = {}
        self.agenda: list[tuple[float, int, Hashable]] = []
        self.pushed = 0

    def run(self) -> list[Value]:
        for value in self.order:
            if isinstance(value.op, Constant | Fill | Input) or self._is_static(value):
                self.new[value] = value
                self.depth[value] = 0
                if not isinstance(value.op, Input):
                    self.static.add(value)
                continue
            distinct = dict.fromkeys(value.args)
            self.depth[value] = 1 + max((self.depth[arg] for arg in distinct), default=0)
            waiting = [arg for arg in distinct if arg not in self.new]
            self.waiting_for[value] = len(waiting)
            for arg in waiting:
                self.users.setdefault(arg, []).append(value)
            if not waiting:
                self._push(value)
        while self.agenda:
            _, _, signature = heapq.heappop(self.agenda)
            members = self.ready.pop(signature, None)
            if members:
                self._compute(members)
        return [self._alone(output) for output in self.outputs]

    def _is_static(self, value: Value) -> bool:
        """Whether it is of constants alone; what is computed of one position of a weight has siblings at the others."""
        of_positions = value.op.flops(value) > 0 and any(one_position(arg) is not None for arg in value.args)
        return bool(value.args) and not of_positions and all(arg in self.static for arg in value.args)

    def _push(self, value: Value) -> None:
        signature = self._signature(value)
        members = self.ready.setdefault(signature, [])
        members.append(value)
        # Entries of the same group with an older average stay in the heap; the first to come up takes the group.
        average = sum(self.depth[m] for m in members) / len(members) if len(members) < 16 else self.depth[members[0]]
        self.pushed += 1
        heapq.heappush(self.agenda, (average, self.pushed, signature))

    def _signature(self, value: Value) -> Hashable:
        if isinstance(value.op, Stacked):  # puts side by side what has the same batch axes, and stays alone
            return value
        kinds = tuple(self._kind(arg) for arg in value.args)
        if isinstance(value.op, Apply):  # arguments that take no batch axes must be the same
            takes = value.op.spec.infer_shape([arg.shape for arg in value.args]).is_batchable
            kinds = tuple(kind if own else arg for kind, own, arg in zip(kinds, takes, value.args, strict=True))
        return (value.op, value.axes, value.shape, value.dtype, kinds)

    def _kind(self, arg: Value) -> Hashable:
        if arg not in self.static:
            return (arg.axes, arg.shape, arg.dtype)
        picked = one_position(arg)
        return arg if picked is None else (arg.args[0], picked[0])

    def _compute(self, members: list[Value]) -> None:
        for part in self._parts(members):
            largest = max(self.graph.nbytes(v) for v in (part[0], *part[0].args) if v not in self.static)
            size = max(1, GROUP_BYTES // max(1, largest))
            for start in range(0, len(part), size):
                group = part[start : start + size]
                if len(group) > 1 and self._pays(group, is_small=largest <= _SMALL_BYTES):
                    self._compute_together(group)
                    continue
                for value in group:
                    self.new[value] = self.graph.again(value, [self._alone(arg) for arg in value.args])
        for value in members:
            for user in self.users.get(value, ()):
                self.waiting_for[user] -= 1
                if not self.waiting_for[user]:
                    self._push(user)

    def _parts(self, members: Sequence[Value]) -> list[list[Value]]:
        """Members that may be computed together without tearing apart what was computed together before.

        Where weights differ and so do inputs (heads of several variants), first those of one input, or else of one
        weight; the groups are put side by side in a second run.
        """
        weights = {value: tuple(arg for arg in value.args if arg in self.static) for value in members}
        inputs = [tuple(arg for arg in value.args if arg not in self.static) for value in members]
        if not _differ_once(weights.values()) and len(set(inputs)) < len(members):
            return _by_key(members, inputs)
        places = {value: next((place for place in map(self._place, value.args) if place), None) for value in members}
        ordered = sorted(members, key=lambda value: place.at if (place := places[value]) else 0)
        parts = _by_key(ordered, [place.group if (place := places[value]) else None for value in ordered])
        if all(_differ_once([weights[value] for value in part]) for part in parts):
            return parts
        return _by_key(ordered, list(map(weights.__getitem__, ordered)))

    def _pays(self, group: Sequence[Value], *, is_small: bool) -> bool:
        """Whether computing together is worth the copies that putting arguments side by side takes."""
        copied: list[int] = []
        has_run = False
        for args in zip(*(value.args for value in group), strict=True):
            if len(set(args)) == 1 or args[0] in self.static:
                continue
            if self._is_run(args):
                has_run = True
            else:
                copied.append(sum(self.graph.nbytes(arg) for arg in args))
        if len(copied) > _MOST_COPIES:
            return False  # a sum of many terms, say: adding them up is less work
        first = group[0]
        flops = first.op.flops(first) * self._num_batch(first) * len(group)
        return not copied or has_run or is_small or flops >= _FLOPS_PER_BYTE * sum(copied)

    def _place(self, value: Value) -> Place | None:
        """Where a value is that was computed with others, in this run or before."""
        place = self.places.get(value)
        new = self.new.get(value)
        if place is None and new is not None and isinstance(new.op, Sibling) and new.op.into is None:
            place = Place(new.args[0], new.op.axis, new.op.at)
        return place

    def _is_run(self, args: Sequence[Value]) -> bool:
        """Whether the arguments lie side by side already."""
        places = [self._place(arg) for arg in args]
        first = places[0]
        return first is not None and all(
            place is not None and place.group is first.group and place.at == first.at + i
            for i, place in enumerate(places)
        )

    def _num_batch(self, value: Value) -> int:
        count = self.graph.assumed_draws if value.is_drawn else 1
        for axis in value.axes:
            count *= axis.size or 1
        return count

    def _compute_together(self, group: Sequence[Value]) -> None:
        axis = self.axes.get(len(group))
        if axis is None:  # one for all groups of a size, so that groups of groups meet in a second run
            axis = self.axes[len(group)] = self.graph.axis(len(group))
        args = [self._column(column, axis) for column in zip(*(value.args for value in group), strict=True)]
        together = self.graph.value(group[0].op, *args, name=group[0].name)
        for i, value in enumerate(group):
            self.places[value] = Place(together, axis, i)

    def _column(self, column: Sequence[Value], axis: Axis) -> Value:
        if len(set(column)) == 1:
            return self._alone(column[0])
        return side_by_side(self.graph, [self._place(arg) or self.new[arg] for arg in column], axis)

    def _alone(self, value: Value) -> Value:
        known = self.new.get(value)
        if known is None:
            place = self.places[value]
            known = self.new[value] = self.graph.value(Sibling(place.axis, place.at), place.group, name=value.name)
        return known


def _by_key(members: Sequence[Value], keys: Sequence[Hashable]) -> list[list[Value]]:
    parts: dict[Hashable, list[Value]] = {}
    for value, key in zip(members, keys, strict=True):
        parts.setdefault(key, []).append(value)
    return list(parts.values())


def _differ_once(keys: Iterable[Hashable]) -> bool:
    """Whether all are the same, or no two."""
    listed = list(keys)
    return len(set(listed)) in (1, len(listed))
