"""Component graphs and circuits as networkx graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrub.discovery.circuits.circuit import Circuit
from scrub.discovery.components import ComponentGraph
from scrub.discovery.scores import index_rows
from scrub.graph import ScrubError

if TYPE_CHECKING:
    import networkx as nx


def to_networkx(of: ComponentGraph | Circuit) -> nx.MultiDiGraph[str]:
    """A directed graph of components; of a circuit, what is in it.

    Nodes are components by name, with `kind`, `layer`, `head` and their names in other styles as attributes. An edge
    goes from a writer to the component that reads; q, k and v of a head are parallel edges, whose key is the name of
    the reader. Of a circuit with scores of edges, `score` is an attribute of each.

    Raises:
        ScrubError: networkx is not installed.

    >>> from scrub.discovery.components import Component
    >>> import torch
    >>> parts = (Component("input", "input"), Component("m0", "mlp", 0), Component("logits", "logits"))
    >>> exists = torch.tensor([[True, False], [True, True]])
    >>> graph = ComponentGraph(parts, ("input", "m0"), ("m0", "logits"), ("m0", "logits"), exists)
    >>> list(to_networkx(graph).edges(keys=True))
    [('input', 'm0', 'm0'), ('input', 'logits', 'logits'), ('m0', 'logits', 'logits')]
    """
    try:
        import networkx as nx
    except ImportError as error:
        raise ScrubError("networkx is not installed", hint="pip install networkx") from error
    circuit = of if isinstance(of, Circuit) else Circuit.full(of)
    graph = circuit.graph
    members = {c.name for c in graph.components} if isinstance(of, ComponentGraph) else set(circuit.nodes)
    result: nx.MultiDiGraph[str] = nx.MultiDiGraph()
    for c in graph.components:
        if c.name in members:
            result.add_node(c.name, kind=c.kind, layer=c.layer, head=c.head, **graph.other_names.get(c.name, {}))
    values = circuit.scores.values if circuit.scores is not None and circuit.level == "edge" else None
    for row, column in index_rows(circuit.kept.nonzero()):
        if graph.owners[row] in members:
            attributes: dict[str, Any] = {} if values is None else {"score": float(values[row, column])}
            result.add_edge(graph.writers[column], graph.owners[row], key=graph.readers[row], **attributes)
    return result
