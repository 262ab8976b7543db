"""Parts of a model as torch functions of tensors."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from functools import cached_property

import torch

from scrub.compiler import TorchFunction
from scrub.discovery.derive.parts import Part
from scrub.discovery.derive.walks import depending, opened, outside_bodies, replaced
from scrub.discovery.machine.source import Given
from scrub.graph import DiscoveryError, Expr, Module, Symbol
from scrub.graph.rearrange import repeat_axes
from scrub.rewrite.substitute import bind


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
        self._with: dict[str, tuple[list[Symbol], Expr, Expr | None]] = {}
        self._at: dict[str, tuple[list[Symbol], list[Expr]]] = {}
        self.rest_is_drawn = part.rest is not None and any(
            s in set(part.symbols.values()) for s in part.rest.free_symbols
        )

    def total(self, states: Sequence[torch.Tensor], given: Given) -> torch.Tensor:
        """All that it adds to the stream, [n, *stream]; for the logits, these."""
        return self._call("total", [self._total], list(self.part.symbols.values()), states, given)[0]

    @cached_property
    def _total(self) -> Expr:
        return replaced(self.part.term, self.part.symbols)

    def write(self, states: Sequence[torch.Tensor], given: Given) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What each of its writers writes, [n, heads, *stream], and what it adds besides, [n, *stream] or [*stream].

        Args:
            states: of `part.states`, [n, *stream].
            given: what the model is given.
        """
        return self._written("each", self.part.each, self.part.rest, list(self.part.symbols.values()), states, given)

    def enter(self, ports: Sequence[torch.Tensor], given: Given) -> list[torch.Tensor]:
        """What its heads are given, [n, *axes, ...], of what each reads of the stream, [n, heads, *stream]."""
        if self._is_closed and all(port.transpose(0, 1).is_contiguous() for port in ports):
            return self._enter_by_head(ports, given)
        symbols = [port.symbol for port in self.part.ports]
        return self._call("enter", self.part.entered, symbols, [self.to_axes(port) for port in ports], given)

    def _enter_by_head(self, ports: Sequence[torch.Tensor], given: Given) -> list[torch.Tensor]:
        """As `enter`, of tensors that lie head by head in memory, as what comes out does: no head is copied."""
        tensors = {port.symbol: value for port, value in zip(self.part.ports, ports, strict=True)}
        found: list[torch.Tensor] = []
        for number, call in enumerate(expr.cast(Module) for expr in self.part.entered):
            flat = [tensors[arg.cast(Symbol)].transpose(0, 1).flatten(0, 1) for arg in call.args]
            (value,) = self._call(f"by head {number}", [call.body], list(call.bindings), flat, given)
            found.append(self.to_axes(value.reshape(-1, given.n, *value.shape[1:]).transpose(0, 1)))
        return found

    @cached_property
    def _is_closed(self) -> bool:
        """Whether what heads are given depends on the stream alone."""
        if not self.part.axes:
            return False
        calls = [expr.cast(Module) for expr in self.part.entered]
        return all(set(call.body.free_symbols) <= call.bindings.keys() for call in calls)

    def inner(self, entries: Sequence[torch.Tensor], given: Given) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As `write`, of what its heads are given."""
        return self._written("inner", self.part.inner, self.part.inner_rest, self.part.entries, entries, given)

    def inner_total(self, entries: Sequence[torch.Tensor], given: Given) -> torch.Tensor:
        """All that it adds to the stream, [n, *stream], of what its heads are given; heads are summed as they write."""
        return self._call("inner total", [self._inner_total], self.part.entries, entries, given)[0]

    @cached_property
    def _inner_total(self) -> Expr:
        heads = self.part.heads
        return self.part.inner if heads is None else bind(heads.total, {heads.output: heads.call})

    def read_once(self, states: Sequence[torch.Tensor], given: Given) -> list[torch.Tensor]:
        """What all heads are given, read once from the states: [n, ...] each, the same for every head."""
        symbols = list(self.part.symbols.values())
        return self._call("shared", [self._shared(expr) for expr in self.part.entered], symbols, states, given)

    def entered_by_all(self, states: Sequence[torch.Tensor], given: Given) -> list[torch.Tensor]:
        """The same as one view for each head: [n, *axes, ...]."""
        n_axes = len(self.part.axes)
        return [
            value[(slice(None), *[None] * n_axes)].expand(len(value), *self.part.axes, *value.shape[1:])
            for value in self.read_once(states, given)
        ]

    def activations(
        self, names: Sequence[str], entries: Sequence[torch.Tensor], given: Given
    ) -> dict[str, torch.Tensor]:
        """Values inside the part, such as "a.q" or "m.post", of what its heads are given: [n, heads, *shape].

        Raises:
            DiscoveryError: the part has no such node.
        """
        return self._activations(names, {}, entries, given)

    def chained(self, names: Sequence[str], entries: Sequence[torch.Tensor], given: Given) -> dict[str, torch.Tensor]:
        """As `activations`, each computed from the others of them that it reads: a torch graph of these tensors."""
        waiting: dict[str, Expr] = {name: self.node(name) for name in names}
        found: dict[str, torch.Tensor] = {}
        while waiting:
            nodes = set(waiting.values())
            ready = [name for name, node in waiting.items() if depending(node, nodes - {node}) <= {node}]
            found |= self._activations(ready, found, entries, given)
            waiting = {name: node for name, node in waiting.items() if name not in found}
        return found

    def _activations(
        self,
        names: Sequence[str],
        known: Mapping[str, torch.Tensor],
        entries: Sequence[torch.Tensor],
        given: Given,
    ) -> dict[str, torch.Tensor]:
        """Values inside the part, of what its heads are given and of other values inside it."""
        what = f"at {' '.join(names)} of {' '.join(known)}"
        if what not in self._at:
            self._at[what] = self._inside_of(names, list(known))
        symbols, exprs = self._at[what]
        tensors = [*(self.to_axes(value) for value in known.values()), *entries]
        found = self._call(what, exprs, [*symbols, *self.part.entries], tensors, given)
        return {name: self.from_axes(value) for name, value in zip(names, found, strict=True)}

    def _inside_of(self, names: Sequence[str], known: Sequence[str]) -> tuple[list[Symbol], list[Expr]]:
        """Symbols for known nodes of the body, and other nodes for all heads, of these."""
        nodes = {self.node(name): name for name in known}
        inside = {node: Symbol.new_with_random_uuid(node.shape, f"at.{name}") for node, name in nodes.items()}
        if self.part.heads is None:
            return list(inside.values()), [replaced(self.node(name), inside) for name in names]
        outside = {s: Symbol.new_with_random_uuid((*self.part.axes, *s.shape), s.name) for s in inside.values()}
        return list(outside.values()), [self._around(replaced(self.node(name), inside), outside) for name in names]

    def write_with(
        self, values: Mapping[str, torch.Tensor], entries: Sequence[torch.Tensor], given: Given
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As `inner`, with values inside the part given, [n, heads, *shape]."""
        nodes = {self.node(name): name for name in values}
        what = f"with {' '.join(values)}"
        if what not in self._with:
            self._with[what] = self._with_given(list(nodes))
        symbols, each, rest = self._with[what]
        tensors = [*(self.to_axes(value) for value in values.values()), *entries]
        return self._written(what, each, rest, [*symbols, *self.part.entries], tensors, given)

    def node(self, name: str) -> Expr:
        """The node of that name inside the part."""
        if name not in self.nodes:
            close = difflib.get_close_matches(name, list(self.nodes), n=1)
            raise DiscoveryError(
                f"there is no activation {name!r} in {self.part.name}",
                expected=sorted(self.nodes),
                found=name,
                hint=f"did you mean {close[0]!r}?" if close else f"its activations are {sorted(self.nodes)}",
            )
        return self.nodes[name]

    @cached_property
    def nodes(self) -> dict[str, Expr]:
        """Name -> node inside the part, in the body of its heads' call or in itself, calls opened."""
        return {str(node.name): node for node in outside_bodies([self._body]) if node.name}

    @cached_property
    def _body(self) -> Expr:
        heads = self.part.heads
        return opened(self.part.inner if heads is None else heads.call.body, lambda call: call.ndim == call.body.ndim)

    def _around(self, node: Expr, outside: Mapping[Symbol, Expr]) -> Expr:
        """A node of the body for all heads, on the part's entries and what stands for other nodes."""
        assert self.part.heads is not None
        bindings = {**self.part.heads.call.bindings, **outside}
        used = {symbol: arg for symbol, arg in bindings.items() if symbol in node.free_symbols}
        result: Expr = Module.from_bindings(node, used)
        return repeat_axes(result, self.part.axes) if result.ndim == node.ndim else result

    def _with_given(self, nodes: Sequence[Expr]) -> tuple[list[Symbol], Expr, Expr | None]:
        """Symbols for nodes of the body, and what is written and the rest, of these."""
        axes, heads = self.part.axes, self.part.heads
        inside = {node: Symbol.new_with_random_uuid(node.shape, f"at.{node.name}") for node in nodes}
        body = replaced(self._body, inside)
        if heads is None:
            return list(inside.values()), body, None
        outside = {node: Symbol.new_with_random_uuid((*axes, *node.shape), f"given.{node.name}") for node in nodes}
        bindings = {symbol: arg for symbol, arg in heads.call.bindings.items() if symbol in body.free_symbols}
        call = Module.from_bindings(body, bindings | {inside[node]: outside[node] for node in nodes})
        each, rest = (None if e is None else bind(e, {heads.output: call}) for e in heads.written)
        assert each is not None
        return list(outside.values()), each, rest

    def to_axes(self, value: torch.Tensor) -> torch.Tensor:
        """[n, heads, ...] as [n, *axes, ...]: of axes [i, g], head g * n_i + i is [i, g]."""
        axes = self.part.axes
        if not axes:
            return value[:, 0]
        apart = value.reshape(len(value), *axes[::-1], *value.shape[2:])
        return apart.movedim(tuple(range(1, len(axes) + 1)), tuple(range(len(axes), 0, -1)))

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
