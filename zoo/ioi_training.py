"""Training of the model of indirect objects, a function of its seed, and its scores on prompts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from scrub.tasks.task import Task
from zoo.ioi_model import IoiConfig, IoiTransformer, Trace
from zoo.ioi_text import TextSource
from zoo.muon import Muon

_BATCH = 100
"""Prompts that are scored at a time."""


@dataclass(frozen=True, kw_only=True)
class IoiTraining:
    """How the model is trained: Muon for the matrices of the layers, AdamW for the rest.

    Attributes:
        seed: of the initial weights and of the text.
        n_steps, batch: rows of n_ctx tokens in each of the steps.
        muon_lr, muon_weight_decay: of the layers' matrices; the peak, after a linear warm-up.
        vocabulary_lr, weight_decay: of embedding and unembedding.
        other_lr: of positions, norms and biases, without weight decay.
        decay_from: the fraction of the steps from which all rates fall linearly to zero.
    """

    seed: int = 0
    n_steps: int = 2_000
    batch: int = 32
    muon_lr: float = 0.01
    muon_weight_decay: float = 0.1
    vocabulary_lr: float = 4e-3
    weight_decay: float = 0.1
    other_lr: float = 2e-3
    warmup: int = 50
    decay_from: float = 0.4
    log_every: int = 250

    def rate(self, step: int) -> float:
        """The learning rates of a step as a fraction of their peaks."""
        left = (self.n_steps - step) / (self.n_steps * (1.0 - self.decay_from))
        return min(1.0, (step + 1) / self.warmup, left)


@dataclass(frozen=True)
class CurvePoint:
    """After so many steps: mean training loss since the last point, in nats a token, and scores on held-out prompts."""

    step: int
    train_loss: float
    accuracy: float
    logit_difference: float


@dataclass(frozen=True)
class Score:
    """Of the right name against the subject's, where the receiver follows.

    Attributes:
        n: prompts.
        accuracy: share with a higher logit for the right name.
        logit_difference: mean of the right name's logit less the other's.
        top_1: share in which no token of the vocabulary has a higher logit than the right name.
        probability: mean probability of the right name.
    """

    n: int
    accuracy: float
    logit_difference: float
    top_1: float
    probability: float


def train_ioi(
    source: TextSource,
    held_out: Task,
    config: IoiTraining,
    *,
    sizes: IoiConfig,
    report: Callable[[str], None] = print,
) -> tuple[IoiTransformer, list[CurvePoint]]:
    """A model trained on text from `source`, and its curve with scores on `held_out`."""
    model = IoiTransformer(sizes, seed=config.seed)
    muon, adam = _optimizers(model, config)
    curve: list[CurvePoint] = []
    total = 0.0
    for step in range(config.n_steps):
        muon.lr = config.muon_lr * config.rate(step)
        for group in adam.param_groups:
            group["lr"] = group["peak_lr"] * config.rate(step)
        loss = text_loss(model, source.draw(config.batch))
        model.zero_grad(set_to_none=True)
        loss.backward()
        muon.step()
        adam.step()
        total += float(loss.detach())
        if (step + 1) % config.log_every == 0:
            score = score_task(model, held_out)
            mean = total / config.log_every
            curve.append(CurvePoint(step + 1, mean, score.accuracy, score.logit_difference))
            report(str(curve[-1]))
            total = 0.0
    return model.requires_grad_(False), curve


def text_loss(model: IoiTransformer, tokens: Tensor) -> Tensor:
    """Mean cross-entropy, in nats, of each next token of rows [batch, n_ctx + 1]."""
    return functional.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())


@torch.no_grad()
def score_task(model: IoiTransformer, task: Task, *, counterfactual: bool = False) -> Score:
    """Scores on prompts with one right and one wrong answer each, or on their counterfactuals with the same answers."""
    tokens = task.counterfactual if counterfactual else task.tokens
    if tokens is None:
        raise ValueError(f"task {task.name!r} has no counterfactuals")
    rows, right = torch.arange(len(task)), task.answers[:, 0, 0]
    parts = [rows[start : start + _BATCH] for start in range(0, len(task), _BATCH)]
    found = [model(tokens[part])[torch.arange(len(part)), task.positions[part, 0]] for part in parts]
    last = torch.cat(found).double()
    difference = last[rows, right] - last[rows, task.wrong[:, 0, 0]]
    return Score(
        n=len(task),
        accuracy=float((difference > 0).double().mean()),
        logit_difference=float(difference.mean()),
        top_1=float((last.argmax(1) == right).double().mean()),
        probability=float(last.softmax(1)[rows, right].mean()),
    )


@torch.no_grad()
def component_effects(model: IoiTransformer, task: Task) -> dict[str, float]:
    """Mean logit difference with what one component writes taken from the run on the counterfactuals, by component.

    Names are "0.1" for head 1 of layer 0 and "mlp 0" for an MLP.
    """
    if task.counterfactual is None:
        raise ValueError(f"task {task.name!r} has no counterfactuals")
    other = Trace()
    model(task.counterfactual, trace=other)
    rows, at = torch.arange(len(task)), task.positions[:, 0]
    effects: dict[str, float] = {}
    for (layer, head), written in other.written.items():
        last = model(task.tokens, replaced={(layer, head): written})[rows, at].double()
        difference = last[rows, task.answers[:, 0, 0]] - last[rows, task.wrong[:, 0, 0]]
        effects[f"mlp {layer}" if head is None else f"{layer}.{head}"] = round(float(difference.mean()), 4)
    return effects


def _optimizers(model: IoiTransformer, config: IoiTraining) -> tuple[Muon, torch.optim.AdamW]:
    named = dict(model.named_parameters())
    matrices = {name for name in named if name.startswith("blocks.") and ".W_" in name}
    vocabulary = {"embed.W_E", "unembed.W_U"}
    groups = [
        {"params": [named[name] for name in sorted(names)], "weight_decay": decay, "peak_lr": lr, "lr": lr}
        for names, decay, lr in [
            (vocabulary, config.weight_decay, config.vocabulary_lr),
            (set(named) - matrices - vocabulary, 0.0, config.other_lr),
        ]
    ]
    adam = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    muon = Muon([named[name] for name in sorted(matrices)], lr=config.muon_lr, weight_decay=config.muon_weight_decay)
    return muon, adam
