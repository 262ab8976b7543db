"""`Circuit`: the edges of a component graph that are kept, that is, not patched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from scrub.discovery.circuits.checks import check_edges, check_scores, checked_mask, is_same_graph
from scrub.discovery.components import ComponentGraph, Edge
from scrub.discovery.scores import By, Level, Scores, index_rows
from scrub.graph import DiscoveryError


@dataclass(frozen=True)
class Selection:
    """How a circuit was chosen.

    Attributes:
        rule: "top_n", "greedy", "threshold", "union", ...; "given" where the members were listed.
        by: the order of scores that was used.
        asked: how many were asked for, or the threshold.
        chosen: how many the rule chose, before pruning.
        ties_left_out: how many were left out though their score equals that of the last one chosen.
        pruned: whether what lies on no path from input to logits was dropped.

    >>> print(Selection("top_n", "absolute", 200, 200, pruned=True))
    top_n, by absolute score, asked 200, chosen 200, pruned
    """

    rule: str = "given"
    by: By | None = None
    asked: float | None = None
    chosen: int | None = None
    ties_left_out: int = 0
    pruned: bool = False

    def __str__(self) -> str:
        parts = [self.rule]
        if self.by is not None:
            parts.append(f"by {self.by} score")
        if self.asked is not None:
            parts.append(f"asked {self.asked:,}")
        if self.chosen is not None:
            parts.append(f"chosen {self.chosen:,}")
        if self.ties_left_out:
            parts.append(f"{self.ties_left_out:,} of equal score left out")
        if self.pruned:
            parts.append("pruned")
        return ", ".join(parts)


@dataclass(frozen=True, eq=False)
class Circuit:
    """Edges that are kept; all others are patched.

    Two circuits are equal if they keep the same of the same graph, however they were chosen.

    Args:
        graph: the component graph.
        kept: bool [n_readers, n_writers], True where an edge is in the circuit.
        level: what it is made of: "edge"; "node", where every outgoing edge of a kept node is in; "neuron", where only
            some dimensions of what a writer writes are kept, in all its outgoing edges.
        neurons: bool [n_writers, d], of a circuit of neurons only. Edges of writers with any kept are in `kept`.
        scores: what it was chosen by, of the same level; for pictures, tables and files.
        selection: how it was chosen.
        details: what a file said beside.

    Raises:
        DiscoveryError: shapes, dtypes, edges or scores that do not fit the graph or the level.

    >>> from scrub.discovery.components import Component
    >>> parts = (Component("input", "input"), Component("m0", "mlp", 0), Component("logits", "logits"))
    >>> exists = torch.tensor([[True, False], [True, True]])
    >>> graph = ComponentGraph(parts, ("input", "m0"), ("m0", "logits"), ("m0", "logits"), exists)
    >>> circuit = Circuit.of_edges(graph, ["input->m0", "m0->logits"])
    >>> circuit
    circuit of 2 of 3 edges, 3 nodes (given)
    >>> [str(edge) for edge in ~circuit], "m0->logits" in circuit
    (['input->logits'], True)
    >>> (~circuit | circuit).n_edges, (~circuit & circuit).n_edges
    (3, 0)
    """

    graph: ComponentGraph
    kept: torch.Tensor
    level: Level = "edge"
    neurons: torch.Tensor | None = None
    scores: Scores | None = None
    selection: Selection = Selection()
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        object.__setattr__(self, "kept", checked_mask("kept", self.kept, tuple(self.graph.exists.shape)))
        if self.neurons is not None:
            rows = len(self.graph.writers), self.neurons.shape[-1] if self.neurons.ndim else 0
            object.__setattr__(self, "neurons", checked_mask("neurons", self.neurons, rows))
        check_edges(self)
        check_scores(self)

    # ---- making ----

    @classmethod
    def of_edges(cls, graph: ComponentGraph, edges: Iterable[Edge | str | Sequence[str]], **facts: Any) -> Circuit:
        """The circuit of these edges, given as pairs (writer, reader) or as "a0.h1->m2".

        Raises:
            DiscoveryError: the graph has no such edge.
        """
        kept = torch.zeros(graph.exists.shape, dtype=torch.bool)
        for edge in edges:
            kept[graph.index(edge)] = True
        return cls(graph, kept, **facts)

    @classmethod
    def of_nodes(cls, graph: ComponentGraph, nodes: Iterable[str] | torch.Tensor, **facts: Any) -> Circuit:
        """The circuit of every outgoing edge of these components.

        Args:
            nodes: names of components that write, or bool [n_writers].

        Raises:
            DiscoveryError: a component that does not write, or is not of the graph.
        """
        if not isinstance(nodes, torch.Tensor):
            rows = [_writer(graph, name) for name in nodes]
            nodes = torch.zeros(len(graph.writers), dtype=torch.bool)
            nodes[rows] = True
        nodes = checked_mask("nodes", nodes, (len(graph.writers),))
        return cls(graph, graph.exists.cpu() & nodes, "node", **facts)

    @classmethod
    def of_neurons(cls, graph: ComponentGraph, neurons: torch.Tensor, **facts: Any) -> Circuit:
        """The circuit of these dimensions of what each writer writes, bool [n_writers, d], in all outgoing edges.

        Raises:
            DiscoveryError: not bool, or not one row for each writer.
        """
        rows = len(graph.writers), neurons.shape[-1] if neurons.ndim else 0
        kept = graph.exists.cpu() & checked_mask("neurons", neurons, rows).any(-1)
        return cls(graph, kept, "neuron", neurons, **facts)

    @classmethod
    def of_units(cls, graph: ComponentGraph, units: torch.Tensor, level: Level, **facts: Any) -> Circuit:
        """The circuit of these edges [n_readers, n_writers], nodes [n_writers] or neurons [n_writers, d], bool."""
        match level:
            case "edge":
                return cls(graph, units, **facts)
            case "node":
                return cls.of_nodes(graph, units, **facts)
            case "neuron":
                return cls.of_neurons(graph, units, **facts)

    @classmethod
    def full(cls, graph: ComponentGraph) -> Circuit:
        """The circuit of all edges."""
        return cls(graph, graph.exists, selection=Selection("full"))

    @classmethod
    def empty(cls, graph: ComponentGraph) -> Circuit:
        """The circuit of no edges."""
        return cls(graph, torch.zeros_like(graph.exists), selection=Selection("empty"))

    def as_edges(self) -> Circuit:
        """The same edges as a circuit of edges; of neurons, with all dimensions of every writer that has any."""
        return replace(self, level="edge", neurons=None, scores=None, details={})

    # ---- what is in it ----

    @cached_property
    def kept_writers(self) -> torch.Tensor:
        """Writers with a kept edge, bool [n_writers]."""
        return self.kept.any(0)

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """Names of the components in it, in order of the graph.

        Of a circuit of edges, both ends of every edge. Of one of nodes or neurons, the writers that are kept, and what
        only reads (the logits) of any of them.
        """
        graph = self.graph
        names = {graph.writers[i] for (i,) in index_rows(self.kept_writers.nonzero())}
        owners = {graph.owners[i] for (i,) in index_rows(self.kept.any(1).nonzero())}
        names |= owners if self.level == "edge" else owners - set(graph.writers)
        return tuple(component.name for component in self.graph.components if component.name in names)

    @property
    def n_edges(self) -> int:
        """How many edges are kept."""
        return int(self.kept.sum())

    @property
    def n_nodes(self) -> int:
        """How many components are in it, see `nodes`."""
        return len(self.nodes)

    @property
    def n_neurons(self) -> int | None:
        """How many dimensions of writers are kept; None unless it is a circuit of neurons."""
        return None if self.neurons is None else int(self.neurons.sum())

    @property
    def weighted_n_edges(self) -> float:
        """Edges, each counted as the part of its writer that is kept.

            sum over kept edges (u, v) of (neurons of u kept) / (neurons of u)

        By it circuits of edges, nodes and neurons compare. Source: Mueller et al. 2025, "MIB".
        """
        if self.neurons is None:
            return float(self.n_edges)
        share = self.neurons.double().mean(1)
        return float((self.kept * share).sum())

    @property
    def fraction(self) -> float:
        """Weighted number of edges, as a fraction of the graph's."""
        return self.weighted_n_edges / max(self.graph.n_edges, 1)

    def __iter__(self) -> Iterator[Edge]:
        for row, column in index_rows(self.kept.nonzero()):
            yield Edge(self.graph.writers[column], self.graph.readers[row])

    def edges(self) -> Iterator[Edge]:
        """Every kept edge, in order of readers, then writers."""
        return iter(self)

    def __contains__(self, edge: Edge | str | Sequence[str]) -> bool:
        return bool(self.kept[self.graph.index(edge)])

    def __len__(self) -> int:
        return self.n_edges

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Circuit):
            return NotImplemented
        return self.level == other.level and is_same_graph(self.graph, other.graph) and self._bits == other._bits

    def __hash__(self) -> int:
        return hash((self.level, self.graph.writers, self.graph.readers, self._bits))

    @cached_property
    def _bits(self) -> bytes:
        shown = self.kept if self.neurons is None else self.neurons
        return shown.numpy().tobytes()

    # ---- set operations ----

    def __or__(self, other: Circuit) -> Circuit:
        from scrub.discovery.circuits.setops import union  # which makes circuits, so it is above this module

        return union(self, other)

    def __and__(self, other: Circuit) -> Circuit:
        from scrub.discovery.circuits.setops import intersection

        return intersection(self, other)

    def __sub__(self, other: Circuit) -> Circuit:
        from scrub.discovery.circuits.setops import difference

        return difference(self, other)

    def __invert__(self) -> Circuit:
        from scrub.discovery.circuits.setops import complement

        return complement(self)

    def __le__(self, other: Circuit) -> bool:
        from scrub.discovery.circuits.setops import is_subset

        return is_subset(self, other)

    # ---- showing, files ----

    def text(self, *, names: str = "scrub", width: int = 100) -> str:
        """The circuit grouped by reader, see `scrub.discovery.circuits.text`."""
        from scrub.discovery.circuits.text import circuit_text

        return circuit_text(self, names=names, width=width)

    def svg(self, **options: Any) -> str:
        """A picture, see `scrub.discovery.circuits.picture.circuit_svg`."""
        from scrub.discovery.circuits.picture import circuit_svg

        return circuit_svg(self, **options)

    def save(self, path: str | Path) -> None:
        """Write it to a `.safetensors` file, see `scrub.discovery.circuits.files`."""
        from scrub.discovery.circuits.files import save

        save(self, path)

    @staticmethod
    def load(path: str | Path) -> Circuit:
        """What `save` wrote.

        Raises:
            FileError: it is no such file.
        """
        from scrub.discovery.circuits.files import load

        return load(path)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        neurons = "" if self.neurons is None else f"{self.n_neurons:,} neurons in "
        edges = f"{self.n_edges:,} of {self.graph.n_edges:,} edges, {self.n_nodes:,} nodes"
        return f"circuit of {neurons}{edges} ({self.selection})"

    def _repr_svg_(self) -> str:
        return self.svg()

    def _repr_html_(self) -> str:
        return self.svg()


def _writer(graph: ComponentGraph, name: str) -> int:
    if name not in graph.writer_index:
        raise DiscoveryError(
            f"no component {name!r} writes, so it is in no circuit of nodes",
            expected=f"one of {', '.join(graph.writers[:4])}, ...",
            found=name,
            hint="the logits are in every circuit" if name in graph.component_of else None,
        )
    return graph.writer_index[name]
