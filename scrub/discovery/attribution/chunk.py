"""A few examples at a time: their runs, what patched edges carry less what they carried, and their scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from scrub.discovery.ablations import Ablation
from scrub.discovery.attribution.finite import first_broken, require_finite
from scrub.discovery.attribution.layout import contraction, empty_writes, score_axes
from scrub.discovery.attribution.repeated import Repeated, apart
from scrub.discovery.attribution.rules import points
from scrub.discovery.machine import Given, Machine, PartGradients, Run, Tape, backward, record
from scrub.discovery.metrics import Metric
from scrub.discovery.scores import Level
from scrub.graph import DiscoveryError
from scrub.tasks.task import Task

TOKENS = 2048  # in a batch of repeated examples


@dataclass(frozen=True)
class Setting:
    """What is asked for; see `attribute`."""

    machine: Machine
    metric: Metric
    ablation: Ablation
    level: Level
    per_position: bool
    steps: int
    rule: str


class Chunk:
    """Some examples of a task.

    Attributes:
        setting: what is asked for.
        batch: the examples.
        given: what the model is given for them.
        scores: of each example, [n, *score_axes] with positions first; methods add to it.
    """

    def __init__(self, setting: Setting, batch: Task) -> None:
        self.setting = setting
        self.machine = setting.machine
        self.batch = batch
        self.given = self.machine.source.given(batch.tokens, batch.mask)
        self._writes: torch.Tensor | None = None
        self._repeated: dict[int, Repeated] = {}
        seq = batch.tokens.shape[1] if setting.per_position else None
        width = stream_width(self.machine)
        axes = score_axes(self.machine.graph, setting.level, seq, width)
        dtype = torch.promote_types(self.given.embeds.dtype, torch.float32)  # half precision would lose small terms
        self.scores = self.given.embeds.new_zeros(len(batch), *axes, dtype=dtype)

    # ---- runs ----

    @cached_property
    def original(self) -> torch.Tensor | None:
        """The logits of the model itself where predictions are read, where the metric needs them."""
        if "original" not in self.setting.metric.needs:
            return None
        return self.logits(self.clean)

    @cached_property
    def clean(self) -> Run:
        """The model's own run."""
        return self.machine.run(self.given)

    @cached_property
    def corrupted_given(self) -> Given:
        """What the model is given for the counterfactuals."""
        assert self.batch.counterfactual is not None
        return self.machine.source.given(self.batch.counterfactual, self.batch.mask)

    def logits(self, run: Run) -> torch.Tensor:
        """Of a run on these examples, where predictions are read, [n, k, n_logits]."""
        machine = self.machine
        return _of_places(machine.logits(machine.read(machine.readout, run), run.given, self.batch.positions))

    def measured(self, logits: torch.Tensor, run: Run, batch: Task | None = None, *, copies: int = 1) -> torch.Tensor:
        """The metric of each example.

        Args:
            logits: [n, k, n_logits].
            run: that they are from.
            batch: the examples, if not those of the chunk: these repeated.
            copies: how many times they are repeated.

        Raises:
            DiscoveryError: what the metric says; or the run has values that are not finite, with the first part.
        """
        batch = self.batch if batch is None else batch
        original = None if self.original is None else self.original.repeat(copies, 1, 1)
        try:
            return self.setting.metric(_of_places(logits), batch, original)
        except DiscoveryError as error:
            broken = first_broken(self.machine, run, self.batch.mask if run.given is self.given else batch.mask)
            if broken is None:
                raise
            raise broken from error

    # ---- differences ----

    def take_corrupted(self) -> None:
        """Set aside what replaces each writer's output, from a run on the counterfactuals if that is what does."""
        if self.setting.ablation.fixed is None:
            run_streaming(self.machine, self.corrupted_given, self._put)
            return
        fixed = self.setting.ablation.fixed
        first = self.machine.functions(self.given)[self.machine.order[0]].total([], self.given)
        self._writes = empty_writes(self.machine, first, position_first=self._position_first)
        self._writes.copy_(fixed if fixed.ndim == self._writes.ndim else fixed[None])

    @cached_property
    def differences(self) -> torch.Tensor:
        """z~ - z of all writers, [n, writers, *stream]; 0 at padding. Also runs `clean`."""
        self.take_corrupted()
        self.clean = run_streaming(self.machine, self.given, self._subtract)
        return self._finished()

    def interpolated(self, name: str, places: torch.Tensor) -> torch.Tensor:
        """What a part adds, its writers at places of the way from z~ (0) to z (1), [copies * n, *stream]."""
        columns = self.machine.anatomy.columns[name]
        change = self.differences[:, columns.start : columns.stop].sum(1)
        left = (1 - places).reshape(-1, *[1] * change.ndim)
        return (self.clean.totals[name] + left * change).flatten(0, 1)

    @property
    def _position_first(self) -> bool:
        return self.setting.per_position and self.setting.level == "edge"

    def _put(self, name: str, writes: torch.Tensor) -> None:
        if self._writes is None:
            self._writes = empty_writes(self.machine, writes[:, 0], position_first=self._position_first)
        columns = self.machine.anatomy.columns[name]
        self._writes[:, columns.start : columns.stop] = writes

    def _subtract(self, name: str, writes: torch.Tensor) -> None:
        assert self._writes is not None
        columns = self.machine.anatomy.columns[name]
        self._writes[:, columns.start : columns.stop] -= writes

    def _finished(self) -> torch.Tensor:
        assert self._writes is not None
        differences, self._writes = self._writes, None
        if not self.batch.is_aligned:
            padding = self.batch.mask == 0  # [n, seq]
            differences.masked_fill_(padding.reshape(len(padding), *[1] * (differences.ndim - 3), -1, 1), 0.0)
        return differences

    # ---- gradients ----

    def recorded_clean(self) -> tuple[Tape, torch.Tensor]:
        """The clean run, recorded, and `differences` of what was set aside."""
        tape = record(self.machine, self.given, keep_writes=self._subtract)
        self.clean = tape.run
        return tape, self._finished()

    def recorded_pair(self) -> tuple[Tape, torch.Tensor]:
        """The clean run and then that on the counterfactuals as one batch, recorded, and `differences`."""
        batch = self.batch
        assert batch.counterfactual is not None
        tokens = torch.cat([batch.tokens, batch.counterfactual])
        given = self.machine.source.given(tokens, batch.mask.repeat(2, 1))

        def take(name: str, writes: torch.Tensor) -> None:
            self._put(name, writes[len(batch) :])
            self._subtract(name, writes[: len(batch)])

        tape = record(self.machine, given, keep_writes=take)
        return tape, self._finished()

    def repeated(self, copies: int) -> Repeated:
        """The clean run with its examples repeated."""
        if copies not in self._repeated:
            self._repeated[copies] = Repeated(self.machine, self.clean, copies)
        return self._repeated[copies]

    def repeated_batch(self, copies: int) -> Task:
        """The examples, repeated."""
        return self.batch if copies == 1 else self.batch[list(range(len(self.batch))) * copies]

    def groups_of_steps(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """The steps of the path, those that run as one batch together: places [steps] and weights [steps]."""
        steps = torch.tensor(points(self.setting.rule, self.setting.steps), dtype=torch.float64).to(self.given.embeds)
        size = max(1, TOKENS // self.batch.tokens.numel())
        starts = range(0, len(steps), size)
        return [(steps[start : start + size, 0], steps[start : start + size, 1]) for start in starts]

    def gradients(
        self, tape: Tape, weights: Sequence[float] | torch.Tensor = (1.0,), *, down_to: str | None = None
    ) -> Iterator[PartGradients]:
        """Gradients of the metric, from the logits down, of a run of one or several copies of the examples.

        Args:
            tape: the recorded run.
            weights: of each copy; the gradients are summed over copies with these.
            down_to: the last part to go to.
        """
        copies = len(weights)
        batch = self.repeated_batch(copies)

        def objective(logits: torch.Tensor) -> torch.Tensor:
            measured = apart(self.measured(logits, tape.run, batch, copies=copies), copies)
            return measured * torch.as_tensor(weights).to(measured)[:, None]

        found = backward(self.machine, tape, objective, batch.positions, down_to=down_to)
        return found if copies == 1 else (_over_copies(gradients, copies) for gradients in found)

    def add(self, gradients: PartGradients, differences: torch.Tensor, *, columns: range | None = None) -> None:
        """Add differences times the gradients at one part to the scores, of all writers or of some columns."""
        setting = self.setting
        of_part = self.machine.anatomy.columns.get(gradients.part.name)
        if columns is not None and setting.level != "edge" and of_part != columns:
            return
        found = contraction(
            self.machine,
            gradients,
            differences,
            level=setting.level,
            per_position=setting.per_position,
            columns=None if columns is None else slice(columns.start, columns.stop),
        )
        for at, values in found:
            require_finite(values, gradients, differences, self.machine, setting.metric.name)
            self.scores[at].add_(values)


def _of_places(logits: torch.Tensor) -> torch.Tensor:
    """[n, places, n_logits], without axes of size 1 between."""
    return logits.reshape(len(logits), -1, logits.shape[-1])


def _over_copies(gradients: PartGradients, copies: int) -> PartGradients:
    """Summed over copies."""
    reads = {label: apart(value, copies).sum(0) for label, value in gradients.reads.items()}
    return PartGradients(gradients.part, reads, apart(gradients.writes, copies).sum(0))


def run_streaming(machine: Machine, given: Given, take: Callable[[str, torch.Tensor], None]) -> Run:
    """A plain run that hands over what each part's writers write, [n, heads, *stream], and keeps none of it."""
    run = Run(given)
    functions = machine.functions(given)
    for name in machine.order[:-1]:
        writes, rest = functions[name].write(machine.read(machine.parts[name], run), given)
        run.totals[name] = machine.total(writes, rest)
        take(name, writes)
    return run


def stream_width(machine: Machine) -> int:
    """d of the residual stream [..., seq, d], with the axes in front of seq."""
    shape = next(iter(machine.plans)).shape
    width = int(shape[-1])
    for size in shape[:-2]:
        width *= int(size)
    return width
