"""What a program will do and need, before it does it: steps, operations, memory, what is shared and what was fused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from scrub.compiler.emit import values_until
from scrub.compiler.ops import Constant, Fill, Input
from scrub.compiler.schedule import order as low_memory_order
from scrub.compiler.schedule import peak, profile
from scrub.compiler.steps import ZERO, Affine, Step
from scrub.compiler.values import Value
from scrub.graph.cost import amount

_SHOWN = 12


class Schedule:
    """The steps of one torch module, in the order in which they run.

    Args:
        outputs: what it returns.
        given: inputs, and what another module computed.
        is_ordered: whether to look for an order that takes little memory, rather than that of first visit.
    """

    def __init__(self, outputs: Sequence[Value], given: Sequence[Value], *, is_ordered: bool, draws: int) -> None:
        steps = _steps(outputs, given)
        self.outputs = [steps[output] for output in outputs]
        self.order = low_memory_order(self.outputs, n=draws) if is_ordered else list(steps.values())

    def peak(self, n: int) -> int:
        """Bytes that its values take at most, for n draws; inputs and weights not counted."""
        return peak(self.order, self.outputs, n)

    @property
    def bytes_left(self) -> int:
        """Bytes that are in use when it is done, of what does not depend on draws."""
        usages = profile(self.order, self.outputs, 0)
        return usages[-1].after if usages else 0

    @property
    def flops(self) -> Affine:
        """Operations of all steps."""
        return sum((step.flops for step in self.order), ZERO)

    @property
    def values(self) -> list[Value]:
        """What is computed, in order; again where it is computed again."""
        return [step.what for step in self.order if isinstance(step.what, Value)]


@dataclass(frozen=True)
class Plan:
    """What running a program on n draws takes; `print` it.

    Attributes:
        n, portion: draws, and draws that are computed at a time.
        once, per_portion: what is done once, and for each portion.
        kept_bytes: of values that are computed once and used for every portion.
        result_bytes: of the values returned.
        constant_bytes: of the tensors that the program holds, and of those of them that it made: the rest is held by
            the expressions.
        passes: values before and after each pass.
        num_outputs: how many expressions.
    """

    n: int
    portion: int
    once: Schedule
    per_portion: Schedule
    kept_bytes: int
    result_bytes: int
    constant_bytes: tuple[int, int]
    passes: tuple[tuple[str, int, int], ...]
    num_outputs: int

    @property
    def flops(self) -> int:
        """Operations for all draws."""
        per_portion = self.per_portion.flops
        num_portions = -(-self.n // self.portion) if self.portion else 0
        return self.once.flops.fixed + per_portion.fixed * num_portions + per_portion.per_draw * self.n

    @property
    def peak_bytes(self) -> int:
        """Most bytes in use at a time, beyond inputs, weights and what the program holds (`constant_bytes`)."""
        portion = min(self.portion, self.n)
        collected = self.result_bytes if self.n > portion else 0
        return max(self.once.peak(0), self.kept_bytes + collected + self.per_portion.peak(portion))

    def __str__(self) -> str:
        steps = [*self.once.order, *self.per_portion.order]
        computed = [step for step in steps if not step.is_held]
        held, made = self.constant_bytes
        lines = [
            f"{self.num_outputs} outputs on {self.n} draws, {min(self.portion, self.n)} at a time: "
            f"{sum(not s.is_held for s in self.per_portion.order)} steps for each portion, "
            f"{sum(not s.is_held for s in self.once.order)} once",
            f"{amount(self.flops)} operations; at most {amount(self.peak_bytes)}B in use beyond weights and inputs; "
            f"holds {amount(held)}B of weights, {amount(made)}B of them made by the program",
            "passes, values before and after: " + ", ".join(f"{name} {old} {new}" for name, old, new in self.passes),
            "operations: " + ", ".join(f"{count} {name}" for name, count in _kinds(computed).most_common()),
        ]
        total = max(self.flops, 1)
        if self.num_outputs > 1:
            shared = shared_steps(self.per_portion.outputs)
            part = sum(step.flops.at(self.n) for step in shared) / total
            lines.append(f"steps that several outputs need: {len(shared)}, {part:.1%} of operations")
        lines.append(f"{'operations':>12} {'share':>6} {'bytes':>12}  step")
        largest = sorted(computed, key=lambda step: step.flops.at(self.n), reverse=True)
        for step in largest[:_SHOWN]:
            flops = step.flops.at(self.n)
            size = amount(step.bytes.at(self.portion))
            lines.append(f"{amount(flops):>12} {flops / total:>6.1%} {size:>12}  {step.label}")
        lines += [f"... and {len(computed) - _SHOWN} more steps"] if len(computed) > _SHOWN else []
        return "\n".join(lines)

    __repr__ = __str__


def shared_steps(outputs: Sequence[Step]) -> list[Step]:
    """The steps that more than one output needs, computed values alone.

    >>> below = Step("below")
    >>> both = Step("both", (below,))
    >>> [step.label for step in shared_steps([Step("a", (both,)), Step("b", (both, Step("own")))])]
    ['both', 'below']
    """
    owner: dict[Step, Step] = {}
    found: dict[Step, None] = {}
    for output in dict.fromkeys(outputs):
        stack = [output]
        while stack:
            step = stack.pop()
            if owner.setdefault(step, output) is not output:
                found[step] = None
            elif step not in found:
                stack.extend(arg for arg in step.args if owner.get(arg) is not output)
    stack = list(found)
    while stack:
        below = [arg for arg in stack.pop().args if arg not in found]
        found.update((arg, None) for arg in below)
        stack.extend(below)
    return [step for step in found if not step.is_held]


def _kinds(steps: Sequence[Step]) -> Counter[str]:
    return Counter(type(step.what.op).__name__ for step in steps if isinstance(step.what, Value) and not step.is_view)


def _steps(outputs: Sequence[Value], given: Sequence[Value]) -> dict[Value, Step]:
    """A step for each value that is given, and for each below the outputs down to these."""
    steps = {value: _step(value, (), is_held=True) for value in given}
    for value in values_until(outputs, given):
        is_held = isinstance(value.op, Constant | Fill | Input)
        steps[value] = _step(value, tuple(steps[arg] for arg in value.args), is_held=is_held)
    return steps


def _step(value: Value, args: tuple[Step, ...], *, is_held: bool) -> Step:
    label = f"{value.name or ''} {value.op.label}".strip()
    if is_held:
        return Step(label, is_held=True, what=value)
    size = ZERO if value.op.is_view else _affine(value, value.nbytes)
    flops = value.op.flops(value)
    for axis in value.axes:
        flops *= axis.size or 1
    scratch = _affine(value, value.op.scratch(value))
    return Step(label, args, size, scratch, _affine(value, flops), value.op.is_view, what=value)


def _affine(value: Value, count: int) -> Affine:
    return Affine(per_draw=count) if value.is_drawn else Affine(count)
