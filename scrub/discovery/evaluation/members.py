"""Minimality: every member of a circuit removed in turn, beside random ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from scrub.discovery.ablations import AblationName
from scrub.discovery.circuits import Circuit
from scrub.discovery.evaluation.evaluate import evaluate
from scrub.discovery.machine import Machine
from scrub.discovery.metrics import Metric
from scrub.discovery.scores import Level, index_rows
from scrub.discovery.statistics import Minimality, minimality
from scrub.graph import DiscoveryError
from scrub.models import LoadedModel
from scrub.tasks.task import Task


def evaluate_minimality(
    circuit: Circuit,
    model: Machine | LoadedModel,
    task: Task,
    metric: str | Metric | Callable[..., torch.Tensor] = "logit_difference",
    ablation: AblationName = "counterfactual",
    *,
    members: Level | None = None,
    n_random: int = 50,
    over: Task | None = None,
    seed: int = 0,
    batch_size: int = 32,
) -> Minimality:
    """How much the metric changes when each member is removed from a circuit, beside random members.

    A random member is one from outside of the circuit: the circuit with it is compared with the circuit.

    Args:
        circuit: of edges, nodes or neurons.
        members: what is removed: "edge", one edge; "node", all that the circuit keeps of what a component writes. If
            None, edges of a circuit of edges, else nodes.
        n_random: how many random members to compare with, drawn without replacement; fewer where fewer are left out,
            none with 0.
        model, task, metric, ablation, over, seed, batch_size: as for `evaluate`.

    Raises:
        DiscoveryError: an empty circuit, edges of a circuit of nodes, and as for `evaluate`.
        UndefinedRatioError: the gap between clean and corrupted metric is within its error.

    Source: Wang et al. 2022, section 4; random members: Shi et al. 2024, "Hypothesis Testing the Circuit Hypothesis in
    LLMs".
    """
    level: Level = members or ("edge" if circuit.level == "edge" else "node")
    inside, outside = _members(circuit, level)
    order = torch.randperm(len(outside), generator=torch.Generator().manual_seed(seed))[:n_random]
    drawn = [outside[int(i)] for i in order]
    less = [_less(circuit, member, level) for member in inside]
    more = [_more(circuit, member, level) for member in drawn]
    found = evaluate(
        [circuit, *less, *more], model, task, metric, ablation, over=over, seed=seed, batch_size=batch_size
    )
    whole, without, random = found.values[0], found.values[1 : len(less) + 1], found.values[len(less) + 1 :]
    return minimality(
        without,
        circuit=whole,
        clean=found.clean,
        corrupt=found.corrupted,
        members=[_name(circuit, member, level) for member in inside],
        random_without=whole.expand(len(more), -1) if more else None,
        random_with=random if more else None,
        seed=seed,
    )


def _members(circuit: Circuit, level: Level) -> tuple[list[list[int]], list[list[int]]]:
    """Where members are, and where others would be: [row, column] of edges, [column] of nodes."""
    graph = circuit.graph
    if level == "edge" and circuit.level == "edge":
        inside, outside = circuit.kept, graph.exists.cpu() & ~circuit.kept
    elif level == "node":
        inside = circuit.kept_writers
        outside = ~inside & graph.exists.cpu().any(0)
    else:
        raise DiscoveryError(
            f"the members of a circuit of {circuit.level}s are not removed by {level}",
            expected="node" if circuit.level != "edge" else ("edge", "node"),
            found=level,
            hint="members='node', or circuit.as_edges()",
        )
    if not bool(inside.any()):
        raise DiscoveryError("an empty circuit has no members", expected="one or more", found=0)
    return index_rows(inside.nonzero()), index_rows(outside.nonzero())


def _less(circuit: Circuit, member: list[int], level: Level) -> Circuit:
    kept = circuit.kept.clone()
    kept[tuple(member) if level == "edge" else (slice(None), member[0])] = False
    return _changed(circuit, kept, member[-1], False)


def _more(circuit: Circuit, member: list[int], level: Level) -> Circuit:
    kept = circuit.kept.clone()
    if level == "edge":
        kept[tuple(member)] = True
    else:
        kept[:, member[0]] = circuit.graph.exists[:, member[0]].cpu()
    return _changed(circuit, kept, member[-1], True)


def _changed(circuit: Circuit, kept: torch.Tensor, column: int, is_in: bool) -> Circuit:
    neurons = None
    if circuit.neurons is not None:
        neurons = circuit.neurons.clone()
        neurons[column] = is_in
    return replace(circuit, kept=kept, neurons=neurons)


def _name(circuit: Circuit, member: list[int], level: Level) -> str:
    writer = circuit.graph.writers[member[-1]]
    return writer if level == "node" else f"{writer}->{circuit.graph.readers[member[0]]}"
