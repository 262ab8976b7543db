"""Which edges lie on a path from the input to the logits."""

from __future__ import annotations

from dataclasses import replace

import torch

from scrub.discovery.circuits.circuit import Circuit
from scrub.discovery.components import ComponentGraph


def prune(circuit: Circuit) -> Circuit:
    """The circuit without what lies on no path from input to logits.

    Paths begin at components that only write, the input, and end at ones that only read, the logits; in between, what a
    component reads (q, k or v of a head alike) it passes on. A circuit of nodes or neurons loses the nodes that are on
    no path of kept nodes.

    >>> from scrub.discovery.components import Component
    >>> parts = (Component("input", "input"), Component("m0", "mlp", 0), Component("logits", "logits"))
    >>> exists = torch.tensor([[True, False], [True, True]])
    >>> graph = ComponentGraph(parts, ("input", "m0"), ("m0", "logits"), ("m0", "logits"), exists)
    >>> [str(edge) for edge in prune(Circuit.of_edges(graph, ["input->m0", "input->logits"]))]
    ['input->logits']
    """
    graph = circuit.graph
    selection = replace(circuit.selection, pruned=True)
    on_path = edges_on_paths(graph, circuit.kept)
    if circuit.level == "edge":
        return replace(circuit, kept=on_path, selection=selection, details={})
    alive = on_path.any(0)
    neurons = None if circuit.neurons is None else circuit.neurons & alive.unsqueeze(1)
    return replace(circuit, kept=circuit.kept & alive, neurons=neurons, selection=selection, details={})


def edges_on_paths(graph: ComponentGraph, kept: torch.Tensor) -> torch.Tensor:
    """Those kept edges that are on a path of kept edges from input to logits.

    Args:
        graph: writers and readers are in order of computation.
        kept: bool [n_readers, n_writers].

    Returns:
        bool [n_readers, n_writers].
    """
    readers = readers_of(graph)
    writers = len(graph.writers)
    from_input = torch.zeros(writers, dtype=torch.bool)
    for column, name in enumerate(graph.writers):
        rows = readers.get(name)
        from_input[column] = rows is None or bool((kept[rows] & from_input).any())
    to_logits = torch.tensor([owner not in graph.writer_index for owner in graph.owners])
    for column in range(writers - 1, -1, -1):
        rows = readers.get(graph.writers[column])
        if rows is not None:
            to_logits[rows] = (kept[:, column] & to_logits).any()
    return kept & from_input & to_logits.unsqueeze(1)


def readers_of(graph: ComponentGraph) -> dict[str, torch.Tensor]:
    """Component -> rows of its readers, int64 [n]; components that only write are left out."""
    rows: dict[str, list[int]] = {}
    for row, owner in enumerate(graph.owners):
        rows.setdefault(owner, []).append(row)
    return {owner: torch.tensor(of) for owner, of in rows.items()}
