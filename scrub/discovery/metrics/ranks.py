"""Metrics of the order of the logits. They have no gradient. Logits of half precision are often equal: what is tied
shares the place, as if ties were broken at random, so that no result depends on the order of the vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scrub.discovery.metrics.base import register
from scrub.discovery.metrics.places import largest, mean_over_places

if TYPE_CHECKING:
    from scrub.tasks.task import Task


@register(larger_is_better=True, needs=("answers",), is_differentiable=False)
def accuracy(logits: torch.Tensor, batch: Task, original: torch.Tensor | None = None) -> torch.Tensor:
    """1 where the largest of all logits is that of a right answer, else 0. Of t tied for it, r right: r / t.

    >>> from scrub.tasks.task import Task
    >>> task = Task.from_tokens("two", torch.tensor([[5, 6], [7, 8]]), answers=[1, 1])
    >>> accuracy(torch.tensor([[[0.0, 3.0, 2.0]], [[1.0, 1.0, 0.0]]]), task)
    tensor([1.0000, 0.5000])
    """
    best, count = largest(logits, batch.answers)
    top = logits.amax(-1)
    tied = (logits == top[..., None]).sum(-1)
    return mean_over_places(_share(best == top, count, tied, logits), batch)


@register(larger_is_better=True, needs=("answers", "wrong"), is_differentiable=False)
def accuracy_among_answers(logits: torch.Tensor, batch: Task, original: torch.Tensor | None = None) -> torch.Tensor:
    """1 where the largest logit among right and wrong answers is that of a right one, else 0; ties as in `accuracy`.

    Other tokens do not count: a model that says something else altogether can score 1.

    >>> from scrub.tasks.task import Task
    >>> task = Task.from_tokens("one", torch.tensor([[5, 6]]), answers=[1], wrong=[0])
    >>> accuracy_among_answers(torch.tensor([[[0.0, 3.0, 9.0]]]), task)
    tensor([1.])
    """
    best, count = largest(logits, batch.answers)
    best_wrong, count_wrong = largest(logits, batch.wrong)
    tied = count + torch.where(best == best_wrong, count_wrong, 0)
    return mean_over_places(_share(best >= best_wrong, count, tied, logits), batch)


@register(larger_is_better=True, needs=("answers",), is_differentiable=False)
def reciprocal_rank(logits: torch.Tensor, batch: Task, original: torch.Tensor | None = None) -> torch.Tensor:
    """1 over the rank of the best right answer among all tokens; each other token tied with it counts half.

    >>> from scrub.tasks.task import Task
    >>> task = Task.from_tokens("two", torch.tensor([[5, 6], [7, 8]]), answers=[1, 1])
    >>> reciprocal_rank(torch.tensor([[[0.0, 3.0, 2.0]], [[1.0, 0.5, 0.0]]]), task)
    tensor([1.0000, 0.5000])
    """
    best, count = largest(logits, batch.answers)
    above = (logits > best[..., None]).sum(-1)
    tied = (logits == best[..., None]).sum(-1) - count
    return mean_over_places((1 / (1 + above + tied.to(logits.dtype) / 2)).to(logits.dtype), batch)


def _share(is_best: torch.Tensor, count: torch.Tensor, tied: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """count / tied where right answers are best, else 0: [b, k]."""
    return torch.where(is_best, count.to(logits.dtype) / tied.clamp_min(1), 0.0)
