"""The order in which steps run, and the memory that an order takes at each of them.

An order is sought by heuristics, each about linear, and the one with the lowest peak is taken:

- depth first from the outputs, so that one variant is finished before the next is begun, the args of a step in the
  order of Liu 1986 ("On the storage requirement in the out-of-core multifrontal method"): those first whose evaluation
  needs most more than it leaves behind. For trees no depth-first order has a lower peak; sharing makes it a heuristic;
- outputs as they come, or by the same rule, or those first that leave what they share with others early on: a variant
  of the first layer before one of the last, so that what the clean run has made so far is not kept for long;
- then whatever frees at least as much as it takes runs as soon as it can.

Finding the best order is NP-hard (Sethi 1975, "Complete register allocation problems").
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from scrub.compiler.steps import Step, last_uses


def order(outputs: Sequence[Step], *, n: int = 1) -> list[Step]:
    """All steps that outputs need, args first, in an order that takes little memory for n draws.

    The peak is never above that of `postorder(outputs)`; of equal ones, the first that was tried is taken.

    >>> from scrub.compiler.steps import Affine
    >>> small, large = Step("small", bytes=Affine(1)), Step("large", bytes=Affine(9))
    >>> total = Step("total", (small, Step("reduced", (large,), bytes=Affine(1))), bytes=Affine(1))
    >>> [step.label for step in order([total])]
    ['large', 'reduced', 'small', 'total']
    """
    plain = postorder(outputs)
    excess = _excess(plain, n)
    sharing = _last_shared(outputs, plain)
    tried = {
        tuple(outputs): None,
        tuple(sorted(outputs, key=lambda step: -excess[step])): None,
        tuple(sorted(outputs, key=lambda step: (sharing[step], -excess[step]))): None,
    }
    best, lowest = plain, peak(plain, outputs, n)
    for start in tried:
        deep = postorder(start, excess)
        for found in (deep, _Eager(deep, outputs, n).order):
            needed = peak(found, outputs, n)
            if needed < lowest:
                best, lowest = found, needed
    return best


def postorder(outputs: Iterable[Step], first: dict[Step, int] | None = None) -> list[Step]:
    """Every step once, args before what reads them: left to right, or those of the largest `first` first.

    >>> a, b = Step("a"), Step("b")
    >>> [step.label for step in postorder([Step("c", (a, b, a))], {a: 1, b: 2})]
    ['b', 'a', 'c']
    """
    found: list[Step] = []
    seen: set[Step] = set()
    stack = [(output, False) for output in reversed(list(outputs))]
    while stack:
        step, is_ready = stack.pop()
        if is_ready:
            found.append(step)
        elif step not in seen:
            seen.add(step)
            stack.append((step, True))
            args = step.args[::-1]
            if first is not None and len(args) > 1:
                args = sorted(args, key=first.__getitem__)
            stack.extend((arg, False) for arg in args if arg not in seen)
    return found


def _excess(steps: Sequence[Step], n: int) -> dict[Step, int]:
    """How many bytes more each step's evaluation needs than it leaves behind, if it shared nothing with others."""
    most = sum(step.bytes.at(n) + step.scratch.at(n) for step in steps)
    needs: dict[Step, int] = {}
    leaves: dict[Step, int] = {}
    excess: dict[Step, int] = {}
    for step in steps:
        kept = needed = 0
        for arg in sorted(dict.fromkeys(step.args), key=excess.__getitem__, reverse=True):
            needed = max(needed, kept + needs[arg])
            kept += leaves[arg]
        size = 0 if step.is_held else step.bytes.at(n)
        # what is shared is counted for each reader, so that the figures of a ladder double: `most` bounds them
        needs[step] = min(most, max(needed, kept + size + step.scratch.at(n)))
        leaves[step] = min(most, size + kept if step.is_view else size)
        excess[step] = needs[step] - leaves[step]
    return excess


def _last_shared(outputs: Sequence[Step], steps: Sequence[Step]) -> dict[Step, int]:
    """How deep the deepest step is that each step needs and that several outputs need; 0 if there is none."""
    owner: dict[Step, Step] = {}
    shared: set[Step] = set()
    for output in dict.fromkeys(outputs):
        stack = [output]
        while stack:
            step = stack.pop()
            if step not in owner:
                owner[step] = output
                stack.extend(step.args)
            elif owner[step] is not output:
                shared.add(step)
    for step in reversed(steps):
        if step in shared:
            shared.update(step.args)
    depth: dict[Step, int] = {}
    deepest: dict[Step, int] = {}
    for step in steps:
        depth[step] = 0 if step.is_held else 1 + max((depth[arg] for arg in step.args), default=0)
        own = depth[step] if step in shared else 0
        deepest[step] = max(own, max((deepest[arg] for arg in step.args), default=0))
    return deepest


class _Eager:
    """An order changed as little as it takes to run at once whatever frees at least as much as it needs.

    Steps are numbered as they were ordered. Each value counts who has still to read it; a view reads its args until
    it is dead itself. Once there is one reader left, and that is known by the sum of the readers' numbers, the run of
    that reader will free the value.
    """

    def __init__(self, steps: Sequence[Step], outputs: Sequence[Step], n: int) -> None:
        self.order: list[Step] = []
        self._steps = steps
        number = {step: i for i, step in enumerate(steps)}
        self._args = [tuple({number[arg]: None for arg in step.args}) for step in steps]
        self._readers: list[list[int]] = [[] for _ in steps]
        for i, args in enumerate(self._args):
            for arg in args:
                self._readers[arg].append(i)
        self._missing = [len(args) for args in self._args]
        self._num_left = [len(readers) for readers in self._readers]
        self._sum_left = [sum(readers) for readers in self._readers]
        for output in outputs:
            self._num_left[number[output]] += 2  # never the last one but one
        self._takes = [0 if step.is_held else step.bytes.at(n) for step in steps]
        self._frees = [0] * len(steps)  # by running; for a view that has run, by its death
        self._is_done = [False] * len(steps)
        for i in range(len(steps)):
            waiting = [i]
            while waiting:
                at = waiting.pop()
                if not self._is_done[at]:
                    waiting += sorted(self._run(at), reverse=True)

    def _run(self, i: int) -> list[int]:
        """Run a step. Returns those that may now run at once."""
        self._is_done[i] = True
        self.order.append(self._steps[i])
        near = self._readers[i]
        for reader in near:
            self._missing[reader] -= 1
        is_view = self._steps[i].is_view
        self._frees[i] = self._takes[i] + (self._frees[i] if is_view else 0)
        near = near + ([] if is_view else self._stop_reading(i))
        if self._num_left[i] == 1:
            near.append(self._pass_on(i))
        elif self._num_left[i] == 0 and is_view:
            near += self._stop_reading(i)
        return [at for at in near if self._missing[at] == 0 and not self._is_done[at] and self._is_free(at)]

    def _is_free(self, i: int) -> bool:
        return self._takes[i] <= (0 if self._steps[i].is_view else self._frees[i])

    def _stop_reading(self, i: int) -> list[int]:
        """A step has run, or a view is dead: it reads its args no more. Returns the readers that are now alone."""
        alone: list[int] = []
        stack = [i]
        while stack:
            at = stack.pop()
            for arg in self._args[at]:
                self._num_left[arg] -= 1
                self._sum_left[arg] -= at
                if self._num_left[arg] == 1:
                    alone.append(self._pass_on(arg))
                elif self._num_left[arg] == 0 and self._steps[arg].is_view:
                    stack.append(arg)
        return alone

    def _pass_on(self, i: int) -> int:
        """A value with one reader left is freed by that one, or along with it if that is a view. Returns the last."""
        while True:
            reader = self._sum_left[i]
            self._frees[reader] += self._frees[i]
            self._frees[i] = 0
            if self._num_left[reader] != 1 or not self._is_done[reader]:
                return reader
            i = reader


class Usage(NamedTuple):
    """Bytes in use while a step runs, args, result and scratch included, and after it, when dead values are gone."""

    during: int
    after: int


def profile(order: Sequence[Step], outputs: Sequence[Step], n: int) -> list[Usage]:
    """Bytes in use during and after each position of an order, for n draws.

    >>> from scrub.compiler.steps import Affine
    >>> x = Step("x", bytes=Affine(8))
    >>> y = Step("y", (x,), bytes=Affine(0, 4), scratch=Affine(100))
    >>> profile([x, y], [y], n=2)
    [Usage(during=8, after=8), Usage(during=116, after=8)]
    """
    in_use = sum(step.bytes.at(n) for step in {step: None for step in order if step.is_held})
    freed = [0] * (len(order) + 1)
    usages: list[Usage] = []
    for position, (step, last) in enumerate(zip(order, last_uses(order, outputs), strict=True)):
        if not step.is_held:
            size = step.bytes.at(n)
            in_use += size
            freed[last] += size
        during = in_use + step.scratch.at(n)
        in_use -= freed[position]
        usages.append(Usage(during, in_use))
    return usages


def peak(order: Sequence[Step], outputs: Sequence[Step], n: int) -> int:
    """The most bytes in use at a time, for n draws."""
    return max((usage.during for usage in profile(order, outputs, n)), default=0)


def peak_step(order: Sequence[Step], outputs: Sequence[Step], n: int) -> Step | None:
    """The first step during which most bytes are in use; None if there are no steps."""
    usages = profile(order, outputs, n)
    return order[max(range(len(order)), key=lambda position: usages[position].during)] if usages else None


def largest_n(order: Sequence[Step], outputs: Sequence[Step], limit: int) -> int | None:
    """The most draws for which `limit` bytes suffice; None if they do not for one, `sys.maxsize` if for any number.

    >>> from scrub.compiler.steps import Affine
    >>> x = Step("x", bytes=Affine(100, 8))
    >>> largest_n([x], [x], 150), largest_n([x], [x], 100)
    (6, None)
    """
    most = sys.maxsize
    for fixed, one in zip(profile(order, outputs, 0), profile(order, outputs, 1), strict=True):
        per_draw = one.during - fixed.during
        if one.during > limit:
            return None
        if per_draw > 0:
            most = min(most, (limit - fixed.during) // per_draw)
    return most
