"""Files: the own layout loses nothing, the JSON of EAP-IG and MIB comes back as it was."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import scrub as rc
from scrub.discovery.circuits import Circuit, from_json, greedy, load_json, prune, save_json, to_json, top_n
from scrub.discovery.components import ComponentGraph
from tests.discovery.circuits.graphs import edge_scores, random_scores, transformer

GRAPH = transformer(2, 2)
W = len(GRAPH.writers)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


CIRCUITS = {
    "edges": greedy(random_scores(GRAPH, 0), 12),
    "no scores": Circuit.of_edges(GRAPH, ["input->a0.h0.q", "a0.h0->logits"], details={"note": ["by hand", 3]}),
    "nodes": top_n(edge_scores(GRAPH, noise(W), level="node"), 4, prune=False),
    "neurons": top_n(edge_scores(GRAPH, noise(W, 3), level="neuron", errors=noise(W, 3).abs()), 9, prune=False),
    "empty": Circuit.empty(GRAPH),
}


@pytest.mark.parametrize("name", CIRCUITS)
def test_own_files_lose_nothing(name: str, tmp_path: Path) -> None:
    circuit = CIRCUITS[name]
    circuit.save(tmp_path / "circuit.safetensors")
    back = Circuit.load(tmp_path / "circuit.safetensors")
    assert back == circuit
    assert (back.level, back.selection, back.details) == (circuit.level, circuit.selection, circuit.details)
    assert back.graph == circuit.graph
    assert back.graph.shape == GRAPH.shape
    if circuit.scores is None:
        assert back.scores is None
    else:
        assert back.scores is not None
        assert back.scores.facts() == circuit.scores.facts()
        assert all(torch.equal(back.scores.tensors()[k], t) for k, t in circuit.scores.tensors().items())


def test_files_of_something_else_are_refused(tmp_path: Path) -> None:
    random_scores(GRAPH, 0).save(tmp_path / "scores")
    with pytest.raises(rc.FileError, match="holds scores, version 1; expected circuit"):
        Circuit.load(tmp_path / "scores")
    (tmp_path / "text").write_text("{")
    with pytest.raises(rc.FileError, match="no file of circuit"):
        Circuit.load(tmp_path / "text")


# ---- JSON ----


def eap_ig(graph: ComponentGraph, *, seed: int, level: str = "edge", older: bool = False) -> dict[str, Any]:
    """A file as EAP-IG writes it, made without the package: edges writer by writer, the logits always in."""
    generator = torch.Generator().manual_seed(seed)

    def number() -> float:
        return float(torch.randn((), generator=generator))

    is_in = {c.name: level == "edge" or number() > -0.5 or c.name == "logits" for c in graph.components}
    edges: dict[str, Any] = {}
    for u in graph.writers:
        for v, owner in zip(graph.readers, graph.owners, strict=True):
            if graph.exists[graph.reader_index[v], graph.writer_index[u]]:
                letter = f"<{v[-1]}>" if v[-2:] in (".q", ".k", ".v") else ""
                kept = number() > 0.3 if level == "edge" else is_in[u] and is_in[owner]
                edges[f"{u}->{owner}{letter}"] = {"score": number() if level == "edge" else 0.0, "in_graph": kept}
    if level == "edge":
        ends = {name for edge, e in edges.items() if e["in_graph"] for name in edge.split("<")[0].split("->")}
        is_in = {name: name in ends or name == "logits" for name in is_in}
    nodes: dict[str, Any] = {name: kept if older else {"in_graph": kept} for name, kept in is_in.items()}
    for name in graph.writers:
        if level == "node":
            nodes[name]["score"] = number()
        if level == "neuron":
            nodes[name] |= {"neurons": [is_in[name], False, number() > 0], "neurons_scores": [number() for _ in "abc"]}
    cfg = {"n_layers": 2, "n_heads": 2, "parallel_attn_mlp": False, "d_model": 3, "model_name": "tiny"}
    return {"cfg": cfg, "nodes": nodes, "edges": edges}


@given(
    graph=st.sampled_from([GRAPH, transformer(2, 2, parallel=True), transformer(1, 2, mlps=False)]),
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(["edge", "node", "neuron", "older"]),
    is_given=st.booleans(),
)
def test_files_of_eap_ig_come_back_as_they_were(graph: ComponentGraph, seed: int, kind: str, is_given: bool) -> None:
    content = eap_ig(graph, seed=seed, level="edge" if kind == "older" else kind, older=kind == "older")
    before = copy.deepcopy(content)
    circuit = from_json(content, graph if is_given else None)
    again = json.loads(json.dumps(to_json(circuit)))
    assert again == before == content
    assert list(again["nodes"]) == list(before["nodes"])


def test_what_a_file_says_is_read() -> None:
    content = eap_ig(GRAPH, seed=1)
    circuit = from_json(content)
    assert circuit.graph.exists.equal(GRAPH.exists)
    assert (circuit.graph.writers, circuit.graph.readers) == (GRAPH.writers, GRAPH.readers)
    assert [(c.kind, c.layer, c.head) for c in circuit.graph.components] == [
        (c.kind, c.layer, c.head) for c in GRAPH.components
    ]
    assert circuit.graph.shape["d_model"] == 3
    assert circuit.scores is not None
    assert float(circuit.scores["m0->a1.h1.k"]) == content["edges"]["m0->a1.h1<k>"]["score"]
    assert {edge for edge, e in content["edges"].items() if e["in_graph"]} == {
        f"{u}->{v}" if v[-2] != "." else f"{u}->{v[:-2]}<{v[-1]}>" for u, v in circuit
    }
    nodes = from_json(eap_ig(GRAPH, seed=2, level="node"))
    assert nodes.level == "node"
    assert nodes.scores is not None
    assert nodes.scores.level == "node"
    neurons = from_json(eap_ig(GRAPH, seed=2, level="neuron"))
    assert neurons.level == "neuron"


def test_scores_are_written_as_effects_on_a_loss() -> None:
    values = noise(*GRAPH.exists.shape)
    for larger_is_better, sign in ((True, -1), (False, 1)):
        scores = edge_scores(GRAPH, values, larger_is_better=larger_is_better)
        content = to_json(top_n(scores, 5, by="signed"))
        assert content["edges"]["input->a1.h0<v>"]["score"] == sign * float(scores["input->a1.h0.v"])
        back = from_json(content)
        assert top_n(back.scores, 5, by="signed") == top_n(scores, 5, by="signed")  # pyright: ignore[reportArgumentType]
        assert content["cfg"] == {"n_layers": 2, "n_heads": 2, "d_model": 8, "parallel_attn_mlp": False}
    without_shape = dataclasses.replace(transformer(2, 3, parallel=True), shape={})
    counted = {"n_layers": 2, "n_heads": 3, "parallel_attn_mlp": True}
    assert to_json(Circuit.full(without_shape))["cfg"] == counted


@pytest.mark.parametrize("name", CIRCUITS)
def test_own_circuits_survive_json(name: str, tmp_path: Path) -> None:
    circuit = CIRCUITS[name]
    save_json(circuit, tmp_path / "circuit.json")
    back = load_json(tmp_path / "circuit.json", GRAPH)
    assert set(back) == set(circuit)
    assert to_json(back) == to_json(circuit)
    if name != "empty":
        assert back == circuit


def test_a_changed_circuit_does_not_say_what_the_file_said() -> None:
    circuit = from_json(eap_ig(GRAPH, seed=3))
    pruned = prune(circuit)
    assert pruned.n_edges < circuit.n_edges
    written = to_json(pruned)
    assert {name for name, node in written["nodes"].items() if node["in_graph"]} == set(pruned.nodes)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(rc.FileError, match="cannot be read as JSON"):
        load_json(tmp_path / "x.json")
    for content in ({}, [], {"cfg": {}, "nodes": {"m0": True}, "edges": {"m0": {}}}):
        with pytest.raises(rc.FileError, match="not the layout of EAP-IG"):
            from_json(content)  # pyright: ignore[reportArgumentType]
    with pytest.raises(rc.FileError, match=r"no (writer|node) 'a1\.h0'"):
        from_json(eap_ig(GRAPH, seed=0), transformer(1, 2))
    backwards = {"cfg": {}, "nodes": {"m1": True, "m0": True}, "edges": {"m0->m1": {"in_graph": True}}}
    with pytest.raises(rc.FileError, match="goes back"):
        from_json(backwards)
    broken = eap_ig(GRAPH, seed=0)
    broken["edges"]["m0->m1"]["score"] = float("nan")
    with pytest.raises(rc.FileError, match="that of m0->m1"):
        from_json(broken)
    halves = eap_ig(GRAPH, seed=2, level="neuron")
    next(edge for edge in halves["edges"].values() if edge["in_graph"])["in_graph"] = False
    with pytest.raises(rc.FileError, match="part of their edges"):
        from_json(halves)
