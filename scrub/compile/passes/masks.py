"""What is known of the masks that are added to attention scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from scrub.compile.ops import Sum
from scrub.compile.passes.recognising import constant_below
from scrub.compile.values import Graph, Value

NEVER = -3e4
"""What is added to scores that are masked is this or less. No score comes near, so that none can make up for it."""

Biases = Sequence[tuple[Value, float]]
"""Terms of a sum, and their coefficients."""


class Masks:
    """What is added to scores, as the kernel takes it. Masks are shared by many patterns: each is looked at once."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.kinds: dict[Value, str] = {}

    def kind(self, biases: Biases) -> str:
        """What is known of what is added: "none", "causal", "undefined" if a query sees nothing at all, else "any"."""
        if not biases:
            return "none"
        kinds = {self._kind_of(bias) if factor == 1.0 else "any" for bias, factor in biases}
        return kinds.pop() if len(biases) == 1 else "undefined" if "undefined" in kinds else "any"

    def added(self, biases: Biases, new: Mapping[Value, Value]) -> Value:
        """The sum of all that is added."""
        if len(biases) == 1 and biases[0][1] == 1.0:
            return new[biases[0][0]]
        return self.graph.value(Sum(tuple(c for _, c in biases)), *(new[bias] for bias, _ in biases))

    def _kind_of(self, bias: Value) -> str:
        if bias not in self.kinds:
            self.kinds[bias] = _kind_of_tensor(constant_below(bias))
        return self.kinds[bias]


def _kind_of_tensor(bias: torch.Tensor | None) -> str:
    if bias is None or bias.ndim != 2:
        return "any"
    if not bias.any():
        return "none"
    if bool((bias == -torch.inf).all(-1).any()):
        return "undefined"  # softmax is not a number there, and the kernel says zero
    later = torch.ones(bias.shape, dtype=torch.bool, device=bias.device).triu(1)
    is_causal = bias.shape[0] == bias.shape[1] and not bias.tril().any() and bool((bias[later] <= NEVER).all())
    return "causal" if is_causal else "any"
