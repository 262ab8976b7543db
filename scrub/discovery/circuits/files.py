"""Circuits in files of the project's own, which lose nothing. For the JSON of EAP-IG and MIB see `json_files`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from scrub.discovery.circuits.circuit import Circuit, Selection
from scrub.discovery.scores import Scores
from scrub.discovery.stored import graph_facts, graph_from, read, write
from scrub.graph import FileError

_DAMAGE = (LookupError, TypeError, ValueError, AttributeError)


def save(circuit: Circuit, path: str | Path) -> None:
    """Write graph, circuit, scores and how it was chosen to a `.safetensors` file (see `scrub.discovery.stored`).

    Raises:
        DiscoveryError: `details` hold what JSON has no words for.
    """
    facts: dict[str, Any] = {
        "graph": graph_facts(circuit.graph),
        "level": circuit.level,
        "selection": asdict(circuit.selection),
        "details": dict(circuit.details),
        "scores": None if circuit.scores is None else circuit.scores.facts(),
    }
    tensors = {"exists": circuit.graph.exists, "kept": circuit.kept}
    if circuit.neurons is not None:
        tensors["neurons"] = circuit.neurons
    if circuit.scores is not None:
        tensors |= {f"scores.{name}": tensor for name, tensor in circuit.scores.tensors().items()}
    write(path, "circuit", facts, tensors)


def load(path: str | Path) -> Circuit:
    """What `save` wrote; every number is the same.

    Raises:
        FileError: it is no such file.
    """
    facts, tensors = read(path, "circuit")
    try:
        graph = graph_from(facts["graph"], tensors["exists"])
        stored = {name.removeprefix("scores."): t for name, t in tensors.items() if name.startswith("scores.")}
        scores = None if facts["scores"] is None else Scores.restored(graph, facts["scores"], stored)
        selection = Selection(**facts["selection"])
        kept, neurons = tensors["kept"], tensors.get("neurons")
        return Circuit(graph, kept, facts["level"], neurons, scores, selection, facts["details"])
    except _DAMAGE as error:
        raise FileError(f"{path} lacks something that a circuit has: {error}", found=path) from error
