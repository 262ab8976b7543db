"""What rewrites of modules share: making a module of parameters that may clash, and binding without capture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from scrub.graph import Array, Expr, Module, ModuleArgSpec, Scalar, Shape, Symbol, postorder, rebuild
from scrub.graph.rearrange import repeat_axes
from scrub.graph.rules import uuid_from_name
from scrub.rewrite.substitute import bind, substitute

Parameter = tuple[ModuleArgSpec, Expr]
"""A parameter of a module and what is bound to it."""


def parameters_of(module: Module) -> list[Parameter]:
    """The parameters of a module with their arguments, in order."""
    return list(zip(module.params, module.args, strict=True))


def call_of(body: Expr, parameters: Sequence[Parameter], name: str | None) -> Module:
    """A module with these parameters; where two have the same name, the later ones get a number behind it.

    >>> from scrub.graph import Add, Scalar
    >>> s, t = (Symbol.new_with_random_uuid((), "s") for _ in range(2))
    >>> both = [(ModuleArgSpec(s), Scalar(1.0)), (ModuleArgSpec(t), Scalar(2.0))]
    >>> [symbol.name for symbol in call_of(Add(s, t), both, "call").bindings]
    ['s', 's.1']
    """
    own = {spec.symbol for spec, _ in parameters}
    taken = {symbol.name for symbol in body.free_symbols if symbol not in own}
    specs: list[ModuleArgSpec] = []
    renamed: dict[Symbol, Expr] = {}
    used: set[str | None] = {None}
    for spec, _ in parameters:
        symbol = spec.symbol
        if symbol.name in used:
            symbol = fresh_symbol(symbol, used | taken | {other.symbol.name for other, _ in parameters})
            renamed[spec.symbol] = symbol
        used.add(symbol.name)
        specs.append(with_symbol(spec, symbol))
    body = bind_apart(body, renamed) if renamed else body
    return Module.make((body, *(arg for _, arg in parameters)), tuple(specs), name)


def with_symbol(spec: ModuleArgSpec, symbol: Symbol) -> ModuleArgSpec:
    """A parameter like `spec` for another symbol."""
    return spec if symbol is spec.symbol else ModuleArgSpec(symbol, spec.batchable, spec.expandable)


def fresh_symbol(symbol: Symbol, names: Iterable[str | None], *, stem: str | None = None) -> Symbol:
    """A symbol of the same shape under the first of "s", "s.1", "s.2", ... that is not among the names."""
    stem = stem or symbol.name or "arg"
    taken = set(names)
    name, number = stem, 0
    while name in taken:
        number += 1
        name = f"{stem}.{number}"
    return Symbol(symbol.shape, uuid_from_name(f"fresh {symbol.digest} {name}"), name)


def bind_apart(expr: Expr, values: Mapping[Symbol, Expr]) -> Expr:
    """`bind`, with fresh parameters for modules inside that would capture a free symbol of a value.

    >>> from scrub.graph import Add, Scalar
    >>> a, s = (Symbol.new_from_name((), name) for name in "as")
    >>> inner = Module.from_bindings(Add(a, s), {a: Scalar(1.0)})
    >>> bind_apart(inner, {s: a}).free_symbols
    ('a' [] Symbol ...,)
    """
    return bind(_apart(expr, values), values)


def substitute_apart(module: Module) -> Expr:
    """`substitute`, with fresh parameters for modules inside that would capture a free symbol of an argument.

    >>> from scrub.graph import Add, Scalar
    >>> a, s = (Symbol.new_from_name((), name) for name in "as")
    >>> inner = Module.from_bindings(Add(a, s), {a: Scalar(1.0)})
    >>> substitute_apart(Module.from_bindings(inner, {s: a})).free_symbols
    ('a' [] Symbol ...,)
    """
    return substitute(module.with_children((_apart(module.body, module.bindings), *module.args)))


def _apart(expr: Expr, values: Mapping[Symbol, Expr]) -> Expr:
    taken = {free for value in values.values() for free in value.free_symbols}
    if not taken:
        return expr
    capturing = {
        node
        for node in postorder([expr], descend=lambda node: bool(node.free_symbols))
        if isinstance(node, Module)
        and not taken.isdisjoint(node.bindings)
        and any(symbol in values and symbol not in node.bindings for symbol in node.body.free_symbols)
    }
    if not capturing:
        return expr

    def transform(node: Expr, children: tuple[Expr, ...]) -> Expr:
        rebuilt = node.with_children(children)
        return _renamed_apart(rebuilt.cast(Module), taken) if node in capturing else rebuilt

    return rebuild([expr], transform)[expr]


def _renamed_apart(module: Module, taken: set[Symbol]) -> Module:
    around = " ".join(sorted(symbol.digest for symbol in taken))
    renamed = {
        symbol: Symbol(symbol.shape, uuid_from_name(f"apart {symbol.digest} {module.digest} {around}"), symbol.name)
        for symbol in module.bindings
        if symbol in taken
    }
    pairs = zip(module.params, module.bindings, strict=True)
    specs = tuple(with_symbol(spec, renamed.get(symbol, symbol)) for spec, symbol in pairs)
    return Module.make((bind(module.body, renamed), *module.args), specs, module.name)


def along_own_batch(value: Expr, rank: int, own_batch: Shape) -> Expr:
    """A value that enters a module from around it with `rank` batch axes, repeated along the module's own.

    Inside, batch axes are aligned from the right, where the module's own come last.
    """
    return repeat_axes(value, own_batch, at=rank) if rank else value


def under_name_of(module: Module, result: Expr) -> Expr:
    """What a module became, under its name; leaves are never renamed (SPEC 1.4)."""
    return result if module.name is None or isinstance(result, Array | Scalar | Symbol) else result.rename(module.name)
