"""Microseconds to build one node, by node type: interning, shape rule and digest included.

    python -m benchmarks.node_cost

Each of a type's examples is built again and again under fresh names, so that every one is a new node. The target is a
median over the types of at most 25 microseconds.
"""

from __future__ import annotations

import gc
import itertools
import statistics
import time

import scrub as rc
from scrub.graph import NODES

ROUNDS, COUNT = 7, 2_000
TARGET = 25.0
_names = itertools.count()


def microseconds(example: rc.Expr) -> float:
    """Per node, over `COUNT` new nodes."""
    names = [f"node {next(_names)}" for _ in range(COUNT)]
    built: list[rc.Expr] = []
    gc.collect()
    started = time.perf_counter()
    for name in names:
        built.append(type(example).make(example.children, example.params, name))
    return (time.perf_counter() - started) / COUNT * 1e6


def main() -> None:
    medians: list[float] = []
    print(f"{'node type':<20}{'us a node':>10}   (range of {ROUNDS} rounds)")
    for kind, cls in sorted(NODES.items()):
        examples = list(cls.examples())
        rounds = [statistics.median(microseconds(example) for example in examples[:5]) for _ in range(ROUNDS)]
        medians.append(statistics.median(rounds))
        print(f"{kind:<20}{medians[-1]:>10.1f}   ({min(rounds):.1f} to {max(rounds):.1f})")
    print(f"\nmedian over the types: {statistics.median(medians):.1f} us, target {TARGET:.0f}")


if __name__ == "__main__":
    main()
