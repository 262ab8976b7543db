"""Circuits as pictures: one self-contained SVG, layers from bottom to top.

Colours are the variables of the project's pages where there are such, so that a picture in a page follows it; alone, it
is on white.
"""

from __future__ import annotations

import itertools
import textwrap
from dataclasses import dataclass
from html import escape

import torch

from scrub.discovery.circuits.circuit import Circuit
from scrub.discovery.circuits.layout import Layout, layout
from scrub.discovery.circuits.text import readable_names
from scrub.discovery.components import Component, ComponentGraph
from scrub.discovery.scores import index_rows

_LETTER, _HEIGHT, _MARGIN, _LEFT = 6.7, 32.0, 18.0, 74.0
_PORT = 5.0  # between edges at a node
_PADDING = 8.0  # of nodes, both sides together
_THIN, _THICK = 0.9, 5.5  # width of lines
_STYLE = """
.scrub-circuit { max-width: 100%; height: auto; font: 11px ui-monospace, "DejaVu Sans Mono", Menlo, monospace; }
.scrub-circuit text { fill: var(--text, #1c2024); font: inherit; }
.scrub-circuit text.soft { fill: var(--soft, #60646c); }
.scrub-circuit text.port { fill: var(--soft, #60646c); font-size: 9px; }
.scrub-circuit .page { fill: var(--page, #ffffff); }
.scrub-circuit .band { fill: var(--panel, #f6f7f9); }
.scrub-circuit .node rect { fill: var(--page, #ffffff); stroke: var(--soft, #60646c); stroke-width: 1.1; }
.scrub-circuit .mlp rect { fill: var(--panel, #eef0f3); }
.scrub-circuit .rule { fill: none; stroke: var(--line, #d9dde2); }
.scrub-circuit .edge path { fill: none; }
.scrub-circuit .edge polygon { stroke: none; }
.scrub-circuit .edge.raises path, .scrub-circuit .raises rect { stroke: var(--scrubbed, #c2410c); }
.scrub-circuit .edge.lowers path, .scrub-circuit .lowers rect { stroke: var(--original, #0072b2); }
.scrub-circuit .plain path { stroke: var(--soft, #60646c); }
.scrub-circuit .raises polygon { fill: var(--scrubbed, #c2410c); }
.scrub-circuit .lowers polygon { fill: var(--original, #0072b2); }
.scrub-circuit .plain polygon { fill: var(--soft, #60646c); }
.scrub-circuit .edge { opacity: .8; } .scrub-circuit .edge:hover { opacity: 1; }
"""


@dataclass(frozen=True)
class _Line:
    """An edge that is drawn."""

    writer: int
    reader: int
    part: str  # "q", "k", "v" or ""
    name: str
    score: float | None


@dataclass(frozen=True)
class _Drawing:
    """What is drawn, and where."""

    nodes: list[Component]
    labels: list[str]
    parts: list[tuple[str, ...]]  # of each node, the inputs it has apart
    scores: list[float | None]  # of each node
    rows: list[int]
    rooms: list[list[float]]  # of each node, how wide each of these is
    lines: list[_Line]
    notes: list[str]
    units: str  # what scores are of
    layout: Layout
    tops: list[float]  # y of the upper side of each row

    @property
    def largest(self) -> float:
        """Of the absolute scores that are drawn."""
        scores = [*self.scores, *(line.score for line in self.lines)]
        return max((abs(score) for score in scores if score is not None), default=0.0)

    @property
    def widths(self) -> list[float]:
        return [sum(rooms) + _PADDING for rooms in self.rooms]

    @property
    def bottom(self) -> float:
        return (self.tops[0] if self.tops else 0.0) + _HEIGHT


def circuit_svg(circuit: Circuit, *, names: str = "scrub", max_edges: int = 250, title: str | None = None) -> str:
    """A picture of a circuit: layers from bottom to top, edges with colour by sign and width by size of score.

    Edges end at the q, k or v of a head. Of a circuit of nodes or neurons only the nodes are drawn, as all their
    outgoing edges are in; borders show the scores. Hovering shows names and numbers. The same circuit gives the
    same picture, letter for letter.

    Args:
        circuit: what is drawn.
        names: "scrub", "transformer_lens" or "hugging_face".
        max_edges: of a circuit of more, these many of the largest scores are drawn, and the picture says so.
        title: the first line under the picture; otherwise how the circuit was chosen.

    Returns:
        An `<svg>` element that needs nothing else.

    Raises:
        DiscoveryError: the graph has no such names.

    >>> from scrub.discovery.components import Component
    >>> parts = (Component("input", "input"), Component("m0", "mlp", 0), Component("logits", "logits"))
    >>> exists = torch.tensor([[True, False], [True, True]])
    >>> graph = ComponentGraph(parts, ("input", "m0"), ("m0", "logits"), ("m0", "logits"), exists)
    >>> svg = circuit_svg(Circuit.full(graph))
    >>> svg[:5], svg.count('class="edge'), svg.count('class="node')
    ('<svg ', 3, 3)
    """
    drawing = _drawing(circuit, names, max_edges, title)
    starts, ends = _ports(drawing)
    by_size = sorted(range(len(drawing.lines)), key=lambda i: abs(drawing.lines[i].score or 0.0))
    body = [_edge(drawing, i, starts[i], ends[i]) for i in by_size]
    body += [_node(drawing, i) for i in range(len(drawing.nodes))]
    width = max(_LEFT + drawing.layout.right - drawing.layout.left + _MARGIN, 460.0)
    shift = (_LEFT + width - _MARGIN - drawing.layout.left - drawing.layout.right) / 2
    legend, height = _legend(drawing, width)
    label = escape(title or repr(circuit), quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="scrub-circuit" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img" aria-label="{label}"><style>{_STYLE}</style>'
        f'<rect class="page" width="{width:.0f}" height="{height:.0f}"/>{_bands(drawing, width)}'
        f'<g transform="translate({shift:.1f} 0)">{"".join(body)}</g>{legend}</svg>'
    )


# ---- what is drawn ----


def _drawing(circuit: Circuit, names: str, max_edges: int, title: str | None) -> _Drawing:
    graph, shown = circuit.graph, readable_names(circuit.graph, names)
    notes = [title or _counts(circuit), str(circuit.scores) if circuit.scores is not None else ""]
    edges = index_rows(circuit.kept.nonzero()) if circuit.level == "edge" else []
    values = None if circuit.scores is None else circuit.scores.values
    if len(edges) > max_edges:
        sizes = {(r, c): 0.0 if values is None else abs(float(values[r, c])) for r, c in edges}
        notes.insert(1, f"{max_edges:,} edges drawn" + ("" if values is None else ", those of the largest scores"))
        edges = sorted(sorted(edges, key=lambda at: -sizes[at[0], at[1]])[:max_edges])
    names_in = {graph.writers[c] for _, c in edges} | {graph.owners[r] for r, _ in edges}
    if circuit.level != "edge":
        names_in = set(circuit.nodes)
        notes.insert(1, f"all outgoing edges of these {circuit.level}s are kept")
    nodes = [component for component in graph.components if component.name in names_in]
    number = {component.name: i for i, component in enumerate(nodes)}
    lines = [_line(graph, values, number, row, column) for row, column in edges]
    labels = [shown[node.name] + _share(circuit, node.name) for node in nodes]
    parts = [_parts(graph, node.name) if circuit.level == "edge" else () for node in nodes]
    rooms = [_rooms(labels[i], parts[i], i, lines) for i in range(len(nodes))]
    rows = _rows(graph, nodes)
    placed = layout(rows, [sum(room) + _PADDING for room in rooms], [(line.writer, line.reader) for line in lines])
    scores = [_node_score(circuit, node.name) for node in nodes]
    units = "" if circuit.scores is None else circuit.scores.metric
    notes = [note for note in notes if note]
    return _Drawing(nodes, labels, parts, scores, rows, rooms, lines, notes, units, placed, _tops(rows, lines, placed))


def _counts(circuit: Circuit) -> str:
    neurons = "" if circuit.n_neurons is None else f"{circuit.n_neurons:,} neurons, "
    edges = f"{circuit.n_edges:,} of {circuit.graph.n_edges:,} edges"
    return f"{neurons}{circuit.n_nodes:,} nodes, {edges}: {circuit.selection}"


def _line(graph: ComponentGraph, values: torch.Tensor | None, number: dict[str, int], row: int, column: int) -> _Line:
    writer, reader, owner = graph.writers[column], graph.readers[row], graph.owners[row]
    score = None if values is None else float(values[row, column])
    part = reader.removeprefix(owner).removeprefix(".")
    return _Line(number[writer], number[owner], part, f"{writer}->{reader}", score)


def _share(circuit: Circuit, name: str) -> str:
    """How many of a writer's neurons are in."""
    if circuit.neurons is None or name not in circuit.graph.writer_index:
        return ""
    row = circuit.neurons[circuit.graph.writer_index[name]]
    return f" {int(row.sum())}/{len(row)}"


def _node_score(circuit: Circuit, name: str) -> float | None:
    """Of circuits of nodes and neurons; of neurons, the sum over those that are in."""
    column = circuit.graph.writer_index.get(name)
    if circuit.scores is None or circuit.level == "edge" or column is None:
        return None
    values = circuit.scores.values[column]
    return float(values if circuit.neurons is None else values[circuit.neurons[column]].sum())


def _parts(graph: ComponentGraph, name: str) -> tuple[str, ...]:
    readers = [reader for reader, owner in zip(graph.readers, graph.owners, strict=True) if owner == name]
    return tuple(part for reader in readers if (part := reader.removeprefix(name).removeprefix(".")))


def _rooms(label: str, parts: tuple[str, ...], node: int, lines: list[_Line]) -> list[float]:
    """Widths of the inputs of a node: for its edges below, and together for its label and the edges above."""
    out = sum(line.writer == node for line in lines)
    into = [sum(line.reader == node and line.part == part for line in lines) for part in parts or ("",)]
    rooms = [min(max(14.0, _PORT * n + 4), 420.0) for n in into]
    needed = max(_LETTER * len(label) + 16, 44.0, min(_PORT * out, 420.0) + 12) - _PADDING
    more = max(0.0, needed - sum(rooms)) / len(rooms)
    return [room + more for room in rooms]


def _rows(graph: ComponentGraph, nodes: list[Component]) -> list[int]:
    """Of each node: how many others come one after another below it, counting rows that are drawn only."""
    depth: dict[str, int] = {}
    rows_of: dict[str, list[int]] = {}
    for row, owner in enumerate(graph.owners):
        rows_of.setdefault(owner, []).append(row)
    for component in graph.components:
        feeding = graph.exists[rows_of.get(component.name, [])].any(0)
        depth[component.name] = max((depth[graph.writers[c]] + 1 for (c,) in index_rows(feeding.nonzero())), default=0)
    used = {d: i for i, d in enumerate(sorted({depth[node.name] for node in nodes}))}
    return [used[depth[node.name]] for node in nodes]


def _tops(rows: list[int], lines: list[_Line], placed: Layout) -> list[float]:
    """y of each row's upper side; rows are farther apart where lines between them go far to the side."""
    n_rows = max(rows, default=-1) + 1
    reach = [0.0] * n_rows  # above each row
    for line, via in zip(lines, placed.via, strict=True):
        xs = [placed.x[line.writer], *via, placed.x[line.reader]]
        for i, (low, high) in enumerate(itertools.pairwise(xs)):
            reach[rows[line.writer] + i] = max(reach[rows[line.writer] + i], abs(high - low))
    tops = [0.0] * n_rows
    y = _MARGIN
    for row in range(n_rows - 1, -1, -1):
        if row < n_rows - 1:
            y += _HEIGHT + min(36 + 0.16 * reach[row], 110.0)
        tops[row] = y
    return tops


# ---- how it is drawn ----


def _ports(drawing: _Drawing) -> tuple[list[float], list[float]]:
    """x of both ends of each edge: side by side, in the order in which they leave and come."""
    lines, placed = drawing.lines, drawing.layout
    first = [(*via, placed.x[line.reader])[0] for line, via in zip(lines, placed.via, strict=True)]
    last = [(placed.x[line.writer], *via)[-1] for line, via in zip(lines, placed.via, strict=True)]
    starts, ends = [0.0] * len(lines), [0.0] * len(lines)
    for node, (x, width, parts) in enumerate(zip(placed.x, drawing.widths, drawing.parts, strict=True)):
        leaving = sorted((i for i, line in enumerate(lines) if line.writer == node), key=lambda i: (first[i], i))
        _spread(leaving, x, width - 12, starts)
        for part, (middle, room) in zip(parts or ("",), _middles(x, drawing.rooms[node]), strict=True):
            coming = [i for i, line in enumerate(lines) if line.reader == node and line.part == part]
            _spread(sorted(coming, key=lambda i: (last[i], i)), middle, room - 6, ends)
    return starts, ends


def _middles(x: float, rooms: list[float]) -> list[tuple[float, float]]:
    """Middle and width of each input of a node at x."""
    left = x - sum(rooms) / 2
    return [(left + sum(rooms[:i]) + room / 2, room) for i, room in enumerate(rooms)]


def _spread(lines: list[int], middle: float, room: float, x: list[float]) -> None:
    step = min(9.0, room / max(len(lines) - 1, 1))
    for i, line in enumerate(lines):
        x[line] = middle + (i - (len(lines) - 1) / 2) * step


def _thickness(score: float | None, largest: float) -> float:
    return 1.3 if score is None or not largest else _THIN + (_THICK - _THIN) * abs(score) / largest


def _sign(score: float | None) -> str:
    return "plain" if not score else "raises" if score > 0 else "lowers"


def _edge(drawing: _Drawing, number: int, start: float, end: float) -> str:
    """A line that is upright wherever it passes a row, with a head."""
    line, via = drawing.lines[number], drawing.layout.via[number]
    row = drawing.rows[line.writer]
    x, y = start, drawing.tops[row]
    steps = [f"M{x:.1f} {y:.1f}"]
    size = _thickness(line.score, drawing.largest)
    head = 3.5 + 1.2 * size
    for i, target in enumerate([*via, end]):
        is_end = i == len(via)
        bottom = drawing.tops[row + i + 1] + _HEIGHT + (head if is_end else 0.0)
        bend = 0.5 * (y - bottom)
        steps.append(f"C{x:.1f} {y - bend:.1f} {target:.1f} {bottom + bend:.1f} {target:.1f} {bottom:.1f}")
        x, y = target, bottom
        if not is_end:
            y -= _HEIGHT
            steps.append(f"V{y:.1f}")
    half = 0.8 + 0.75 * size
    triangle = f"{x - half:.1f},{y + 0.5:.1f} {x + half:.1f},{y + 0.5:.1f} {x:.1f},{y - head:.1f}"
    tip = escape(line.name + ("" if line.score is None else f": {line.score:+.4g}"))
    return (
        f'<g class="edge {_sign(line.score)}"><path d="{"".join(steps)}" stroke-width="{size:.2f}"/>'
        f'<polygon points="{triangle}"/><title>{tip}</title></g>'
    )


def _node(drawing: _Drawing, number: int) -> str:
    node, x, width = drawing.nodes[number], drawing.layout.x[number], drawing.widths[number]
    top, parts, score = drawing.tops[drawing.rows[number]], drawing.parts[number], drawing.scores[number]
    radius = {"head": 9.0, "mlp": 2.0, "layer": 2.0}.get(node.kind, _HEIGHT / 2)
    border = f' style="stroke-width:{_thickness(score, drawing.largest):.2f}"' if score is not None else ""
    box = f'x="{x - width / 2:.1f}" y="{top:.1f}" width="{width:.1f}" height="{_HEIGHT:.0f}" rx="{radius:.0f}"'
    marks = [f"<rect {box}{border}/>", _text(x, top + (14 if parts else 20), drawing.labels[number])]
    for i, (middle, room) in enumerate(_middles(x, drawing.rooms[number]) if parts else []):
        marks.append(_text(middle, top + 27, parts[i], kind="port"))
        if i:
            marks.append(f'<path class="rule" d="M{middle - room / 2:.1f} {top + _HEIGHT - 1:.1f}v-9"/>')
    tip = escape(node.name + ("" if score is None else f": {score:+.4g}"))
    sign = f" {_sign(score)}" if score is not None else ""
    return f'<g class="node {node.kind}{sign}">{"".join(marks)}<title>{tip}</title></g>'


def _text(x: float, y: float, text: str, *, kind: str = "label") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{escape(text)}</text>'


def _bands(drawing: _Drawing, width: float) -> str:
    """Every other layer on a band, each with its number."""
    layer_of = {drawing.rows[i]: node.layer for i, node in enumerate(drawing.nodes)}
    layers = sorted({layer for layer in layer_of.values() if layer is not None})
    marks: list[str] = []
    for i, layer in enumerate(layers):
        rows = sorted(row for row, of in layer_of.items() if of == layer)
        above = drawing.tops[rows[-1] + 1] + _HEIGHT if rows[-1] + 1 < len(drawing.tops) else 0.0
        below = drawing.tops[rows[0] - 1] if rows[0] else drawing.bottom + _MARGIN
        top = (drawing.tops[rows[-1]] + above) / 2
        bottom = (drawing.tops[rows[0]] + _HEIGHT + below) / 2
        if i % 2 == 0:
            marks.append(f'<rect class="band" y="{top:.1f}" width="{width:.0f}" height="{bottom - top:.1f}"/>')
        marks.append(f'<text class="soft" x="12" y="{(top + bottom) / 2 + 4:.1f}">layer {layer}</text>')
    return "".join(marks)


def _legend(drawing: _Drawing, width: float) -> tuple[str, float]:
    """What colours and widths mean, and the notes; with the height of everything."""
    y = drawing.bottom + 34
    marks: list[str] = []
    if drawing.largest:
        x = 12.0
        for sign, word in (("raises", "raises"), ("lowers", "lowers")):
            text = f"corrupting it {word} {drawing.units}"
            marks.append(f'<g class="edge {sign}"><path d="M{x:.0f} {y - 4:.0f}h26" stroke-width="3"/></g>')
            marks.append(f'<text x="{x + 34:.0f}" y="{y:.0f}">{escape(text)}</text>')
            y += 18
        for share in (1.0, 0.25):
            size = _thickness(share * drawing.largest, drawing.largest)
            marks.append(f'<g class="edge plain"><path d="M{x:.0f} {y - 4:.0f}h26" stroke-width="{size:.2f}"/></g>')
            text = f"{share * drawing.largest:.3g}"
            marks.append(f'<text x="{x + 34:.0f}" y="{y:.0f}">{text}</text>')
            x += 34 + _LETTER * len(text) + 24
        y += 22
    for note in drawing.notes:
        for line in textwrap.wrap(note, int((width - 24) / _LETTER)):
            marks.append(f'<text class="soft" x="12" y="{y:.0f}">{escape(line)}</text>')
            y += 16
    return "".join(marks), y
