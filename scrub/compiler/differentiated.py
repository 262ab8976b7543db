"""Gradients by torch's autograd through a program: forwards with gradients on from the probes, and backwards.

What is differentiated is the sum of the objective over the draws. Only what lies above the lowest probe is recorded.
What does not depend on draws is recorded once and run backwards once, after all portions of draws:

    dL/dw = (dk/dw)^T  sum over portions of dL_portion/dk        k: what portions read of it
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from scrub.compiler.backends import Backend, made_ready
from scrub.compiler.emit import emit, frontier, values_until
from scrub.compiler.gradients import Asked
from scrub.compiler.ops import Constant, Input, Picked, Rearranged, Sibling, ToBatch, ToCore
from scrub.compiler.ops.probe import GradientOf, Probe
from scrub.compiler.passes import run_passes
from scrub.compiler.passes.probes import place_probes
from scrub.compiler.ranges import Ranges
from scrub.compiler.values import Graph, Value, rewritten
from scrub.graph import MemoryLimitError

SWITCH = Input("switch", (), torch.float32, torch.device("cpu"), is_drawn=False)
"""An input that says nothing: what reads it is no constant."""


class Differentiated:
    """Torch modules that compute values, and, run backwards, gradients of one of them.

    Args:
        asked: what is to be computed.
        passes: names of the passes to run, `"probes"` among them if probes are to be moved.
        backend: what runs the modules.
    """

    def __init__(self, asked: Asked, passes: Sequence[str], backend: Backend = "eager") -> None:
        graph = asked.graph
        switch = graph.value(SWITCH)
        self.ranges = Ranges(asked.inputs, asked.outputs)
        move = "probes" in passes
        placed = place_probes(graph, asked.outputs, asked.probes, of=asked.of, switch=switch, move=move)
        computed = run_passes(graph, [*placed.outputs, *placed.probes], passes)
        self.outputs = computed[: len(asked.outputs)]
        self.objective = self.outputs[asked.of]
        spots = [_through_views(spot) for spot in computed[len(asked.outputs) :]]
        self.probes = list(dict.fromkeys(probe for probe, _ in spots))
        self.wanted = asked.probes
        self._emit([*asked.inputs, switch], backend)
        self._emit_gradients(graph, spots, placed.gradients)

    def _emit(self, inputs: Sequence[Value], backend: Backend) -> None:
        self.inputs = tuple(inputs)
        computed = list(dict.fromkeys([*self.outputs, *self.probes]))
        self.kept = [value for value in frontier(computed) if not value.is_drawn]
        self.computed_once = list(dict.fromkeys([*self.kept, *(value for value in computed if not value.is_drawn)]))
        self.drawn = [value for value in computed if value.is_drawn]
        undrawn = [value for value in inputs if not value.is_drawn]
        modules = emit(self.computed_once, undrawn), emit(self.drawn, [*inputs, *self.kept])
        self._held = {tensor.untyped_storage().data_ptr() for module in modules for tensor in module.buffers()}
        self.once, self.per_portion = (made_ready(module, backend) for module in modules)
        self._bytes_once = _bytes(values_until(self.computed_once, undrawn))
        self._bytes_per_draw = _bytes([v for v in values_until(self.drawn, [*inputs, *self.kept]) if v.is_drawn])

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
        results = [*leaves.values(), *values_until(new, list(leaves.values())), *self.outputs]
        self._result_bytes_per_draw = _bytes([value for value in results if value.is_drawn])

    def portion(self, n: int, max_memory: int | None) -> int:
        """How many draws to compute at a time, if all that is computed for them stays until they are run backwards.

        Raises:
            MemoryLimitError: not even one fits.
        """
        if max_memory is None or n == 0:
            return n
        fixed = 2 * self._bytes_once + n * self._result_bytes_per_draw
        per_draw = self._bytes_per_draw
        if fixed + per_draw > max_memory:
            raise MemoryLimitError(
                f"{max_memory} bytes are too few for gradients with {n} draws, even one after another",
                nodes=[self.objective],
                expected=fixed + per_draw,
                found=max_memory,
                hint=f"{fixed + per_draw} bytes suffice; fewer draws and fewer nodes take less",
            )
        return min(n, (max_memory - fixed) // max(per_draw, 1))

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
        n = next((len(tensor) for tensor, value in zip(given, self.inputs, strict=True) if value.is_drawn), 0)
        once = self._run_once(given)
        values = {value: once[value].detach() for value in self.outputs if not value.is_drawn}
        found: dict[Value, torch.Tensor] = {}
        ends = {} if self.objective.is_drawn else {self.objective: torch.ones_like(once[self.objective])}
        if self.drawn:
            size = max(n if portion is None else portion, 1)
            parts = [self._run_portion(self._cut(given, at, size), once) for at in range(0, max(n, 1), size)]
            values |= {value: _joined([part.values[value] for part in parts]) for value in parts[0].values}
            found |= {probe: _joined([part.gradients[probe] for part in parts]) for probe in parts[0].gradients}
            ends |= _summed([part.of_kept for part in parts])
        undrawn = {probe: once[probe] for probe in self.probes if not probe.is_drawn}
        found |= _backwards([(once[value], gradient) for value, gradient in ends.items()], undrawn)
        return self._apart([values[output] for output in self.outputs], given), self._asked_for(found, n)

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
        kept = {value: once[value].detach().requires_grad_(once[value].requires_grad) for value in self.kept}
        with torch.enable_grad():
            results = dict(zip(self.drawn, self.per_portion(*cut, *kept.values()), strict=True))
        values = {value: results[value].detach() for value in self.outputs if value.is_drawn}
        if not self.objective.is_drawn:
            return _Portion(values, {}, {})
        probes = {probe: results[probe] for probe in self.probes if probe.is_drawn}
        leaves = {value: tensor for value, tensor in kept.items() if tensor.requires_grad}
        objective = results[self.objective]
        found = _backwards([(objective, torch.ones_like(objective))], probes | leaves)
        return _Portion(values, {p: found[p] for p in probes}, {value: found[value] for value in leaves})

    def _asked_for(self, found: dict[Value, torch.Tensor], n: int) -> list[torch.Tensor]:
        """The gradients asked for, of those with respect to the probes that there are."""
        computed = iter(self.from_probes(*(found[p] if p in found else _zeros(p, n) for p in self.probes)))
        return [
            next(computed) if depends else _zeros(probe, n)
            for depends, probe in zip(self.depends, self.wanted, strict=True)
        ]

    def _apart(self, values: Sequence[torch.Tensor], given: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Values that are inputs or constants are copied: whoever writes into one is safe."""
        taken = self._held | {tensor.untyped_storage().data_ptr() for tensor in given}
        return [value.clone() if value.untyped_storage().data_ptr() in taken else value for value in values]


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


def _bytes(values: Sequence[Value]) -> int:
    return sum(value.nbytes for value in values if not value.op.is_view and not isinstance(value.op, Constant))


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
