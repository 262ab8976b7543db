"""Moves probes to where they cost nothing, so that what they were put on can be fused away.

The gradient of a term of a sum is that of the sum, times the coefficient. So where all uses of a probed value only add
it up, or move it, probing these uses gives its gradient, and they may again be added up further on: the gradient with
respect to each head's output is that of the residual stream behind it, and no head need be there by itself.

    y = a x + b,  L = f(y)   =>   dL/dx = a dL/dy

What is left to compute then is made of values too: of `GradientOf`, which is what autograd gives for the probes that
there are in the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scrub.compiler.ops import Contract, Input, Joined, Picked, Rearranged, Sum
from scrub.compiler.ops.probe import GradientOf, Probe
from scrub.compiler.values import Graph, Value, rewritten, values_below
from scrub.graph.walk import settle


@dataclass(frozen=True)
class Probes:
    """What a program that is run backwards computes.

    Attributes:
        outputs: the values asked for, the objective among them.
        probes: values of which autograd gives the gradient, by the number in `GradientOf`.
        gradients: those asked for, in terms of these; None where the objective does not depend on it.
    """

    outputs: list[Value]
    probes: list[Value]
    gradients: list[Value | None]


def place_probes(
    graph: Graph, outputs: Sequence[Value], wanted: Sequence[Value], *, of: int, switch: Value, move: bool = True
) -> Probes:
    """The outputs with probes on as few and as late values as the gradients need.

    Args:
        graph: of the values.
        outputs: what is computed; reads what gradients are asked for through probes.
        wanted: these probes.
        of: which of the outputs the gradients are of.
        switch: an input; probes of constants read it, so that they are not constant themselves.
        move: whether probes are moved; otherwise they stay where they are.
    """
    placing = _Placing(graph, outputs[of], wanted, move=move)
    for probe in wanted:
        settle(probe, placing.gradients, placing.step)
    return placing.result(outputs, switch)


class _Placing:
    """One run of the pass.

    Attributes:
        users: of every value on the way to the objective, what reads it, and at which positions of its arguments.
        spots: the values that autograd gives the gradient of, in order.
        gradients: of each value looked at so far; None for zero.
        spread: of what gradients are asked for, that which several sums read; these are fewer. So are the heads in a
            residual stream that is one sum of all before.
    """

    def __init__(self, graph: Graph, objective: Value, wanted: Sequence[Value], *, move: bool) -> None:
        self.graph, self.objective = graph, objective
        self.wanted = dict.fromkeys(wanted)
        self.users: dict[Value, dict[Value, list[int]]] = {objective: {}}
        for value in values_below([objective]):
            for position, arg in enumerate(value.args):
                self.users.setdefault(arg, {}).setdefault(value, []).append(position)
        self.spots: dict[Value, int] = {}
        self.gradients: dict[Value, Value | None] = {}
        self.move = move
        spread = [probe for probe in self.wanted if len(self.users.get(probe, ())) > 1 and self._is_added_up(probe)]
        meeting = {user for probe in spread for user in self.users[probe]}
        self.spread = frozenset(spread if len(meeting) <= len(spread) else ())

    def step(self, value: Value) -> list[Value]:
        """Add the gradient of a value, or return those of which the gradients must come first."""
        uses = self.users.get(value)
        if uses is None:
            self.gradients[value] = None
        elif not self._is_movable(value):
            number = self.spots[value] = len(self.spots)
            leaf = GradientOf(number, value.axes, value.shape, value.dtype, value.device)
            self.gradients[value] = self.graph.value(leaf)
        else:
            waiting = [user for user in uses if user not in self.gradients]
            if waiting:
                return waiting
            terms: list[tuple[Value, float]] = []
            for user, positions in uses.items():
                gradient = self.gradients[user]
                assert gradient is not None, "what the objective depends on has a gradient"
                terms += [self._adjoint(user, position, gradient) for position in positions]
            self.gradients[value] = self._sum(terms)
        return []

    def _is_movable(self, value: Value) -> bool:
        """Whether probes further on serve: one in the place of this one, or fewer than are asked for."""
        is_alone = len(self.users[value]) == 1
        return self.move and (value in self.spread or (is_alone and self._is_added_up(value)))

    def _is_added_up(self, value: Value) -> bool:
        """Whether all that is done with a value is to add it up or move it."""
        return value is not self.objective and all(_is_linear(user, value) for user in self.users[value])

    def _adjoint(self, user: Value, position: int, gradient: Value) -> tuple[Value, float]:
        """The gradient with respect to an argument, and a coefficient of it, from that with respect to a value."""
        match user.op:
            case Sum(coefficients):
                return gradient, coefficients[position]
            case Contract((letters,), out, scale):
                sizes = dict(zip(letters, user.args[0].shape, strict=True))
                number = {letter: i for i, letter in enumerate(letters)}
                left, right = tuple((number[letter],) for letter in out), tuple((i,) for i in range(len(letters)))
                if left == right:
                    return gradient, scale
                return self.graph.value(Rearranged(left, right, tuple(sizes.values())), gradient), scale
            case Rearranged(left, right, sizes):
                return self.graph.value(Rearranged(right, left, sizes), gradient), 1.0
            case Joined(axis):
                start = sum(arg.shape[axis] for arg in user.args[:position])
                stop = start + user.args[position].shape[axis]
                entries = tuple((start, stop) if i == axis else None for i in range(len(user.shape)))
                return self.graph.value(Picked(entries), gradient), 1.0
            case _:
                return gradient, 1.0

    def _sum(self, terms: Sequence[tuple[Value, float]]) -> Value:
        values, coefficients = zip(*terms, strict=True)
        if coefficients == (1.0,):
            return values[0]
        return self.graph.value(Sum(coefficients), *values)

    def result(self, outputs: Sequence[Value], switch: Value) -> Probes:
        """The outputs with probes where they are to be, and nowhere else."""
        num_put: dict[Value, int] = {}
        probes: dict[Value, Value] = {}
        live: set[Value] = set()

        def placed(value: Value, args: tuple[Value, ...]) -> Value:
            new = args[0] if value in self.wanted else self.graph.again(value, args)
            if isinstance(new.op, Input) or not live.isdisjoint(new.args):
                live.add(new)
            if value in self.spots:
                number = num_put.get(new, 0)
                num_put[new] = number + 1
                new = self.graph.value(Probe(number), new, *(() if new in live else (switch,)), name=new.name)
                live.add(new)
                probes[value] = new
            return new

        new, _ = rewritten(outputs, placed)
        return Probes(new, [probes[value] for value in self.spots], [self.gradients[probe] for probe in self.wanted])


def _is_linear(user: Value, value: Value) -> bool:
    """Whether all that is done with a value is to add it to others, to sum it over axes or to move its elements."""
    if user.dtype != value.dtype or user.axes != value.axes:
        return False
    match user.op:
        case Sum():
            return user.shape == value.shape
        case Contract((letters,), _, _, reduced):
            return not reduced and len(set(letters)) == len(letters)
        case Rearranged(left, right):
            return {axis for group in right for axis in group} <= {axis for group in left for axis in group}
        case Probe() | Joined():
            return True
        case _:
            return False
