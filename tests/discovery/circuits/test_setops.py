"""Set operations against Python's sets, and the laws of sets."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import scrub as rc
from scrub.discovery.circuits import Circuit, complement, difference, intersection, is_subset, top_n, union
from tests.discovery.circuits.graphs import random_scores, transformer

GRAPH = transformer(2, 2)
UNITS = {"edge": tuple(GRAPH.exists.shape), "node": (len(GRAPH.writers),), "neuron": (len(GRAPH.writers), 3)}
levels, seeds = st.sampled_from(list(UNITS)), st.integers(0, 2**31 - 1)


def draw(level: Any, seed: int) -> Circuit:
    units = torch.rand(UNITS[level], generator=torch.Generator().manual_seed(seed)) < 0.4
    return Circuit.of_units(GRAPH, units & GRAPH.exists if level == "edge" else units, level)


def members(circuit: Circuit) -> set[Any]:
    match circuit.level:
        case "edge":
            return set(circuit)
        case "node":
            return set(circuit.nodes) - {"logits"}
        case "neuron":
            assert circuit.neurons is not None
            return {tuple(at) for at in circuit.neurons.nonzero().tolist()}


@given(level=levels, seed=seeds)
def test_operations_are_those_of_sets(level: str, seed: int) -> None:
    a, b, c = (draw(level, seed + i) for i in range(3))
    sets = [members(circuit) for circuit in (a, b, c)]
    assert members(union(a, b, c)) == sets[0] | sets[1] | sets[2]
    assert members(intersection(a, b, c)) == sets[0] & sets[1] & sets[2]
    assert members(difference(a, b)) == sets[0] - sets[1]
    assert is_subset(a, b) == (sets[0] <= sets[1])
    assert {level} == {x.level for x in (a | b, a & b, a - b, ~a)}


@given(level=levels, seed=seeds)
def test_laws_hold(level: str, seed: int) -> None:
    a, b, c = (draw(level, seed + i) for i in range(3))
    assert ~(a | b) == ~a & ~b
    assert ~~a == a == (a | a) == (a & a)
    assert a & (b | c) == (a & b) | (a & c)
    assert a - b == a & complement(b)
    assert (a & b) <= a <= (a | b)
    assert members(a) | members(~a) == members(Circuit.of_units(GRAPH, _all(level), a.level))
    assert not members(a & ~a)


def _all(level: str) -> torch.Tensor:
    return GRAPH.exists if level == "edge" else torch.ones(UNITS[level], dtype=torch.bool)


@given(seed=seeds)
def test_nodes_are_edges_and_neurons_where_they_meet_them(seed: int) -> None:
    edges, nodes, neurons = draw("edge", seed), draw("node", seed + 1), draw("neuron", seed + 2)
    assert set(edges & nodes) == set(edges) & set(nodes)
    assert (nodes | edges).level == "edge"
    assert neurons.neurons is not None
    meet = nodes & neurons
    assert meet.neurons is not None
    assert torch.equal(meet.neurons, neurons.neurons & nodes.kept_writers.unsqueeze(1))


def test_scores_stay_where_both_were_chosen_by_them() -> None:
    scores = random_scores(GRAPH, 0)
    a, b, other = top_n(scores, 5), top_n(scores, 9), top_n(random_scores(GRAPH, 1), 5)
    assert (a | b).scores is scores
    assert (a | other).scores is None
    assert (a | b).selection.rule == "union"


def test_circuits_that_do_not_combine_are_refused() -> None:
    with pytest.raises(rc.DiscoveryError, match="different graphs"):
        Circuit.full(GRAPH) | Circuit.full(transformer(2, 2, parallel=True))
    with pytest.raises(rc.DiscoveryError, match=r"as_edges\(\)"):
        draw("edge", 0) & draw("neuron", 0)
    with pytest.raises(rc.DiscoveryError, match="different numbers of neurons"):
        draw("neuron", 0) - Circuit.of_neurons(GRAPH, torch.ones(len(GRAPH.writers), 2, dtype=torch.bool))
