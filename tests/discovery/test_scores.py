"""`Scores`: checks, reading, tables, files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import scrub as rc
from scrub.discovery.components import Edge
from scrub.discovery.scores import Scores
from tests.discovery.circuits.graphs import edge_scores, random_scores, transformer

GRAPH = transformer(2, 3)
SHAPE = tuple(GRAPH.exists.shape)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_graphs_of_known_models_have_their_numbers_of_edges() -> None:
    assert transformer(12, 12).n_edges == 32_491
    assert transformer(4, 8).n_edges == 1_519
    gpt2 = transformer(12, 12)
    assert len(gpt2.components) == 158
    assert (len(gpt2.writers), len(gpt2.readers)) == (157, 12 * 37 + 1)


def test_values_are_a_float64_copy_and_zero_where_there_is_no_edge() -> None:
    given = torch.ones(SHAPE, dtype=torch.float32, requires_grad=True)
    scores = edge_scores(GRAPH, given)
    assert scores.values.dtype == torch.float64
    assert not scores.values.requires_grad
    assert torch.equal(scores.values != 0, GRAPH.exists)
    given = torch.ones(SHAPE, dtype=torch.float64)
    scores = edge_scores(GRAPH, given)
    assert bool((given == 1.0).all())
    given.mul_(3.0)
    assert float(scores.values.max()) == 1.0


def test_nan_where_there_is_no_edge_does_not_matter() -> None:
    values = torch.where(GRAPH.exists, torch.ones(SHAPE), torch.nan)
    assert float(edge_scores(GRAPH, values).values.sum()) == GRAPH.n_edges


def test_nan_and_infinity_are_refused_by_the_name_of_the_edge() -> None:
    values = torch.zeros(SHAPE)
    values[GRAPH.index("m0->a1.h2.k")] = torch.nan
    with pytest.raises(
        rc.DiscoveryError, match=r"1 of \d+ values are not finite, the first is that of m0->a1.h2.k"
    ) as e:
        edge_scores(GRAPH, values)
    assert "hint: look for NaN" in str(e.value)
    neurons = torch.zeros(len(GRAPH.writers), 4, 3)
    neurons[GRAPH.writer_index["m1"], 2, 1] = torch.inf
    with pytest.raises(rc.DiscoveryError, match=r"that of m1\[2\] at 1"):
        edge_scores(GRAPH, neurons, level="neuron", per_position=True)


def test_errors_may_be_nan_but_of_the_right_shape() -> None:
    scores = edge_scores(GRAPH, torch.zeros(SHAPE), errors=torch.full(SHAPE, torch.nan))
    assert scores.errors is not None
    assert bool(scores.errors[GRAPH.exists].isnan().all())
    with pytest.raises(rc.DiscoveryError, match="errors of edge scores"):
        edge_scores(GRAPH, torch.zeros(SHAPE), errors=torch.zeros(3))


@pytest.mark.parametrize(
    ("level", "shape", "hint"),
    [
        ("edge", SHAPE[::-1], "reader, writer"),
        ("edge", (*SHAPE, 5), "per_position=True"),
        ("node", SHAPE[:1], "scores of edges"),
        ("neuron", (3, 4), "scores of edges"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(level: str, shape: tuple[int, ...], hint: str) -> None:
    with pytest.raises(rc.DiscoveryError) as caught:
        edge_scores(GRAPH, torch.zeros(shape), level=level)
    assert caught.value.found == shape
    assert hint in str(caught.value)


def test_unknown_levels_are_refused() -> None:
    with pytest.raises(rc.DiscoveryError, match="no level 'layer'"):
        edge_scores(GRAPH, torch.zeros(SHAPE), level="layer")


def test_scores_are_found_by_edge_text_and_component() -> None:
    scores = random_scores(GRAPH, 1)
    row, column = GRAPH.reader_index["a1.h0.q"], GRAPH.writer_index["m0"]
    expected = scores.values[row, column]
    assert scores["m0->a1.h0.q"] == scores[Edge("m0", "a1.h0.q")] == scores["m0", "a1.h0.q"] == expected
    outgoing = sum(float(scores[edge]) for edge in GRAPH.edges() if edge.writer == "a0.h1")
    assert float(scores["a0.h1"]) == pytest.approx(outgoing, abs=1e-12)
    for unknown in ("a9.h9", "logits"):
        with pytest.raises(rc.DiscoveryError, match="writes, so it has no score"):
            scores[unknown]
    with pytest.raises(rc.DiscoveryError, match=r"no edge m0->a0\.h0\.q"):
        scores["m0->a0.h0.q"]
    with pytest.raises(rc.DiscoveryError, match="scores of nodes"):
        scores.nodes()["m0->m1"]


def test_what_is_read_cannot_change_the_scores() -> None:
    scores = edge_scores(GRAPH, noise(len(GRAPH.writers), 4), level="neuron")
    before = scores.values.clone()
    scores["m0"].zero_()
    scores.ranking("signed").zero_()
    assert torch.equal(scores.values, before)


def test_signed_order_puts_what_helps_first_whatever_the_metric() -> None:
    values = torch.zeros(SHAPE)
    values[GRAPH.index("input->logits")] = -1.0  # corrupting it lowers the metric
    better = edge_scores(GRAPH, values, larger_is_better=True).ranking("signed")
    worse = edge_scores(GRAPH, values, larger_is_better=False).ranking("signed")
    assert float(better[GRAPH.index("input->logits")]) == 1.0
    assert float(worse[GRAPH.index("input->logits")]) == -1.0
    assert not bool((better == 0).logical_and(better.signbit()).any())  # no negative zeros


def test_orders_that_are_not_there_are_refused() -> None:
    scores = random_scores(GRAPH, 2)
    with pytest.raises(rc.DiscoveryError, match="examples' absolute scores"):
        scores.ranking("per_example")
    with pytest.raises(rc.DiscoveryError, match="no order 'size'"):
        scores.ranking("size")  # pyright: ignore[reportArgumentType]
    sizes = scores.values.abs() * 2
    assert torch.equal(random_scores(GRAPH, 2, absolute=sizes).ranking("per_example"), sizes)


def test_positions_sum_to_scores_and_edges_and_neurons_to_nodes() -> None:
    values = noise(*SHAPE, 5)
    scores = edge_scores(GRAPH, values, per_position=True, errors=values.abs())
    summed = scores.summed()
    torch.testing.assert_close(summed.values, values.sum(-1) * GRAPH.exists)
    assert summed.errors is None
    assert summed.summed() is summed
    masked = values * GRAPH.exists.unsqueeze(-1)
    torch.testing.assert_close(scores.nodes().values, torch.einsum("rws->ws", masked))
    neurons = noise(len(GRAPH.writers), 4)
    torch.testing.assert_close(edge_scores(GRAPH, neurons, level="neuron").nodes().values, neurons.sum(1))
    assert summed.nodes().nodes().level == "node"


def test_the_table_has_the_largest_first() -> None:
    values = torch.zeros(SHAPE)
    values[GRAPH.index("m0->m1")], values[GRAPH.index("input->m0")] = -3.0, 2.0
    lines = str(edge_scores(GRAPH, values, errors=values.abs() / 10).table(2)).splitlines()
    assert [line.split() for line in lines[2:]] == [["m0->m1", "-3", "0.3"], ["input->m0", "2", "0.2"]]
    assert lines[0].split() == ["edge", "score", "standard", "error"]
    ties = str(edge_scores(GRAPH, torch.ones(SHAPE)).table(1))
    assert "input->a0.h0.q" in ties


def test_the_frame_has_a_line_for_every_score() -> None:
    scores = edge_scores(GRAPH, noise(*SHAPE, 2), per_position=True)
    frame = scores.to_pandas()
    assert list(frame.columns) == ["writer", "reader", "position", "score"]
    assert len(frame) == 2 * GRAPH.n_edges
    line = frame[(frame.writer == "m0") & (frame.reader == "logits") & (frame.position == 1)]
    assert line.score.item() == float(scores["m0->logits"][1])
    nodes = edge_scores(GRAPH, noise(len(GRAPH.writers), 4), level="neuron", absolute=torch.ones(len(GRAPH.writers), 4))
    assert list(nodes.to_pandas().columns) == ["writer", "neuron", "score", "absolute"]


@pytest.mark.parametrize("level", ["edge", "node", "neuron"])
@pytest.mark.parametrize("per_position", [False, True])
def test_files_lose_nothing(level: str, per_position: bool, tmp_path: Path) -> None:
    shape = {"edge": SHAPE, "node": SHAPE[1:], "neuron": (SHAPE[1], 4)}[level] + ((3,) if per_position else ())
    details = {"steps": 5, "rule": "midpoint", "parts": [0.1, None, True]}
    scores = edge_scores(
        GRAPH, noise(*shape), level=level, per_position=per_position, errors=noise(*shape, seed=1).abs(),
        absolute=noise(*shape, seed=2).abs(), details=details,
    )  # fmt: skip
    scores.save(tmp_path / "scores.safetensors")
    back = Scores.load(tmp_path / "scores.safetensors")
    assert back.facts() == scores.facts()
    assert back.graph == scores.graph
    assert torch.equal(back.graph.exists, GRAPH.exists)
    assert back.graph.other_names == GRAPH.other_names
    assert back.graph.shape == GRAPH.shape
    for name, tensor in scores.tensors().items():
        assert torch.equal(back.tensors()[name], tensor)
    assert list(tmp_path.iterdir()) == [tmp_path / "scores.safetensors"]


def test_files_that_are_no_scores_are_refused(tmp_path: Path) -> None:
    for content in (b"", b"something else", b"\x10\0\0\0\0\0\0\0"):
        (tmp_path / "foreign").write_bytes(content)
        with pytest.raises(rc.FileError, match="is no file of scores"):
            Scores.load(tmp_path / "foreign")
    with pytest.raises(rc.FileError):
        Scores.load(tmp_path / "absent")
    with pytest.raises(rc.DiscoveryError, match="a file cannot"):
        edge_scores(GRAPH, torch.zeros(SHAPE), details={"task": object()}).save(tmp_path / "scores")
    assert not (tmp_path / "scores").exists()
