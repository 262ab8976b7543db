"""Fitting an order into a memory limit: which values to keep, and which to drop and compute again.

The order is simulated. Where a step would exceed the limit, values make room for it: of the largest, and of those whose
next use is farthest (Belady 1966), the one with the least

    operations to get it back / (its bytes * steps until its next use)

where getting a value back includes what has been dropped below it. This is the eviction rule of Kirisame et al. 2021
("Dynamic Tensor Rematerialization"), with the next use, which is known here, in the place of the last. Dropped values
are computed again when they are read, from what is left. Values go with all views of them.

It is a heuristic: finding the least recomputation is NP-hard, and so is telling whether a limit can be met at all.
Everything is about linear in the steps that are run, and these are bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush
from math import inf

from scrub.compiler.schedule import largest_n, peak
from scrub.compiler.steps import Step
from scrub.graph.errors import MemoryLimitError

# what keeps the time linear: candidates of each kind; dropped values that a walk below one adds to its cost, and marks
# as wanted; tries of other limits for the error, and the steps of all of these
_NUM_CANDIDATES = 32
_MAX_WALK = 64
_MAX_WANTED = 256
_MAX_TRIES = 7
_MAX_STEPS_TRIED = 50_000


def rematerialise(
    order: Sequence[Step], outputs: Sequence[Step], n: int, limit: int, *, max_growth: int = 8
) -> list[Step]:
    """An order of the same steps that takes at most `limit` bytes for n draws, some of them run again.

    What it costs is `flops(new, n) - flops(order, n)`. The order itself is returned where it fits.

    Args:
        order: every step once, as `order(outputs)` gives them.
        outputs: what must be there at the end.
        n: number of draws.
        limit: bytes, counted as by `profile`.
        max_growth: how many times as many steps as in `order` may be run.

    Raises:
        MemoryLimitError: no such order was found; it names a limit for which one was.

    >>> from scrub.compiler.steps import Affine
    >>> first = Step("first", bytes=Affine(8))
    >>> large = Step("large", bytes=Affine(10))
    >>> total = Step("total", (Step("reduced", (large,), bytes=Affine(1)), first), bytes=Affine(1))
    >>> [step.label for step in rematerialise([first, large, *total.args[:1], total], [total], n=1, limit=12)]
    ['large', 'reduced', 'first', 'total']
    """
    if peak(order, outputs, n) <= limit:
        return list(order)
    problem = _Problem(order, outputs, n)
    try:
        return _find(problem, limit, max_growth)
    except _DoesNotFitError as error:
        raise _too_small(problem, limit, max_growth, error.at) from None


class _DoesNotFitError(Exception):
    def __init__(self, at: int) -> None:
        self.at = at


class _Problem:
    """The steps by number, the last of which stands for the end, where all outputs are read.

    Attributes:
        args: what each step reads, without repetition.
        readers: who reads it.
        takes, scratch, flops: for n draws.
        blocks: the steps whose memory a value keeps alive: its own, and for a view that of its args.
        held: bytes of what is held.
    """

    def __init__(self, order: Sequence[Step], outputs: Sequence[Step], n: int) -> None:
        number = {step: i for i, step in enumerate(order)}
        assert len(number) == len(order), "an order with recomputation cannot be planned again"
        self.order, self.outputs, self.n = order, outputs, n
        self.args = [tuple({number[arg]: None for arg in step.args}) for step in order]
        self.args.append(tuple({number[output]: None for output in outputs}))
        self.readers: list[list[int]] = [[] for _ in self.args]
        for i, args in enumerate(self.args):
            for arg in args:
                self.readers[arg].append(i)
        self.takes = [0 if step.is_held else step.bytes.at(n) for step in order] + [0]
        self.scratch = [step.scratch.at(n) for step in order] + [0]
        self.flops = [step.flops.at(n) for step in order] + [0]
        self.held = sum(step.bytes.at(n) for step in order if step.is_held)
        self.blocks: list[tuple[int, ...]] = []
        for i, step in enumerate(order):
            own = (i,) if self.takes[i] else ()
            self.blocks.append((*self.blocks_read(i), *own) if step.is_view else own)

    def blocks_read(self, i: int) -> tuple[int, ...]:
        """The blocks that all args of a step keep."""
        args = self.args[i]
        return self.blocks[args[0]] if len(args) == 1 else tuple({b: None for arg in args for b in self.blocks[arg]})

    def least(self, i: int) -> int:
        """Bytes without which a step cannot run: what it reads, makes and needs meanwhile."""
        return self.held + sum(self.takes[b] for b in self.blocks_read(i)) + self.takes[i] + self.scratch[i]


def _find(problem: _Problem, limit: int, max_growth: int) -> list[Step]:
    try:
        return _Plan(problem, limit, max_growth, keeps_args=True).found()
    except _DoesNotFitError:
        return _Plan(problem, limit, max_growth, keeps_args=False).found()


class _Plan:
    """The simulation of a problem under a limit.

    Where several args of a step are gone, one that is there again is kept while the others are computed
    (`keeps_args`), or may be dropped for them and computed once more. Either may succeed where the other does not; the
    bound on runs ends what would go on for ever.
    """

    def __init__(self, problem: _Problem, limit: int, max_growth: int, *, keeps_args: bool) -> None:
        self._problem = problem
        self._limit = limit
        self._keeps_args = keeps_args
        self._max_runs = max_growth * len(problem.order) + 1
        self._now = 0
        self._in_use = problem.held
        self._runs: list[int] = []
        size = len(problem.args)
        self._is_there = [False] * size
        self._pins = [0] * size
        self._holders: list[list[int]] = [[] for _ in range(size)]
        self._uses: list[list[int]] = [[] for _ in range(size)]
        for position in reversed(range(size)):  # the next use is the last of each list
            for block in problem.blocks_read(position):
                self._uses[block].append(position)
        self._never = size
        self._farthest: list[tuple[int, int]] = []
        self._largest: list[tuple[int, int]] = []
        self._lost = _Lost(problem)

    def found(self) -> list[Step]:
        """The steps to run."""
        problem = self._problem
        end = len(problem.order)
        for position in range(end + 1):
            self._bring(position)
            self._now = position + 1
            for block in problem.blocks_read(position):
                self._note(block)
        return [problem.order[i] for i in self._without_waste(end)]

    def _without_waste(self, end: int) -> list[int]:
        """The runs but for those whose results are dropped before anybody reads them."""
        wanted = {end}
        kept: list[int] = []
        for i in reversed(self._runs):
            if i in wanted:
                wanted.discard(i)
                wanted.update(self._problem.args[i])
                kept.append(i)
        return kept[:0:-1]

    def _bring(self, wanted: int) -> None:
        """Run a step, and before it whatever it reads that is not there."""
        stack = [(wanted, 0)]
        while stack:
            i, at = stack.pop()
            args = self._problem.args[i]
            while at < len(args) and self._is_there[args[at]]:
                if self._keeps_args:
                    self._pin(args[at], 1)
                at += 1
            if at < len(args):
                stack += [(i, at), (args[at], 0)]
            elif self._keeps_args:
                self._run(i)
            elif all(self._is_there[arg] for arg in args):
                for arg in args:
                    self._pin(arg, 1)
                self._run(i)
            else:
                stack.append((i, 0))

    def _pin(self, i: int, change: int) -> None:
        for block in self._problem.blocks[i]:
            self._pins[block] += change

    def _run(self, i: int) -> None:
        problem = self._problem
        if len(self._runs) >= self._max_runs:
            raise _DoesNotFitError(i)
        self._make_room(i, problem.takes[i] + problem.scratch[i])
        self._in_use += problem.takes[i]
        self._runs.append(i)
        self._is_there[i] = True
        self._lost.restore(i)
        for arg in problem.args[i]:
            self._pin(arg, -1)
        if i < len(problem.order):
            for block in problem.blocks[i]:
                self._holders[block].append(i)
            if problem.takes[i]:
                self._note(i)
                heappush(self._largest, (-problem.takes[i], i))

    def _next_use(self, block: int) -> int:
        """The next position of the order that reads a block, or something dropped that is computed from it."""
        uses = self._uses[block]
        while uses and uses[-1] < self._now:
            uses.pop()
        return min(uses[-1] if uses else self._never, self._lost.next_want(block, self._now, self._never))

    def _note(self, block: int) -> None:
        heappush(self._farthest, (-self._next_use(block), block))

    def _make_room(self, i: int, size: int) -> None:
        while self._in_use + size > self._limit:
            free = self._first(self._farthest, self._next_use, 1)
            if free and self._next_use(free[0]) < self._never:
                free = self._first(self._farthest, self._next_use, _NUM_CANDIDATES)
                free += self._first(self._largest, self._problem.takes.__getitem__, _NUM_CANDIDATES)
            if not free:
                raise _DoesNotFitError(i)
            self._evict(self._cheapest(free))

    def _cheapest(self, blocks: Iterable[int]) -> int:
        """The block that costs the least operations for each byte and step of the time that it is gone."""
        cheapest, lowest = -1, inf
        for block in blocks:
            use = self._next_use(block)
            if use == self._never:
                return block
            gain = self._problem.takes[block] * (use - self._now + 1)
            price = self._lost.cost(block, lowest * gain) / gain
            if price < lowest:
                cheapest, lowest = block, price
        return cheapest

    def _first(self, heap: list[tuple[int, int]], key: Callable[[int], int], count: int) -> list[int]:
        """So many blocks that may be dropped, those with the largest key, from a heap of `(-key, block)`."""
        seen: dict[int, int] = {}
        free: list[int] = []
        while heap and len(free) < count:
            noted, block = heappop(heap)
            if not self._is_there[block] or block in seen:
                continue
            if noted != -key(block):
                heappush(heap, (-key(block), block))
                continue
            seen[block] = noted
            if not self._pins[block]:
                free.append(block)
        for block, noted in seen.items():
            heappush(heap, (noted, block))
        return free

    def _evict(self, block: int) -> None:
        use = self._next_use(block)
        self._in_use -= self._problem.takes[block]
        gone = [i for i in self._holders[block] if self._is_there[i]]
        self._holders[block].clear()
        for i in gone:
            self._is_there[i] = False
        for i in gone:
            self._lost.add(i)
        if use < self._never:
            self._lost.want(gone, use, self._is_there)


class _Lost:
    """What has been dropped, what it costs to get it back, and what is wanted for that.

    Walks below a dropped value are cut off after some steps; what lies beyond is taken to cost what it did when it was
    dropped.
    """

    def __init__(self, problem: _Problem) -> None:
        self._problem = problem
        # moving data is not free either
        self._own = [flops + takes for flops, takes in zip(problem.flops, problem.takes, strict=True)]
        self._all = sum(self._own)
        self._cost: dict[int, int] = {}
        self._wants: dict[int, list[int]] = {}

    def cost(self, i: int, enough: float = inf) -> int:
        """What it takes to get a value back if it is dropped too; or so much of it that it is `enough`."""
        args, own, lost = self._problem.args, self._own, self._cost
        below = [arg for arg in args[i] if arg in lost]
        total = own[i]
        if below:
            seen = set(below)
            for num_walked, at in enumerate(below):  # it grows
                if num_walked == _MAX_WALK:
                    total += sum(lost[rest] for rest in below[num_walked:])
                    break
                total += own[at]
                if total >= enough:
                    break
                for arg in args[at]:
                    if arg in lost and arg not in seen:
                        seen.add(arg)
                        below.append(arg)
        return min(total, self._all)

    def add(self, i: int) -> None:
        """A value is dropped."""
        self._cost[i] = self.cost(i)

    def restore(self, i: int) -> None:
        """A value is there, for the first time or again."""
        self._cost.pop(i, None)

    def want(self, dropped: Iterable[int], use: int, is_there: list[bool]) -> None:
        """What dropped values are computed from will be read when they are, at `use`."""
        below = list(dropped)
        seen = set(below)
        for num_walked, i in enumerate(below):  # it grows
            if num_walked == _MAX_WANTED:
                break
            for arg in self._problem.args[i]:
                if arg not in seen:
                    seen.add(arg)
                    for block in self._problem.blocks[arg]:
                        heappush(self._wants.setdefault(block, []), use)
                    if not is_there[arg]:
                        below.append(arg)

    def next_want(self, block: int, now: int, never: int) -> int:
        """When a block is read to compute something dropped again."""
        wants = self._wants.get(block)
        while wants and wants[0] < now:
            heappop(wants)
        return wants[0] if wants else never


def _too_small(problem: _Problem, limit: int, max_growth: int, at: int) -> MemoryLimitError:
    """The error, with a limit for which a plan is found."""
    most = max(range(len(problem.args)), key=problem.least)
    least, works = problem.least(most), peak(problem.order, problem.outputs, problem.n)
    fails = max(limit, least - 1)
    for _ in range(min(_MAX_TRIES, _MAX_STEPS_TRIED // len(problem.args))):
        middle = (works + fails) // 2
        if middle == fails:
            break
        try:
            _find(problem, middle, max_growth)
            works = middle
        except _DoesNotFitError:
            fails = middle
    if limit < least:
        at, why = most, f"{{}} needs {least} at once"
    else:
        why = "no plan is found for {}"
    steps = problem.order[at : at + 1]
    labels = f"step {steps[0].label!r}" if steps else "the end, where all outputs are there,"
    fitting = largest_n(problem.order, problem.outputs, limit)
    less = f", or at most {fitting} draws at a time without recomputation" if fitting else ""
    return MemoryLimitError(
        f"{limit} bytes are too few for {problem.n} draws: {why.format(labels)}",
        nodes=(*steps, *(problem.order[arg] for arg in problem.args[at])),
        expected=works,
        found=limit,
        hint=f"{works} bytes suffice{less}",
    )
