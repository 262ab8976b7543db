"""Metrics linear in the logits: what attribution by gradients is exact for in the last layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scrub.discovery.metrics.base import register
from scrub.discovery.metrics.places import average, mean_over_places

if TYPE_CHECKING:
    from scrub.tasks.task import Task


@register(larger_is_better=True, needs=("answers", "wrong"))
def logit_difference(logits: torch.Tensor, batch: Task, original: torch.Tensor | None = None) -> torch.Tensor:
    """Mean logit of the right answers less mean logit of the wrong ones.

    Source: Wang et al. 2022, "Interpretability in the Wild", where there is one of each.

    >>> from scrub.tasks.task import Task
    >>> task = Task.from_tokens("one", torch.tensor([[5, 6]]), answers=[[[0, 1]]], wrong=[[[2, -1]]])
    >>> logit_difference(torch.tensor([[[2.0, 4.0, 1.0]]]), task)
    tensor([2.])
    """
    return mean_over_places(average(logits, batch.answers) - average(logits, batch.wrong), batch)


@register(larger_is_better=True, needs=("answers",))
def answer_logit(logits: torch.Tensor, batch: Task, original: torch.Tensor | None = None) -> torch.Tensor:
    """Mean logit of the right answers.

    >>> from scrub.tasks.task import Task
    >>> task = Task.from_tokens("one", torch.tensor([[5, 6]]), answers=[1])
    >>> answer_logit(torch.tensor([[[2.0, 4.0, 1.0]]]), task)
    tensor([4.])
    """
    return mean_over_places(average(logits, batch.answers), batch)
