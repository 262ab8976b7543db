"""Areas over sizes and minimality, against circuits evaluated one by one; and how often intervals cover the truth."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch

import scrub as rc
from scrub.discovery.circuits import Circuit, top_n
from scrub.discovery.evaluation import Evaluation, areas, evaluate, evaluate_minimality
from scrub.discovery.machine import Machine
from scrub.discovery.scores import Scores
from scrub.tasks.task import Task
from tests.discovery.evaluation.by_hand import task_of, tiny_gpt2


@functools.cache
def _case() -> tuple[Any, Machine, Task]:
    """A task on which the clean metric is far above the corrupted one: answers are what the model prefers."""
    model, machine = tiny_gpt2()
    task = task_of(12)
    with torch.no_grad():
        logits = model(task.tokens).logits[:, -1]
    preferred = Task.from_tokens(
        "preferred",
        task.tokens,
        counterfactual=task.counterfactual,
        answers=logits.argmax(-1),
        wrong=logits.argmin(-1),
    )
    return model, machine, preferred


def _scores(seed: int = 0) -> Scores:
    graph = _case()[1].graph
    values = torch.randn(graph.exists.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    facts = {"method": "drawn", "metric": "logit_difference", "ablation": "counterfactual", "n_examples": 1}
    return Scores(graph, values, level="edge", larger_is_better=True, **facts)


def test_areas_are_trapezoids_under_circuits_evaluated_one_by_one() -> None:
    _, machine, task = _case()
    scores, sizes = _scores(), (0.1, 0.5, 1.0)
    result = areas(scores, machine, task, sizes=sizes, prune=False)
    n = machine.graph.n_edges
    expected: dict[str, list[float]] = {}
    for by in ("signed", "absolute"):
        counts = [int(size * n) for size in sizes]
        found = [evaluate(top_n(scores, count, by=by, prune=False), machine, task) for count in counts]
        assert [c.n_edges for c in result.circuits[by]] == counts
        expected[by] = [
            float((e.values.mean() - e.corrupted.mean()) / (e.clean.mean() - e.corrupted.mean())) for e in found
        ]
    f, g = expected["signed"], [abs(1 - x) for x in expected["absolute"]]
    assert result.cpr.value == pytest.approx(0.4 * (f[0] + f[1]) / 2 + 0.5 * (f[1] + f[2]) / 2)
    assert result.cmd.value == pytest.approx(0.4 * (g[0] + g[1]) / 2 + 0.5 * (g[1] + g[2]) / 2)
    assert expected["signed"][-1] == pytest.approx(1)
    assert "circuits by signed score" in str(result)
    assert "circuits by absolute score" in str(result)
    assert str(result.table()).splitlines()[-1].split() == ["100%", f"{n}", "1.000", f"{n}", "1.000"]


def test_the_sizes_of_the_benchmark_are_the_default() -> None:
    _, machine, task = _case()
    result = areas(_scores(), machine, task)
    assert result.cpr.is_standard
    assert result.cmd.is_standard
    assert len(result.evaluation.names) == 20


def test_minimality_removes_every_member_in_turn() -> None:
    _, machine, task = _case()
    graph = machine.graph
    edges = ["input->m0", "m0->logits", "input->logits", "input->a1.h0.v", "a1.h0->logits"]
    circuit = Circuit.of_edges(graph, edges)
    found = evaluate_minimality(circuit, machine, task, n_random=7)
    assert set(found.members) == set(edges)
    whole = evaluate(circuit, machine, task)
    gap = float((whole.clean - whole.corrupted).mean().abs())
    for member, change in zip(found.members, found.changes.value.tolist(), strict=True):
        without = evaluate(Circuit.of_edges(graph, [e for e in edges if e != member]), machine, task)
        assert change == pytest.approx(float((whole.values - without.values).mean().abs()) / gap)
    added = [evaluate(Circuit.of_edges(graph, [*edges, e]), machine, task) for e in ~circuit]
    every = torch.tensor([float((e.values - whole.values).mean().abs()) / gap for e in added])
    assert len(found.random) == 7
    assert all(bool(torch.isclose(every.double(), change, atol=1e-6).any()) for change in found.random)


@pytest.mark.parametrize("level", ["node", "neuron", "edge"])
def test_minimality_removes_nodes(level: str) -> None:
    _, machine, task = _case()
    graph = machine.graph
    nodes = Circuit.of_nodes(graph, ["input", "m0", "a1.h1"])
    match level:
        case "node":
            circuit = nodes
        case "neuron":
            circuit = Circuit.of_neurons(graph, nodes.kept_writers[:, None].expand(-1, 8))
        case _:
            circuit = nodes.as_edges()
    found = evaluate_minimality(circuit, machine, task, members="node", n_random=2)
    whole = evaluate(nodes, machine, task)
    gap = float((whole.clean - whole.corrupted).mean().abs())
    without = evaluate(Circuit.of_nodes(graph, ["input", "a1.h1"]), machine, task)
    assert found.members == ("input", "m0", "a1.h1")
    assert float(found.changes.value[1]) == pytest.approx(float((whole.values - without.values).mean().abs()) / gap)
    assert len(found.random) == 2


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Clean 2 and corrupted 0 on average, a circuit that keeps three quarters, all with noise: 0.75 is known."""
    generator = torch.Generator().manual_seed(0)
    n, repeats, covered = 40, 200, 0
    for _ in range(repeats):
        clean = 2 + torch.randn(n, generator=generator, dtype=torch.float64)
        corrupted = 0.5 * torch.randn(n, generator=generator, dtype=torch.float64)
        noise = 0.5 * torch.randn(n, generator=generator, dtype=torch.float64)
        values = corrupted + 0.75 * (clean - corrupted) + noise
        result = Evaluation(("c",), values[None], clean, corrupted, None, (1.0,), 2, "m", True, "zero", "drawn")
        low, high = result.faithfulness(n_resamples=400).interval(0.9)
        covered += bool(low[0] <= 0.75 <= high[0])
    assert 0.82 * repeats < covered < 0.97 * repeats  # 0.9, within 3.5 standard errors


def test_errors() -> None:
    _, machine, task = _case()
    graph = machine.graph
    with pytest.raises(rc.DiscoveryError, match="an empty circuit has no members"):
        evaluate_minimality(Circuit.empty(graph), machine, task)
    with pytest.raises(rc.DiscoveryError, match="members of a circuit of nodes are not removed by edge"):
        evaluate_minimality(Circuit.of_nodes(graph, ["input"]), machine, task, members="edge")
    with pytest.raises(rc.DiscoveryError, match="there are no sizes"):
        areas(_scores(), machine, task, sizes=[])
    with pytest.raises(rc.DiscoveryError, match="is no fraction"):
        areas(_scores(), machine, task, sizes=[0.1, 3])
