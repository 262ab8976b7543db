"""Inlining many modules at once, in time linear in what comes out.

Inlined one after another from the inside out, modules nested n deep in each other's bodies are walked through n times.
Here a body is walked once for each set of values that its free symbols take: results are memoised on (node, values of
its free symbols), and the values are results themselves, so equal calls meet. This works where binding is nothing but
replacing: the argument has the symbol's own shape. A module that brings batch axes is inlined by itself, by the
batching rule, and its result takes its place; so is one with a parameter that would be lost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from scrub.graph import Expr, Module, ModuleArgSpec, Symbol, postorder
from scrub.graph.rules import uuid_from_name
from scrub.graph.walk import settle

Env = tuple[tuple[Symbol, Expr], ...]
"""What the bound ones among a node's free symbols stand for."""
Position = tuple[Expr, Env]


def inline(expr: Expr, chosen: Collection[Expr], substitute_one: Callable[[Module], Expr]) -> Expr:
    """The expression with the chosen modules inlined, each under its name as in `substitute`.

    Args:
        expr: what to rewrite.
        chosen: modules in it. Others stay; a parameter of theirs gets a fresh symbol where it would capture.
        substitute_one: inlines one module in which no chosen one is left; used for those that bring batch axes.

    >>> from scrub.graph import Add, Scalar
    >>> from scrub.rewrite.substitute import substitute
    >>> s = Symbol.new_from_name((), "s")
    >>> call = Module.from_bindings(Add(s, s), {s: Scalar(1.0)}, "call")
    >>> inline(call, {call}, substitute)
    'call' [] Add
    """
    if not chosen:
        return expr
    work = _Inlining(expr, chosen)
    for module in work.explicit:
        body, *args = (work.run(child) for child in module.children)
        work.stands_for[module] = substitute_one(module.with_children((body, *args)).cast(Module))
    return work.run(expr)


class _Inlining:
    """One pass over one expression.

    Attributes:
        explicit: the chosen modules that are inlined by themselves, inner ones first.
        stands_for: the results of those that were.
    """

    def __init__(self, expr: Expr, chosen: Collection[Expr]) -> None:
        self.chosen = chosen
        order = list(postorder([expr]))
        self.changing: set[Expr] = set()  # what has a chosen module in or below it
        for node in order:
            if node in chosen or any(child in self.changing for child in node.children):
                self.changing.add(node)
        modules = [node for node in order if isinstance(node, Module) and node in chosen]
        losing = _losing(order, chosen) if any(_has_unused(module) for module in modules) else frozenset[Expr]()
        self.explicit = [module for module in modules if _is_reshaping(module) or module in losing]
        self._by_itself = frozenset[Expr](self.explicit)
        self.stands_for: dict[Expr, Expr] = {}
        self.results: dict[Position, Expr] = {}
        self.symbols: dict[Expr, Symbol | None] = {}

    def run(self, expr: Expr) -> Expr:
        start: Position = (expr, ())
        settle(start, self.results, self._step)
        return self.results[start]

    def _step(self, at: Position) -> list[Position]:
        """The result of a position, or the positions that must come first."""
        node, env = at
        if isinstance(node, Symbol):
            self.results[at] = env[0][1] if env else node
        elif not env and node not in self.changing:
            self.results[at] = node
        elif node in self._by_itself:
            instead = _restrict(self.stands_for[node], dict(env))
            if instead == at or instead not in self.results:
                return [instead]
            self.results[at] = self.results[instead]
        elif isinstance(node, Module):
            return self._step_module(at, node)
        else:
            scope = dict(env)
            below = [_restrict(child, scope) for child in node.children]
            waiting = [position for position in below if position not in self.results]
            if waiting:
                return waiting
            self.results[at] = node.with_children([self.results[position] for position in below])
        return []

    def _step_module(self, at: Position, module: Module) -> list[Position]:
        scope = dict(at[1])
        below = [_restrict(arg, scope) for arg in module.args]
        waiting = [position for position in below if position not in self.results]
        if waiting:
            return waiting
        args = [self.results[position] for position in below]
        specs = list(module.params) if module in self.chosen else _apart(module, scope)
        old_symbols = [spec.symbol for spec in module.params]
        if module in self.chosen:
            scope.update(zip(old_symbols, args, strict=True))
        else:
            renamed = {old: spec.symbol for old, spec in zip(old_symbols, specs, strict=True) if old != spec.symbol}
            scope = {symbol: value for symbol, value in scope.items() if symbol not in old_symbols} | renamed
        body = _restrict(module.body, scope)
        if body not in self.results:
            return [body]
        result = self.results[body]
        if module not in self.chosen:
            self.results[at] = Module.make((result, *args), tuple(specs), module.name)
        elif module.name is None or self._symbol(module.body) is not None:
            self.results[at] = result
        else:
            self.results[at] = result.rename(module.name)
        return []

    def _symbol(self, expr: Expr) -> Symbol | None:
        """The symbol that is left of an expression once it is inlined by itself, if nothing but one is left."""
        waiting = [expr]
        while waiting:
            node = waiting[-1]
            if node in self.symbols:
                waiting.pop()
            elif isinstance(node, Symbol):
                self.symbols[node] = node
            elif node in self.stands_for:
                left = self.stands_for[node]
                self.symbols[node] = left if isinstance(left, Symbol) else None
            elif not isinstance(node, Module) or node not in self.chosen:
                self.symbols[node] = None
            elif node.body not in self.symbols:
                waiting.append(node.body)
            else:
                left = self.symbols[node.body]
                following = left if left is None else node.bindings.get(left, left)
                if following is None or following is left:
                    self.symbols[node] = left
                elif following in self.symbols:
                    self.symbols[node] = self.symbols[following]
                else:
                    waiting.append(following)
        return self.symbols[expr]


def _restrict(node: Expr, scope: dict[Symbol, Expr]) -> Position:
    if not scope:
        return node, ()
    return node, tuple((symbol, scope[symbol]) for symbol in node.free_symbols if symbol in scope)


def _is_reshaping(module: Module) -> bool:
    return any(arg.shape != symbol.shape for symbol, arg in module.bindings.items())


def _has_unused(module: Module) -> bool:
    return not set(module.bindings) <= set(module.body.free_symbols)


def _losing(order: Iterable[Expr], chosen: Collection[Expr]) -> frozenset[Expr]:
    """Modules with a parameter that the body does not use, or only where inlining drops it."""
    losing: set[Expr] = set()
    left: dict[Expr, frozenset[Symbol]] = {}  # free symbols once inlined
    for node in order:
        free = frozenset[Symbol]()
        if isinstance(node, Symbol):
            free = frozenset([node])
        elif isinstance(node, Module) and node in chosen:
            in_body = left[node.body]
            if not in_body.issuperset(node.bindings):
                losing.add(node)
            free = in_body.difference(node.bindings)
            free = free.union(*(left[arg] for symbol, arg in node.bindings.items() if symbol in in_body))
        else:
            bound = node.bindings if isinstance(node, Module) else ()
            for i, child in enumerate(node.children):
                below = left[child].difference(bound) if i == 0 and bound else left[child]
                free = free if below <= free else below if free <= below else free | below
        left[node] = free
    return frozenset(losing)


def _apart(module: Module, scope: dict[Symbol, Expr]) -> list[ModuleArgSpec]:
    """The parameters of a module that stays, under fresh symbols where what is bound around it has them free."""
    own = set(module.bindings)
    entering = {symbol: scope[symbol] for symbol in module.body.free_symbols if symbol in scope and symbol not in own}
    taken = {free for value in entering.values() for free in value.free_symbols}
    return [spec if spec.symbol not in taken else _fresh(spec, module, entering.values()) for spec in module.params]


def _fresh(spec: ModuleArgSpec, module: Module, values: Iterable[Expr]) -> ModuleArgSpec:
    symbol = spec.symbol
    around = " ".join(value.digest for value in values)
    renamed = Symbol(symbol.shape, uuid_from_name(f"apart {symbol.digest} {module.digest} {around}"), symbol.name)
    return ModuleArgSpec(renamed, spec.batchable, spec.expandable)
