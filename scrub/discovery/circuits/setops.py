"""Circuits as sets: union, intersection, difference, complement, subset.

Circuits of one level give a circuit of that level. Edges with nodes give edges; nodes with neurons give neurons. Edges
with neurons do not mix: a circuit of neurons says which part of an edge is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch

from scrub.discovery.circuits.checks import is_same_graph
from scrub.discovery.circuits.circuit import Circuit, Selection
from scrub.graph import DiscoveryError


def union(first: Circuit, *others: Circuit) -> Circuit:
    """What is in any of them; also `a | b`.

    Raises:
        DiscoveryError: circuits of different graphs, edges with neurons, or neurons of different sizes.
    """
    return reduce(lambda a, b: _combined("union", torch.logical_or, a, b), others, first)


def intersection(first: Circuit, *others: Circuit) -> Circuit:
    """What is in all of them; also `a & b`.

    Raises:
        DiscoveryError: as for `union`.
    """
    return reduce(lambda a, b: _combined("intersection", torch.logical_and, a, b), others, first)


def difference(a: Circuit, b: Circuit) -> Circuit:
    """What is in `a` and not in `b`; also `a - b`.

    Raises:
        DiscoveryError: as for `union`.
    """
    return _combined("difference", lambda x, y: x & ~y, a, b)


def complement(circuit: Circuit) -> Circuit:
    """What is in the graph and not in the circuit; also `~circuit`. Of nodes, the other nodes; of neurons likewise."""
    units = ~_units(circuit)
    return _of_units(
        circuit, units & circuit.graph.exists.cpu() if circuit.level == "edge" else units, circuit, "complement"
    )


def is_subset(a: Circuit, b: Circuit) -> bool:
    """Whether everything in `a` is in `b`; also `a <= b`.

    Raises:
        DiscoveryError: as for `union`.
    """
    a, b = _alike(a, b)
    return not bool((_units(a) & ~_units(b)).any())


def _combined(
    rule: str, operation: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], a: Circuit, b: Circuit
) -> Circuit:
    one, two = _alike(a, b)
    return _of_units(one, operation(_units(one), _units(two)), b, rule)


def _units(circuit: Circuit) -> torch.Tensor:
    """What it is made of: bool [n_readers, n_writers], [n_writers] or [n_writers, d]."""
    match circuit.level:
        case "edge":
            return circuit.kept
        case "node":
            return circuit.kept_writers
        case "neuron":
            assert circuit.neurons is not None
            return circuit.neurons


def _of_units(like: Circuit, units: torch.Tensor, other: Circuit, rule: str) -> Circuit:
    """A circuit of the level of `like`; it has scores if both were chosen by the same."""
    scores = like.scores if like.scores is other.scores else None
    return Circuit.of_units(like.graph, units, like.level, scores=scores, selection=Selection(rule))


def _alike(a: Circuit, b: Circuit) -> tuple[Circuit, Circuit]:
    """Both at one level."""
    if not is_same_graph(a.graph, b.graph):
        raise DiscoveryError(
            "these circuits are of different graphs",
            expected=f"{len(a.graph.writers)} writers, {len(a.graph.readers)} readers, {a.graph.n_edges} edges",
            found=f"{len(b.graph.writers)} writers, {len(b.graph.readers)} readers, {b.graph.n_edges} edges",
            hint="find both on one graph; files go onto a graph by load_json(path, graph)",
        )
    levels = {a.level, b.level}
    if levels == {"edge", "neuron"}:
        raise DiscoveryError(
            "a circuit of edges and one of neurons do not combine",
            expected="circuits of one level, or one of nodes among them",
            found=(a.level, b.level),
            hint="as_edges() gives the edges of a circuit of neurons",
        )
    if levels == {"edge", "node"}:
        return _as_edges(a), _as_edges(b)
    if levels == {"node", "neuron"}:
        width = next(c.neurons.shape[1] for c in (a, b) if c.neurons is not None)
        return _as_neurons(a, width), _as_neurons(b, width)
    if a.neurons is not None and b.neurons is not None and a.neurons.shape != b.neurons.shape:
        raise DiscoveryError(
            "these circuits have different numbers of neurons",
            expected=tuple(a.neurons.shape),
            found=tuple(b.neurons.shape),
        )
    return a, b


def _as_edges(circuit: Circuit) -> Circuit:
    return circuit if circuit.level == "edge" else circuit.as_edges()


def _as_neurons(circuit: Circuit, width: int) -> Circuit:
    """A kept node is one with all its neurons kept."""
    if circuit.level == "neuron":
        return circuit
    return Circuit.of_neurons(circuit.graph, circuit.kept_writers.unsqueeze(1).expand(-1, width))
