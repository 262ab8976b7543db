"""Parts of a model as torch functions of tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from scrub.compiler import TorchFunction
from scrub.discovery.derive.parts import Part
from scrub.discovery.derive.walks import replaced
from scrub.discovery.machine.source import Given
from scrub.graph import Expr, Module, Symbol


class PartFunctions:
    """One part, for inputs of one kind. Tensors of writers are [n, heads, *stream], heads in their order.

    Args:
        part: what is computed.
        batched: the free symbols that have one value for each example.
    """

    def __init__(self, part: Part, batched: frozenset[Symbol]) -> None:
        self.part = part
        self._free = part.free
        self._batched = batched
        self._cache: dict[str, TorchFunction] = {}
        self.rest_is_drawn = part.rest is not None and any(
            s in set(part.symbols.values()) for s in part.rest.free_symbols
        )

    def total(self, states: Sequence[torch.Tensor], given: Given) -> torch.Tensor:
        """All that it adds to the stream, [n, *stream]; for the logits, these."""
        expr = replaced(self.part.term, self.part.symbols)
        return self._call("total", [expr], list(self.part.symbols.values()), states, given)[0]

    def write(self, states: Sequence[torch.Tensor], given: Given) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What each of its writers writes, [n, heads, *stream], and what it adds besides, [n, *stream] or [*stream].

        Args:
            states: of `part.states`, [n, *stream].
            given: what the model is given.
        """
        return self._written("each", self.part.each, self.part.rest, list(self.part.symbols.values()), states, given)

    def enter(self, ports: Sequence[torch.Tensor], given: Given) -> list[torch.Tensor]:
        """What its heads are given, [n, *axes, ...], of what each reads of the stream, [n, heads, *stream]."""
        symbols = [port.symbol for port in self.part.ports]
        return self._call("enter", self.part.entered, symbols, [self.to_axes(port) for port in ports], given)

    def inner(self, entries: Sequence[torch.Tensor], given: Given) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As `write`, of what its heads are given."""
        return self._written("inner", self.part.inner, self.part.inner_rest, self.part.entries, entries, given)

    def entered_by_all(self, states: Sequence[torch.Tensor], given: Given) -> list[torch.Tensor]:
        """What all heads are given, read once from the states, as one view for each head: [n, *axes, ...]."""
        symbols = list(self.part.symbols.values())
        exprs = [self._shared(expr) for expr in self.part.entered]
        found = self._call("shared", exprs, symbols, states, given)
        n_axes = len(self.part.axes)
        return [
            value[(slice(None), *[None] * n_axes)].expand(len(value), *self.part.axes, *value.shape[1:])
            for value in found
        ]

    def to_axes(self, value: torch.Tensor) -> torch.Tensor:
        """[n, heads, ...] as [n, *axes, ...]: of axes [i, g], head g * n_i + i is [i, g]."""
        axes = self.part.axes
        if not axes:
            return value[:, 0]
        return value.unflatten(1, axes[::-1]).movedim(tuple(range(1, len(axes) + 1)), tuple(range(len(axes), 0, -1)))

    def from_axes(self, value: torch.Tensor) -> torch.Tensor:
        """[n, *axes, ...] as [n, heads, ...]."""
        n_axes = len(self.part.axes)
        if not n_axes:
            return value[:, None]
        value = value.movedim(tuple(range(1, n_axes + 1)), tuple(range(n_axes, 0, -1)))
        return value.flatten(1, n_axes)

    def _shared(self, entered: Expr) -> Expr:
        """What `enter` computes for a head, of the states."""
        return entered.cast(Module).body if self.part.axes else entered

    def _written(
        self,
        what: str,
        each: Expr,
        rest: Expr | None,
        symbols: Sequence[Symbol],
        tensors: Sequence[torch.Tensor],
        given: Given,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        exprs = [each] if rest is None else [each, rest]
        found = self._call(what, exprs, symbols, tensors, given)
        return self.from_axes(found[0]), found[1] if rest is not None else None

    def _call(
        self,
        what: str,
        exprs: Sequence[Expr],
        symbols: Sequence[Symbol],
        tensors: Sequence[torch.Tensor],
        given: Given,
    ) -> list[torch.Tensor]:
        if what not in self._cache:
            batched = [*symbols, *(s for s in self._free if s in self._batched)]
            self._cache[what] = TorchFunction(exprs, [*symbols, *self._free], batched=batched)
        return list(self._cache[what](*tensors, *(given.tensors[s] for s in self._free)))
