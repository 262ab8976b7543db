"""Which draws each part of a scrubbed model reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from scrub.graph import Expr, Module, Symbol, postorder


class Reads(NamedTuple):
    """What the nodes of an expression read.

    Attributes:
        bits: for each node, the draws that its value depends on; in the body of a module, on any call.
        varying: nodes in bodies of modules for which that differs from call to call.
    """

    bits: dict[Expr, int]
    varying: set[Expr]


def draws_read(expr: Expr, sources: Mapping[Symbol, int]) -> Reads:
    """For each node the draws that its value depends on, as bits.

    What is in the body of a module reads what is bound to its parameters.

    Args:
        expr: the scrubbed model.
        sources: symbol -> bits of its own.

    >>> from scrub.graph import Scalar
    >>> x, y = (Symbol.new_from_name((), name) for name in "xy")
    >>> total = x.add(y, name="total").mul(Scalar(2.0, name="two"), name="twice")
    >>> {node.name: bits for node, bits in draws_read(total, {x: 1, y: 2}).bits.items()}
    {'x': 1, 'y': 2, 'total': 3, 'two': 0, 'twice': 3}
    """
    order = list(postorder([expr]))
    symbols = [spec.symbol for node in order if isinstance(node, Module) for spec in node.params]
    found = _Parameters(list(dict.fromkeys(symbols)), max([0, *sources.values()]).bit_length())
    raw: dict[Expr, int] = {}  # with a bit more for each parameter that is not bound below the node
    for node in order:
        raw[node] = sources.get(node, 0) | found.bit.get(node, 0) if isinstance(node, Symbol) else 0
        for bits in found.of_children(node, raw):
            raw[node] |= bits
    for node in reversed(order):  # so that what is bound around a module is known before what is bound by it
        if isinstance(node, Module):
            for spec, argument in zip(node.params, node.children[1:], strict=True):
                found.bind(spec.symbol, raw[argument])
    resolved = {bits: found.resolve(bits) for bits in set(raw.values())}
    varying = {node for node, bits in raw.items() if resolved[bits][1]}
    return Reads({node: resolved[bits][0] for node, bits in raw.items()}, varying)


class _Parameters:
    """What is bound to the parameters of modules, on all calls together.

    Args:
        symbols: the parameters.
        num_draws: so many bits stand for draws; those above for parameters.
    """

    def __init__(self, symbols: Sequence[Symbol], num_draws: int) -> None:
        self.num_draws = num_draws
        self.bit = {symbol: 1 << (num_draws + i) for i, symbol in enumerate(symbols)}
        self._bound: dict[int, int] = {}
        self._varying = 0

    def of_children(self, node: Expr, raw: Mapping[Expr, int]) -> list[int]:
        """The bits of children whose values matter: not of what is bound to parameters that the body does not use."""
        if not isinstance(node, Module):
            return [raw[child] for child in node.children]
        body, arguments = raw[node.children[0]], node.children[1:]
        own = [self.bit[spec.symbol] for spec in node.params]
        used = [raw[argument] for bit, argument in zip(own, arguments, strict=True) if body & bit]
        for bit in own:
            body &= ~bit
        return [body, *used]

    def bind(self, symbol: Symbol, raw: int) -> None:
        """Take in what one call binds to a parameter."""
        bits, varies = self.resolve(raw)
        bit = self.bit[symbol]
        if varies or self._bound.setdefault(bit, bits) != bits:
            self._varying |= bit
        self._bound[bit] = self._bound.get(bit, 0) | bits

    def resolve(self, raw: int) -> tuple[int, bool]:
        """The draws that bits stand for, and whether that differs from call to call."""
        rest = raw >> self.num_draws << self.num_draws
        bits, varies = raw ^ rest, bool(rest & self._varying)
        while rest:
            lowest = rest & -rest
            bits |= self._bound.get(lowest, 0)
            rest ^= lowest
        return bits, varies
