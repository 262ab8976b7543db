"""Circuits as text and as networkx graphs."""

from __future__ import annotations

import dataclasses
import itertools

import networkx as nx
import pytest
import torch

import scrub as rc
from scrub.discovery.circuits import Circuit, to_networkx, top_n
from tests.discovery.circuits.graphs import edge_scores, random_scores, transformer

GRAPH = transformer(2, 2)


def test_text_is_grouped_by_reader_with_the_largest_score_first() -> None:
    values = torch.zeros(GRAPH.exists.shape)
    chosen = {"input->m1": 0.25, "m0->m1": -3.0, "a0.h1->m1": 1.5, "input->a0.h1.v": 2.0, "m1->logits": 0.125}
    for edge, score in chosen.items():
        values[GRAPH.index(edge)] = score
    circuit = Circuit.of_edges(GRAPH, chosen, scores=edge_scores(GRAPH, values))
    assert str(circuit).splitlines() == [
        "circuit of 5 of 46 edges, 5 nodes (given)",
        "a0.h1 v <- input +2",
        "m1      <- m0 -3, a0.h1 +1.5, input +0.25",
        "logits  <- m1 +0.125",
    ]


def test_inputs_of_a_head_stand_together_however_the_graph_has_them() -> None:
    order = sorted(range(len(GRAPH.readers)), key=lambda row: GRAPH.readers[row][-1])
    readers, owners = ([names[row] for row in order] for names in (GRAPH.readers, GRAPH.owners))
    graph = dataclasses.replace(
        GRAPH, readers=tuple(readers), owners=tuple(owners), exists=GRAPH.exists[torch.tensor(order)]
    )
    shown = [line.split(" <- ")[0].split()[0] for line in str(Circuit.full(graph)).splitlines()[1:]]
    assert list(dict.fromkeys(shown)) == [c.name for c in GRAPH.components if c.name != "input"]
    assert len([a for a, b in itertools.pairwise(shown) if a != b]) == len(set(shown)) - 1


def test_text_is_wrapped_and_loses_nothing() -> None:
    scores = random_scores(transformer(4, 8), 0)
    circuit = top_n(scores, 300, prune=False)
    lines = circuit.text(width=60).splitlines()[1:]
    assert max(map(len, lines)) <= 60
    found, reader = set(), ""
    for line in lines:
        left, arrow, right = line.partition(" <- ")
        reader = left.strip().replace(" ", ".") if arrow else reader
        for part in (right if arrow else line).strip().strip(",").split(","):
            name, number = part.split()
            edge = f"{name}->{reader}"
            assert float(number) == pytest.approx(float(scores[edge]), rel=6e-3)
            found.add(edge)
    assert found == {str(edge) for edge in circuit}


def test_names_come_in_three_styles() -> None:
    circuit = Circuit.of_edges(GRAPH, ["m0->a1.h0.q"])
    assert circuit.text().endswith("a1.h0 q <- m0")
    assert circuit.text(names="transformer_lens").endswith("lens.a1.h0 q <- lens.m0")
    assert circuit.text(names="hugging_face").endswith("model.a1.h0 q <- model.m0")
    with pytest.raises(rc.DiscoveryError, match="no style of names 'keras'"):
        circuit.text(names="keras")
    bare = dataclasses.replace(GRAPH, other_names={})
    with pytest.raises(rc.DiscoveryError, match="no hugging_face name of 'input'"):
        Circuit.full(bare).text(names="hugging_face")


def test_networkx_has_the_same_edges_nodes_and_names() -> None:
    graph = to_networkx(GRAPH)
    assert list(graph) == [component.name for component in GRAPH.components]
    assert {(u, key) for u, _, key in graph.edges(keys=True)} == {tuple(edge) for edge in GRAPH.edges()}
    assert graph.nodes["a1.h0"] == {
        "kind": "head", "layer": 1, "head": 0, "transformer_lens": "lens.a1.h0", "hugging_face": "model.a1.h0",
    }  # fmt: skip
    assert graph.number_of_edges("m0", "a1.h0") == 3
    assert nx.is_directed_acyclic_graph(graph)


def test_circuits_in_networkx_have_scores() -> None:
    scores = random_scores(GRAPH, 1)
    circuit = top_n(scores, 10)
    graph = to_networkx(circuit)
    assert set(graph) == set(circuit.nodes)
    for u, _, key, data in graph.edges(keys=True, data=True):
        assert data["score"] == float(scores[u, key])
    nodes = to_networkx(Circuit.of_nodes(GRAPH, ["input", "m0"]))
    assert sorted(nodes.edges()) == [("input", "logits"), ("input", "m0"), ("m0", "logits")]
