"""Computing siblings together takes work in proportion to the graph, whatever waits for what in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import scrub as rc
from scrub.compiler.lowering import Lowering
from scrub.compiler.ops import Input
from scrub.compiler.passes.siblings import batch_siblings
from scrub.compiler.values import Graph, Value, values_below
from tests.steps import num_steps
from tests.strategies import Builder

CPU = torch.device("cpu")
WORK_PER_EDGE = 800
"""Lines run for each value and argument: generated expressions, and those below, take 320 at the most."""


def _symbols(count: int) -> list[rc.Symbol]:
    return [rc.Symbol.new_from_name((4,), f"x{i}") for i in range(count)]


def _weights(*shape: int) -> rc.Array:
    return rc.Array(torch.ones(shape, dtype=torch.float64), "w")


def _heads(n: int) -> rc.Expr:
    """Positions of one weight, each multiplied by one input, added up."""
    (x,), weights = _symbols(1), _weights(n, 4, 4)
    products = [rc.Einsum.from_string("i j, j -> i", weights.index([i]), x) for i in range(n)]
    return rc.Add(*(rc.elementwise("tanh", product) for product in products))


def _variants(n: int) -> rc.Expr:
    """The same layers on eight inputs."""
    weights, ends = _weights(4, 4), list[rc.Expr]()
    for x in _symbols(8):
        end: rc.Expr = x
        for _ in range(n // 8):
            end = rc.elementwise("tanh", rc.Einsum.from_string("i j, j -> i", weights, rc.Add(end, x)))
        ends.append(end)
    return rc.Add(*ends)


def _staggered(n: int) -> rc.Expr:
    """Layers of two kinds on eight inputs, in another order on each."""
    ends: list[rc.Expr] = []
    for number, x in enumerate(_symbols(8)):
        end: rc.Expr = x
        for layer in range(n // 8):
            end = rc.elementwise("tanh", end) if layer * number % 3 else rc.softmax(rc.Add(end, x))
        ends.append(end)
    return rc.Add(*ends)


def _chain(n: int) -> rc.Expr:
    """Layers that all wait for the one before."""
    (x,) = _symbols(1)
    end: rc.Expr = x
    for _ in range(n):
        end = rc.Add(rc.elementwise("tanh", end), rc.softmax(end))
    return end


def _overlapping_sums(n: int) -> rc.Expr:
    """Sums of most of the same terms."""
    terms = [rc.elementwise("tanh", x) for x in _symbols(16)]
    chosen = ([terms[(i + j) % 16] for j in range(12)] for i in range(n))
    return rc.Add(*(rc.softmax(rc.Add(*some, rc.Scalar(float(i)))) for i, some in enumerate(chosen)))


def _work(expr: rc.Expr) -> tuple[int, int]:
    """Lines of Python that the pass runs, and how many values and arguments there are."""
    graph = Graph()
    inputs: dict[rc.Expr, Value] = {
        symbol: graph.value(Input(symbol.digest, tuple(map(int, symbol.shape)), torch.float64, CPU, is_drawn=True))
        for symbol in expr.free_symbols
    }
    outputs = [Lowering(graph, inputs).run(expr)]
    return num_steps(lambda: batch_siblings(graph, outputs)), sum(1 + len(v.args) for v in values_below(outputs))


@pytest.mark.parametrize("make", [_heads, _variants, _staggered, _chain, _overlapping_sums])
def test_four_times_the_graph_takes_four_times_the_work(make: Callable[[int], rc.Expr]) -> None:
    (work, size), (more_work, larger) = _work(make(48)), _work(make(192))
    assert larger > 3 * size
    assert more_work / larger < 1.3 * work / size


def test_generated_expressions_take_work_in_proportion_to_their_size() -> None:
    for seed in range(40):
        expr = Builder(seed, num_steps=5 + seed % 8, with_modules=True).expression([], 0)
        symbols = {leaf: rc.Symbol.new_from_name(leaf.shape, f"x{i}") for i, leaf in enumerate(expr.get(rc.Array))}
        work, size = _work(expr.update(rc.Matcher(*symbols), lambda leaf, symbols=symbols: symbols[leaf]))
        assert work < WORK_PER_EDGE * (size + 10), seed
