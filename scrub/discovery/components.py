"""The component graph: what writes to the residual stream, what reads from it, and the edges between.

Only names and order; how it is derived from an expression is in `scrub.discovery.derive`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple, cast

import torch

from scrub.graph import DiscoveryError

Kind = Literal["input", "head", "mlp", "layer", "logits"]


@dataclass(frozen=True)
class Component:
    """A part of a model that writes to the residual stream, reads from it, or both.

    Attributes:
        name: "input", "a1.h3", "m0", "logits"; of other models, the name of the node.
        kind: what it is; "layer" is any part that is neither.
        layer: number of the layer, if there is one.
        head: number of the head, of a head.
    """

    name: str
    kind: Kind
    layer: int | None = None
    head: int | None = None


class Edge(NamedTuple):
    """What a reader reads of what a writer writes."""

    writer: str
    reader: str

    def __str__(self) -> str:
        return f"{self.writer}->{self.reader}"


@dataclass(frozen=True)
class ComponentGraph:
    """Components in order of computation, and the edges from writers to readers.

    Edge (u, v) is there when what u writes is a term of the sum that v reads. Matrices over edges, scores and masks,
    are [n_readers, n_writers].

    Attributes:
        components: in order of computation.
        writers: names of the components that write, in order.
        readers: names of what reads, in order: "a1.h3.q" for the query input of a head, "m0", "logits".
        owners: of each reader, the name of its component.
        exists: bool [n_readers, n_writers], where there is an edge.
        other_names: component name -> {"transformer_lens": ..., "hugging_face": ...}.
        shape: sizes, for files: {"n_layers": 4, "n_heads": 8, "d_model": 256}.
    """

    components: tuple[Component, ...]
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    owners: tuple[str, ...]
    exists: torch.Tensor = field(repr=False, compare=False)
    other_names: Mapping[str, Mapping[str, str]] = field(
        default_factory=dict[str, Mapping[str, str]], repr=False, compare=False
    )
    shape: Mapping[str, int] = field(default_factory=dict[str, int], compare=False)

    @cached_property
    def writer_index(self) -> dict[str, int]:
        """Name of a writer -> its column."""
        return {name: i for i, name in enumerate(self.writers)}

    @cached_property
    def reader_index(self) -> dict[str, int]:
        """Name of a reader -> its row."""
        return {name: i for i, name in enumerate(self.readers)}

    @cached_property
    def component_of(self) -> dict[str, Component]:
        """Name -> component."""
        return {component.name: component for component in self.components}

    @property
    def n_edges(self) -> int:
        """How many edges there are."""
        return int(self.exists.sum())

    def edges(self) -> Iterator[Edge]:
        """Every edge, in order of readers, then writers."""
        pairs = cast(list[list[int]], self.exists.nonzero().tolist())
        for row, column in pairs:
            yield Edge(self.writers[column], self.readers[row])

    def index(self, edge: Edge | str | Sequence[str]) -> tuple[int, int]:
        """(row, column) of an edge, given as a pair (writer, reader) or as "a0.h1->m2".

        Raises:
            DiscoveryError: there is no such edge.
        """
        pair = tuple(edge.split("->")) if isinstance(edge, str) else tuple(edge)
        if len(pair) != 2:
            raise DiscoveryError(f"{edge!r} is no edge", expected="'writer->reader' or (writer, reader)", found=edge)
        writer, reader = pair
        if writer not in self.writer_index:
            raise _unknown("writer", writer, self.writers)
        if reader not in self.reader_index:
            raise _unknown("reader", reader, self.readers)
        row, column = self.reader_index[reader], self.writer_index[writer]
        if not self.exists[row, column]:
            raise DiscoveryError(
                f"there is no edge {writer}->{reader}: {reader} reads before {writer} writes",
                expected="a writer that comes before the reader",
                found=f"{writer}->{reader}",
            )
        return row, column


def _unknown(what: str, name: str, known: Sequence[str]) -> DiscoveryError:
    close = difflib.get_close_matches(name, known, n=1)
    return DiscoveryError(
        f"there is no {what} {name!r}",
        expected=f"one of {len(known)} {what}s: {', '.join(known[:4])}, ...",
        found=name,
        hint=f"did you mean {close[0]!r}?" if close else None,
    )
