"""Pulling bindings out of nested modules, up to one module at the top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scrub.graph import Expr, MatchError, Module, ModuleArgSpec, ModuleBindingError, Symbol, postorder
from scrub.graph.rules import uuid_from_name
from scrub.graph.walk import settle
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.modules.parameters import Parameter, bind_apart, fresh_symbol, parameters_of, under_name_of


def extract_symbols(expr: Expr, symbols: MatcherIn, *, name: str | None = None) -> Module:
    """What is bound to matching parameters of modules anywhere inside becomes bound by one module at the top.

        g((s -> f(s))(w))  ->  (s -> g(f(s)))(w)

    The top is `expr` if that is a module and what is extracted lies in its body: the new parameters stand behind its
    own. Else it is a new module around `expr`. Inside, a module loses the parameters that moved (and dissolves with its
    last), so the functions of two calls that bind different things come apart: they use different parameters of the
    top. Equal bindings share one. An argument with batch axes of its own keeps its parameter, which is then bound to a
    parameter of the top of the whole shape.

    A matching node that is no symbol becomes a parameter too, bound to the node: so weights can be collected.

    A parameter of the top is the symbol itself where it is the only one of its kind; else it is called after the module
    it came from, "b1.w", with a number behind if that is taken.

    Args:
        expr: what to rewrite.
        symbols: which parameters (and other nodes).
        name: of the top module; that of `expr` if not given.

    Raises:
        MatchError: nothing was found to extract.
        ModuleBindingError: something to extract depends on a parameter of a module inside that stays.

    >>> from scrub.graph import Add, Scalar
    >>> w = Symbol.new_from_name((), "w")
    >>> calls = [Module.from_bindings(Add(w, w, name="f"), {w: Scalar(1.0, name=x)}, f"b{x}") for x in "01"]
    >>> extract_symbols(Add(*calls, name="sum"), "w").print()
    'sum' [] Module
      'sum' [] Add
        'b0' [] Add
          'b0.w' [] Symbol ...
          'b0.w'
        'b1' [] Add
          'b1.w' [] Symbol ...
          'b1.w'
      '0' [] Scalar 1.0 ! 'b0.w'
      '1' [] Scalar 1.0 ! 'b1.w'
    """
    chosen = Matcher(symbols)
    top = expr if isinstance(expr, Module) and not _is_any_found(expr.args, chosen) else None
    work = _Extract(chosen, {} if top is None else top.bindings)
    body = work.run(expr if top is None else top.body)
    if not work.found:
        raise MatchError(
            f"extract_symbols: no module in {expr!r} binds anything to {chosen!r}",
            nodes=[expr],
            expected="at least 1",
            found=0,
            hint="what is free in the expression is not bound inside; module_new_bind binds it",
        )
    own = [] if top is None else parameters_of(top)
    free = set(body.free_symbols)
    found = [item for item in work.found.values() if item.stand_in in free]
    final = _final_symbols(found, body, own)
    body = bind_apart(body, final)
    parameters = [*own, *((ModuleArgSpec(final[item.stand_in]), item.value) for item in found)]
    specs = tuple(spec for spec, _ in parameters)
    return Module.make((body, *(arg for _, arg in parameters)), specs, expr.name if name is None else name)


def _is_any_found(exprs: Sequence[Expr], chosen: Matcher) -> bool:
    return any(
        chosen(node) or (isinstance(node, Module) and any(map(chosen, node.bindings)))
        for node in postorder(exprs)
        if not isinstance(node, Symbol)
    )


@dataclass(frozen=True)
class _Found:
    """A parameter of the top: its symbol so far, what it was extracted for, what is bound to it, names for it."""

    stand_in: Symbol
    source: Expr
    value: Expr
    owner: Module | None


Env = tuple[tuple[Symbol, Expr], ...]
Position = tuple[Expr, Env, frozenset[Symbol]]
"""A node, the stand-ins for its free symbols that were extracted, and those that a module which stays binds."""


class _Extract:
    """Walks through bodies with what their parameters became.

    Attributes:
        found: what was extracted, by (source, value, shape).
    """

    def __init__(self, symbols: Matcher, of_top: dict[Symbol, Expr]) -> None:
        self.symbols = symbols
        self.of_top = of_top
        self.found: dict[object, _Found] = {}
        self.values: dict[Symbol, Expr] = {}  # of the stand-ins
        self.results: dict[Position, Expr] = {}

    def run(self, expr: Expr) -> Expr:
        start: Position = (expr, (), frozenset())
        settle(start, self.results, self._step)
        return self.results[start]

    def _step(self, at: Position) -> list[Position]:
        """The result of a position, or the positions that must come first."""
        node, env, staying = at
        if isinstance(node, Symbol):
            self.results[at] = env[0][1] if env else node
            return []
        if isinstance(node, Module):
            return self._step_module(at, node)
        below = [_restrict(child, dict(env), staying) for child in node.children]
        waiting = [position for position in below if position not in self.results]
        if not waiting:
            result = node.with_children([self.results[position] for position in below])
            self.results[at] = self._extract(node, result, None, staying) if self.symbols(node) else result
        return waiting

    def _step_module(self, at: Position, module: Module) -> list[Position]:
        scope, staying = dict(at[1]), at[2]
        below = [_restrict(arg, scope, staying) for arg in module.args]
        waiting = [position for position in below if position not in self.results]
        if waiting:
            return waiting
        kept: list[Parameter] = []
        inner = {symbol: value for symbol, value in scope.items() if symbol not in module.bindings}
        for spec, position in zip(module.params, below, strict=True):
            arg = self.results[position]
            symbol = spec.symbol
            if not self.symbols(symbol):
                kept.append((spec, arg))
            elif arg.shape != symbol.shape:
                kept.append((spec, self._extract(symbol, arg, module, position[2])))
            elif symbol in module.body.free_symbols:
                inner[symbol] = self._extract(symbol, arg, module, position[2])
        body = _restrict(module.body, inner, staying | {spec.symbol for spec, _ in kept})
        if body not in self.results:
            return [body]
        self.results[at] = self._finish(module, self.results[body], kept, staying)
        return []

    def _finish(self, module: Module, body: Expr, kept: list[Parameter], staying: frozenset[Symbol]) -> Expr:
        if kept or not module.args:
            result: Expr = Module.make((body, *(arg for _, arg in kept)), tuple(spec for spec, _ in kept), module.name)
        else:
            result = under_name_of(module, body)
        return self._extract(module, result, None, staying) if self.symbols(module) else result

    def _extract(self, source: Expr, value: Expr, owner: Module | None, staying: frozenset[Symbol]) -> Expr:
        """The symbol of the top that stands for a value."""
        if isinstance(value, Symbol) and value in self.values:
            return value
        inside = [symbol for symbol in value.free_symbols if symbol in staying]
        if inside:
            raise ModuleBindingError(
                f"extract_symbols: {value!r} depends on {inside[0].name!r}, a parameter of a module around it that "
                "stays",
                nodes=[value, inside[0], *([] if owner is None else [owner])],
                found=inside[0],
                hint="extract that parameter too, or substitute that module first",
            )
        shape = value.shape
        for values in (self.values, self.of_top):
            value = bind_apart(value, {symbol: values[symbol] for symbol in value.free_symbols if symbol in values})
        key = (source, value, shape)
        if key not in self.found:
            stand_in = Symbol(shape, uuid_from_name(f"extracted {source.digest} {value.digest} {shape}"), source.name)
            self.found[key] = _Found(stand_in, source, value, owner)
            self.values[stand_in] = value
        return self.found[key].stand_in


def _restrict(node: Expr, scope: dict[Symbol, Expr], staying: frozenset[Symbol]) -> Position:
    if not scope and not staying:
        return node, (), staying
    env = tuple((symbol, scope[symbol]) for symbol in node.free_symbols if symbol in scope)
    return node, env, frozenset(symbol for symbol in node.free_symbols if symbol in staying and symbol not in scope)


def _final_symbols(found: list[_Found], body: Expr, own: list[Parameter]) -> dict[Symbol, Symbol]:
    """What each parameter of the top is called: the symbol it came from, or a fresh one."""
    stand_ins = {item.stand_in for item in found}
    free = {symbol for symbol in body.free_symbols if symbol not in stand_ins} | {spec.symbol for spec, _ in own}
    taken: set[str | None] = {symbol.name for symbol in free}
    count: dict[str | None, int] = {}
    for item in found:
        count[item.source.name] = count.get(item.source.name, 0) + 1
    final: dict[Symbol, Symbol] = {}
    for item in found:
        source = item.source
        is_alone = count[source.name] == 1 and source.name is not None
        is_whole = source.shape == item.stand_in.shape
        if isinstance(source, Symbol) and is_alone and is_whole and source.name not in taken:
            symbol = source
        else:
            owner = item.owner.name if item.owner is not None and not is_alone else None
            stem = ".".join(part for part in (owner, source.name) if part is not None) or None
            symbol = fresh_symbol(item.stand_in, taken, stem=stem)
        taken.add(symbol.name)
        final[item.stand_in] = symbol
    return final
