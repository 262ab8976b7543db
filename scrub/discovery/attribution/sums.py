"""Sums over examples, from which means, their errors and means of absolute values follow, however data was batched."""

from __future__ import annotations

from collections.abc import Mapping

import torch


class Sums:
    """Sums over examples of scores, their squares and their absolute values, in double precision.

    Attributes:
        n: examples so far.
        parts: "total", "squares", "absolute" -> float64 [*axes]; empty before the first.
    """

    def __init__(self, n: int = 0, parts: Mapping[str, torch.Tensor] | None = None) -> None:
        self.n = n
        self.parts: dict[str, torch.Tensor] = dict(parts or {})

    def add(self, scores: torch.Tensor) -> None:
        """Add scores of some examples, [n, *axes]."""
        if not self.parts:
            shape = scores.shape[1:]
            self.parts = {name: torch.zeros(shape, dtype=torch.float64) for name in ("total", "squares", "absolute")}
        for score in scores:  # one at a time: no second copy of all of them in double precision
            double = score.to("cpu", torch.float64)
            self.parts["total"].add_(double)
            self.parts["squares"].addcmul_(double, double)
            self.parts["absolute"].add_(double.abs())
        self.n += len(scores)

    @property
    def mean(self) -> torch.Tensor:
        """The mean of scores, [*axes]."""
        return self.parts["total"] / self.n

    @property
    def absolute(self) -> torch.Tensor:
        """The mean of absolute scores, [*axes]."""
        return self.parts["absolute"] / self.n

    @property
    def errors(self) -> torch.Tensor:
        """Standard errors of the means, [*axes]; NaN of a single example."""
        if self.n < 2:
            return torch.full_like(self.parts["total"], torch.nan)
        variance = (self.parts["squares"] - self.parts["total"] ** 2 / self.n) / (self.n - 1)
        return (variance.clamp_min(0) / self.n).sqrt()
