"""What removing a head of a small trained model does, measured by `evaluate` beside what others measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from scrub.discovery.attribution import attribute
from scrub.discovery.circuits import Circuit
from scrub.discovery.evaluation import evaluate
from scrub.discovery.machine import machine_of
from scrub.tasks.task import Task
from zoo.known_models import DATA, load_trained

KNOWN: dict[str, dict[str, float]] = {
    "palindrome_july23": {
        "a0.h0": 0.614 - 7.489,
        "a0.h1": 6.642 - 7.489,
        "a1.h0": 0.299 - 7.489,
        "a1.h1": 6.815 - 7.489,
    },
    "sorted_list_oct23": {"a0.h0": 0.92, "a0.h1": 4.96},
}
"""Model -> head -> change of the metric where what it writes is replaced by its mean at each position."""
METRICS = {"palindrome_july23": "logit_difference", "sorted_list_oct23": "cross_entropy"}


def palindromes(n: int, seed: int = 0) -> Task:
    """Twenty tokens between a start and an end token; at the end, is it a palindrome? Half are.

    In the others each token of the second half was changed with probability 1/2.
    """
    generator = torch.Generator().manual_seed(seed)
    half = torch.randint(0, 31, (n, 10), generator=generator)
    second = half.flip(-1)
    others = (second + torch.randint(1, 31, second.shape, generator=generator)) % 31
    is_changed = torch.rand(second.shape, generator=generator) < 0.5
    is_changed[: n // 2] = False
    ends = torch.full((n, 1), 31), torch.full((n, 1), 32)
    tokens = torch.cat([ends[0], half, torch.where(is_changed, others, second), ends[1]], 1)
    label = (~is_changed.any(-1)).long()
    return Task.from_tokens("palindromes", tokens, answers=label, wrong=1 - label)


def sorting(n: int, seed: int = 0) -> Task:
    """Ten distinct numbers, a separator, and the same sorted, each of which is predicted by what comes before."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.rand(n, 51, generator=generator).argsort(-1)[:, :10]
    labels = numbers.sort(-1).values
    tokens = torch.cat([numbers, torch.full((n, 1), 51), labels], 1)
    return Task.from_tokens("sorting", tokens, positions=torch.arange(10, 20).expand(n, -1), answers=labels)


TASKS: dict[str, Callable[[int], Task]] = {"palindrome_july23": palindromes, "sorted_list_oct23": sorting}


def head_effects(name: str, n: int = 1000, folder: Path = DATA) -> tuple[dict[str, float], dict[str, float]]:
    """Head -> change of the metric where it is removed, and what EAP makes of that."""
    machine, task = machine_of(load_trained(name, folder)), TASKS[name](n)
    heads = [component.name for component in machine.graph.components if component.kind == "head"]
    without = [~Circuit.of_nodes(machine.graph, [head]) for head in heads]
    found = evaluate(without, machine, task, METRICS[name], "mean-positional", names=heads, batch_size=250)
    changes = (found.values - found.clean).mean(-1)
    scores = attribute(machine, task, "EAP", metric=METRICS[name], ablation="mean-positional", level="node")
    exact = {head: float(change) for head, change in zip(heads, changes, strict=True)}
    return exact, {head: float(scores[head]) for head in heads}


def heads_table(folder: Path = DATA) -> list[str]:
    """Lines of the table."""
    lines = ["| model | metric | head | stated | `evaluate` | EAP |", "|---|---|---|---|---|---|"]
    for name, known in KNOWN.items():
        exact, estimate = head_effects(name, folder=folder)
        for head, stated in known.items():
            numbers = f"{stated:.2f} | {exact[head]:.2f} | {estimate[head]:.2f}"
            lines.append(f"| {name} | {METRICS[name]} | {head} | {numbers} |")
    return lines
