"""A clean run with its examples repeated, and runs that go on from any of its parts: many patched runs as one batch."""

from __future__ import annotations

from functools import cached_property

import torch

from scrub.discovery.machine import Given, Machine, Run
from scrub.graph import Expr


class Repeated:
    """Copies of a clean run; tensors are [copies * n, ...], one copy of all examples after another.

    Args:
        machine: the model.
        clean: its run.
        copies: how many.
    """

    def __init__(self, machine: Machine, clean: Run, copies: int) -> None:
        self.machine = machine
        self.clean = clean
        self.copies = copies

    @cached_property
    def given(self) -> Given:
        """What the model is given."""
        given = self.clean.given
        tensors = {s: self.of(value) if s in given.batched else value for s, value in given.tensors.items()}
        return Given(tensors, given.batched, given.n * self.copies, self.of(given.embeds))

    def of(self, value: torch.Tensor) -> torch.Tensor:
        """[n, ...] repeated, [copies * n, ...]."""
        return value.repeat(self.copies, *[1] * (value.ndim - 1))

    def state(self, state: Expr) -> torch.Tensor:
        """A state of the clean run, repeated."""
        return self.of(self.machine.state(state, self.clean))

    def run_before(self, name: str) -> Run:
        """What parts before one add, to go on from."""
        run = Run(self.given, totals=_Totals(self))
        for part in self.machine.order[: self.machine.order.index(name)]:
            _ = run.totals[part]
        return run

    def run_after(self, name: str, total: torch.Tensor) -> Run:
        """The run in which one part adds something else to the stream, [copies * n, *stream]."""
        machine, given = self.machine, self.given
        run = Run(given, totals=_Totals(self))
        run.totals[name] = total
        for state in self._states_before(name):
            run.states[state] = self.state(state)
        functions = machine.functions(given)
        for later in machine.order[machine.order.index(name) + 1 : -1]:
            run.totals[later] = functions[later].total(machine.read(machine.parts[later], run), given)
        return run

    def _states_before(self, name: str) -> list[Expr]:
        """The states without what a part and those after it write that are read, or continued, from there on."""
        machine = self.machine
        after = set(machine.order[machine.order.index(name) :])
        is_before = {state: not after & set(machine.anatomy.writers_of(state)) for state in machine.plans}
        used = {plan.base for state, plan in machine.plans.items() if not is_before[state]}
        used |= {state for later in after - {name} for state in machine.parts[later].states}
        return [state for state in machine.plans if is_before[state] and state in used]


def apart(value: torch.Tensor, copies: int) -> torch.Tensor:
    """[copies * n, ...] as [copies, n, ...]."""
    return value.reshape(copies, len(value) // copies, *value.shape[1:])


class _Totals(dict[str, torch.Tensor]):
    """What parts add; of those that are not there, as in the clean run."""

    def __init__(self, repeated: Repeated) -> None:
        super().__init__()
        self._repeated = repeated

    def __missing__(self, name: str) -> torch.Tensor:
        self[name] = self._repeated.of(self._repeated.clean.totals[name])
        return self[name]
