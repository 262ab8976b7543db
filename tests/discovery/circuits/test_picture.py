"""Pictures: everything is there, nothing overlaps, and it stands alone."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import scrub as rc
from scrub.discovery.circuits import Circuit, greedy, top_n
from scrub.discovery.circuits.layout import Layout, isotonic, layout
from scrub.discovery.circuits.picture import circuit_svg
from tests.discovery.circuits.graphs import edge_scores, random_scores, transformer

SVG = "{http://www.w3.org/2000/svg}"
SMALL, GPT2 = transformer(4, 8), transformer(12, 12)


def groups(svg: str, kind: str) -> dict[str, ET.Element]:
    """Title -> group, of what has a title."""
    found = {}
    for group in ET.fromstring(svg).iter(f"{SVG}g"):
        title = group.find(f"{SVG}title")
        if title is not None and kind in group.get("class", "").split():
            found[title.text or ""] = group
    return found


def boxes(svg: str) -> list[tuple[float, float, float, float]]:
    """Left, top, right, bottom of every node."""
    sides = []
    for group in groups(svg, "node").values():
        rect = group.find(f"{SVG}rect")
        assert rect is not None
        x, y, width, height = (float(rect.get(name, "")) for name in ("x", "y", "width", "height"))
        sides.append((x, y, x + width, y + height))
    return sides


CIRCUITS = {
    "10 edges": greedy(random_scores(SMALL, 0), 12, prune=False),
    "60 edges": greedy(random_scores(SMALL, 1), 60, prune=False),
    "200 edges": greedy(random_scores(GPT2, 2), 200, prune=False),
    "parallel": greedy(random_scores(transformer(3, 4, parallel=True), 3), 40, prune=False),
    "heads only": Circuit.full(transformer(2, 3, mlps=False)),
    "one input": Circuit.full(transformer(2, 2, split_qkv=False, inputs=2)),
}


@pytest.mark.parametrize("name", CIRCUITS)
def test_every_edge_and_node_is_drawn_and_nothing_overlaps(name: str) -> None:
    circuit = CIRCUITS[name]
    svg = circuit_svg(circuit)
    assert {title.split(":")[0] for title in groups(svg, "edge")} == {str(edge) for edge in circuit}
    assert set(groups(svg, "node")) == set(circuit.nodes)
    sides = boxes(svg)
    for a, b in itertools.combinations(sides, 2):
        assert a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]
    view = [float(number) for number in ET.fromstring(svg).get("viewBox", "").split()]
    assert max(right for _, _, right, _ in sides) - min(left for left, _, _, _ in sides) < view[2]
    assert max(bottom for *_, bottom in sides) < view[3]
    for group in groups(svg, "node").values():
        rect, text = group.find(f"{SVG}rect"), group.find(f"{SVG}text")
        assert rect is not None
        assert text is not None
        assert 6.7 * len(text.text or "") < float(rect.get("width", ""))


def test_colour_is_the_sign_and_width_the_size() -> None:
    graph = transformer(1, 2)
    values = torch.zeros(graph.exists.shape)
    sizes = {"input->m0": 0.5, "m0->logits": -2.0, "input->logits": 1.0, "a0.h1->m0": 0.0}
    for edge, score in sizes.items():
        values[graph.index(edge)] = score
    drawn = groups(circuit_svg(Circuit.of_edges(graph, sizes, scores=edge_scores(graph, values))), "edge")
    kinds = {title.split(":")[0]: group.get("class", "").split()[1] for title, group in drawn.items()}
    expected = {"input->m0": "raises", "m0->logits": "lowers", "input->logits": "raises", "a0.h1->m0": "plain"}
    assert kinds == expected
    width = {}
    for title, group in drawn.items():
        path = group.find(f"{SVG}path")
        assert path is not None
        width[title.split(":")[0]] = float(path.get("stroke-width", ""))
    assert sorted(width, key=width.__getitem__) == ["a0.h1->m0", "input->m0", "input->logits", "m0->logits"]


def test_layers_rise() -> None:
    svg = circuit_svg(CIRCUITS["60 edges"])
    top = {}
    for name, group in groups(svg, "node").items():
        rect = group.find(f"{SVG}rect")
        assert rect is not None
        top[name] = float(rect.get("y", ""))
    for edge in CIRCUITS["60 edges"]:
        assert top[edge.reader.rsplit(".", 1)[0] if edge.reader[-2:-1] == "." else edge.reader] < top[edge.writer]


def test_edges_end_at_the_input_they_are_for() -> None:
    graph = transformer(1, 1)
    drawn = groups(circuit_svg(Circuit.of_edges(graph, ["input->a0.h0.q", "input->a0.h0.k", "input->a0.h0.v"])), "edge")
    ends = {}
    for title, group in drawn.items():
        head = group.find(f"{SVG}polygon")
        assert head is not None
        ends[title[-1]] = float(head.get("points", "").split()[2].split(",")[0])
    assert ends["q"] + 10 < ends["k"] < ends["v"] - 10


def test_a_picture_stands_alone_and_is_always_the_same() -> None:
    circuit = CIRCUITS["60 edges"]
    svg = circuit_svg(circuit)
    again = greedy(random_scores(transformer(4, 8), 1), 60, prune=False)
    assert svg == circuit_svg(again) == circuit._repr_svg_() == circuit._repr_html_() == circuit.svg()
    for outside in ("href", "url(", "@import", "<script", "<image", "src="):
        assert outside not in svg
    assert "counterfactual ablation" in svg  # what the scores are


def test_large_circuits_show_their_largest_edges_and_say_so() -> None:
    scores = random_scores(SMALL, 5)
    svg = circuit_svg(top_n(scores, 500, prune=False), max_edges=30)
    assert {title.split(":")[0] for title in groups(svg, "edge")} == {str(e) for e in top_n(scores, 30, prune=False)}
    assert "30 edges drawn, those of the largest scores" in svg


def test_circuits_of_nodes_and_neurons_show_their_nodes() -> None:
    values = torch.arange(-3.0, len(SMALL.writers) - 3)
    circuit = top_n(edge_scores(SMALL, values, level="node"), 6, prune=False)
    svg = circuit_svg(circuit)
    assert {title.split(":")[0] for title in groups(svg, "node")} == set(circuit.nodes)
    assert not groups(svg, "edge")
    neurons = torch.zeros(len(SMALL.writers), 4, dtype=torch.bool)
    neurons[SMALL.writer_index["m2"], :3] = True
    assert "m2 3/4" in circuit_svg(Circuit.of_neurons(SMALL, neurons))


def test_other_names_titles_and_the_empty_circuit() -> None:
    circuit = CIRCUITS["heads only"]
    assert "lens.a1.h2" in circuit_svg(circuit, names="transformer_lens")
    assert "a &lt;b&gt; &amp; c" in circuit_svg(circuit, title="a <b> & c")
    assert "0 of 1,519 edges" in circuit_svg(Circuit.empty(SMALL))
    with pytest.raises(rc.DiscoveryError, match="no style of names"):
        circuit_svg(circuit, names="keras")


# ---- where things go ----


@given(seed=st.integers(0, 10_000), n=st.integers(1, 12))
def test_isotonic_regression_is_the_max_min_formula(seed: int, n: int) -> None:
    """max over a <= i of min over b >= i of the mean from a to b (Robertson et al. 1988)."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(n, generator=generator).tolist()
    weights = (torch.rand(n, generator=generator) + 0.1).tolist()

    def mean(a: int, b: int) -> float:
        part = range(a, b + 1)
        return sum(values[i] * weights[i] for i in part) / sum(weights[i] for i in part)

    expected = [max(min(mean(a, b) for b in range(i, n)) for a in range(i + 1)) for i in range(n)]
    assert isotonic(values, weights) == pytest.approx(expected)


def crossings(found: Layout, edges: list[tuple[int, int]], rows: list[int]) -> int:
    """How many pairs of lines change sides between two rows."""
    pieces: dict[int, list[tuple[float, float]]] = {}
    for (lower, upper), via in zip(edges, found.via, strict=True):
        xs = [found.x[lower], *via, found.x[upper]]
        for i, piece in enumerate(itertools.pairwise(xs)):
            pieces.setdefault(rows[lower] + i, []).append(piece)
    return sum((a[0] - b[0]) * (a[1] - b[1]) < 0 for of in pieces.values() for a, b in itertools.combinations(of, 2))


PLANAR = {
    "fan": ([0, 1, 1, 1, 2, 2, 2, 3], [(0, 1), (0, 2), (0, 3), (1, 6), (2, 4), (3, 5), (4, 7), (5, 7), (6, 7)]),
    "tree": ([0] * 6 + [1] * 3 + [2], [*((i, 6 + i % 3) for i in range(6)), (6, 9), (7, 9), (8, 9)]),
}


@pytest.mark.parametrize("name", PLANAR)
def test_what_can_be_drawn_without_crossings_is(name: str) -> None:
    rows, edges = PLANAR[name]
    assert crossings(layout(rows, [40.0] * len(rows), edges), edges, rows) == 0


@given(seed=st.integers(0, 10_000))
def test_lines_keep_clear_of_nodes(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = [0, *sorted(torch.randint(1, 5, (9,), generator=generator).tolist()), 5]
    rows = [sorted(set(rows)).index(row) for row in rows]
    pairs = [(a, b) for a in range(len(rows)) for b in range(len(rows)) if rows[a] < rows[b]]
    edges = [pair for pair in pairs if float(torch.rand((), generator=generator)) < 0.4]
    widths = (30 + 60 * torch.rand(len(rows), generator=generator)).tolist()
    found = layout(rows, widths, edges)
    for (lower, upper), via in zip(edges, found.via, strict=True):
        assert len(via) == rows[upper] - rows[lower] - 1
        for i, x in enumerate(via):
            beside = [n for n, row in enumerate(rows) if row == rows[lower] + 1 + i]
            assert all(abs(x - found.x[n]) > widths[n] / 2 + 4 for n in beside)
    for a, b in itertools.combinations(range(len(rows)), 2):
        if rows[a] == rows[b]:
            assert abs(found.x[a] - found.x[b]) > (widths[a] + widths[b]) / 2
