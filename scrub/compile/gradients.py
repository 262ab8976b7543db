"""Gradients by torch's autograd through a program: forwards with gradients on from the probes, and backwards.

What is differentiated is the sum of the objective over the draws. Only what lies above the lowest probe is recorded.
What does not depend on draws is recorded once and run backwards once, after all portions of draws:

    dL/dw = (dk/dw)^T  sum over portions of dL_portion/dk        k: what portions read of it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from scrub.compile.emit import emit, frontier
from scrub.compile.lowering import Lowering, Position
from scrub.compile.ops import Input, Picked, Rearranged, Sibling, ToBatch, ToCore
from scrub.compile.ops.probe import GradientOf, Probe
from scrub.compile.passes import run_passes
from scrub.compile.passes.probes import place_probes
from scrub.compile.ranges import Ranges
from scrub.compile.targets import Targets, not_there
from scrub.compile.values import Graph, Value, rewritten
from scrub.graph import ConstructionError, DtypeError, Expr, ShapeError

SWITCH = Input("switch", (), torch.float32, torch.device("cpu"), is_drawn=False)
"""An input that says nothing: what reads it is no constant."""


class ProbedLowering(Lowering):
    """Lowers expressions with a probe on each of some nodes: everything else reads them through it.

    Attributes:
        probes: of the nodes, as far as they occur.
    """

    def __init__(self, graph: Graph, inputs: dict[Expr, Value], nodes: Sequence[Expr]) -> None:
        super().__init__(graph, inputs)
        self.probes: dict[Expr, Value] = {}
        self._number = {node: i for i, node in enumerate(nodes)}

    def _step(self, at: Position) -> list[Position]:
        waiting = super()._step(at)
        node, env = at
        if not waiting and not env and node in self._number:
            bare = self.results[at]
            _check_has_gradient(node, bare)
            self.probes[node] = self.graph.value(Probe(self._number[node]), bare, name=node.name)
            self.results[at] = self.probes[node]
        return waiting


def lower_with_probes(
    graph: Graph, inputs: dict[Expr, Value], exprs: Sequence[Expr], nodes: Sequence[Expr]
) -> tuple[list[Value], list[Value]]:
    """The values of expressions, which read nodes through probes; and these.

    Raises:
        MatchError: a node is not there.
        DtypeError: a node or an expression has no gradient.
    """
    lowering = ProbedLowering(graph, inputs, nodes)
    outputs = [lowering.run(expr) for expr in exprs]
    for node in nodes:
        if node not in lowering.probes:
            raise not_there(node, exprs)
    return outputs, [lowering.probes[node] for node in nodes]


def check_objective(exprs: Sequence[Expr], of: int, targets: Targets) -> None:
    """Raise an error unless there are gradients of expression `of`, and something to take them with respect to."""
    if not targets.nodes:
        raise ConstructionError(
            "value_and_grad: the program was compiled without wrt",
            nodes=exprs[:1],
            hint="compile(exprs, wrt=[...]) says with respect to what: nodes, or matchers of them",
        )
    if not 0 <= of < len(exprs):
        raise ConstructionError(
            f"value_and_grad: there is no expression {of} among {len(exprs)}",
            expected=f"0 to {len(exprs) - 1}",
            found=of,
        )
    if exprs[of].shape != ():
        raise ShapeError(
            f"value_and_grad: the gradient is that of a scalar, {exprs[of]!r} has shape {list(exprs[of].shape)}",
            nodes=[exprs[of]],
            expected=(),
            found=exprs[of].shape,
            hint="take its sum or mean, or an index of it",
        )


@dataclass(frozen=True)
class Asked:
    """What is to be computed, lowered.

    Attributes:
        graph: of the values.
        inputs: in the order in which their tensors come.
        outputs: the values of the expressions.
        probes: of the nodes that gradients are taken with respect to.
        of: which output they are of.
    """

    graph: Graph
    inputs: Sequence[Value]
    outputs: Sequence[Value]
    probes: Sequence[Value]
    of: int


class Differentiated:
    """Torch modules that compute values, and, run backwards, gradients of one of them.

    Args:
        asked: what is to be computed.
        passes: names of the passes to run, `"probes"` among them if probes are to be moved.
    """

    def __init__(self, asked: Asked, passes: Sequence[str]) -> None:
        graph = asked.graph
        switch = graph.value(SWITCH)
        self.ranges = Ranges(asked.inputs, asked.outputs)
        placed = place_probes(
            graph, asked.outputs, asked.probes, of=asked.of, switch=switch, move="probes" in passes
        )  # fmt: skip
        computed = run_passes(graph, [*placed.outputs, *placed.probes], passes)
        self.outputs = computed[: len(asked.outputs)]
        self.objective = self.outputs[asked.of]
        spots = [_through_views(spot) for spot in computed[len(asked.outputs) :]]
        self.probes = list(dict.fromkeys(probe for probe, _ in spots))
        self.wanted = asked.probes
        self._emit([*asked.inputs, switch])
        self._emit_gradients(graph, spots, placed.gradients)

    def _emit(self, inputs: Sequence[Value]) -> None:
        self.inputs = tuple(inputs)
        computed = list(dict.fromkeys([*self.outputs, *self.probes]))
        self.kept = [value for value in frontier(computed) if not value.is_drawn]
        self.computed_once = list(dict.fromkeys([*self.kept, *(value for value in computed if not value.is_drawn)]))
        self.drawn = [value for value in computed if value.is_drawn]
        self.once = emit(self.computed_once, [value for value in inputs if not value.is_drawn])
        self.per_portion = emit(self.drawn, [*inputs, *self.kept]) if self.drawn else None

    def _emit_gradients(
        self, graph: Graph, spots: Sequence[tuple[Value, list[Value]]], gradients: Sequence[Value | None]
    ) -> None:
        """The module that makes the gradients asked for of those with respect to the probes that there are."""
        leaves = {probe: graph.value(_leaf(-1 - i, probe)) for i, probe in enumerate(self.probes)}
        seen: list[Value] = []
        for probe, views in spots:
            gradient = leaves[probe]
            for view in views:
                gradient = graph.value(view.op, gradient)
            seen.append(gradient)

        def transform(value: Value, args: tuple[Value, ...]) -> Value:
            return seen[value.op.number] if isinstance(value.op, GradientOf) else graph.again(value, args)

        self.depends = [gradient is not None for gradient in gradients]
        new, _ = rewritten([gradient for gradient in gradients if gradient is not None], transform)
        self.from_probes = emit(new, list(leaves.values()))

    def run(
        self, tensors: Sequence[torch.Tensor], *, portion: int | None = None
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """The values of the outputs, and the gradients in the order in which they were asked for.

        Args:
            tensors: one for each input.
            portion: draws computed at a time; all at once if None.
        """
        self.ranges.check(tensors)
        given = [*(tensor.detach() for tensor in tensors), torch.zeros(())]
        once = self._run_once(given)
        values = {value: tensor.detach() for value, tensor in once.items()}
        found: dict[Value, torch.Tensor] = {}
        n = next((len(tensor) for tensor, value in zip(given, self.inputs, strict=True) if value.is_drawn), 0)
        if self.drawn:
            size = max(n if portion is None else portion, 1)
            parts = [self._run_portion(self._cut(given, at, size), once) for at in range(0, max(n, 1), size)]
            for value in self.drawn:
                if value in parts[0].values:
                    values[value] = _joined([part.values[value] for part in parts])
                if value in parts[0].gradients:
                    found[value] = _joined([part.gradients[value] for part in parts])
            backwards = _summed([part.of_kept for part in parts])
        else:
            backwards = {}
        if not self.objective.is_drawn:
            backwards = {self.objective: torch.ones_like(once[self.objective])}
        undrawn = {probe: once[probe] for probe in self.probes if not probe.is_drawn}
        found |= _backwards([(once[value], gradient) for value, gradient in backwards.items()], undrawn)
        gradients = self._gradients_asked_for(found, values, n)
        return [values[output] for output in self.outputs], gradients

    def _run_once(self, given: Sequence[torch.Tensor]) -> dict[Value, torch.Tensor]:
        with torch.enable_grad():
            results = self.once(*(t for t, value in zip(given, self.inputs, strict=True) if not value.is_drawn))
        return dict(zip(self.computed_once, results, strict=True))

    def _cut(self, given: Sequence[torch.Tensor], start: int, size: int) -> list[torch.Tensor]:
        return [
            tensor[start : start + size] if value.is_drawn else tensor
            for tensor, value in zip(given, self.inputs, strict=True)
        ]

    def _run_portion(self, cut: Sequence[torch.Tensor], once: dict[Value, torch.Tensor]) -> _Portion:
        assert self.per_portion is not None
        kept = {value: once[value].detach().requires_grad_(once[value].requires_grad) for value in self.kept}
        with torch.enable_grad():
            results = dict(zip(self.drawn, self.per_portion(*cut, *kept.values()), strict=True))
        values = {value: results[value].detach() for value in self.drawn}
        if not self.objective.is_drawn:
            return _Portion(values, {}, {})
        probes = {probe: results[probe] for probe in self.probes if probe.is_drawn}
        leaves = {value: tensor for value, tensor in kept.items() if tensor.requires_grad}
        objective = results[self.objective]
        found = _backwards([(objective, torch.ones_like(objective))], probes | leaves)
        return _Portion(values, {p: found[p] for p in probes}, {value: found[value] for value in leaves})

    def _gradients_asked_for(
        self, found: dict[Value, torch.Tensor], values: dict[Value, torch.Tensor], n: int
    ) -> list[torch.Tensor]:
        of_probes = [found[probe] if probe in found else torch.zeros_like(values[probe]) for probe in self.probes]
        computed = iter(self.from_probes(*of_probes))
        return [
            next(computed) if depends else _zeros(probe, n)
            for depends, probe in zip(self.depends, self.wanted, strict=True)
        ]


class _Portion(NamedTuple):
    """What a portion of the draws gives: values, gradients with respect to drawn probes, and to what was kept."""

    values: dict[Value, torch.Tensor]
    gradients: dict[Value, torch.Tensor]
    of_kept: dict[Value, torch.Tensor]


def _backwards(
    ends: Sequence[tuple[torch.Tensor, torch.Tensor]], sources: dict[Value, torch.Tensor]
) -> dict[Value, torch.Tensor]:
    """The gradients with respect to tensors, given those of the ends; zero where no end depends on one."""
    live = [(end, gradient) for end, gradient in ends if end.requires_grad]
    if not live or not sources:
        return {value: torch.zeros_like(tensor) for value, tensor in sources.items()}
    found = torch.autograd.grad(
        [end for end, _ in live],
        list(sources.values()),
        [gradient for _, gradient in live],
        allow_unused=True,
        materialize_grads=True,
    )
    return dict(zip(sources, found, strict=True))


def _zeros(like: Value, n: int) -> torch.Tensor:
    shape = (n, *like.shape) if like.is_drawn else like.shape
    return torch.zeros(shape, dtype=like.dtype or torch.float64, device=like.device)


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _summed(parts: Sequence[dict[Value, torch.Tensor]]) -> dict[Value, torch.Tensor]:
    total = dict(parts[0])
    for part in parts[1:]:
        for value, gradient in part.items():
            total[value] = total[value] + gradient
    return total


def _through_views(value: Value) -> tuple[Value, list[Value]]:
    """The probe that a value is part of, and the views that lead from it to the value."""
    views: list[Value] = []
    while not isinstance(value.op, Probe):
        is_part = isinstance(value.op, Sibling | ToBatch | Picked | Rearranged | ToCore)
        assert is_part, f"a pass lost a probe: {value}"
        views.append(value)
        value = value.args[0]
    return value, views[::-1]


def _leaf(number: int, probe: Value) -> GradientOf:
    return GradientOf(number, probe.axes, probe.shape, probe.dtype, probe.device)


def _check_has_gradient(node: Expr, value: Value) -> None:
    if value.dtype is not None and not value.dtype.is_floating_point:
        raise DtypeError(
            f"compile: {node!r} holds {value.dtype}, with respect to which nothing has a gradient",
            nodes=[node],
            expected="a floating dtype",
            found=value.dtype,
        )
