"""Metrics of a hypothesis: a number for each reference, from the output of the scrubbed model and the reference."""

from __future__ import annotations

from collections.abc import Callable

import torch

from scrub.hypothesis.dataset import Dataset

Metric = Callable[[torch.Tensor, Dataset], torch.Tensor]
"""From the output [n, *shape] and the n references, a number for each, [n]."""


def output(values: torch.Tensor, references: Dataset) -> torch.Tensor:
    """The output itself, of a model that computes one number: its loss."""
    return values


def cross_entropy(label: str) -> Metric:
    """Minus the log-probability of the reference's label; nats.

    Args:
        label: name of the array of labels, int [n]. The output is logits: [n, classes], or [n] for the odds of 1 to 0.

    >>> data = Dataset({"label": torch.tensor([0, 1])})
    >>> cross_entropy("label")(torch.zeros(2, 2), data)
    tensor([0.6931, 0.6931])
    """

    def loss(logits: torch.Tensor, references: Dataset) -> torch.Tensor:
        logits, labels = _logits_and_labels(logits, references[label])
        return torch.nn.functional.cross_entropy(logits, labels, reduction="none")

    return loss


def accuracy(label: str) -> Metric:
    """1 where the largest logit is that of the reference's label, else 0; arguments as for `cross_entropy`.

    >>> accuracy("label")(torch.tensor([2.0, 3.0]), Dataset({"label": torch.tensor([0, 1])}))
    tensor([0., 1.])
    """

    def is_right(logits: torch.Tensor, references: Dataset) -> torch.Tensor:
        logits, labels = _logits_and_labels(logits, references[label])
        return (logits.argmax(-1) == labels).to(logits.dtype)

    return is_right


def _logits_and_labels(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    if logits.ndim == 1:
        logits = torch.stack([torch.zeros_like(logits), logits], dim=-1)
    return logits, labels.to(logits.device, torch.int64)
