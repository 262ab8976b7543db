"""Metrics of the probability of the answers. Those of several answers are added: they are events that exclude each
other, as the years in greater-than."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scrub.discovery.metrics.base import register
from scrub.discovery.metrics.places import mean_over_places, picked, total

if TYPE_CHECKING:
    from scrub.tasks.task import Task


@register(larger_is_better=True, needs=("answers", "wrong"))
def probability_difference(logits: torch.Tensor, batch: Task, original: torch.Tensor | None = None) -> torch.Tensor:
    """Summed probability of the right answers less that of the wrong ones, in [-1, 1].

    Source: Hanna et al. 2023, "How does GPT-2 compute greater-than?".

    >>> from scrub.tasks.task import Task
    >>> task = Task.from_tokens("one", torch.tensor([[5, 6]]), answers=[[[0, 1]]], wrong=[[[2, -1]]])
    >>> probability_difference(torch.zeros(1, 1, 4), task)
    tensor([0.2500])
    """
    probs = logits.softmax(-1)
    return mean_over_places(total(probs, batch.answers) - total(probs, batch.wrong), batch)


@register(larger_is_better=True, needs=("answers",))
def answer_probability(logits: torch.Tensor, batch: Task, original: torch.Tensor | None = None) -> torch.Tensor:
    """Summed probability of the right answers.

    >>> from scrub.tasks.task import Task
    >>> task = Task.from_tokens("one", torch.tensor([[5, 6]]), answers=[1])
    >>> answer_probability(torch.zeros(1, 1, 4), task)
    tensor([0.2500])
    """
    return mean_over_places(total(logits.softmax(-1), batch.answers), batch)


@register(larger_is_better=True, needs=("answers",))
def answer_log_probability(logits: torch.Tensor, batch: Task, original: torch.Tensor | None = None) -> torch.Tensor:
    """Logarithm of the summed probability of the right answers, in nats.

    >>> from scrub.tasks.task import Task
    >>> task = Task.from_tokens("one", torch.tensor([[5, 6]]), answers=[[[0, 1]]])
    >>> answer_log_probability(torch.zeros(1, 1, 4), task).exp()
    tensor([0.5000])
    """
    log_probs, is_token = picked(logits.log_softmax(-1), batch.answers)
    return mean_over_places(torch.where(is_token, log_probs, -torch.inf).logsumexp(-1), batch)
