"""Circuits in the JSON layout of EAP-IG and MIB.

    {"cfg":   {"n_layers": 4, "n_heads": 8, "d_model": 256, "parallel_attn_mlp": false},
     "nodes": {"input": {"in_graph": true, "score": 0.1, "neurons": [...], "neurons_scores": [...]}, "a0.h0": ...},
     "edges": {"input->a0.h0<q>": {"score": -0.2, "in_graph": false}, "m0->m1": ..., "a0.h1->logits": ...}}

Scores and neurons are there where the circuit has them. Older files have a bool for each node.

A score in such a file is an effect on a loss: positive where corrupting makes the model worse. So scores of a metric of
which larger is better are written with their sign turned, and read as scores of a metric of which smaller is better.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from scrub.discovery.circuits.circuit import Circuit, Selection
from scrub.discovery.components import Component, ComponentGraph
from scrub.discovery.scores import Level, Scores, index_rows
from scrub.graph import DiscoveryError, FileError

_KEY = "json"  # in `Circuit.details`: what a file said that a circuit has no place for
_FORMAT = (LookupError, TypeError, ValueError, AttributeError)


def save_json(circuit: Circuit, path: str | Path) -> None:
    """Write the JSON layout of EAP-IG and MIB; nodes and edges come in order of the graph."""
    path = Path(path)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(to_json(circuit)))
    temporary.replace(path)


def load_json(path: str | Path, graph: ComponentGraph | None = None) -> Circuit:
    """A circuit from a file in the JSON layout of EAP-IG and MIB; `save_json` writes back what the file said.

    Args:
        path: of the file.
        graph: the graph that its nodes and edges are of. None: the graph of those that the file lists, which is the
            whole graph of a file of EAP-IG.

    Raises:
        FileError: not JSON, not of this layout, or with nodes and edges that the graph has not.
    """
    try:
        content = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise FileError(f"{path} cannot be read as JSON: {error}", found=path) from error
    return from_json(content, graph)


def json_edge(writer: str, reader: str, owner: str) -> str:
    """An edge as EAP-IG names it.

    >>> json_edge("input", "a0.h0.q", "a0.h0"), json_edge("m0", "m1", "m1")
    ('input->a0.h0<q>', 'm0->m1')
    """
    return f"{writer}->{reader}" if reader == owner else f"{writer}->{owner}<{reader.removeprefix(owner + '.')}>"


def edge_from_json(name: str) -> tuple[str, str, str]:
    """Writer, reader and the reader's component of an edge as EAP-IG names it.

    >>> edge_from_json("input->a0.h0<q>"), edge_from_json("m0->m1")
    (('input', 'a0.h0.q', 'a0.h0'), ('m0', 'm1', 'm1'))
    """
    writer, reader = name.split("->")
    owner, _, part = reader.removesuffix(">").partition("<")
    return writer, f"{owner}.{part}" if part else owner, owner


# ---- writing ----


def to_json(circuit: Circuit) -> dict[str, Any]:
    """The circuit in the JSON layout of EAP-IG and MIB, as Python objects.

    Scores of edges are 0 in a circuit of nodes or neurons, or without scores.
    """
    graph, beside = circuit.graph, circuit.details.get(_KEY, {})
    scores = None if circuit.scores is None else circuit.scores.ranking("signed")
    of_edges = scores if circuit.level == "edge" else None
    kept = circuit.kept
    if beside.get("only_between_nodes"):
        kept = kept & _between_nodes(graph, circuit.kept_writers)
    edges: dict[str, Any] = {}
    for row, column in index_rows(graph.exists.nonzero()):
        entry = edges[json_edge(graph.writers[column], graph.readers[row], graph.owners[row])] = {}
        if not beside.get("edges_have_no_scores"):
            entry["score"] = 0.0 if of_edges is None else float(of_edges[row, column])
        entry["in_graph"] = bool(kept[row, column])
    return {"cfg": dict(beside.get("cfg") or _cfg(graph)), "nodes": _nodes(circuit, scores, beside), "edges": edges}


def _nodes(circuit: Circuit, scores: torch.Tensor | None, beside: Mapping[str, Any]) -> dict[str, Any]:
    graph = circuit.graph
    is_in = dict.fromkeys(circuit.nodes, True) | beside.get("in_graph", {})
    nodes: dict[str, Any] = {}
    for component in graph.components:
        node: dict[str, Any] = {"in_graph": is_in.get(component.name, False)}
        column = graph.writer_index.get(component.name)
        if column is not None and scores is not None and circuit.level == "node":
            node["score"] = float(scores[column])
        if column is not None and circuit.neurons is not None:
            node["neurons"] = circuit.neurons[column].tolist()
            if scores is not None:
                node["neurons_scores"] = scores[column].tolist()
        nodes[component.name] = node | beside.get("nodes", {}).get(component.name, {})
    return {name: node["in_graph"] for name, node in nodes.items()} if beside.get("nodes_are_bools") else nodes


def _cfg(graph: ComponentGraph) -> dict[str, Any]:
    """Sizes as EAP-IG states them, counted where the graph does not say."""
    layers = {c.layer for c in graph.components if c.layer is not None}
    heads = {c.head for c in graph.components if c.head is not None}
    counted: dict[str, Any] = {"n_layers": len(layers), "n_heads": len(heads)}
    return counted | dict(graph.shape) | {"parallel_attn_mlp": _is_parallel(graph)}


def _is_parallel(graph: ComponentGraph) -> bool:
    """Whether heads do not feed the MLP of their layer."""
    mlps = {c.layer: c.name for c in graph.components if c.kind == "mlp"}
    pairs = [(c.name, mlps[c.layer]) for c in graph.components if c.kind == "head" and c.layer in mlps]
    return bool(pairs) and not any(graph.exists[graph.reader_index[v], graph.writer_index[u]] for u, v in pairs)


def _between_nodes(graph: ComponentGraph, writers: torch.Tensor) -> torch.Tensor:
    """Edges out of these writers into them or into what only reads, bool [n_readers, n_writers]."""
    reads = [owner not in graph.writer_index or bool(writers[graph.writer_index[owner]]) for owner in graph.owners]
    return graph.exists.cpu() & writers & torch.tensor(reads).unsqueeze(1)


# ---- reading ----


class _Content(NamedTuple):
    """A file as tensors of a graph."""

    is_in: dict[str, bool]  # nodes
    kept: torch.Tensor  # bool [n_readers, n_writers]
    edge_scores: torch.Tensor  # float64 [n_readers, n_writers]
    has_edge_scores: bool
    node_scores: torch.Tensor | None  # float64 [n_writers]
    neurons: torch.Tensor | None  # bool [n_writers, d], False for nodes that are not in
    neuron_scores: torch.Tensor | None  # float64 [n_writers, d]


def from_json(content: Mapping[str, Any], graph: ComponentGraph | None = None) -> Circuit:
    """The circuit that `to_json` gave.

    It is a circuit of neurons where some neurons of a node are in and others not; of nodes where nodes have scores,
    edges have none, and all edges of the nodes that are in are in; of edges otherwise.

    Args:
        content: as `json.load` gives it.
        graph: see `load_json`.

    Raises:
        FileError: not of this layout, or with nodes and edges that the graph has not.
    """
    try:
        graph = graph or _graph_of(content)
        return _circuit(content, graph, _tensors(content, graph))
    except _FORMAT as error:
        raise FileError(
            f"this is not the layout of EAP-IG: {type(error).__name__}: {error}",
            expected={"cfg": {}, "nodes": {"input": {"in_graph": True}}, "edges": {"input->m0": {"in_graph": True}}},
            found=type(content).__name__,
        ) from error
    except DiscoveryError as error:
        raise FileError(
            f"the file does not fit its graph: {error.problem}", found=error.found, hint=error.hint
        ) from error


def _graph_of(content: Mapping[str, Any]) -> ComponentGraph:
    """The graph of all nodes and edges that the file lists."""
    edges = [edge_from_json(name) for name in content["edges"]]
    place = {name: i for i, name in enumerate(content["nodes"])}
    writing, owner_of = {writer for writer, _, _ in edges}, {reader: owner for _, reader, owner in edges}
    writers = tuple(sorted(writing, key=place.__getitem__))
    readers = tuple(sorted(owner_of, key=lambda reader: place[owner_of[reader]]))  # q, k, v as they come
    exists = torch.zeros(len(readers), len(writers), dtype=torch.bool)
    row, column = ({name: i for i, name in enumerate(names)} for names in (readers, writers))
    for writer, reader, owner in edges:
        if place[writer] >= place[owner]:
            raise FileError(
                f"edge {writer}->{reader} goes back, in the order of the file's nodes", found=(writer, reader)
            )
        exists[row[reader], column[writer]] = True
    components = tuple(_component(name) for name in place)
    shape = {name: size for name, size in content["cfg"].items() if isinstance(size, int)}
    return ComponentGraph(components, writers, readers, tuple(owner_of[r] for r in readers), exists, shape=shape)


def _component(name: str) -> Component:
    if head := re.fullmatch(r"a(\d+)\.h(\d+)", name):
        return Component(name, "head", int(head[1]), int(head[2]))
    if mlp := re.fullmatch(r"m(\d+)", name):
        return Component(name, "mlp", int(mlp[1]))
    match name:
        case "input" | "logits":
            return Component(name, name)
        case _:
            return Component(name, "layer")


def _tensors(content: Mapping[str, Any], graph: ComponentGraph) -> _Content:
    nodes: dict[str, dict[str, Any]] = {
        name: {"in_graph": node} if isinstance(node, bool) else node for name, node in content["nodes"].items()
    }
    unknown = [name for name in nodes if name not in graph.component_of]
    if unknown:
        raise DiscoveryError(
            f"the graph has no node {unknown[0]!r}", found=unknown, hint="load the file without a graph to see its own"
        )
    is_in = {name: bool(node["in_graph"]) for name, node in nodes.items()}
    kept = torch.zeros(graph.exists.shape, dtype=torch.bool)
    scores = torch.zeros(graph.exists.shape, dtype=torch.float64)
    for name, entry in content["edges"].items():
        at = graph.index(edge_from_json(name)[:2])
        kept[at] = bool(entry["in_graph"])
        scores[at] = float(entry.get("score", 0.0))
    neurons = _stacked(nodes, graph, "neurons")
    if neurons is not None:
        members = torch.tensor([is_in.get(name, False) for name in graph.writers])
        neurons = neurons.bool() & members.unsqueeze(1)
    return _Content(
        is_in,
        kept,
        scores,
        any("score" in entry for entry in content["edges"].values()),
        _stacked(nodes, graph, "score"),
        neurons,
        _stacked(nodes, graph, "neurons_scores"),
    )


def _stacked(nodes: Mapping[str, Any], graph: ComponentGraph, key: str) -> torch.Tensor | None:
    """What every writer's node has under this key, float64 [n_writers, ...]; None if one has it not."""
    if not all(key in nodes.get(name, {}) for name in graph.writers):
        return None
    return torch.tensor([nodes[name][key] for name in graph.writers], dtype=torch.float64)


def _circuit(content: Mapping[str, Any], graph: ComponentGraph, of: _Content) -> Circuit:
    level = _level(graph, of)
    values = {"edge": of.edge_scores if of.edge_scores.any() else None, "node": of.node_scores}
    values["neuron"] = of.neuron_scores
    scores = None
    if (given := values[level]) is not None:
        scores = Scores(
            graph, given, level=level, method="file", metric="loss", larger_is_better=False, ablation="not stated",
            n_examples=0,
        )  # fmt: skip
    writers = torch.tensor([of.is_in.get(name, False) for name in graph.writers])
    units = {"edge": of.kept, "node": writers, "neuron": of.neurons}[level]
    assert units is not None
    facts: dict[str, Any] = {"scores": scores, "selection": Selection("file")}
    circuit = Circuit.of_units(graph, units, level, **facts)
    beside = _beside(content, circuit, of)
    return Circuit.of_units(graph, units, level, details={_KEY: beside}, **facts)


def _level(graph: ComponentGraph, of: _Content) -> Level:
    """What the circuit is made of."""
    writers = torch.tensor([of.is_in.get(name, False) for name in graph.writers])
    all_outgoing, between = graph.exists.cpu() & writers, _between_nodes(graph, writers)
    are_of_nodes = torch.equal(of.kept, all_outgoing) or torch.equal(of.kept, between)
    if of.neurons is not None and not torch.equal(of.neurons.all(1), of.neurons.any(1)):
        if not are_of_nodes:
            raise DiscoveryError(
                "nodes are in with a part of their neurons, but with a part of their edges too",
                expected="all edges out of the nodes that are in, or all between them",
                found=f"{int(of.kept.sum())} edges of {int(all_outgoing.sum())}",
            )
        return "neuron"
    return "node" if of.node_scores is not None and are_of_nodes and not of.edge_scores.any() else "edge"


def _beside(content: Mapping[str, Any], circuit: Circuit, of: _Content) -> dict[str, Any]:
    """What the file said that the circuit has no place for."""
    nodes: dict[str, Any] = content["nodes"]
    written = _nodes(circuit, None if circuit.scores is None else circuit.scores.values, {})
    members = set(circuit.nodes)
    extra: dict[str, dict[str, Any]] = {}
    for name, node in nodes.items():
        said: dict[str, Any] = {} if isinstance(node, bool) else node
        more = {key: value for key, value in said.items() if key not in written[name] or written[name][key] != value}
        more.pop("in_graph", None)
        extra |= {name: more} if more else {}
    found: dict[str, Any] = {
        "cfg": dict(content["cfg"]),
        "in_graph": {name: is_in for name, is_in in of.is_in.items() if is_in != (name in members)},
        "nodes": extra,
        "nodes_are_bools": any(isinstance(node, bool) for node in nodes.values()),
        "edges_have_no_scores": not of.has_edge_scores,
        "only_between_nodes": circuit.level != "edge" and not torch.equal(of.kept, circuit.kept),
    }
    return {name: value for name, value in found.items() if value}
