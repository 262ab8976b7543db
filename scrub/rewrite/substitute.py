"""Binding values to symbols, and with it the inlining of modules (SPEC 4.3).

A value may have leading axes its symbol has not; the nodes above gain them by the batching rule. A module whose *body*
would gain axes this way is inlined first, since a body is shared by calls with batch axes of their own.

Where a symbol has symbolic sizes, its value decides them, everywhere in the expression; a module whose body is written
for symbolic sizes gets one for those of the call before anything is put into it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from scrub.graph import (
    Expr,
    Module,
    ModuleBindingError,
    Symbol,
    common_batch,
    postorder,
    provide,
    rebuild_batched,
)
from scrub.graph.rearrange import repeat_axes
from scrub.graph.rules import uuid_from_name
from scrub.graph.size_solving import decidable, solve_sizes
from scrub.rewrite.inlining import inline
from scrub.rewrite.resize import conform_module, resize


def bind(expr: Expr, values: Mapping[Symbol, Expr]) -> Expr:
    """Replace free symbols by values. Occurrences that a module inside binds itself are not free.

    Raises:
        ModuleBindingError: a value has a free symbol that a module around an occurrence would capture.

    >>> from scrub.graph import Add, Scalar
    >>> s = Symbol.new_from_name((2,), "s")
    >>> bind(Add(s, s), {s: Scalar(1.0, (3, 2))}).shape
    (3, 2)
    """
    expr, values = _with_sizes_of(expr, values)
    reshaping = {symbol for symbol, value in values.items() if value.shape != symbol.shape}
    if not reshaping:
        return _replace(expr, values)
    inlined = _inline_where(expr, lambda module: not reshaping.isdisjoint(_free_in_body(module)))
    result = _replace(inlined, values)
    lost = [s for s in expr.free_symbols if s in reshaping and s not in inlined.free_symbols]
    return _with_batch_of_unused(result, result.ndim - expr.ndim, {symbol: values[symbol] for symbol in lost})


def _with_sizes_of(expr: Expr, values: Mapping[Symbol, Expr]) -> tuple[Expr, Mapping[Symbol, Expr]]:
    """The expression and its symbols with the sizes that the values have; both as they are if none are symbolic."""
    pairs = [(s, v) for s, v in values.items() if s.free_sizes and s in expr.free_symbols and v.ndim >= s.ndim]
    variables = decidable([symbol.shape for symbol, _ in pairs], ())
    if not variables or all(v.shape[v.ndim - s.ndim :] == s.shape for s, v in pairs):
        return expr, values
    sizes = solve_sizes(f"binding in {expr!r}", pairs, variables)
    return resize(expr, sizes), {resize(symbol, sizes).cast(Symbol): value for symbol, value in values.items()}


def _with_batch_of_unused(result: Expr, rank: int, unused: Mapping[Symbol, Expr]) -> Expr:
    """Batch axes of values that only arguments nobody used held, and that inlining dropped (SPEC 4.2)."""
    ranks = [rank, *(value.ndim - symbol.ndim for symbol, value in unused.items())]
    batch = common_batch(f"binding below {result!r}", (result, *unused.values()), ranks)
    return repeat_axes(result, batch[: len(batch) - rank])


@provide
def substitute(module: Expr) -> Expr:
    """A module inlined: its body with what is bound in place of the symbols, under the module's name.

    A body that is just a symbol gives the argument, with the argument's name.

    >>> from scrub.graph import Add, ModuleSpec, Scalar
    >>> a = Symbol.new_from_name((), "a")
    >>> substitute(Module(ModuleSpec(Add(a, a, name="double"), [a]), "call", a=Scalar(3.0)))
    'call' [] Add
    """
    module = conform_module(module.cast(Module))
    return _finish(module, bind(module.body, module.bindings))


def substitute_all_modules(expr: Expr) -> Expr:
    """The expression without modules, each inlined from the inside out.

    >>> from scrub.graph import ModuleSpec, Scalar
    >>> s = Symbol.new_from_name((), "s")
    >>> double = ModuleSpec(s.add(s, name="s + s"), [s])
    >>> substitute_all_modules(Module(double, "four", s=Module(double, "two", s=Scalar(1.0)))).get(Module)
    ()
    """
    return _inline_where(expr, lambda module: True)


def partially_substitute(module: Module, names: Mapping[str, object] | set[str]) -> Module:
    """The module with only some parameters inlined; the others stay parameters.

    >>> from scrub.graph import ModuleSpec, Scalar
    >>> a, b = Symbol.new_from_name((), "a"), Symbol.new_from_name((), "b")
    >>> call = Module(ModuleSpec(a.add(b, name="a + b"), [a, b]), "call", a=Scalar(1.0), b=Scalar(2.0))
    >>> [symbol.name for symbol in partially_substitute(call, {"a"}).bindings]
    ['b']
    """
    module = conform_module(module)
    chosen = {symbol: arg for symbol, arg in module.bindings.items() if symbol.name in names}
    kept = {symbol: arg for symbol, arg in module.bindings.items() if symbol not in chosen}
    for arg in chosen.values():
        captured = [symbol for symbol in arg.free_symbols if symbol in kept]
        if captured:
            raise ModuleBindingError(
                f"inlining {arg!r} would let module {module.name!r} capture its free symbol {captured[0].name!r}",
                nodes=[arg, module, captured[0]],
                found=captured[0],
                hint="bind that symbol first, or substitute the whole module",
            )
    if not any(arg.ndim > symbol.ndim for symbol, arg in chosen.items()):
        specs = tuple(spec for spec in module.params if spec.symbol in kept)
        return Module.make((bind(module.body, chosen), *kept.values()), specs, module.name)
    # the body itself gains batch axes, which parameters that stay may share: they take theirs into the body
    whole = {
        symbol: Symbol(arg.shape, uuid_from_name(f"whole {symbol.digest}"), symbol.name) for symbol, arg in kept.items()
    }
    body = bind(module.body, chosen | whole)
    body = repeat_axes(body, module.shape[: module.ndim - body.ndim])
    return Module.from_bindings(body, {whole[symbol]: arg for symbol, arg in kept.items()}, module.name)


def _inline_where(expr: Expr, condition: Callable[[Module], bool]) -> Expr:
    """Inline modules, children first. Inside a module that is inlined, every module is: its body may gain axes."""
    chosen = [node for node in postorder([expr]) if isinstance(node, Module) and condition(node)]
    if not chosen:
        return expr
    inside = {node for node in postorder([m.body for m in chosen]) if isinstance(node, Module)}
    return inline(expr, inside | set(chosen), _inline_one)


def _inline_one(module: Module) -> Expr:
    conformed = conform_module(module)
    return _finish(conformed, _replace(conformed.body, conformed.bindings))


def _finish(module: Module, result: Expr) -> Expr:
    """Batch axes that only unused arguments bring, and the name."""
    missing = module.shape[: module.ndim - result.ndim]
    is_leaf = isinstance(module.body, Symbol) or isinstance(result, Symbol) or result in module.args
    if missing:
        result = repeat_axes(result, missing)
    return result if module.name is None or (is_leaf and not missing) else result.rename(module.name)


def _free_in_body(module: Module) -> set[Symbol]:
    """Symbols that are free in the body and that the module does not bind."""
    return set(module.body.free_symbols) - set(module.bindings)


def _replace(expr: Expr, values: Mapping[Symbol, Expr]) -> Expr:
    """`bind` after all inlining. Memoised on (node, the symbols to replace that are free in it)."""
    results: dict[tuple[Expr, frozenset[Symbol]], Expr] = {}
    all_symbols = frozenset(values)

    def position(node: Expr, active: frozenset[Symbol]) -> tuple[Expr, frozenset[Symbol]]:
        active = active.intersection(node.free_symbols)
        if isinstance(node, Module) and not active.isdisjoint(_free_in_body(node)):
            node = conform_module(node)  # a value's sizes are those outside, not the ones that the body calls so
        return node, active

    start = position(expr, all_symbols)
    stack = [start]
    while stack:
        at = stack[-1]
        node, active = at
        if at in results:
            stack.pop()
            continue
        if not active:
            results[at] = node
        elif isinstance(node, Symbol):
            results[at] = values[node]
        else:
            scopes = [active] * len(node.children)
            if isinstance(node, Module):
                scopes[0] = active - frozenset(node.bindings)
                _check_capture(node, scopes[0], values)
            below = [position(child, scope) for child, scope in zip(node.children, scopes, strict=True)]
            waiting = [p for p in below if p not in results]
            if waiting:
                stack.extend(waiting)
                continue
            results[at] = rebuild_batched(node, [results[p] for p in below])
        stack.pop()
    return results[start]


def _check_capture(module: Module, active: frozenset[Symbol], values: Mapping[Symbol, Expr]) -> None:
    for symbol in active.intersection(module.body.free_symbols):
        captured = [s for s in values[symbol].free_symbols if s in module.bindings]
        if captured:
            raise ModuleBindingError(
                f"binding {values[symbol]!r} to {symbol.name!r} would let module {module.name!r} capture its free "
                f"symbol {captured[0].name!r}",
                nodes=[values[symbol], module, captured[0]],
                found=captured[0],
                hint="bind that symbol first, or substitute the inner module first",
            )
