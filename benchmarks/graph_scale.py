"""Cost of working on large graphs: microseconds per distinct node, and as a ratio to one plain walk over the graph.

    python -m benchmarks.graph_scale [--largest 1000000]

Each operation is timed on layered graphs of 10,000, 100,000 and 1,000,000 distinct nodes (every node the sum of two of
the layer below, so that there are exponentially many paths), on a chain of 100,000 nodes, and on a graph of 2^60 paths.
The plain walk, `postorder` alone, is timed beside every operation.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

import scrub as rc

ROUNDS, LAYERS = 3, 100


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call, with the garbage of earlier ones collected before."""
    gc.collect()
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def layered(num_nodes: int, tag: str) -> rc.Expr:
    """`num_nodes` distinct sums in `LAYERS` layers, over one array, under distinct names."""
    x = rc.Array(torch.zeros(()), f"{tag}.x")
    width = num_nodes // LAYERS
    layer: list[rc.Expr] = [rc.Add(x, name=f"{tag}.0.{i}") for i in range(width)]
    for depth in range(1, LAYERS):
        layer = [rc.Add(layer[i], layer[i - 1], name=f"{tag}.{depth}.{i}") for i in range(width)]
    return rc.Add(*layer, name=f"{tag}.root")


def chain(length: int, tag: str) -> rc.Expr:
    """One sum above the other."""
    node: rc.Expr = rc.Array(torch.zeros(()), f"{tag}.x")
    for i in range(length):
        node = rc.Add(node, name=f"{tag}.{i}")
    return node


def doubling(depth: int, tag: str) -> rc.Expr:
    """Every node twice in the one above: 2^depth paths."""
    node: rc.Expr = rc.Array(torch.zeros(()), f"{tag}.x")
    for i in range(depth):
        node = rc.Add(node, node, name=f"{tag}.{i}")
    return node


def operations(make: Callable[[str], rc.Expr]) -> dict[str, Callable[[], object]]:
    """What is timed, on the graph that `make` builds under a tag; "build" is the first."""
    expr = make("timed")
    leaf = next(iter(rc.postorder([expr])))
    fresh = iter(range(10**9))
    names = iter(range(10**9))
    symbol = rc.Symbol.new_from_name((), "x")
    body = expr.update(leaf, lambda _: symbol)
    call = rc.Module.from_bindings(body, {symbol: leaf}, "call")
    folder = Path(tempfile.mkdtemp())
    rc.save(make("loaded"), folder / "not in memory.safetensors")

    def replacement(_: rc.Expr) -> rc.Expr:
        return rc.Scalar(float(next(fresh)), name="fresh")

    return {
        "plain walk": lambda: sum(1 for _ in rc.postorder([expr])),
        "build": lambda: make(f"build{next(names)}"),
        "match a name": lambda: expr.get("no such name"),
        "match a chain": lambda: expr.get(rc.IterativeMatcher("timed.root").chain("timed.x")),
        "update a leaf": lambda: expr.update(leaf, replacement),
        "rename everything": lambda: expr.update(rc.Add, lambda node: node.rename(f"{node.name}'{next(names)}")),
        "substitute": lambda: rc.Module.from_bindings(
            body, {symbol: rc.Scalar(float(next(fresh)), name="fresh")}, call.name
        ).substitute(),
        "print": lambda: rc.to_text(expr),
        "save": lambda: rc.save(expr, folder / "expr.safetensors"),
        "load": lambda: rc.load(folder / "not in memory.safetensors"),
    }


def measure(label: str, make: Callable[[str], rc.Expr]) -> None:
    """Print one table: median over the rounds, and the range."""
    timed = operations(make)
    num_nodes = sum(1 for _ in rc.postorder([make("timed")]))
    print(f"\n{label}: {num_nodes:,} distinct nodes\n{'':<20}{'us a node':>12}{'x plain walk':>14}   (range)")
    times: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(ROUNDS):
        for name, run in timed.items():
            times[name].append(seconds(run))
    walk = statistics.median(times["plain walk"])
    for name, values in times.items():
        ratios = [value / walk for value in values]
        median = statistics.median(values)
        spread = f"({min(ratios):.1f} to {max(ratios):.1f})"
        print(f"{name:<20}{median / num_nodes * 1e6:>12.2f}{median / walk:>14.1f}   {spread}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=1_000_000)
    largest: int = parser.parse_args().largest
    for size in (10_000, 100_000, 1_000_000):
        if size <= largest:
            measure("layers", lambda tag, size=size: layered(size, tag))
    measure("chain", lambda tag: chain(100_000, tag))
    measure("2^60 paths", lambda tag: doubling(60, tag))


if __name__ == "__main__":
    main()
