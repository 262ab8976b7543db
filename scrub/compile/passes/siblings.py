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
from collections.abc import Hashable, Sequence

from scrub.compile.ops import Apply, Constant, Fill, Input, Sibling
from scrub.compile.passes.side_by_side import Place, one_position, side_by_side, sums_of_runs
from scrub.compile.values import Axis, Graph, Value, rewritten, values_below

GROUP_BYTES = 32 << 20
"""Largest value made by putting siblings side by side: larger ones leave the caches and gain nothing."""
_SMALL_BYTES = 32 << 10
_MOST_COPIES = 2
_FLOPS_PER_BYTE = 8.0  # of an operation that is worth copying its arguments for


def batch_siblings(graph: Graph, outputs: Sequence[Value]) -> list[Value]:
    """The outputs, with siblings computed as one value with a batch axis."""
    together = _Batching(graph, outputs).run()
    return rewritten(together, lambda value, args: sums_of_runs(graph, value, args))[0]


class _Batching:
    """One pass over one graph.

    Attributes:
        new: what stands for each value so far.
        places: for each value that was computed in a group, where in it.
        static: values of constants alone. They are left as they are.
    """

    def __init__(self, graph: Graph, outputs: Sequence[Value]) -> None:
        self.graph, self.outputs = graph, outputs
        self.order = list(values_below(outputs))
        self.new: dict[Value, Value] = {}
        self.places: dict[Value, Place] = {}
        self.static: set[Value] = set()
        self.number = {value: i for i, value in enumerate(self.order)}
        self.users: dict[Value, list[Value]] = {}
        self.waiting_for: dict[Value, int] = {}
        self.depth: dict[Value, int] = {}
        self.ready: dict[Hashable, list[Value]] = {}
        self.agenda: list[tuple[float, int, Hashable]] = []
        self.pushed = 0

    def run(self) -> list[Value]:
        for value in self.order:
            if isinstance(value.op, Constant | Fill | Input) or (
                value.args and all(arg in self.static for arg in value.args)
            ):
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

    def _push(self, value: Value) -> None:
        signature = self._signature(value)
        members = self.ready.setdefault(signature, [])
        members.append(value)
        # Entries of the same group with an older average stay in the heap; the first to come up takes the group.
        average = sum(self.depth[m] for m in members) / len(members) if len(members) < 16 else self.depth[members[0]]
        self.pushed += 1
        heapq.heappush(self.agenda, (average, self.pushed, signature))

    def _signature(self, value: Value) -> Hashable:
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
        members.sort(key=self._lineage)
        size = max(1, GROUP_BYTES // max(1, self.graph.nbytes(members[0])))
        for start in range(0, len(members), size):
            group = members[start : start + size]
            if len(group) > 1 and self._pays(group):
                self._compute_together(group)
            else:
                for value in group:
                    self.new[value] = self.graph.again(value, [self._alone(arg) for arg in value.args])
        for value in members:
            for user in self.users.get(value, ()):
                self.waiting_for[user] -= 1
                if not self.waiting_for[user]:
                    self._push(user)

    def _lineage(self, value: Value) -> tuple[int, int]:
        """Where the first argument that was computed in a group stands, so that runs of a group stay together."""
        for arg in value.args:
            place = self.places.get(arg)
            if place is not None:
                return (place.group_number, place.at)
        return (1 << 60, self.number[value])

    def _pays(self, group: Sequence[Value]) -> bool:
        """Whether computing together is worth the copies it takes to put the arguments side by side."""
        first = group[0]
        copied = num_columns = 0
        for args in zip(*(value.args for value in group), strict=True):
            if len(set(args)) == 1 or args[0] in self.static or self._is_run(args):
                continue
            copied += sum(self.graph.nbytes(arg) for arg in args)
            num_columns += 1
        if num_columns > _MOST_COPIES:
            return False  # a sum of many terms, say: to copy them all side by side is more work than to add them up
        if not copied:
            return True
        flops = first.op.flops(first) * self._num_batch(first) * len(group)
        return self.graph.nbytes(first) <= _SMALL_BYTES or flops >= _FLOPS_PER_BYTE * copied

    def _is_run(self, args: Sequence[Value]) -> bool:
        """Whether the arguments lie side by side already."""
        places = [self.places.get(arg) for arg in args]
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
        columns = list(zip(*(value.args for value in group), strict=True))
        axis = self._common_axis(columns, len(group)) or self.graph.axis(len(group))
        args = [self._column(column, axis) for column in columns]
        together = self.graph.value(group[0].op, *args, name=group[0].name)
        number = len(self.places)
        for i, value in enumerate(group):
            self.places[value] = Place(together, axis, i, number)

    def _common_axis(self, columns: Sequence[Sequence[Value]], size: int) -> Axis | None:
        """The axis of a group of which some argument is all members in order."""
        for column in columns:
            first = self.places.get(column[0])
            if first is not None and first.axis.size == size and self._is_run(column):
                return first.axis
        return None

    def _column(self, column: Sequence[Value], axis: Axis) -> Value:
        if len(set(column)) == 1:
            return self._alone(column[0])
        return side_by_side(self.graph, [self.places.get(arg) or self.new[arg] for arg in column], axis)

    def _alone(self, value: Value) -> Value:
        known = self.new.get(value)
        if known is None:
            place = self.places[value]
            known = self.new[value] = self.graph.value(Sibling(place.axis, place.at), place.group, name=value.name)
        return known
