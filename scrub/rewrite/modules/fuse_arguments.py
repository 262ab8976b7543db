"""Parameters to which the same is bound, as one."""

from __future__ import annotations

from scrub.graph import Expr, Module, ModuleArgSpec, Shape, Symbol
from scrub.rewrite.modules.cases import call_with_equal_arguments
from scrub.rewrite.modules.parameters import bind_apart
from scrub.rewrite.rule import NoMatch, rewrite


@rewrite(keeps="value", cases=call_with_equal_arguments, simplifies=True, idempotent=True)
def fuse_arguments(module: Module) -> Expr | NoMatch:
    """Parameters of the same shape to which the same expression is bound become one, the first of them.

        ((s, t) -> s * t)(x, x)  ->  (s -> s * s)(x)

    >>> from scrub.graph import Scalar
    >>> s, t = Symbol.new_from_name((), "s"), Symbol.new_from_name((), "t")
    >>> x = Scalar(3.0, name="x")
    >>> [symbol.name for symbol in fuse_arguments(Module.from_bindings(s.mul(t), {s: x, t: x})).cast(Module).bindings]
    ['s']
    """
    kept: dict[tuple[Expr, Shape], ModuleArgSpec] = {}
    instead: dict[Symbol, Expr] = {}
    for spec, arg in zip(module.params, module.args, strict=True):
        key = (arg, spec.symbol.shape)
        first = kept.setdefault(key, spec)
        if first is not spec:
            instead[spec.symbol] = first.symbol
            both = (first.batchable and spec.batchable, first.expandable and spec.expandable)
            kept[key] = ModuleArgSpec(first.symbol, *both)
    if not instead:
        return NoMatch("no two parameters of the same shape are bound to the same expression")
    body = bind_apart(module.body, instead)
    return Module.make((body, *(arg for arg, _ in kept)), tuple(kept.values()), module.name)
