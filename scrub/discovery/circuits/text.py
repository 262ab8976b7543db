"""Circuits as text, grouped by reader."""

from __future__ import annotations

import textwrap

from scrub.discovery.circuits.circuit import Circuit
from scrub.discovery.components import ComponentGraph
from scrub.discovery.scores import index_rows
from scrub.graph import DiscoveryError

STYLES = ("scrub", "transformer_lens", "hugging_face")


def circuit_text(circuit: Circuit, *, names: str = "scrub", width: int = 100) -> str:
    """One paragraph for each reader that has a kept edge, in order of computation: what it reads, largest score first.

    Args:
        circuit: scores are shown where it was chosen by scores of edges.
        names: "scrub", "transformer_lens" or "hugging_face".
        width: letters to a line.

    Raises:
        DiscoveryError: no such style of names, or the graph does not know them.

    >>> from scrub.discovery.components import Component
    >>> import torch
    >>> parts = (Component("input", "input"), Component("m0", "mlp", 0), Component("logits", "logits"))
    >>> exists = torch.tensor([[True, False], [True, True]])
    >>> graph = ComponentGraph(parts, ("input", "m0"), ("m0", "logits"), ("m0", "logits"), exists)
    >>> print(circuit_text(Circuit.full(graph)))
    circuit of 3 of 3 edges, 3 nodes (full)
    m0     <- input
    logits <- input, m0
    """
    graph = circuit.graph
    shown = readable_names(graph, names)
    values = circuit.scores.values if circuit.scores is not None and circuit.level == "edge" else None
    place = {component.name: i for i, component in enumerate(graph.components)}
    readers = [row for (row,) in index_rows(circuit.kept.any(1).nonzero())]
    readers.sort(key=lambda row: place[graph.owners[row]])  # q, k and v of a head together, however the graph has them
    label = {row: shown[graph.readers[row]] for row in readers}
    margin = max((len(text) for text in label.values()), default=0)
    lines = [repr(circuit)]
    for row in readers:
        columns = [column for (column,) in index_rows(circuit.kept[row].nonzero())]
        if values is not None:
            sizes = values[row].abs()
            columns.sort(key=lambda column: -float(sizes[column]))
        parts = [
            shown[graph.writers[c]] + ("" if values is None else f" {float(values[row, c]):+.3g}") for c in columns
        ]
        start = f"{label[row]:<{margin}} <- "
        text = ", ".join(part.replace(" ", "\0") for part in parts)  # a name stays with its score
        wrapped = textwrap.wrap(
            text, max(width - len(start), 20), break_long_words=False, break_on_hyphens=False, expand_tabs=False
        )
        lines += [(start if i == 0 else " " * len(start)) + line.replace("\0", " ") for i, line in enumerate(wrapped)]
    return "\n".join(lines)


def readable_names(graph: ComponentGraph, style: str) -> dict[str, str]:
    """Names of all components and readers in a style; an input of a head is the head's name with q, k or v.

    Raises:
        DiscoveryError: no such style, or the graph has no names of it.
    """
    if style not in STYLES:
        raise DiscoveryError(f"there is no style of names {style!r}", expected=STYLES, found=style)
    names = {component.name: component.name for component in graph.components}
    if style != "scrub":
        missing = [name for name in names if style not in graph.other_names.get(name, {})]
        if missing:
            raise DiscoveryError(
                f"the graph has no {style} name of {missing[0]!r}",
                expected=f"a {style} name of each of {len(names)} components",
                found=missing,
                hint='use names="scrub"',
            )
        names = {name: graph.other_names[name][style] for name in names}
    for reader, owner in zip(graph.readers, graph.owners, strict=True):
        part = reader.removeprefix(owner).removeprefix(".")
        names[reader] = graph.other_names.get(reader, {}).get(style) or names[owner] + (f" {part}" if part else "")
    return names
