"""What is kept of a model in a run, from circuits: of edges, of nodes, or of dimensions of what writers write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from scrub.discovery.circuits import Circuit
from scrub.discovery.circuits.circuit import is_same_graph
from scrub.discovery.components import ComponentGraph
from scrub.graph import DiscoveryError

Kept = Circuit | torch.Tensor
"""A circuit, or a mask of edges [n_readers, n_writers] or of edges at positions [n_readers, n_writers, seq]: 1 kept,
0 patched, anything between allowed."""

MaskKind = Literal["edge", "position", "writer"]


@dataclass(frozen=True, eq=False)
class Mask:
    """What is kept in one run.

    Attributes:
        kind: "edge"; "position", of edges at positions; "writer", where all readers of a writer are given the same.
        keep: [n_readers, n_writers], [n_readers, n_writers, seq], or [n_writers, d] (d may be 1); 1 kept, 0 patched.
    """

    kind: MaskKind
    keep: torch.Tensor

    @property
    def key(self) -> tuple[str, tuple[int, ...], bytes]:
        """Equal for equal masks."""
        return self.kind, tuple(self.keep.shape), self.keep.contiguous().numpy().tobytes()


def mask_of(kept: Kept, graph: ComponentGraph) -> Mask:
    """The mask of a circuit, float64 on the CPU, 0 where there is no edge.

    A circuit of nodes or neurons is a mask of writers: what it keeps it keeps for all readers.

    Raises:
        DiscoveryError: a circuit of another graph, or a mask that does not fit this one.
    """
    if isinstance(kept, Circuit):
        if not is_same_graph(kept.graph, graph):
            raise DiscoveryError(
                "a circuit of another graph cannot be evaluated on this model",
                expected=_sizes(graph),
                found=_sizes(kept.graph),
                hint="find the circuit on the graph of this model",
            )
        if kept.level == "edge":
            return Mask("edge", kept.kept.double())
        writers = kept.kept_writers.unsqueeze(1) if kept.neurons is None else kept.neurons
        return Mask("writer", writers.double())
    keep = kept.detach().to("cpu", torch.float64)
    exists = graph.exists.cpu()
    if keep.shape[:2] != exists.shape or keep.ndim not in (2, 3):
        raise DiscoveryError(
            f"a mask of shape {list(keep.shape)} does not fit {exists.shape[0]} readers and {exists.shape[1]} writers",
            expected=(tuple(exists.shape), (*exists.shape, "seq")),
            found=tuple(keep.shape),
            hint="rows are readers, columns writers, in the order of the graph",
        )
    if keep.ndim == 2:
        return Mask("edge", keep * exists)
    return Mask("position", keep * exists.unsqueeze(-1))


def complement_of(kept: Kept, graph: ComponentGraph) -> Kept:
    """What is in the graph and not kept."""
    if isinstance(kept, Circuit):
        return ~kept
    exists = graph.exists.to(kept.device)
    return (1 - kept.to(torch.float64)) * (exists if kept.ndim == 2 else exists.unsqueeze(-1))


def size_of(kept: Kept, graph: ComponentGraph) -> float:
    """Weighted number of edges kept; of a mask at positions, their mean over positions."""
    if isinstance(kept, Circuit):
        return kept.weighted_n_edges
    keep = mask_of(kept, graph).keep
    return float(keep.sum()) if keep.ndim == 2 else float(keep.mean(-1).sum())


def circuits_of(given: Kept | Sequence[Kept]) -> list[Kept]:
    """One circuit or several, as a list.

    Raises:
        DiscoveryError: an empty list, or something that is neither a circuit nor a mask.
    """
    circuits: list[Kept] = [given] if isinstance(given, Circuit | torch.Tensor) else list(given)
    if not circuits:
        raise DiscoveryError("there is no circuit to evaluate", expected="one circuit or more", found=0)
    for circuit in circuits:
        if not isinstance(circuit, Circuit | torch.Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DiscoveryError(
                f"{type(circuit).__name__} is no circuit",
                expected="Circuit, or a mask [n_readers, n_writers]",
                found=type(circuit).__name__,
                hint="choose a circuit from scores first: top_n(scores, 200)",
            )
    return circuits


def _sizes(graph: ComponentGraph) -> str:
    return f"{len(graph.writers)} writers, {len(graph.readers)} readers, {graph.n_edges} edges"
