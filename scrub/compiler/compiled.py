"""What `compile` makes for inputs of one kind: torch modules, run on as many draws at a time as fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import fx

from scrub.compiler.backends import Backend, made_ready
from scrub.compiler.emit import emit, frontier
from scrub.compiler.memory import rematerialise
from scrub.compiler.ops import Constant
from scrub.compiler.plan import Plan, Schedule
from scrub.compiler.ranges import Ranges
from scrub.compiler.schedule import largest_n
from scrub.compiler.values import Value
from scrub.graph.errors import MemoryLimitError

Progress = Callable[[int, int], None]
"""Called with (draws done, draws in all)."""


class Kind(NamedTuple):
    """What a program must know of an input: everything but its content, and how many draws there are."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    is_drawn: bool

    @classmethod
    def of(cls, tensor: torch.Tensor, *, is_drawn: bool) -> Kind:
        """That of a tensor; with `is_drawn`, its first axis is the draws."""
        shape = tuple(tensor.shape[1:]) if is_drawn else tuple(tensor.shape)
        return cls(shape, tensor.dtype, tensor.device, is_drawn)


class Stage:
    """One torch module and the schedule it was written by."""

    def __init__(self, outputs: Sequence[Value], given: Sequence[Value], schedule: Schedule, backend: Backend) -> None:
        self.schedule = schedule
        self.outputs = tuple(outputs)
        self.module: fx.GraphModule = emit(outputs, given, schedule.values)
        self._call = made_ready(self.module, backend)

    def run(self, tensors: Sequence[torch.Tensor]) -> dict[Value, torch.Tensor]:
        """The tensor of each output."""
        return dict(zip(self.outputs, self._call(*tensors), strict=True))


class Compiled:
    """Torch modules for inputs of one kind.

    What does not depend on draws is computed once for each run (`once`), the rest for one portion of the draws after
    another (`per_portion`).

    Args:
        inputs: in the order in which `run` takes their tensors.
        outputs: what is computed.
        is_ordered: whether to look for orders that take little memory.
        draws: how many to look for them with.
        max_memory: most bytes in use at a time, beyond inputs, weights and what the program holds; None for no limit.
        passes: values before and after each pass, for the plan.
        lent: storages of the tensors that the expressions hold.
        ranges: checks of indices among the inputs.
        backend: what runs the modules.
    """

    def __init__(
        self,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        *,
        is_ordered: bool = True,
        draws: int = 1,
        max_memory: int | None = None,
        passes: Sequence[tuple[str, int, int]] = (),
        lent: frozenset[int] = frozenset(),
        ranges: Ranges | None = None,
        backend: Backend = "eager",
    ) -> None:
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        self.max_memory, self.passes, self.lent = max_memory, tuple(passes), lent
        self.is_ordered, self.ranges = is_ordered, ranges
        self.backend: Backend = backend
        self.kept = [value for value in frontier(outputs) if not value.is_drawn]
        self.undrawn = [value for value in inputs if not value.is_drawn]
        distinct = list(dict.fromkeys(outputs))
        self.fixed = [output for output in distinct if not output.is_drawn]
        self.drawn = [output for output in distinct if output.is_drawn]
        once = list(dict.fromkeys([*self.kept, *self.fixed]))
        self.once = self._stage(once, self.undrawn, draws)
        self.per_portion = self._stage(self.drawn, [*inputs, *self.kept], draws)
        self._held: dict[Value, torch.Tensor] | None = None
        self._compact: tuple[int, Stage] | None = None
        self._constant_storages = {t.untyped_storage().data_ptr() for t in self._constants(self.per_portion)}

    def _stage(self, outputs: Sequence[Value], given: Sequence[Value], draws: int) -> Stage:
        schedule = Schedule(outputs, given, is_ordered=self.is_ordered, draws=draws)
        return Stage(outputs, given, schedule, self.backend)

    @torch.no_grad()
    def run(self, tensors: Sequence[torch.Tensor], progress: Progress | None = None) -> list[torch.Tensor]:
        """The values of the outputs, from a tensor for each input. They share no memory with anything else."""
        if self.ranges is not None:
            self.ranges.check(tensors)
        n = self._num_draws(tensors)
        portion, stage = self._portion(n)
        undrawn = [tensor for tensor, value in zip(tensors, self.inputs, strict=True) if not value.is_drawn]
        once = self._computed_once(undrawn)
        results = {value: once[value] for value in self.fixed}
        if self.drawn:
            kept = [once[value] for value in self.kept]
            results |= self._run_portions(stage, tensors, kept, n, portion, progress or _ignore)
        return self._apart([results[output] for output in self.outputs], tensors)

    def _computed_once(self, undrawn: Sequence[torch.Tensor]) -> dict[Value, torch.Tensor]:
        """What does not depend on draws; where it depends on no input either, computed in the first run and held."""
        if self.undrawn:
            return self.once.run(undrawn)
        if self._held is None:
            held = self.once.run(undrawn)
            self._constant_storages |= {tensor.untyped_storage().data_ptr() for tensor in held.values()}
            self._held = held
        return self._held

    def _apart(self, results: Sequence[torch.Tensor], inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Results that share memory with inputs, weights or one another are copied: whoever writes into one is safe."""
        taken = {tensor.untyped_storage().data_ptr() for tensor in inputs} | self._constant_storages
        apart: list[torch.Tensor] = []
        for result in results:
            at = result.untyped_storage().data_ptr()
            apart.append(result.clone() if at in taken else result)
            taken.add(at)
        return apart

    def _run_portions(
        self,
        stage: Stage,
        tensors: Sequence[torch.Tensor],
        kept: Sequence[torch.Tensor],
        n: int,
        portion: int,
        progress: Progress,
    ) -> dict[Value, torch.Tensor]:
        if portion >= n:
            results = stage.run([*tensors, *kept])
            progress(n, n)
            return results
        collected: dict[Value, torch.Tensor] = {}
        for start in range(0, n, portion):
            cut = [
                tensor[start : start + portion] if value.is_drawn else tensor
                for tensor, value in zip(tensors, self.inputs, strict=True)
            ]
            part = stage.run([*cut, *kept])
            if not collected:
                collected = {value: tensor.new_empty(n, *tensor.shape[1:]) for value, tensor in part.items()}
            for value, tensor in part.items():
                collected[value][start : start + portion] = tensor
            progress(min(start + portion, n), n)
        return collected

    def plan(self, n: int) -> Plan:
        """What `run` on n draws does and needs."""
        portion, stage = self._portion(n)
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in self._constants(stage)}
        return Plan(
            n,
            portion,
            self.once.schedule,
            stage.schedule,
            self.once.schedule.bytes_left,
            self._result_bytes(n),
            (sum(storages.values()), sum(size for at, size in storages.items() if at not in self.lent)),
            self.passes,
            len(self.outputs),
        )

    def _constants(self, stage: Stage) -> list[torch.Tensor]:
        ops = [value.op for each in (self.once, stage) for value in each.schedule.values]
        return [op.tensor for op in ops if isinstance(op, Constant)]

    def _num_draws(self, tensors: Sequence[torch.Tensor]) -> int:
        return next((len(t) for t, value in zip(tensors, self.inputs, strict=True) if value.is_drawn), 0)

    def _result_bytes(self, n: int) -> int:
        return sum(value.nbytes * (n if value.is_drawn else 1) for value in self.outputs)

    def _portion(self, n: int) -> tuple[int, Stage]:
        """How many draws to compute at a time, and by which module."""
        if self.max_memory is None or n == 0 or self.plan_peak(n) <= self.max_memory:
            return n, self.per_portion
        left = self._bytes_for_portion(n, self.max_memory)
        schedule = self.per_portion.schedule
        portion = largest_n(schedule.order, schedule.outputs, left)
        if portion is not None:
            return portion, self.per_portion
        if self._compact is None or self._compact[0] > left:
            schedule = Schedule(self.drawn, [*self.inputs, *self.kept], is_ordered=True, draws=1)
            schedule.order = rematerialise(schedule.order, schedule.outputs, 1, left)
            self._compact = left, Stage(self.drawn, [*self.inputs, *self.kept], schedule, self.backend)
        return 1, self._compact[1]

    def _bytes_for_portion(self, n: int, limit: int) -> int:
        """What is left for computing a portion beside the results of all n draws and what is kept."""
        once, results = self.once.schedule, self._result_bytes(n)
        needed = max(once.peak(0), once.bytes_left + results)
        if needed > limit:
            raise MemoryLimitError(
                f"max_memory of {limit} bytes does not hold the {len(self.outputs)} results for {n} draws and what "
                f"they share: {needed} bytes",
                expected=f"more than {needed}",
                found=limit,
                hint="run fewer draws at a time, or let the program reduce more: a loss instead of logits",
            )
        return limit - once.bytes_left - results

    def plan_peak(self, n: int) -> int:
        """Bytes in use at most if all draws are computed at a time."""
        once = self.once.schedule
        return max(once.peak(0), once.bytes_left + self.per_portion.schedule.peak(n))

    def fits(self, n: int) -> bool:
        """Whether the limit can be kept without computing anything twice."""
        if self.max_memory is None or self.plan_peak(n) <= self.max_memory:
            return True
        left = self._bytes_for_portion(n, self.max_memory)
        return largest_n(self.per_portion.schedule.order, self.per_portion.schedule.outputs, left) is not None


def _ignore(done: int, total: int) -> None:
    """Progress that nobody asked for."""
