"""Steps: what a program consists of, as far as planning its order and memory is concerned; nothing here knows torch.

A `Step` makes one value from those of its `args`, and sizes grow with the number of draws n (`Affine`). An order is a
sequence of steps, args first; in one with recomputation a step occurs again, and whoever reads it reads its latest
occurrence. So what may be dropped when follows from the order, and `runs` says it.

Whose memory lives how long:

- the result of a step takes `bytes` of its own, from its run to its last use, or to the end for an output;
- a view also keeps the memory of all its args, for as long as it is used itself;
- what is held (weights, inputs) was there before the first step and stays: its bytes count throughout, and 0 leaves
  them out of the account.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Affine:
    """A quantity that grows with the number of draws n: `fixed + per_draw * n`.

    >>> size = Affine(100, 8) + Affine(per_draw=2)
    >>> size, size.at(3)
    (Affine(fixed=100, per_draw=10), 130)
    >>> max(Affine(100), Affine(per_draw=8), key=lambda size: size.at(50))
    Affine(fixed=0, per_draw=8)
    """

    fixed: int = 0
    per_draw: int = 0

    def __add__(self, other: Affine) -> Affine:
        return Affine(self.fixed + other.fixed, self.per_draw + other.per_draw)

    def at(self, n: int) -> int:
        """The quantity for n draws."""
        return self.fixed + self.per_draw * n


ZERO = Affine()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Step:
    """One operation of a program. Equal to itself alone.

    Attributes:
        label: what messages call it.
        args: the steps whose values it reads.
        bytes: new memory that its result takes; for a view zero.
        scratch: memory that it needs only while it runs.
        flops: operations.
        is_view: whether its result shares memory with its args, so that theirs stays alive while it is.
        is_held: whether its memory is not ours to free: weights and inputs, which have no args.
        what: anything of the caller's.

    >>> Step("product", (Step("x"), Step("w")), bytes=Affine(0, 64))
    'product' step of 0 + 64 n bytes
    """

    label: str
    args: tuple[Step, ...] = ()
    bytes: Affine = ZERO
    scratch: Affine = ZERO
    flops: Affine = ZERO
    is_view: bool = False
    is_held: bool = False
    what: object = None

    def __repr__(self) -> str:
        kind = "held" if self.is_held else "view" if self.is_view else "step"
        return f"{self.label!r} {kind} of {self.bytes.fixed} + {self.bytes.per_draw} n bytes"


@dataclass(frozen=True, slots=True)
class Run:
    """A step of an order, and the steps whose values nobody reads afterwards."""

    step: Step
    drops: tuple[Step, ...] = ()


def runs(order: Sequence[Step], outputs: Iterable[Step]) -> list[Run]:
    """An order with what to drop after each step. A drop frees memory once no view of it is left either.

    >>> a = Step("a")
    >>> b = Step("b", (a,))
    >>> c = Step("c", (a, b))
    >>> [(run.step.label, [step.label for step in run.drops]) for run in runs([a, b, a, c], [c])]
    [('a', []), ('b', ['a']), ('a', []), ('c', ['b', 'a'])]
    """
    drops: list[list[Step]] = [[] for _ in range(len(order) + 1)]
    for step, last in zip(order, _last_reads(order, outputs, through_views=False), strict=True):
        if not step.is_held:
            drops[last].append(step)
    return [Run(step, tuple(dropped)) for step, dropped in zip(order, drops, strict=False)]


def last_uses(order: Sequence[Step], outputs: Iterable[Step]) -> list[int]:
    """For each position of an order, the position after which the memory that its result took is free.

    This is the last one that reads the value or a view of it; `len(order)` for what outputs share.

    >>> a = Step("a", bytes=Affine(8))
    >>> turned = Step("turned", (a,), is_view=True)
    >>> total, other = Step("total", (turned,)), Step("other")
    >>> last_uses([a, turned, other, total], [total, other])
    [3, 3, 4, 4]
    """
    return _last_reads(order, outputs, through_views=True)


def _last_reads(order: Sequence[Step], outputs: Iterable[Step], *, through_views: bool) -> list[int]:
    """The last position that reads each occurrence, or, through views, what shares its memory."""
    latest: dict[Step, int] = {}
    reads: list[int] = []
    for position, step in enumerate(order):
        for arg in step.args:
            reads.append(latest[arg])
        latest[step] = position
    last = list(range(len(order)))
    for output in outputs:
        last[latest[output]] = len(order)
    for position in reversed(range(len(order))):  # readers come later, so that what is read of `last` is final
        until = last[position] if through_views and order[position].is_view else position
        for _ in order[position].args:
            read = reads.pop()
            if last[read] < until:
                last[read] = until
    return last


def flops(order: Iterable[Step], n: int) -> int:
    """Operations of all steps of an order for n draws, those that occur again included."""
    return sum(step.flops.at(n) for step in order)


def verify(program: Iterable[Run], outputs: Iterable[Step]) -> list[str]:
    """Everything that is wrong with a program: values that are not there when they are read; empty if it can be run.

    >>> a = Step("a")
    >>> b = Step("b", (a,))
    >>> verify([Run(a, drops=(a,)), Run(b)], [b])
    ["'b' reads 'a', which is not there"]
    """
    there: set[Step] = set()
    problems: list[str] = []
    for run in program:
        missing = [arg for arg in run.step.args if arg not in there]
        problems += [f"{run.step.label!r} reads {arg.label!r}, which is not there" for arg in missing]
        there.add(run.step)
        for dropped in run.drops:
            if dropped not in there or dropped.is_held:
                problems.append(f"{dropped.label!r} is dropped after {run.step.label!r}, but is not there or is held")
            there.discard(dropped)
    return problems + [f"output {step.label!r} is not there at the end" for step in outputs if step not in there]
