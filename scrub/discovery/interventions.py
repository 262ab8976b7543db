"""Interventions as rewrites: the model's expression with readers that read something else.

The expression is put together from the model's parts. A reader of which no edge is patched reads its state of the
stream as before; another one reads the same sum with some of its terms replaced. What comes out is an expression like
any other, and the reference evaluator says what the intervention means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from scrub.discovery.components import Edge
from scrub.discovery.derive.model import component_names
from scrub.discovery.derive.parts import Part, Port
from scrub.discovery.machine import Machine
from scrub.graph import Add, Array, Concat, DiscoveryError, Einsum, Expr, Index, Scalar, Symbol
from scrub.rewrite.substitute import bind


@dataclass(frozen=True)
class Written:
    """What a part adds to the stream, as expressions.

    Attributes:
        each: what each of its writers writes, [*axes, *stream].
        rest: what it adds besides, or None.
        axes: the axes of its heads.
    """

    each: Expr
    rest: Expr | None
    axes: tuple[int, ...]

    @property
    def total(self) -> Expr:
        """All that it adds, [*stream]."""
        n, ndim = len(self.axes), self.each.ndim
        summed = Einsum((self.each, tuple(range(ndim))), out_axes=tuple(range(n, ndim))) if n else self.each
        return summed if self.rest is None else Add(summed, self.rest)

    def head(self, number: int) -> Expr:
        """What one of its writers writes: of axes [i, g], head g * n_i + i is [i, g]."""
        return Index(self.each, index_of_head(self.axes, number)) if self.axes else self.each


def counterfactual_writes(machine: Machine) -> tuple[dict[str, Expr], dict[Symbol, Symbol]]:
    """What every writer writes on another input, as expressions of symbols of their own.

    Returns:
        name of a writer -> expression; and symbol of the model's input -> the symbol that stands for the other one.
    """
    inputs = machine.anatomy.inputs
    other = {symbol: Symbol.new_with_random_uuid(symbol.shape, f"{symbol.name}.other") for symbol in inputs}
    written = _Assembly(machine, {}, {}).run()
    found: dict[str, Expr] = {}
    for part in machine.anatomy.parts[:-1]:
        names = component_names(part)
        found |= {name: bind(written[part.name].head(i), other) for i, name in enumerate(names)}
    return found, other


def fixed_writes(machine: Machine, writes: torch.Tensor) -> dict[str, Expr]:
    """Tensors [n_writers, *stream] as expressions: name of a writer -> what replaces it. Axes of size 1 stay so."""
    return {
        name: Array(value.clone(), f"{name}.fixed") for name, value in zip(machine.graph.writers, writes, strict=True)
    }


def zero_writes(machine: Machine) -> dict[str, Expr]:
    """Name of a writer -> 0, to replace it."""
    return {name: Scalar(0.0, (), f"{name}.zero") for name in machine.graph.writers}


def patched_expression(
    machine: Machine,
    edges: Iterable[Edge | str | Sequence[str]] = (),
    *,
    nodes: Iterable[str] = (),
    replacements: Mapping[str, Expr],
) -> Expr:
    """The logits as an expression, with edges patched: readers read the replacement of a writer instead of the writer.

    Unpatched edges carry what their writer computes in the patched model (recursive patching), as in `PatchedRun`.

    Args:
        machine: the model.
        edges: pairs (writer, reader), or "a0.h1->m1".
        nodes: writers all of whose edges are patched.
        replacements: name of a writer -> what is read instead, of the shape of the stream or one that is repeated
            to it: `counterfactual_writes`, `fixed_writes`, `zero_writes`, or any expression.

    Returns:
        the expression, free in the model's inputs and in what the replacements are free in.

    Raises:
        DiscoveryError: no such edge or writer, or a patched one has no replacement.

    >>> from scrub.discovery.machine import machine_of
    >>> from scrub.models import load_shipped
    >>> machine = machine_of(load_shipped("attn_only_2l"))
    >>> expr = patched_expression(machine, ["a0.h1->a1.h0.q"], replacements=zero_writes(machine))
    >>> sorted({symbol.name for symbol in expr.free_symbols} & {"t.input"})
    ['t.input']
    """
    graph = machine.graph
    patched: dict[str, list[str]] = {}
    for edge in edges:
        row, column = graph.index(edge)
        patched.setdefault(graph.readers[row], []).append(graph.writers[column])
    for name in nodes:
        if name not in graph.writer_index:
            raise DiscoveryError(f"no component {name!r} writes", expected=graph.writers[:4], found=name)
        for reader, is_there in zip(graph.readers, graph.exists[:, graph.writer_index[name]], strict=True):
            if is_there:
                patched.setdefault(reader, []).append(name)
    assembly = _Assembly(machine, patched, replacements)
    assembly.run()
    return assembly.logits()


def path_patched_expression(
    machine: Machine, paths: Iterable[Sequence[str]], *, replacements: Mapping[str, Expr]
) -> Expr:
    """The logits with paths patched: (writer, reader, reader, ..., "logits").

    The replacement of the writer goes along these paths only. Each component on a path is computed anew for it, from
    the replaced term and, for all else, from what the model itself computes: the model as a tree of paths, of which
    some start from something else.

    Args:
        machine: the model.
        paths: each a writer and the readers on the way; a reader's component writes to the next.
        replacements: as of `patched_expression`.

    Raises:
        DiscoveryError: a path that does not lead to the logits, or leads along no edge.
    """
    chains = [tuple(path) for path in paths]
    for path in chains:
        _check_path(machine, path)
    assembly = _Assembly(machine, {}, replacements)
    assembly.run()
    suffixes = sorted({path[i:] for path in chains for i in range(1, len(path))}, key=len, reverse=True)
    read: dict[tuple[str, ...], Expr] = {}
    for suffix in suffixes:
        changed: dict[str, Expr] = {}
        for path in chains:
            if len(path) > len(suffix) and path[len(path) - len(suffix) :] == suffix:
                before = len(path) - len(suffix) - 1
                if before == 0:
                    changed[path[0]] = assembly.replacement(path[0])
                else:
                    owner = machine.graph.owners[machine.graph.reader_index[path[before]]]
                    own = {r: expr for (r, *rest), expr in read.items() if tuple(rest) == suffix}
                    changed[owner] = assembly.component(owner, own)
        read[suffix] = assembly.sum_for(suffix[0], changed)
    return assembly.logits({reader: expr for (reader, *rest), expr in read.items() if not rest})


def _check_path(machine: Machine, path: tuple[str, ...]) -> None:
    if len(path) < 2 or path[-1] != "logits":
        raise DiscoveryError(
            f"{' -> '.join(path)} does not lead to the logits",
            expected="(writer, reader, ..., 'logits')",
            found=path,
            hint="a path starts with a writer and ends with 'logits'",
        )
    writer = path[0]
    for reader in path[1:]:
        machine.graph.index((writer, reader))
        writer = machine.graph.owners[machine.graph.reader_index[reader]]


class _Assembly:
    """A model put together from its parts.

    Args:
        machine: the model.
        patched: name of a reader -> the writers whose replacements it reads.
        replacements: name of a writer -> its replacement.
    """

    def __init__(
        self, machine: Machine, patched: Mapping[str, Sequence[str]], replacements: Mapping[str, Expr]
    ) -> None:
        self._machine = machine
        self._patched = patched
        self._replacements = replacements
        self._written: dict[str, Written] = {}

    def run(self) -> dict[str, Written]:
        """Name of a part -> what it writes."""
        for part in self._machine.anatomy.parts[:-1]:
            self._written[part.name] = self._part(part, self._patched_reads(part))
        return self._written

    def logits(self, reads: Mapping[str, Expr] | None = None) -> Expr:
        """The logits, where some of what they read is given by the name of the reader."""
        readout = self._machine.readout
        return self._part(readout, self._patched_reads(readout) if reads is None else reads).each

    def component(self, name: str, reads: Mapping[str, Expr]) -> Expr:
        """What a component writes where some of its readers read what is given, and all else is the model's own."""
        for part in self._machine.anatomy.parts[:-1]:
            names = component_names(part)
            if name in names:
                return self._part(part, reads).head(names.index(name))
        raise DiscoveryError(f"no component {name!r} writes", expected=self._machine.graph.writers[:4], found=name)

    def sum_for(self, reader: str, changed: Mapping[str, Expr]) -> Expr:
        """What a reader reads where some writers are changed."""
        for part in self._machine.anatomy.parts:
            for port in part.ports:
                if reader in self._readers(part, port):
                    return self._sum(port.state, changed)
        raise DiscoveryError(f"there is no reader {reader!r}", expected=self._machine.graph.readers[:4], found=reader)

    def replacement(self, writer: str) -> Expr:
        """What replaces a writer."""
        if writer not in self._replacements:
            raise DiscoveryError(
                f"{writer} is patched and has no replacement",
                expected="an expression for every patched writer",
                found=sorted(self._replacements)[:8],
                hint="counterfactual_writes(machine) has one for each",
            )
        return self._replacements[writer]

    def _patched_reads(self, part: Part) -> dict[str, Expr]:
        """What the patched readers of a part read."""
        found: dict[str, Expr] = {}
        for port in part.ports:
            for reader in self._readers(part, port):
                if reader in self._patched:
                    changed = {writer: self.replacement(writer) for writer in self._patched[reader]}
                    found[reader] = self._sum(port.state, changed)
        return found

    def _part(self, part: Part, reads: Mapping[str, Expr]) -> Written:
        """What a part writes where some of its readers read what is given."""
        plain = {state: self._sum(state, {}) for state in part.states}
        if not any(reader in reads for port in part.ports for reader in self._readers(part, port)):
            values = {symbol: plain[state] for state, symbol in part.symbols.items()}
            return Written(bind(part.each, values), None if part.rest is None else bind(part.rest, values), part.axes)
        ports: dict[Symbol, Expr] = {}
        for port in part.ports:
            own = [reads.get(reader, plain[port.state]) for reader in self._readers(part, port)]
            ports[port.symbol] = _stacked(own, part.axes) if part.axes else own[0]
        entries = {entry: bind(expr, ports) for entry, expr in zip(part.entries, part.entered, strict=True)}
        rest = part.inner_rest
        return Written(bind(part.inner, entries), None if rest is None else bind(rest, entries), part.axes)

    def _readers(self, part: Part, port: Port) -> list[str]:
        rows = self._machine.anatomy.rows[part.name, port.label]
        return list(self._machine.graph.readers[rows.start : rows.stop])

    def _sum(self, state: Expr, changed: Mapping[str, Expr]) -> Expr:
        """A state of the stream, with some writers' terms changed."""
        by_term = {part.term: part for part in self._machine.anatomy.parts[:-1]}
        terms: list[Expr] = []
        for term in self._machine.anatomy.stream.states[state]:
            part = by_term.get(term)
            if part is None:
                terms.append(term)
                continue
            written, names = self._written[part.name], component_names(part)
            if not any(name in changed for name in names):
                terms.append(written.total)
                continue
            terms += [changed.get(name, written.head(i)) for i, name in enumerate(names)]
            terms += [] if written.rest is None else [written.rest]
        if not any(term.shape == state.shape for term in terms):  # all of them repeated along the stream
            terms.append(Scalar(0.0, state.shape))
        return Add(*terms) if len(terms) > 1 else terms[0]


def index_of_head(axes: Sequence[int], number: int) -> tuple[int, ...]:
    """The place of a head on the axes of a part."""
    found: list[int] = []
    for size in axes:
        number, at = divmod(number, size)
        found.append(at)
    return tuple(found)


def _stacked(reads: Sequence[Expr], axes: tuple[int, ...]) -> Expr:
    """One reading for each head, [*axes, *stream]."""
    current = {index_of_head(axes, number): expr for number, expr in enumerate(reads)}
    for size in reversed(axes):
        outer = dict.fromkeys(place[:-1] for place in current)
        current = {place: Concat.stack(*(current[*place, i] for i in range(size))) for place in outer}
    return current[()]
