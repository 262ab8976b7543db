"""The demo of circuit discovery: from a task to a circuit and its test, on a small model that does the task.

Scores by several methods, how faithful the circuits are that each would choose, and one circuit: drawn, and tested by
causal scrubbing. Circuits are chosen on one half of the prompts and evaluated on the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from scrub.discovery.attribution import attribute
from scrub.discovery.circuits import Circuit, greedy
from scrub.discovery.evaluation import Areas, Evaluation, areas, evaluate
from scrub.discovery.hypotheses import circuit_experiment
from scrub.discovery.machine import Machine, machine_of
from scrub.discovery.patching import activation_patching
from scrub.discovery.scores import Scores
from scrub.discovery.tables import Table
from scrub.models import ShippedModel, load_shipped
from scrub.tasks.generators import ioi
from scrub.tasks.task import Task

MODEL = "ioi"
METHODS = ("EAP", "clean-corrupted", "EAP-IG-inputs", "EAP-IG-activations", "exact")
TEMPLATE = "wait"
CHOSEN_BY = "EAP-IG-inputs"
WANTED = 0.85
"""Faithfulness that the circuit shown must have on the prompts that it is chosen on."""


@dataclass(frozen=True)
class Found:
    """What one method gives.

    Attributes:
        scores: of every edge.
        seconds: what they took.
        areas: CPR and CMD, on the other half of the prompts.
        correlation: of its scores with the exact effects.
    """

    scores: Scores
    seconds: float
    areas: Areas
    correlation: float


@dataclass(frozen=True)
class DiscoveryResult:
    """Everything the report shows.

    Attributes:
        model, machine: what was searched.
        searched, held_out: the prompts that circuits are chosen on, and those that they are evaluated on.
        found: method -> what it gives.
        circuit: the smallest that is faithful enough where it was chosen.
        evaluation: of the circuit, on the other half, with its complement.
        scrubbed: the metric of each held-out prompt under the circuit as a hypothesis of causal scrubbing.
        heads: what replacing each head's output alone leaves of the metric.
        seconds: all of it.
    """

    model: ShippedModel
    machine: Machine
    searched: Task
    held_out: Task
    found: dict[str, Found]
    circuit: Circuit
    evaluation: Evaluation
    scrubbed: torch.Tensor
    heads: Table
    seconds: float


def run_discovery(*, n: int = 128, seed: int = 0, progress: Callable[[str], None] | None = None) -> DiscoveryResult:
    """Find the circuit of indirect object identification in the shipped model.

    Args:
        n: prompts; half of them are searched.
        seed: of the prompts.
        progress: called with what is being done.
    """
    started = time.perf_counter()

    def tell(what: str) -> None:
        if progress is not None:
            progress(what)

    model = load_shipped(MODEL)
    machine = machine_of(model)
    task = ioi(model.tokenizer, n, seed, names=model.info["names"], template=TEMPLATE)
    searched, held_out = task.split(0.5, seed)
    scores: dict[str, tuple[Scores, float]] = {}
    for method in METHODS:
        tell(f"scores by {method}")
        before = time.perf_counter()
        scores[method] = attribute(machine, searched, method), time.perf_counter() - before
    found: dict[str, Found] = {}
    for method, (own, seconds) in scores.items():
        tell(f"circuits by {method}")
        correlation = _correlation(own, scores["exact"][0])
        found[method] = Found(own, seconds, areas(own, machine, held_out), correlation)
    tell("the circuit")
    circuit = smallest_faithful(found[CHOSEN_BY].scores, machine, searched)
    evaluation = evaluate(circuit, machine, held_out, completeness=True, names=["circuit"])
    tell("causal scrubbing")
    scrubbed = scrub_circuit(circuit, model, held_out)
    tell("activation patching")
    heads = activation_patching(machine, held_out, "head_out", by=("layer", "head"), show="normalized")
    seconds = time.perf_counter() - started
    return DiscoveryResult(model, machine, searched, held_out, found, circuit, evaluation, scrubbed, heads, seconds)


def smallest_faithful(scores: Scores, machine: Machine, task: Task) -> Circuit:
    """The first of circuits of growing size, grown from the logits, that is faithful enough."""
    sizes = range(10, machine.graph.n_edges, 5)
    circuits = [greedy(scores, size) for size in sizes]
    faithful = evaluate(circuits, machine, task).faithfulness().value
    enough = (faithful >= WANTED).nonzero()
    return circuits[int(enough[0])] if len(enough) else Circuit.full(machine.graph)


def scrub_circuit(circuit: Circuit, model: ShippedModel, task: Task) -> torch.Tensor:
    """The metric of each prompt under the circuit as a hypothesis, everything else reading the prompt's counterfactual.

    What is outside of the circuit reads the counterfactual, so this is a second computation of what `evaluate` gives.
    """
    experiment = circuit_experiment(circuit, model, task)
    rows = torch.arange(len(task)) + experiment.source.reference_rows.start
    return experiment.run(len(task), draws={"reference": rows}).values["logit_difference"]


def _correlation(scores: Scores, exact: Scores) -> float:
    there = scores.graph.exists
    return float(torch.corrcoef(torch.stack([scores.values[there], exact.values[there]]))[0, 1])
