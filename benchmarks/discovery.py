"""Circuit discovery beside plain passes of the same model in Hugging Face: 8 prompts of 15 tokens.

A forward+backward pass is that of the mean logit difference with gradients of activations alone, or with those of all
weights too, as `loss.backward()` computes of a model as it comes; both are given. Plain passes compute logits at every
position; ours only where the task reads them, as the work asks for no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from benchmarks.discovery_peers import (
    MODELS,
    Pairs,
    draw_pairs,
    logit_differences,
    peak_ratio,
    plain_forward,
    plain_forward_backward,
)
from benchmarks.peers import HuggingFace, gpt2_config, hugging_face
from benchmarks.setting import Setting, agree
from benchmarks.timing import Row
from scrub.discovery.attribution import attribute
from scrub.discovery.circuits import Circuit, top_fraction
from scrub.discovery.evaluation import evaluate
from scrub.discovery.machine import Machine, machine_of
from scrub.discovery.patching import activation_patching
from scrub.models import load
from scrub.tasks.task import Task

FRACTIONS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Sizes of the eight circuits, those of the MIB benchmark up to a fifth of all edges."""


@dataclass(frozen=True)
class Work:
    """One line: what is done, and how it is compared."""

    what: str
    run: Callable[[], object]
    target: float
    is_forward: bool = False


def discovery(setting: Setting) -> Iterator[Row]:
    """Attribution, circuits and sweeps on two models."""
    for name in MODELS:
        model = hugging_face(gpt2_config(MODELS[name]))
        pairs = draw_pairs(model.config.vocab_size, batch=8, seq=15)
        machine, task = machine_of(load(model)), task_of(pairs)
        check(machine, task, model, pairs)
        yield from _on(setting, name, machine, task, model, pairs)


def _on(setting: Setting, name: str, machine: Machine, task: Task, model: HuggingFace, pairs: Pairs) -> Iterator[Row]:
    size = f"{name}, 8 x 15 tokens"
    forward = partial(plain_forward, model, pairs)
    both = partial(plain_forward_backward, model, pairs, weight_gradients=False)
    training = partial(plain_forward_backward, model, pairs, weight_gradients=True)
    for work in works(machine, task, is_small=name.startswith("4")):
        if work.is_forward:
            yield setting.compare(f"{work.what} / forward", size, work.run, forward, target=work.target)
            continue
        what = f"{work.what} / forward+backward"
        yield setting.compare(what, size, work.run, both, target=work.target)
        yield setting.compare(f"{what} with gradients of weights", size, work.run, training)
    eap = partial(attribute, machine, task)
    yield Row("peak memory of EAP / forward+backward", size, (peak_ratio(eap, model, pairs),), 1.5)
    wide = draw_pairs(model.config.vocab_size, batch=32, seq=64)
    ratio = peak_ratio(partial(attribute, machine, task_of(wide)), model, wide)
    yield Row("peak memory of EAP / forward+backward", f"{name}, 32 x 64 tokens", (ratio,), 1.5)


def works(machine: Machine, task: Task, *, is_small: bool) -> Iterator[Work]:
    """What is measured, with the targets."""
    scored = partial(attribute, machine, task)
    n = machine.graph.n_edges
    yield Work(f"EAP, all {n:,} edges", scored, 2)
    yield Work("EAP-IG inputs, 5 steps", partial(scored, "EAP-IG-inputs", steps=5), 7)
    own = partial(scored, "EAP-IG-activations-all-groups", steps=5)
    yield Work("EAP-IG activations, 5 steps, all groups", own, 30 if is_small else 90)
    yield Work("clean-corrupted", partial(scored, "clean-corrupted"), 3)
    yield Work(f"EAP per position, {n * task.tokens.shape[1]:,} edges", partial(scored, per_position=True), 3)
    scores = attribute(machine, task)
    circuits = [top_fraction(scores, fraction) for fraction in FRACTIONS]
    dense = Circuit(machine.graph, _half(machine))
    yield Work("one circuit, half of all edges", partial(evaluate, dense, machine, task), 3, is_forward=True)
    yield Work("eight circuits, 0.1% to 20% of edges", partial(evaluate, circuits, machine, task), 11, is_forward=True)
    halves = [Circuit(machine.graph, _half(machine, seed)) for seed in range(8)]
    yield Work("eight circuits, half of all edges", partial(evaluate, halves, machine, task), 11, is_forward=True)
    if is_small:
        yield Work(f"exact effect of {n:,} edges", partial(scored, "exact"), 500, is_forward=True)
    heads = sum(component.kind == "head" for component in machine.graph.components)
    sweep = partial(activation_patching, machine, task, "head_out", by=("layer", "head"))
    yield Work(f"activation patching, {heads} heads", sweep, 0.4 * heads, is_forward=True)


def task_of(pairs: Pairs) -> Task:
    """The pairs as a task."""
    return Task.from_tokens(
        "random", pairs.clean, counterfactual=pairs.corrupted, answers=pairs.right, wrong=pairs.wrong
    )


def check(machine: Machine, task: Task, model: HuggingFace, pairs: Pairs) -> None:
    """Raise unless the clean metric is that of the plain pass."""
    found = evaluate(Circuit.full(machine.graph), machine, task)
    agree(found.clean.float(), logit_differences(model(pairs.clean).logits, pairs))
    agree(found.values[0].float(), found.clean.float())


def _half(machine: Machine, seed: int = 0) -> torch.Tensor:
    """Half of all edges, by chance."""
    drawn = torch.rand(machine.graph.exists.shape, generator=torch.Generator().manual_seed(seed))
    return machine.graph.exists & (drawn < 0.5)
