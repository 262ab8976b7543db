"""`Circuit`: making, counting, refusing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import scrub as rc
from scrub.discovery.circuits import Circuit
from scrub.discovery.components import Edge
from tests.discovery.circuits.graphs import edge_scores, random_scores, transformer

GRAPH = transformer(2, 2)
W = len(GRAPH.writers)


def test_edges_are_kept_in_order_and_found_again() -> None:
    circuit = Circuit.of_edges(GRAPH, ["m1->logits", ("input", "a0.h1.v"), Edge("a0.h1", "m1")])
    assert [str(edge) for edge in circuit] == ["input->a0.h1.v", "a0.h1->m1", "m1->logits"]
    assert list(circuit.edges()) == list(circuit)
    assert ("a0.h1", "m1") in circuit
    assert "a0.h0->m1" not in circuit
    assert (circuit.n_edges, len(circuit), circuit.n_nodes, circuit.n_neurons) == (3, 3, 4, None)
    assert circuit.nodes == ("input", "a0.h1", "m1", "logits")
    assert circuit.fraction == 3 / GRAPH.n_edges


def test_a_circuit_cannot_be_changed_from_outside() -> None:
    kept = GRAPH.exists.clone()
    circuit = Circuit(GRAPH, kept)
    kept.zero_()
    assert circuit == Circuit.full(GRAPH)
    with pytest.raises(AttributeError):
        circuit.kept = kept  # pyright: ignore[reportAttributeAccessIssue]


def test_equality_is_of_members_and_graph() -> None:
    a, b = (Circuit.of_edges(GRAPH, edges) for edges in (["m0->m1", "input->m0"], ["input->m0", "m0->m1"]))
    assert a == b
    assert len({a, b, Circuit.full(GRAPH)}) == 2
    parallel = transformer(2, 2, parallel=True)
    assert parallel.writers == GRAPH.writers
    assert Circuit.empty(parallel) != Circuit.empty(GRAPH)
    assert Circuit.of_nodes(GRAPH, GRAPH.writers) != Circuit.full(GRAPH)  # nodes, not edges
    assert a != "a"


def test_a_circuit_of_nodes_has_all_their_outgoing_edges() -> None:
    circuit = Circuit.of_nodes(GRAPH, ["m0", "a1.h0"])
    assert {str(e) for e in circuit} == {str(e) for e in GRAPH.edges() if e.writer in ("m0", "a1.h0")}
    assert circuit.nodes == ("m0", "a1.h0", "logits")
    assert circuit.weighted_n_edges == circuit.n_edges == (2 * 3 + 1 + 1) + (1 + 1)
    assert Circuit.of_nodes(GRAPH, circuit.kept_writers) == circuit
    assert circuit.as_edges().level == "edge"


@given(seed=st.integers(0, 1000), share=st.sampled_from([0.02, 0.3, 0.9]))
def test_edges_weigh_as_much_as_is_kept_of_their_writer(seed: int, share: float) -> None:
    neurons = torch.rand(W, 5, generator=torch.Generator().manual_seed(seed)) < share
    circuit = Circuit.of_neurons(GRAPH, neurons)
    kept = {name: int(row.sum()) for name, row in zip(GRAPH.writers, neurons, strict=True)}
    assert circuit.weighted_n_edges == pytest.approx(sum(kept[e.writer] / 5 for e in GRAPH.edges()))
    assert {str(e) for e in circuit} == {str(e) for e in GRAPH.edges() if kept[e.writer]}
    assert circuit.n_neurons == sum(kept.values())


def test_mistakes_are_refused_with_what_fits() -> None:
    shape = tuple(GRAPH.exists.shape)
    with pytest.raises(rc.DiscoveryError, match=r"rows are readers, columns writers"):
        Circuit(GRAPH, torch.zeros(shape[::-1], dtype=torch.bool))
    with pytest.raises(rc.DiscoveryError, match=r"is bool .* not torch.float32"):
        Circuit(GRAPH, torch.zeros(shape))
    kept = torch.zeros(shape, dtype=torch.bool)
    kept[0, GRAPH.writer_index["m0"]] = True
    with pytest.raises(rc.DiscoveryError, match=r"the first is m0->a0\.h0\.q"):
        Circuit(GRAPH, kept)
    with pytest.raises(rc.DiscoveryError, match="no edge m1->m0"):
        Circuit.of_edges(GRAPH, ["m1->m0"])
    with pytest.raises(rc.DiscoveryError, match="the logits are in every circuit"):
        Circuit.of_nodes(GRAPH, ["logits"])
    with pytest.raises(rc.DiscoveryError, match="keeps all outgoing edges"):
        Circuit(GRAPH, Circuit.of_edges(GRAPH, ["m0->m1"]).kept, "node")
    with pytest.raises(rc.DiscoveryError, match="neurons belong to"):
        Circuit(GRAPH, GRAPH.exists, "neuron")
    with pytest.raises(rc.DiscoveryError, match="neurons of this circuit"):
        Circuit.of_neurons(GRAPH, torch.zeros(3, 4, dtype=torch.bool))


def test_scores_that_are_of_something_else_are_refused() -> None:
    scores = random_scores(GRAPH, 0)
    with pytest.raises(rc.DiscoveryError, match=r"scores of edges do not go with a circuit of nodes"):
        Circuit.of_nodes(GRAPH, ["m0"], scores=scores)
    by_position = edge_scores(GRAPH, scores.values.unsqueeze(-1), per_position=True)
    with pytest.raises(rc.DiscoveryError, match=r"(?s)of edges by position do not go.*scores\.summed\(\)"):
        Circuit(GRAPH, GRAPH.exists, scores=by_position)
    with pytest.raises(rc.DiscoveryError, match="different graphs"):
        Circuit(GRAPH, GRAPH.exists, scores=random_scores(transformer(2, 2, parallel=True), 0))
    assert Circuit.of_nodes(GRAPH, ["m0"], scores=scores.nodes()).scores is not None
