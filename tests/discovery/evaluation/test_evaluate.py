"""Evaluated circuits against GPT-2 in plain torch, and what does not depend on how they are run."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch

import scrub as rc
from scrub.discovery.ablations import AblationName, prepare
from scrub.discovery.circuits import Circuit
from scrub.discovery.evaluation import Mask, evaluate, mask_of, measure
from scrub.discovery.machine import Machine
from scrub.discovery.metrics import as_metric, metric
from scrub.tasks.task import Task
from tests.discovery.evaluation.by_hand import SEQ, ByHand, task_of, tiny_gpt2


@functools.cache
def _model() -> tuple[Any, Machine]:
    return tiny_gpt2()


def _random_circuit(seed: int, share: float = 0.5) -> Circuit:
    graph = _model()[1].graph
    drawn = torch.rand(graph.exists.shape, generator=torch.Generator().manual_seed(seed)) < share
    return Circuit(graph, graph.exists & drawn)


def _difference(logits: torch.Tensor, task: Task) -> torch.Tensor:
    right, wrong = task.answers[:, 0], task.wrong[:, 0]
    return (logits.gather(1, right) - logits.gather(1, wrong))[:, 0]


def _replaced(hand: ByHand, task: Task, ablation: AblationName) -> dict[str, torch.Tensor]:
    """What patched edges carry, by hand."""
    every = torch.ones(hand.graph.exists.shape)
    assert task.counterfactual is not None
    of = task.counterfactual if ablation == "counterfactual" else task.tokens
    written, _ = hand.patched(of, every, None)
    match ablation:
        case "zero":
            return {name: torch.zeros_like(value) for name, value in written.items()}
        case "mean":
            return {name: value.mean((0, 1), keepdim=True).expand_as(value) for name, value in written.items()}
        case "mean-positional":
            return {name: value.mean(0, keepdim=True).expand_as(value) for name, value in written.items()}
        case _:
            return written


@pytest.mark.parametrize("ablation", ["counterfactual", "zero", "mean", "mean-positional"])
def test_circuits_against_the_model_by_hand(ablation: AblationName) -> None:
    model, machine = _model()
    hand, task = ByHand(model, machine), task_of(6)
    replaced = _replaced(hand, task, ablation)
    circuits = [_random_circuit(seed) for seed in range(3)]
    result = evaluate(circuits, machine, task, ablation=ablation, completeness=True, batch_size=6)
    assert result.complements is not None
    for i, circuit in enumerate(circuits):
        for values, keep in ((result.values, circuit.kept), (result.complements, machine.graph.exists & ~circuit.kept)):
            _, logits = hand.patched(task.tokens, keep.double(), replaced)
            torch.testing.assert_close(values[i], _difference(logits, task))
    none = torch.zeros(machine.graph.exists.shape, dtype=torch.float64)
    for values, keep in ((result.clean, none + 1), (result.corrupted, none)):
        torch.testing.assert_close(values, _difference(hand.patched(task.tokens, keep, replaced)[1], task))


def test_every_single_edge_patched_against_the_model_by_hand() -> None:
    model, machine = _model()
    hand, task = ByHand(model, machine), task_of(3)
    replaced = _replaced(hand, task, "counterfactual")
    full = Circuit.full(machine.graph)
    less = [full - Circuit.of_edges(machine.graph, [edge]) for edge in full]
    result = evaluate(less, machine, task)
    for values, circuit in zip(result.values, less, strict=True):
        torch.testing.assert_close(
            values, _difference(hand.patched(task.tokens, circuit.kept.double(), replaced)[1], task)
        )


@pytest.mark.parametrize("ablation", ["counterfactual", "resample", "zero", "mean"])
def test_all_edges_are_the_clean_run_and_none_the_corrupted_one(ablation: AblationName) -> None:
    _, machine = _model()
    graph, task = machine.graph, task_of(8)
    every = [Circuit.full(graph), Circuit.of_nodes(graph, graph.writers)]
    none = [Circuit.empty(graph), Circuit.of_nodes(graph, [])]
    result = evaluate([*every, *none], machine, task, ablation=ablation, completeness=True)
    assert result.complements is not None
    torch.testing.assert_close(result.values[:2], result.clean.expand(2, -1))
    torch.testing.assert_close(result.values[2:], result.corrupted.expand(2, -1))
    torch.testing.assert_close(result.complements, result.values.flip(0))
    assert float((result.clean - result.corrupted).abs().min()) > 1e-6


def test_faithfulness_of_everything_is_1_and_of_nothing_0() -> None:
    _, machine = _model()
    result = evaluate([Circuit.full(machine.graph), Circuit.empty(machine.graph)], machine, _with_a_gap())
    for found in (result.faithfulness(), result.faithfulness("mean of ratios")):
        torch.testing.assert_close(found.value, torch.tensor([1.0, 0.0], dtype=torch.float64))


def _with_a_gap() -> Task:
    """Examples on which the clean metric is far above the corrupted one: answers are what the model prefers."""
    _, machine = _model()
    task = task_of(12)
    given = machine.source.given(task.tokens)
    run = machine.run(given)
    logits = machine.logits(machine.read(machine.readout, run), given, task.positions)[:, 0]
    return Task.from_tokens(
        "preferred",
        task.tokens,
        counterfactual=task.counterfactual,
        answers=logits.argmax(-1),
        wrong=logits.argmin(-1),
    )


def test_nodes_are_the_edges_that_they_stand_for() -> None:
    """Two ways of running: one stream for all readers, and a mix for each."""
    _, machine = _model()
    graph, task = machine.graph, task_of(5)
    for ablation in ("counterfactual", "mean"):
        nodes = Circuit.of_nodes(graph, ["input", "a0.h1", "m1"])
        result = evaluate([nodes, nodes.as_edges()], machine, task, ablation=ablation)
        torch.testing.assert_close(result.values[0], result.values[1])


def test_neurons() -> None:
    """All dimensions are the node. Some: what they write is a mix, which a fraction of a mask cannot say."""
    model, machine = _model()
    graph, task = machine.graph, task_of(4)
    chosen = torch.zeros(len(graph.writers), 8, dtype=torch.bool)
    chosen[graph.writer_index["m0"]] = True
    chosen[graph.writer_index["input"]] = True
    whole = evaluate([Circuit.of_neurons(graph, chosen), Circuit.of_nodes(graph, ["input", "m0"])], machine, task)
    torch.testing.assert_close(whole.values[0], whole.values[1])
    last = torch.zeros(len(graph.writers), 8, dtype=torch.bool)
    last[:, ::2] = True  # kept in the last writer only: what the logits read can be added up by hand
    last[: graph.writer_index["m1"]] = True
    hand = ByHand(model, machine)
    every = torch.ones(graph.exists.shape)
    clean, _ = hand.patched(task.tokens, every, None)
    assert task.counterfactual is not None
    other, _ = hand.patched(task.counterfactual, every, None)
    m1 = torch.where(last[-1], clean["m1"], other["m1"])
    stream = sum(v for name, v in clean.items() if name != "m1") + m1
    stream = stream + sum(hand.weights[f"h.{layer}.attn.c_proj.bias"] for layer in range(2))
    logits = (hand._norm("ln_f", stream) @ hand.weights["wte.weight"].T)[:, -1]
    result = evaluate(Circuit.of_neurons(graph, last), machine, task)
    torch.testing.assert_close(result.values[0], _difference(logits, task))
    assert result.n_edges[0] < graph.n_edges


def test_masks_at_positions() -> None:
    _, machine = _model()
    graph, task = machine.graph, task_of(4)
    circuit = _random_circuit(0)
    everywhere = circuit.kept[..., None].expand(-1, -1, SEQ).double()
    last = graph.exists[..., None].repeat(1, 1, SEQ).double()
    last[..., : SEQ - 1] = 0
    result = evaluate([circuit, everywhere, circuit.kept.double(), last], machine, task, completeness=True)
    torch.testing.assert_close(result.values[1:3], result.values[:1].expand(2, -1))
    assert result.complements is not None
    torch.testing.assert_close(result.complements[1:3], result.complements[:1].expand(2, -1))
    assert result.n_edges[3] == pytest.approx(graph.n_edges / SEQ)


def test_results_do_not_depend_on_batches_or_on_how_many_run_at_once() -> None:
    _, machine = _model()
    graph, task = machine.graph, task_of(7)
    neurons = torch.rand(len(graph.writers), 8, generator=torch.Generator().manual_seed(1)) < 0.5
    circuits = [
        *(_random_circuit(seed) for seed in range(4)),
        Circuit.of_neurons(graph, neurons),
        Circuit.of_nodes(graph, ["input"]),
        _random_circuit(0),
    ]
    masks = [mask_of(circuit, graph) for circuit in circuits]
    for ablation in ("counterfactual", "mean"):
        prepared_task, prepared = prepare(machine, task, ablation)
        found = [
            measure(
                machine, prepared_task, metric("kl_divergence"), prepared, masks, batch_size=size, bytes_at_once=at_once
            )
            for size, at_once in ((7, 1), (1, 10**9), (3, 10**9), (4, 20_000))
        ]
        for other in found[1:]:
            torch.testing.assert_close(other.circuits, found[0].circuits)
            torch.testing.assert_close(other.corrupted, found[0].corrupted)
        assert torch.equal(found[0].circuits[0], found[0].circuits[-1])
        assert float(found[0].clean.abs().max()) < 1e-9


def test_padding_is_left_out() -> None:
    """Prompts of several lengths give what each gives by itself."""
    _, machine = _model()
    task = task_of(2)
    short = Task.from_tokens(
        "short", task.tokens[:, :3], counterfactual=task.counterfactual[:, :3], answers=[1, 2], wrong=[3, 4]
    )
    padded = Task.from_tokens(
        "padded",
        torch.cat([short.tokens, torch.zeros(2, 2, dtype=torch.int64)], 1),
        counterfactual=torch.cat([short.counterfactual, torch.zeros(2, 2, dtype=torch.int64)], 1),
        mask=[[1, 1, 1, 0, 0]] * 2,
        answers=[1, 2],
        wrong=[3, 4],
    )
    circuits = [_random_circuit(0), Circuit.of_nodes(machine.graph, ["input", "m0"])]
    first, second = (evaluate(circuits, machine, each) for each in (short, padded))
    torch.testing.assert_close(first.values, second.values)


def test_equal_masks_are_one() -> None:
    graph = _model()[1].graph
    first, second = (mask_of(Circuit.full(graph), graph) for _ in range(2))
    assert first.key == second.key
    assert first.key != mask_of(Circuit.empty(graph), graph).key
    assert Mask("edge", first.keep).key != Mask("position", first.keep).key


def test_what_is_shown() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed: an extra")
    _, machine = _model()
    circuits = [Circuit.full(machine.graph), Circuit.empty(machine.graph)]
    result = evaluate(circuits, machine, _with_a_gap(), names=["<all>", "none"], completeness=True)
    text = str(result)
    assert "logit_difference (larger is better), counterfactual ablation, task 'preferred', n=12" in text
    assert "1.000 [1.000, 1.000]" in text
    assert "&lt;all&gt;" in result._repr_html_()
    frame = result.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.loc["<all>", "faithfulness"] == pytest.approx(1)
    assert frame.loc["none", "completeness"] == pytest.approx(1)


def test_an_undefined_share_says_why() -> None:
    """A task that is its own counterfactual has no gap."""
    _, machine = _model()
    task = task_of(4)
    same = Task.from_tokens("same", task.tokens, counterfactual=task.tokens, answers=task.answers, wrong=task.wrong)
    result = evaluate(Circuit.full(machine.graph), machine, same)
    assert "faithfulness is undefined: clean and corrupted metric differ by" in str(result)
    assert bool(result.faithfulness().value.isnan().all())
    with pytest.raises(rc.UndefinedRatioError, match="faithfulness is undefined"):
        result.faithfulness(undefined="error")


def test_errors() -> None:
    _, machine = _model()
    _, other = tiny_gpt2(1)
    task = task_of(3)
    full = Circuit.full(machine.graph)
    with pytest.raises(rc.DiscoveryError, match="a circuit of another graph") as caught:
        evaluate(full, other, task)
    assert caught.value.found == f"7 writers, 15 readers, {machine.graph.n_edges} edges"
    with pytest.raises(rc.DiscoveryError, match="no circuit to evaluate"):
        evaluate([], machine, task)
    with pytest.raises(rc.DiscoveryError, match="2 names for 1 circuits"):
        evaluate(full, machine, task, names=["a", "b"])
    with pytest.raises(rc.DiscoveryError, match=r"a mask of shape \[2, 2\] does not fit"):
        evaluate(torch.ones(2, 2), machine, task)
    with pytest.raises(rc.DiscoveryError, match=r"masks of \[3\] positions do not fit prompts of 5 tokens"):
        evaluate(torch.ones(*machine.graph.exists.shape, 3), machine, task)
    with pytest.raises(rc.DiscoveryError, match="completeness needs the metric of what is outside"):
        evaluate(full, machine, task).completeness()
    with pytest.raises(rc.DiscoveryError, match=r"returned \(\) for 3 examples"):
        evaluate(full, machine, task, as_metric(lambda x, _: x.mean(), name="mean", larger_is_better=True))
    no_counterfactual = Task.from_tokens("alone", task.tokens, answers=task.answers, wrong=task.wrong)
    with pytest.raises(rc.DiscoveryError, match="has no counterfactuals"):
        evaluate(full, machine, no_counterfactual)
    padded = Task.from_tokens(
        "p", task.tokens, mask=[[1] * 5, [1] * 5, [1] * 4 + [0]], answers=[1, 2, 3], wrong=[0, 1, 2]
    )
    with pytest.raises(rc.DiscoveryError, match="need prompts of one length"):
        evaluate(torch.ones(*machine.graph.exists.shape, 5), machine, padded, "answer_logit", "zero")
