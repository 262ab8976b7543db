"""Attention patterns computed anew for patched queries or keys."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from scrub.compiler import TorchFunction
from scrub.discovery.derive.walks import replaced
from scrub.discovery.machine import Machine, Run
from scrub.discovery.patching.sites import Place
from scrub.graph import Expr, Module, Symbol

_OTHER: Mapping[str, str] = {"a.q": "a.k", "a.k": "a.q", "a.rot_q": "a.rot_k", "a.rot_k": "a.rot_q"}
_PATTERN = "a.attn_probs"


class ExactPatterns:
    """The patterns of one part, as a function of its queries and keys.

    Args:
        machine: the model.
        place: which of them is patched.
        run: the run that is patched.
    """

    def __init__(self, machine: Machine, place: Place, run: Run) -> None:
        self._functions = machine.functions(run.given)[place.part.name]
        self._given = run.given
        self._part = place.part
        entries = self._functions.entered_by_all(machine.read(place.part, run), run.given)
        own = [place.site.node, _OTHER[place.site.node]]
        found = self._functions.activations([*own, _PATTERN], entries, run.given)
        self._other, self._pattern = found[own[1]], found[_PATTERN]
        self._make(own)

    def change(self, patched: torch.Tensor) -> torch.Tensor:
        """The change of the pattern, [copies, n, heads, query, key], for patched values [copies, n, heads, seq, d].

        The other of the two, and all else, is that of the run.
        """
        copies: list[torch.Tensor] = []
        for value in patched:  # masks and tables of positions are those of one copy of the batch
            tensors = [self._functions.to_axes(value), self._functions.to_axes(self._other)]
            (found,) = self._function(*tensors, *(self._given.tensors[symbol] for symbol in self._free))
            copies.append(self._functions.from_axes(found) - self._pattern)
        return torch.stack(copies)

    def _make(self, names: list[str]) -> None:
        heads = self._part.heads
        assert heads is not None
        nodes = [self._functions.node(name) for name in names]
        inside: dict[Expr, Expr] = {node: Symbol.new_with_random_uuid(node.shape, str(node.name)) for node in nodes}
        body = replaced(self._functions.node(_PATTERN), inside)
        given = [Symbol.new_with_random_uuid((*self._part.axes, *node.shape), str(node.name)) for node in nodes]
        bindings = {symbol: arg for symbol, arg in heads.call.bindings.items() if symbol in body.free_symbols}
        inner = {inside[node].cast(Symbol): symbol for node, symbol in zip(nodes, given, strict=True)}
        call = Module.from_bindings(body, bindings | inner)
        self._free = tuple(symbol for symbol in call.free_symbols if symbol not in given)
        batched = [*given, *(symbol for symbol in self._free if symbol in self._given.batched)]
        self._function = TorchFunction([call], [*given, *self._free], batched=batched)
