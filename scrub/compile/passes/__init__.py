"""The passes of the compiler, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from scrub.compile.values import Graph, Value

Pass = Callable[[Graph, Sequence[Value]], list[Value]]

PASSES: dict[str, Pass] = {}
ALL_PASSES = tuple(PASSES)


def run_passes(graph: Graph, outputs: Sequence[Value], names: Collection[str]) -> list[Value]:
    """The outputs after the named passes, which run in the order of `PASSES`."""
    current = list(outputs)
    for name, run in PASSES.items():
        if name in names:
            current = run(graph, current)
    return current
