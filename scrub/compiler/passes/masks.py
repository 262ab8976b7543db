"""What is known of the masks that are added to attention scores."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from scrub.compiler.ops import Sum
from scrub.compiler.passes.recognising import constant_below
from scrub.compiler.passes.scores import Pattern
from scrub.compiler.values import Graph, Value

NEVER = -3e4
"""What is added to scores that are masked is this or less. No score comes near, so that none can make up for it."""


class Masks:
    """What is added to scores, as the kernel takes it. Masks are shared by many patterns: each is looked at once."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.kinds: dict[tuple[Value, float, float], str] = {}

    def kind(self, pattern: Pattern) -> str:
        """What is known of what is added: "none", "causal", "undefined" if a query sees nothing at all, else "any"."""
        if not pattern.biases:
            return "none"
        kinds = {self._kind_of(bias, factor, pattern.offset) for bias, factor in pattern.biases}
        if len(pattern.biases) == 1:
            return kinds.pop()
        return "undefined" if "undefined" in kinds else "any"

    def added(self, pattern: Pattern, new: Mapping[Value, Value]) -> Value:
        """The sum of all that is added."""
        factors = tuple(factor for _, factor in pattern.biases)
        terms = [new[bias] for bias, _ in pattern.biases]
        if factors == (1.0,) and pattern.offset == 0.0:
            return terms[0]
        return self.graph.value(Sum(factors, pattern.offset), *terms)

    def _kind_of(self, bias: Value, factor: float, offset: float) -> str:
        key = (bias, factor, offset)
        if key not in self.kinds:
            tensor = constant_below(bias)
            self.kinds[key] = "any" if tensor is None or tensor.ndim != 2 else _kind(factor * tensor + offset)
        return self.kinds[key]


def _kind(bias: torch.Tensor) -> str:
    if not bias.any():
        return "none"
    if bool((bias == -torch.inf).all(-1).any()):
        return "undefined"  # softmax is not a number there, and the kernel says zero
    later = torch.ones(bias.shape, dtype=torch.bool, device=bias.device).triu(1)
    is_causal = bias.shape[0] == bias.shape[1] and not bias.tril().any() and bool((bias[later] <= NEVER).all())
    return "causal" if is_causal else "any"
