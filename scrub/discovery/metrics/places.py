"""Answers picked from logits, and means over the prediction places of an example: what metrics are written with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from scrub.tasks.task import Task


def picked(values: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Values [b, k, V] at tokens [b, k, a], and where there is a token, bool [b, k, a].

    Where tokens is -1 the value is 0 and has no gradient.

    >>> picked(torch.tensor([[[4.0, 5.0, 6.0]]]), torch.tensor([[[2, -1]]]))
    (tensor([[[6., 0.]]]), tensor([[[ True, False]]]))
    """
    tokens = tokens.to(values.device)
    is_token = tokens >= 0
    return torch.where(is_token, values.gather(-1, tokens.clamp_min(0)), 0.0), is_token


def total(values: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Sum of values [b, k, V] over tokens [b, k, a] that are not -1: [b, k]."""
    return picked(values, tokens)[0].sum(-1)


def average(values: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Mean of values [b, k, V] over tokens [b, k, a] that are not -1: [b, k]; 0 where there are none."""
    chosen, is_token = picked(values, tokens)
    return chosen.sum(-1) / is_token.sum(-1).clamp_min(1)


def largest(values: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Largest of values [b, k, V] at tokens [b, k, a], and at how many of those tokens it is: [b, k] both."""
    chosen, is_token = picked(values, tokens)
    best = torch.where(is_token, chosen, -torch.inf).amax(-1)
    return best, (is_token & (chosen == best[..., None])).sum(-1)


def mean_over_places(values: torch.Tensor, batch: Task) -> torch.Tensor:
    """Mean of values [b, k] over the prediction places of each example that are there: [b]."""
    present = batch.positions.to(values.device) >= 0
    return torch.where(present, values, 0.0).sum(-1) / present.sum(-1)
