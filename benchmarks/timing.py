"""Ours and a peer, measured in turn: one round times both, and the ratio is taken within the round.

What slows the machine for a while slows both halves of a round, so ratios spread less than times do. Which of the two
goes first changes from round to round.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        what: what is compared.
        size: of the inputs.
        values: one a round: a ratio to the peer, or seconds.
        target: the largest median that is good enough; None for a figure without one.
        unit: of the values, "" for ratios.
        note: seconds behind a ratio, or what stands in the way.

    >>> row = Row("forward", "1 x 15 tokens", (1.2, 1.0, 1.1), target=1.05)
    >>> row.median, row.low, row.high, row.is_reached
    (1.1, 1.0, 1.2, False)
    """

    what: str
    size: str
    values: tuple[float, ...]
    target: float | None = None
    unit: str = ""
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)

    @property
    def is_reached(self) -> bool | None:
        return None if self.target is None else self.median <= self.target


Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "processor": time.process_time}
"""Wall time, and the time that processors spent on all threads of this process: for a machine with other work to do."""


def seconds(run: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """Time of one call; its result is released afterwards, outside of the time."""
    gc.collect()
    started = clock()
    result = run()
    elapsed = clock() - started
    del result
    return elapsed


def compare(
    what: str,
    size: str,
    ours: Callable[[], object],
    peer: Callable[[], object],
    *,
    rounds: int,
    target: float | None = None,
    warm_ups: int = 1,
    clock: str = "wall",
) -> Row:
    """Ratio of ours to the peer over some rounds.

    >>> compare("nothing", "", lambda: None, lambda: sum(range(10_000)), rounds=3, target=1.0).is_reached
    True
    """
    for _ in range(warm_ups):
        ours()
        peer()
    times: list[tuple[float, float]] = []
    timed = partial(seconds, clock=CLOCKS[clock])
    for index in range(rounds):
        if index % 2:
            second = timed(peer)
            times.append((timed(ours), second))
        else:
            times.append((timed(ours), timed(peer)))
    note = f"{_shown(times, 0)} / {_shown(times, 1)} s" + (f" {clock} time" if clock != "wall" else "")
    return Row(what, size, tuple(a / b for a, b in times), target, note=note)


def _shown(times: Sequence[tuple[float, float]], at: int) -> str:
    return f"{statistics.median(pair[at] for pair in times):.3g}"
