"""Losses: cross-entropy to the right answers, and divergence from the original model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scrub.discovery.metrics.base import register
from scrub.discovery.metrics.places import average, mean_over_places

if TYPE_CHECKING:
    from scrub.tasks.task import Task


@register(larger_is_better=False, needs=("answers",))
def cross_entropy(logits: torch.Tensor, batch: Task, original: torch.Tensor | None = None) -> torch.Tensor:
    """Cross-entropy to the uniform distribution over the right answers, in nats: minus their mean log-probability.

    With one answer this is minus `answer_log_probability`; with several, all of them have to be likely.

    >>> from scrub.tasks.task import Task
    >>> task = Task.from_tokens("one", torch.tensor([[5, 6]]), answers=[1])
    >>> cross_entropy(torch.zeros(1, 1, 4), task)
    tensor([1.3863])
    """
    return mean_over_places(-average(logits.log_softmax(-1), batch.answers), batch)


@register(larger_is_better=False, needs=("original",))
def kl_divergence(logits: torch.Tensor, batch: Task, original: torch.Tensor | None = None) -> torch.Tensor:
    """KL(original || run), summed over the vocabulary, in nats; 0 where both agree.

        sum_t p(t) (log p(t) - log q(t)),   p of the original logits, q of the run's

    A token that the original rules out (logit minus infinity) adds nothing.

    Source: Conmy et al. 2023, "Towards Automated Circuit Discovery".

    >>> from scrub.tasks.task import Task
    >>> task = Task.from_tokens("one", torch.tensor([[5, 6]]), answers=[1])
    >>> half = torch.tensor([[[0.0, 0.0, -torch.inf, -torch.inf]]])
    >>> kl_divergence(torch.zeros(1, 1, 4), task, half)
    tensor([0.6931])
    """
    assert original is not None
    log_p = original.to(torch.promote_types(original.dtype, logits.dtype)).log_softmax(-1)
    log_q = logits.log_softmax(-1)
    p = log_p.exp()
    return mean_over_places((p * torch.where(p > 0, log_p - log_q, 0.0)).sum(-1), batch)
