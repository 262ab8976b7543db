"""Norms called as modules, where an expression has the arithmetic they are made of."""

from __future__ import annotations

from scrub.graph import (
    Add,
    Einsum,
    Expr,
    GeneralFunction,
    Module,
    ModuleArgSpec,
    Scalar,
    Symbol,
    elementwise,
    postorder,
    rebuild,
)
from scrub.graph.rearrange import insert_axes
from scrub.models.exported.recover import cases
from scrub.models.exported.recover.norm_pattern import Norm, find_norm
from scrub.models.exported.recover.rules import recovers
from scrub.models.exported.recover.views import is_view
from scrub.rewrite import NoMatch
from scrub.rewrite.modules import fuse

NORM_INPUT = "ln.input"
"""Name of the parameter that takes what is normed."""


@recovers(cases=cases.norm)
def call_norm(node: Add | Einsum) -> Expr | NoMatch:
    """The arithmetic of a norm becomes the call of a module on each vector.

        (x - mean x) * rsqrt(mean((x - mean x)^2) + eps) * w + b  ->  norm(x, w, b)

    Parameters of the module are `ln.input`, `ln.w` and `ln.b`; `ln.recip_std` and the like are within it.

    >>> from scrub.rewrite.testing import Maker
    >>> [symbol.name for symbol in call_norm(cases.norm(Maker("an example"))).cast(Module).bindings]
    ['ln.input', 'ln.w', 'ln.b']
    """
    found = find_norm(node)
    return found if isinstance(found, NoMatch) else _call(found, found.x, found.weight, found.bias)


def recover_norms(expr: Expr) -> Expr:
    """Every norm as a call, the largest first: with its weight and bias where these belong to it.

    A module that computes nothing but a norm becomes the call of that norm, under its own name.
    """
    found: dict[Expr, Norm] = {}
    inside: set[Expr] = set()
    for node in reversed(list(postorder([expr]))):
        norm = find_norm(node) if isinstance(node, Add | Einsum) and node not in inside else None
        if isinstance(norm, Norm):
            found[node] = norm
            ends = {norm.x, norm.weight, norm.bias}
            inside |= set(postorder(node.children, descend=lambda child, ends=ends: child not in ends)) - ends
    results: dict[Expr, Expr] = {}

    def transform(node: Expr, children: tuple[Expr, ...]) -> Expr:
        norm = found.get(node)
        if norm is not None:
            x, weight, bias = (None if part is None else results[part] for part in (norm.x, norm.weight, norm.bias))
            assert x is not None
            made: Expr = _call(norm, x, weight, bias).rename(node.name)
        else:
            made = node.with_children(children)
            if isinstance(node, Module) and _is_norm_of_inputs(made.children[0]):
                fused = fuse.attempt(made)
                made = made if isinstance(fused, NoMatch) else fused
        results[node] = made
        return made

    return rebuild([expr], transform)[expr]


def is_norm(expr: Expr) -> bool:
    """Whether it is the call of a norm."""
    return isinstance(expr, Module) and any(symbol.name == NORM_INPUT for symbol in expr.bindings)


def _is_norm_of_inputs(body: Expr) -> bool:
    inputs = body.bindings.items() if isinstance(body, Module) and is_norm(body) else ()
    return any(symbol.name == NORM_INPUT and is_view(arg) for symbol, arg in inputs)


def _call(norm: Norm, x: Expr, weight: Expr | None, bias: Expr | None) -> Module:
    """The call of a norm on a vector, for each vector of x."""
    size = x.shape[-1]
    symbols = {name: Symbol.new_from_name((size,), f"ln.{name}") for name in ("input", "w", "b")}
    arguments = {"input": x, "w": weight, "b": bias}
    given = {name: arg for name, arg in arguments.items() if arg is not None}
    vector: Expr = symbols["input"]
    if norm.computes_in is not None:
        vector = GeneralFunction(vector, spec=norm.computes_in)
    per_feature = Scalar(1.0 / size, name="ln.recip_d_model")  # type: ignore[operator]
    centred = vector
    if norm.is_centred:
        mean = Einsum((vector, (0,)), (per_feature, ()), out_axes=(), name="ln.mean")
        centred = Add(vector, insert_axes(mean.scale(-1.0), at=0, count=1), name="ln.centred")
    var = Einsum((centred, (0,)), (centred, (0,)), (per_feature, ()), out_axes=(), name="ln.var")
    recip_std = elementwise("rsqrt", Add(var, Scalar(norm.eps, name="ln.eps")), name="ln.recip_std")
    normed: list[tuple[Expr, tuple[int, ...]]] = [(centred, (0,)), (recip_std, ())]
    if norm.gives is not None:
        cast = GeneralFunction(Einsum(*normed, out_axes=(0,), name="ln.normed"), spec=norm.gives)
        normed = [(cast, (0,))]
    if weight is not None:
        normed.append((symbols["w"], (0,)))
    out: Expr = Einsum(*normed, out_axes=(0,), name="ln.scaled")
    if bias is not None:
        out = Add(out, symbols["b"], name="ln.out")
    specs = tuple(ModuleArgSpec(symbols[name]) for name in given)
    return Module.make((out, *given.values()), specs, None)
