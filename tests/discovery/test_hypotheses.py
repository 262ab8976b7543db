"""Scrubbed runs of circuits against their evaluation, on counterfactuals and on every draw there is."""

from __future__ import annotations

import functools

import pytest
import torch

import scrub as rc
from scrub.discovery.circuits import Circuit
from scrub.discovery.evaluation import evaluate
from scrub.discovery.hypotheses import CounterfactualSampler, circuit_experiment, circuit_hypothesis, circuit_matcher
from scrub.discovery.machine import Machine, machine_of
from scrub.hypothesis import UncondSampler
from scrub.models import LoadedModel, load
from scrub.tasks.task import Task
from tests.discovery.evaluation.by_hand import SEQ, task_of, tiny_gpt2
from tests.models.families import tiny


@functools.cache
def _model() -> tuple[LoadedModel, Machine]:
    model, machine = tiny_gpt2()
    return load(model), machine


def _drawn(seed: int, share: float) -> Circuit:
    graph = _model()[1].graph
    drawn = torch.rand(graph.exists.shape, generator=torch.Generator().manual_seed(seed)) < share
    return Circuit(graph, graph.exists & drawn)


def _scrubbed(circuit: Circuit, task: Task, metric: str = "logit_difference") -> torch.Tensor:
    model, _ = _model()
    experiment = circuit_experiment(circuit, model, task, metric)
    rows = torch.arange(len(task)) + experiment.source.reference_rows.start
    return experiment.run(len(task), draws={"reference": rows}).values[metric]


@pytest.mark.parametrize(("seed", "share"), [(0, 0.3), (1, 0.6), (2, 0.9)])
def test_scrubbing_agrees_with_evaluating(seed: int, share: float) -> None:
    circuit, task = _drawn(seed, share), task_of(5)
    for metric in ("logit_difference", "kl_divergence"):
        result = evaluate(circuit, _model()[1], task, metric)
        assert float((result.values[0] - result.clean).abs().max()) > 1e-3
        torch.testing.assert_close(_scrubbed(circuit, task, metric), result.values[0])


def test_every_circuit_of_one_path() -> None:
    """Each reader alone between the input and the logits: a head's q, k or v, or an MLP."""
    _, machine = _model()
    graph, task = machine.graph, task_of(3)
    for reader, owner in zip(graph.readers, graph.owners, strict=True):
        if owner == "logits":
            continue
        circuit = Circuit.of_edges(graph, [("input", reader), (owner, "logits")])
        torch.testing.assert_close(_scrubbed(circuit, task), evaluate(circuit, machine, task).values[0])


def test_nodes_and_everything() -> None:
    _, machine = _model()
    task = task_of(4)
    for circuit in (Circuit.of_nodes(machine.graph, ["input", "a0.h1", "m0"]), Circuit.full(machine.graph)):
        torch.testing.assert_close(_scrubbed(circuit, task), evaluate(circuit, machine, task).values[0])


def test_any_draw_is_the_mean_over_every_counterfactual() -> None:
    """Unpaired: the exact mean over draws is that of evaluating each prompt with each counterfactual."""
    model, machine = _model()
    circuit, task = _drawn(3, 0.5), task_of(3)
    assert task.counterfactual is not None
    n = len(task)
    pairs = Task.from_tokens(
        "pairs",
        task.tokens.repeat_interleave(n, 0),
        counterfactual=task.counterfactual.repeat(n, 1),
        answers=task.answers.repeat_interleave(n, 0),
        wrong=task.wrong.repeat_interleave(n, 0),
    )
    experiment = circuit_experiment(circuit, model, task, sampler=UncondSampler())
    first = experiment.source.reference_rows.start
    draws = {
        "reference": torch.arange(n).repeat_interleave(n) + first,
        "logits/other": torch.arange(n).repeat(n),
    }
    found = experiment.run(n * n, draws=draws).values["logit_difference"]
    torch.testing.assert_close(found, evaluate(circuit, machine, pairs).values[0])
    assert [slot.label for slot in experiment.slots] == ["logits/other"]


def test_a_pair_is_drawn_with_certainty() -> None:
    model, _ = _model()
    experiment = circuit_experiment(_drawn(0, 0.5), model, task_of(3))
    rows = torch.tensor(list(experiment.source.reference_rows))
    chances = CounterfactualSampler().probabilities(rows, experiment.source)
    assert chances.argmax(1).tolist() == [0, 1, 2]
    assert chances.sum(1).tolist() == [1, 1, 1]


def test_a_component_on_the_circuit_s_paths() -> None:
    """m0 is read by two readers of a1.h0 and by the logits; how often it is found is how many paths there are."""
    model, machine = _model()
    edges = ["input->m0", "m0->a1.h0.q", "m0->a1.h0.v", "a1.h0->m1", "a1.h0->logits", "m1->logits", "m0->logits"]
    circuit = Circuit.of_edges(machine.graph, edges)
    split = rc.configure_transformer(
        model.lower(seq_len=SEQ)["t.bind_w"], split_by_head_config="full", use_pull_up_head_split=True
    )

    def count(component: str) -> int:
        places = split.get(circuit_matcher(circuit, component), see_through=True)
        return len(places)

    assert count("m1") == 1
    assert count("a1.h0") == 1
    with pytest.raises(rc.DiscoveryError, match=r"no path of the circuit leads from the logits to 'a0\.h1'"):
        circuit_matcher(circuit, "a0.h1")


def test_errors() -> None:
    model, machine = _model()
    graph, task = machine.graph, task_of(3)
    with pytest.raises(rc.DiscoveryError, match="no path of the circuit leads from the logits to 'input'"):
        circuit_hypothesis(Circuit.of_edges(graph, ["input->m0"]))
    neurons = Circuit.of_neurons(graph, torch.ones(len(graph.writers), 8, dtype=torch.bool))
    with pytest.raises(rc.DiscoveryError, match="keeps parts of what they write"):
        circuit_matcher(neurons)
    alone = Task.from_tokens("alone", task.tokens, answers=task.answers, wrong=task.wrong)
    with pytest.raises(rc.DiscoveryError, match="cannot be scrubbed") as caught:
        circuit_experiment(Circuit.full(graph), model, alone)
    assert caught.value.found == "no counterfactuals"
    with pytest.raises(rc.DiscoveryError, match="no component 'logits' writes"):
        circuit_matcher(Circuit.full(graph), "logits")


@pytest.mark.slow
@pytest.mark.parametrize(("family", "agrees"), [("llama", True), ("gptj", True), ("bert", True), ("gemma2", False)])
def test_families(family: str, agrees: bool) -> None:
    """Grouped queries, parallel blocks, norms on the stream agree; where heads are normed together the two part."""
    hub = tiny.build(next(v for v in tiny.variants() if v.family == family).config(), dtype=torch.float64)
    model = load(hub)
    machine = machine_of(model)
    generator = torch.Generator().manual_seed(0)
    tokens, counterfactual = (torch.randint(3, 20, (3, 4), generator=generator) for _ in range(2))
    task = Task.from_tokens("t", tokens, counterfactual=counterfactual, answers=[3, 4, 5], wrong=[6, 7, 8])
    exists = machine.graph.exists
    circuit = Circuit(machine.graph, exists & (torch.rand(exists.shape, generator=generator) < 0.6))
    experiment = circuit_experiment(circuit, model, task)
    rows = torch.arange(3) + experiment.source.reference_rows.start
    scrubbed = experiment.run(3, draws={"reference": rows}).values["logit_difference"]
    result = evaluate(circuit, machine, task)
    assert float((result.values[0] - result.clean).abs().max()) > 0.1
    assert torch.allclose(scrubbed, result.values[0], atol=1e-9) == agrees
