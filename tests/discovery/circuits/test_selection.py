"""Choosing circuits: against sorting, a search without a heap, and reachability in networkx."""

from __future__ import annotations

import time
from collections.abc import Callable

import networkx as nx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import scrub as rc
from scrub.discovery.circuits import Circuit, greedy, prune, threshold, to_networkx, top_fraction, top_n
from scrub.discovery.components import ComponentGraph
from scrub.discovery.scores import Scores
from tests.discovery.circuits.graphs import edge_scores, random_scores, transformer

GRAPHS = [
    transformer(2, 2),
    transformer(2, 2, parallel=True),
    transformer(3, 2, mlps=False),
    transformer(2, 3, split_qkv=False),
    transformer(2, 1, inputs=2),
]
graphs, seeds = st.sampled_from(GRAPHS), st.integers(0, 2**31 - 1)


def random_mask(shape: tuple[int, ...], seed: int, share: float) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < share


def on_paths(circuit: Circuit) -> set[tuple[str, str]]:
    """Edges between what an input reaches and what reaches the logits, by networkx."""
    nodes = to_networkx(circuit)
    inputs = [c.name for c in circuit.graph.components if c.kind == "input" and c.name in nodes]
    reached = set(inputs).union(*(nx.descendants(nodes, name) for name in inputs))
    reaching = nx.ancestors(nodes, "logits") | {"logits"} if "logits" in nodes else set()
    owner = dict(zip(circuit.graph.readers, circuit.graph.owners, strict=True))
    return {(u, v) for u, v in circuit if u in reached and owner[v] in reaching}


@given(graph=graphs, seed=seeds, share=st.sampled_from([0.05, 0.15, 0.3, 0.6]))
def test_pruning_keeps_what_networkx_finds_on_paths(graph: ComponentGraph, seed: int, share: float) -> None:
    circuit = Circuit(graph, random_mask(tuple(graph.exists.shape), seed, share) & graph.exists)
    pruned = prune(circuit)
    assert {tuple(edge) for edge in pruned} == on_paths(circuit)
    assert prune(pruned) == pruned
    assert pruned <= circuit


@given(graph=graphs, seed=seeds)
def test_pruning_nodes_keeps_what_networkx_finds_on_paths(graph: ComponentGraph, seed: int) -> None:
    circuit = Circuit.of_nodes(graph, random_mask((len(graph.writers),), seed, 0.4))
    writers = {edge[0] for edge in on_paths(circuit)} & set(circuit.nodes)
    reached = {u for u, v in on_paths(circuit) if v == "logits" or v.rsplit(".", 1)[0] in writers or v in writers}
    assert set(prune(circuit).nodes) - {"logits"} == reached
    neurons = circuit.kept_writers.unsqueeze(1) & random_mask((len(graph.writers), 3), seed + 1, 0.9)
    pruned = prune(Circuit.of_neurons(graph, neurons))
    assert pruned.neurons is not None
    alive = prune(Circuit.of_nodes(graph, neurons.any(1))).kept_writers
    assert torch.equal(pruned.neurons, neurons & alive.unsqueeze(1))


@given(graph=graphs, seed=seeds, decimals=st.sampled_from([0, 1, 12]), share=st.floats(0, 1))
def test_top_n_chooses_the_largest_and_says_what_it_left(
    graph: ComponentGraph, seed: int, decimals: int, share: float
) -> None:
    scores, n = random_scores(graph, seed, decimals=decimals), int(share * graph.n_edges)
    size = {edge: abs(float(scores[edge])) for edge in graph.edges()}
    ordered = sorted(size, key=lambda edge: -size[edge])  # sorted is stable: the first of equal ones stay first
    circuit = top_n(scores, n, prune=False)
    assert set(circuit) == set(ordered[:n])
    assert (circuit.selection.asked, circuit.selection.chosen, circuit.n_edges) == (n, n, n)
    tied = sum(size[edge] == size[ordered[n - 1]] for edge in ordered[n:]) if n else 0
    assert circuit.selection.ties_left_out == tied
    every = top_n(scores, n, ties="all", prune=False)
    assert every.n_edges == every.selection.chosen == n + tied
    assert every.selection.ties_left_out == 0
    assert top_n(scores, n) == prune(circuit)
    if n:
        assert threshold(scores, size[ordered[n - 1]], prune=False) == every


@given(seed=seeds, n=st.integers(0, 20), larger_is_better=st.booleans())
def test_by_signed_score_what_helps_most_is_chosen(seed: int, n: int, larger_is_better: bool) -> None:
    graph = GRAPHS[0]
    scores = random_scores(graph, seed, larger_is_better=larger_is_better)
    harm = {edge: -float(scores[edge]) if larger_is_better else float(scores[edge]) for edge in graph.edges()}
    best = sorted(harm, key=lambda edge: -harm[edge])[:n]
    assert set(top_n(scores, n, by="signed", prune=False)) == set(best)


def search_without_a_heap(scores: Scores, n: int) -> list[tuple[str, str]]:
    """Greedy search as it is defined: all candidates looked at, at every step."""
    owner = dict(zip(scores.graph.readers, scores.graph.owners, strict=True))
    inside, found = {"logits"}, []
    edges = list(scores.graph.edges())
    for _ in range(n):
        candidates = [edge for edge in edges if owner[edge.reader] in inside and edge not in found]
        if not candidates:
            break
        best = max(candidates, key=lambda edge: abs(float(scores[edge])))  # max gives the first of equal ones
        found.append(best)
        inside.add(best.writer)
    return found


@given(graph=graphs, seed=seeds, decimals=st.sampled_from([0, 12]), share=st.floats(0, 1))
def test_greedy_is_the_search_by_definition(graph: ComponentGraph, seed: int, decimals: int, share: float) -> None:
    scores, n = random_scores(graph, seed, decimals=decimals), int(share * 25)
    expected = search_without_a_heap(scores, n)
    circuit = greedy(scores, n, prune=False)
    assert set(circuit) == set(expected)
    assert circuit.selection.chosen == len(expected)
    pruned = greedy(scores, n)
    assert pruned == prune(circuit)
    reaching = to_networkx(circuit)
    assert not len(circuit) or set(reaching) == nx.ancestors(reaching, "logits") | {"logits"}


def test_greedy_enters_a_head_by_any_of_its_inputs() -> None:
    graph = transformer(1, 1, mlps=False)
    values = torch.zeros(graph.exists.shape)
    for edge, score in {
        "a0.h0->logits": 1.0,
        "input->a0.h0.q": 5.0,
        "input->a0.h0.k": 4.0,
        "input->logits": 2.0,
    }.items():
        values[graph.index(edge)] = score
    scores = edge_scores(graph, values)
    assert [str(e) for e in greedy(scores, 1)] == ["input->logits"]
    # the strongest edges come after the weak one that leads to them
    assert {str(e) for e in greedy(scores, 3)} == {"input->logits", "a0.h0->logits", "input->a0.h0.q"}


@pytest.mark.parametrize("rule", [top_n, greedy])
def test_all_edges_are_the_full_circuit(rule: Callable[..., Circuit]) -> None:
    for graph in GRAPHS:
        assert rule(random_scores(graph, 3), graph.n_edges) == Circuit.full(graph)
        assert rule(random_scores(graph, 3), 0) == Circuit.empty(graph)


def test_nodes_and_neurons_are_chosen_too() -> None:
    graph = GRAPHS[0]
    values = torch.arange(1.0, len(graph.writers) + 1)
    nodes = top_n(edge_scores(graph, values, level="node"), 2, prune=False)
    assert nodes.nodes == (*graph.writers[-2:], "logits")
    assert nodes.level == "node"
    neurons = torch.zeros(len(graph.writers), 4)
    neurons[0, 1], neurons[2, 3] = -2.0, 1.0
    circuit = top_n(edge_scores(graph, neurons, level="neuron"), 2)
    assert circuit.neurons is not None
    assert circuit.neurons.nonzero().tolist() == [[0, 1], [2, 3]]


def test_fractions_are_rounded_down_to_whole_edges() -> None:
    graph = transformer(4, 8)
    scores = random_scores(graph, 4)
    for fraction, n in ((0.001, 1), (0.01, 15), (0.29, 440), (1.0, 1519), (0.0, 0)):
        assert top_fraction(scores, fraction).selection.asked == n
        assert top_fraction(scores, fraction, rule="greedy") == greedy(scores, n)
    hundred = edge_scores(transformer(1, 8), torch.ones(10, 10), level="neuron")
    assert top_fraction(hundred, 0.29).selection.asked == 29  # 0.29 * 100 is 28.999999999999996
    with pytest.raises(rc.DiscoveryError, match="29 is no fraction"):
        top_fraction(scores, 29)


def test_what_cannot_be_chosen_is_refused() -> None:
    graph = GRAPHS[0]
    scores = random_scores(graph, 5)
    for n in (-1, graph.n_edges + 1):
        with pytest.raises(rc.DiscoveryError, match=f"cannot choose {n:,} of {graph.n_edges} edges"):
            top_n(scores, n)
        with pytest.raises(rc.DiscoveryError, match="cannot choose"):
            greedy(scores, n)
    with pytest.raises(rc.DiscoveryError, match="use top_n"):
        greedy(scores.nodes(), 1)
    with pytest.raises(rc.DiscoveryError, match="not NaN"):
        threshold(scores, float("nan"))
    by_position = edge_scores(graph, torch.zeros(*graph.exists.shape, 3), per_position=True)
    with pytest.raises(rc.DiscoveryError, match=r"scores\.summed\(\)"):
        top_n(by_position, 1)


def test_gpt2_small_is_searched_in_well_under_a_second() -> None:
    scores = random_scores(transformer(12, 12), 6)
    for choose in (lambda: top_n(scores, 400), lambda: greedy(scores, 400), lambda: greedy(scores, 32_491)):
        start = time.process_time()
        choose()
        assert time.process_time() - start < 1.0
