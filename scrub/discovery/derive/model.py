"""A model taken apart: its parts in order, which states of the stream each reads, and what each state adds up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from scrub.discovery.components import Component, ComponentGraph
from scrub.discovery.derive.parts import Part, make_part, part_name
from scrub.discovery.derive.stream import Stream, find_stream
from scrub.discovery.derive.walks import depending
from scrub.graph import DiscoveryError, Expr, Symbol
from scrub.rewrite.matcher import MatcherIn


@dataclass(frozen=True)
class Anatomy:
    """The parts of a model.

    Attributes:
        stream: its residual stream.
        parts: in order of computation, the logits last.
        inputs: the symbols of what the model reads.
    """

    stream: Stream
    parts: tuple[Part, ...]
    inputs: tuple[Symbol, ...]

    @cached_property
    def columns(self) -> dict[str, range]:
        """Name of a part -> the columns of the writers that it has."""
        found: dict[str, range] = {}
        start = 0
        for part in self.parts[:-1]:
            found[part.name] = range(start, start + n_heads(part))
            start += n_heads(part)
        return found

    @cached_property
    def rows(self) -> dict[tuple[str, str], range]:
        """(name of a part, label of a port) -> the rows of its readers."""
        found: dict[tuple[str, str], range] = {}
        start = 0
        for part in self.parts:
            for port in part.ports:
                found[part.name, port.label] = range(start, start + n_heads(part))
                start += n_heads(part)
        return found

    @cached_property
    def by_term(self) -> dict[Expr, str]:
        """Term -> name of the part that writes it."""
        return {part.term: part.name for part in self.parts[:-1]}

    def writers_of(self, state: Expr) -> list[str]:
        """The parts whose terms a state adds up."""
        return [self.by_term[term] for term in self.stream.states[state] if term in self.by_term]

    @cached_property
    def graph(self) -> ComponentGraph:
        """Its component graph."""
        components: list[Component] = []
        writers: list[str] = []
        readers: list[str] = []
        owners: list[str] = []
        for part in self.parts:
            names = component_names(part)
            kind = "head" if part.kind == "heads" else part.kind
            components += [
                Component(name, kind, part.layer, i if part.kind == "heads" else None) for i, name in enumerate(names)
            ]
            writers += names if part is not self.parts[-1] else []
            for port in part.ports:
                readers += [f"{name}.{port.label}" if port.label else name for name in names]
                owners += names
        exists = torch.zeros(len(readers), len(writers), dtype=torch.bool)
        for part in self.parts:
            for port in part.ports:
                rows = self.rows[part.name, port.label]
                for name in self.writers_of(port.state):
                    columns = self.columns[name]
                    exists[rows.start : rows.stop, columns.start : columns.stop] = True
        return ComponentGraph(tuple(components), tuple(writers), tuple(readers), tuple(owners), exists)


def n_heads(part: Part) -> int:
    """How many components a part is."""
    return math.prod(part.axes)


def component_names(part: Part) -> list[str]:
    """The names of a part's components."""
    return [f"{part.name}.h{i}" for i in range(n_heads(part))] if part.kind == "heads" else [part.name]


def take_apart(
    root: Expr, inputs: Sequence[Symbol], *, sums: MatcherIn | None = None, split_qkv: bool = True
) -> Anatomy:
    """The parts of an expression that has a residual stream.

    Args:
        root: what the model computes, its free symbols unbound.
        inputs: the symbols of what it reads: tokens, or the first residual stream.
        sums: a matcher of the residual sums, where these are not to be found by their skip connections.
        split_qkv: whether the query, key and value inputs of a head are readers of their own, or it has one input.

    Raises:
        DiscoveryError: there is no residual stream, or nothing reads it.
    """
    stream = find_stream(root, inputs, sums)
    states = list(stream.states)
    parts: list[Part] = []
    names: set[str] = set()
    for number, term in enumerate(stream.terms):
        if term in stream.constants:
            continue
        is_input = not (depending(term, set(states) - {term}) - {term})
        name = _input_name(term, inputs) if is_input else part_name(term, number)
        parts.append(
            make_part(term, states, _unused(name, names), "input" if is_input else "layer", split_qkv=split_qkv)
        )
    if not depending(stream.root, set(states)):
        raise DiscoveryError(f"{root!r} reads nothing of its residual stream", nodes=[root])
    parts.append(make_part(stream.root, states, "logits", "logits"))
    return Anatomy(stream, tuple(parts), tuple(inputs))


def _input_name(term: Expr, inputs: Sequence[Symbol]) -> str:
    """ "input", or the name of one of several inputs."""
    return str(term.name) if len(inputs) > 1 and term in inputs else "input"


def _unused(name: str, names: set[str]) -> str:
    """The name, or with a number where there is one such part already."""
    number, result = 1, name
    while result in names:
        result = f"{name}.{number}"
        number += 1
    names.add(result)
    return result
