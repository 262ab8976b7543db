"""What must hold of a circuit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scrub.discovery.components import ComponentGraph, Edge
from scrub.discovery.scores import index_rows
from scrub.graph import DiscoveryError

if TYPE_CHECKING:
    from scrub.discovery.circuits.circuit import Circuit


def is_same_graph(a: ComponentGraph, b: ComponentGraph) -> bool:
    """Whether two graphs have the same writers, readers and edges."""
    if a is b:
        return True
    same_names = (a.writers, a.readers, a.owners) == (b.writers, b.readers, b.owners)
    return same_names and torch.equal(a.exists.cpu(), b.exists.cpu())


def checked_mask(name: str, given: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """A copy on the CPU, after checks of shape and dtype."""
    if given.dtype != torch.bool or tuple(given.shape) != shape:
        raise DiscoveryError(
            f"{name} of this circuit is bool {list(shape)}, not {given.dtype} {list(given.shape)}",
            expected=(torch.bool, shape),
            found=(given.dtype, tuple(given.shape)),
            hint="rows are readers, columns writers, in the order of the graph" if len(shape) == 2 else None,
        )
    return given.detach().to("cpu", copy=True)


def check_edges(circuit: Circuit) -> None:
    """Raise unless all kept edges are of the graph, and those that the level asks for."""
    graph, exists = circuit.graph, circuit.graph.exists.cpu()
    foreign = circuit.kept & ~exists
    if foreign.any():
        row, column = index_rows(foreign.nonzero())[0]
        raise DiscoveryError(
            f"{int(foreign.sum())} kept edges are not of the graph, the first is "
            f"{Edge(graph.writers[column], graph.readers[row])}",
            expected="edges that exist",
            found=int(foreign.sum()),
            hint="take `kept & graph.exists`",
        )
    if (circuit.level == "neuron") != (circuit.neurons is not None):
        raise DiscoveryError(
            "neurons belong to circuits of neurons",
            expected="level='neuron' and neurons, or neither",
            found=(circuit.level, circuit.neurons is not None),
            hint="use Circuit.of_neurons(graph, neurons)",
        )
    if circuit.level == "edge":
        return
    writers = circuit.kept.any(0) if circuit.neurons is None else circuit.neurons.any(1)
    wrong = circuit.kept != (exists & writers)
    if wrong.any():
        row, column = index_rows(wrong.nonzero())[0]
        edge = Edge(graph.writers[column], graph.readers[row])
        raise DiscoveryError(
            f"a circuit of {circuit.level}s keeps all outgoing edges of what it keeps and no others; {edge} is wrong",
            expected=bool(writers[column]),
            found=bool(circuit.kept[row, column]),
            hint="use Circuit.of_nodes or Circuit.of_neurons, or level='edge'",
        )


def check_scores(circuit: Circuit) -> None:
    """Raise unless the scores, if any, are of the circuit's graph and level."""
    scores = circuit.scores
    if scores is None:
        return
    if scores.level != circuit.level or scores.per_position:
        raise DiscoveryError(
            f"scores of {scores.level}s{' by position' * scores.per_position} do not go with "
            f"a circuit of {circuit.level}s",
            expected=f"scores of {circuit.level}s, summed over positions",
            found=scores,
            hint="use scores.summed() or scores.nodes(), or leave the scores out",
        )
    if not is_same_graph(scores.graph, circuit.graph):
        raise DiscoveryError("circuit and scores are of different graphs", found=scores)
