"""Parts: what a layer or a step of a model computes from the residual stream and writes to it, as functions.

A part of several heads can be computed from one stream for all of them, or from one for each input of each head.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scrub.discovery.derive.heads import Heads, find_heads
from scrub.discovery.derive.lift import Lifted, lift
from scrub.discovery.derive.walks import depending, replaced
from scrub.graph import Expr, Module, Symbol
from scrub.rewrite.substitute import bind

_LAYER = re.compile(r"(?:^|\.)[abm]?(\d+)(?:\.|$)")
_SUFFIXES = (".p_bias", ".out_norm", ".lin")
_PORT = re.compile(r"^a\.([qkv])\.")


@dataclass(frozen=True)
class Port:
    """One way in: what a part reads of one state of the stream, each of its heads by itself.

    Attributes:
        label: "q", "k", "v" of heads; "" where there is one way in.
        state: the state of the stream.
        symbol: stands for what is read, [*axes, *stream].
    """

    label: str
    state: Expr
    symbol: Symbol


@dataclass(frozen=True)
class OfHeads:
    """The heads of a part.

    Attributes:
        call: the call of one head for all, on the part's `entries`.
        output: stands for what the call gives, [*axes, *stream].
        written: what each writes and the rest, of `output`.
        total: what they add to the stream together, of `output`.
    """

    call: Module
    output: Symbol
    written: Lifted
    total: Expr


@dataclass(frozen=True)
class Part:
    """What writes one or, with heads, several terms to the residual stream.

    Attributes:
        name: "a0", "m0", "input", "logits".
        kind: what it is.
        term: what it writes, in the expression; the root for the logits.
        axes: the batch axes of its heads; () if it has none.
        states: the states that it reads.
        symbols: state -> what stands for it, one for all heads.
        each: of `symbols`: what it writes, [*axes, *stream].
        rest: of `symbols`: what it adds besides and no head writes, such as a bias; or None.
        ports: its ways in.
        entered: of the symbols of `ports`: what the heads' call is given instead of the stream, [*axes, ...].
        entries: what stands for `entered`.
        inner: of `entries`: as `each`.
        inner_rest: of `entries`: as `rest`.
        heads: its heads, if it has any.
    """

    name: str
    kind: Literal["input", "heads", "mlp", "layer", "logits"]
    term: Expr
    axes: tuple[int, ...]
    states: tuple[Expr, ...]
    symbols: Mapping[Expr, Symbol]
    each: Expr
    rest: Expr | None
    ports: tuple[Port, ...]
    entered: tuple[Expr, ...]
    entries: tuple[Symbol, ...]
    inner: Expr
    inner_rest: Expr | None
    heads: OfHeads | None

    @property
    def layer(self) -> int | None:
        """The number of its layer, if its name has one."""
        found = _LAYER.search(self.name)
        return int(found.group(1)) if found else None

    def entries_of(self, label: str) -> list[int]:
        """The numbers of those of its entries that are read through the ports of a label."""
        own = {port.symbol for port in self.ports if port.label == label}
        return [i for i, expr in enumerate(self.entered) if not own.isdisjoint(expr.free_symbols)]

    @property
    def free(self) -> tuple[Symbol, ...]:
        """The symbols that it reads besides the stream: masks, tables of positions, inputs."""
        own = {*self.symbols.values(), *(port.symbol for port in self.ports), *self.entries}
        exprs = [self.each, self.rest, self.inner, self.inner_rest, *self.entered]
        found = dict.fromkeys(s for expr in exprs if expr is not None for s in expr.free_symbols)
        return tuple(symbol for symbol in found if symbol not in own)


def make_part(
    term: Expr,
    states: Sequence[Expr],
    name: str,
    kind: Literal["input", "layer", "logits"],
    *,
    split_qkv: bool = True,
) -> Part:
    """The part that writes a term.

    Args:
        term: what it writes.
        states: all states of the stream that come before.
        name: of the part.
        kind: "layer" for anything but the input and the logits; heads and MLPs are found.
        split_qkv: whether what a head's queries, keys and values read are ways in of their own.
    """
    known = set(states) - {term}
    live = depending(term, known)
    read = tuple(state for state in states if state in live and state is not term)
    symbols = {state: Symbol.new_with_random_uuid(state.shape, f"stream.{i}") for i, state in enumerate(read)}
    heads = find_heads(term, known) if kind == "layer" else None
    part = None if heads is None else _of_heads(term, name, heads, symbols, split_qkv=split_qkv)
    return part or _single(term, name, kind, symbols)


def part_name(term: Expr, number: int) -> str:
    """What to call the part that writes a term: the term's name, less what says where in the layer it is."""
    name = term.name or f"part{number}"
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def _single(term: Expr, name: str, kind: Literal["input", "layer", "logits"], symbols: Mapping[Expr, Symbol]) -> Part:
    whole = replaced(term, symbols)
    ports = tuple(
        Port("" if len(symbols) == 1 else str(i), state, symbol) for i, (state, symbol) in enumerate(symbols.items())
    )
    is_mlp = kind == "layer" and re.fullmatch(r"m\d+", name) is not None
    entries = tuple(symbols.values())
    return Part(
        name=name,
        kind="mlp" if is_mlp else kind,
        term=term,
        axes=(),
        states=tuple(symbols),
        symbols=symbols,
        each=whole,
        rest=None,
        ports=ports,
        entered=entries,
        entries=entries,
        inner=whole,
        inner_rest=None,
        heads=None,
    )


def _of_heads(term: Expr, name: str, heads: Heads, symbols: Mapping[Expr, Symbol], *, split_qkv: bool) -> Part | None:
    """The part as its heads; None where what it writes is not a sum over them, or a head has no input of its own."""
    call, known = heads.call, set(symbols)
    args = {s: arg for s, arg in call.bindings.items() if depending(arg, known)}
    if any(arg.ndim != symbol.ndim for symbol, arg in args.items()):
        return None
    entries = {s: Symbol.new_with_random_uuid((*heads.axes, *s.shape), f"entry.{s.name}") for s in args}
    on_entries = call.with_children((call.body, *(entries.get(s, arg) for s, arg in call.bindings.items())))
    output = Symbol.new_with_random_uuid(call.shape, "heads")
    lifted = lift(heads.whole, heads.summed, output, heads.summed.with_children((output,)), {})
    if lifted is None or any(depending(expr, known) for expr in lifted if expr is not None):
        return None
    each, rest = _of_output(lifted, output, replaced(call, symbols))
    inner, inner_rest = _of_output(lifted, output, on_entries)
    ports: dict[tuple[str, Expr], Port] = {}
    entered: list[Expr] = []
    for symbol, arg in args.items():
        label = _label(str(symbol.name)) if split_qkv else ""
        read = [state for state in symbols if state in depending(arg, known)]
        for state in read:
            shape = (*heads.axes, *state.shape)
            given = Symbol.new_with_random_uuid(shape, f"port.{label}.{symbols[state].name}")
            ports.setdefault((label, state), Port(label, state, given))
        bound = {symbols[state]: ports[label, state].symbol for state in read}
        entered.append(Module.from_bindings(replaced(arg, symbols), bound))
    return Part(
        name=name,
        kind="heads",
        term=term,
        axes=heads.axes,
        states=tuple(symbols),
        symbols=symbols,
        each=each,
        rest=rest,
        ports=tuple(ports.values()),
        entered=tuple(entered),
        entries=tuple(entries.values()),
        inner=inner,
        inner_rest=inner_rest,
        heads=OfHeads(on_entries.cast(Module), output, lifted, replaced(heads.whole, {call: output})),
    )


def _of_output(lifted: Lifted, output: Symbol, call: Expr) -> tuple[Expr, Expr | None]:
    """What is written and the rest, where the heads' outputs are those of a call."""
    each, rest = (None if expr is None else bind(expr, {output: call}) for expr in lifted)
    assert each is not None
    return each, rest


def _label(parameter: str) -> str:
    """ "q" of "a.q.input"; of any other parameter its name."""
    found = _PORT.match(parameter)
    return found.group(1) if found else parameter.removesuffix(".input")
