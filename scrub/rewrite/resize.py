"""Replacing size variables, and with it making the bodies of modules fit the sizes they are called with.

A size variable that a module's arguments decide is bound by that module, as a parameter is: replacing the variable of
that name outside does not touch the body. What the arguments do not decide is the same inside and outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scrub.graph import Expr, Module, ShapeError, Size
from scrub.graph.expr import RESIZES
from scrub.graph.sizes import as_size, replace_in_size, size_variable, variables_of

Sizes = tuple[tuple[Any, Size], ...]
"""Size variable -> size, of the variables that a node has and that change."""


def bind_sizes(expr: Expr, sizes: Mapping[str, Size] | None = None, **named: Size) -> Expr:
    """The expression with its free size variables replaced, all at once. Symbols keep their uuids.

    Args:
        expr: whose sizes to replace.
        sizes, named: size for the name of a variable.

    Raises:
        ShapeError: the expression has no such size variable, or cannot be made for the sizes.

    >>> from scrub.graph import Scalar, symbolic_sizes
    >>> seq, d_model = symbolic_sizes("seq d_model")
    >>> bind_sizes(Scalar(1.0, (seq, d_model)), seq=3).shape
    (3, d_model)
    """
    all_sizes: dict[str, Size] = dict(sizes or {}) | named
    given = {size_variable(name): as_size(size) for name, size in all_sizes.items()}
    unknown = [variable for variable in given if variable not in expr.free_sizes]
    if unknown:
        raise ShapeError(
            f"bind_sizes: {expr!r} has no free size {unknown[0]}",
            nodes=[expr],
            expected=expr.free_sizes,
            found=unknown[0],
            hint=f"its free sizes are {list(expr.free_sizes)}; those of a module's body are decided by its arguments",
        )
    return resize(expr, given)


def conform_all_modules(expr: Expr) -> Expr:
    """Every module with a body that has the sizes it is called with; the expression itself if that is so already.

    Args:
        expr: whose modules may have bodies of symbolic sizes.

    Raises:
        ShapeError: a body cannot be made for the sizes of a call.

    >>> from scrub.graph import Array, ModuleSpec, Symbol, symbolic_sizes
    >>> import torch
    >>> (n,) = symbolic_sizes("n")
    >>> x = Symbol.new_from_name((n,), "x")
    >>> call = Module(ModuleSpec(x.mean(), [x]), "mean", x=Array(torch.ones(3)))
    >>> call.body.free_sizes, conform_all_modules(call).cast_module().body.free_sizes
    ((n,), ())
    """
    return resize(expr, {}, conform=True)


def conform_module(module: Module) -> Module:
    """This module, with a body of the sizes it is called with; modules in the body stay as they are."""
    if not module.flags & RESIZES or not module.is_resized:
        return module
    sizes = module.solved_sizes()
    return _resized(module, (resize(module.body, sizes), *module.args), sizes).cast(Module)


def resize(expr: Expr, sizes: Mapping[Any, Size], *, conform: bool = False) -> Expr:
    """The expression with size variables replaced.

    Args:
        expr: what to rebuild.
        sizes: size variable -> size.
        conform: also give every module's body the sizes it is called with.
    """
    results: dict[tuple[Expr, Sizes], Expr] = {}
    start = _position(expr, sizes)
    stack = [start]
    while stack:
        at = stack[-1]
        node, own = at
        if at in results or not (own or (conform and node.flags & RESIZES)):
            results.setdefault(at, node)
            stack.pop()
            continue
        scopes = _scopes(node, dict(own), conform=conform)
        below = [_position(child, scope) for child, scope in zip(node.children, scopes, strict=True)]
        waiting = [position for position in below if position not in results]
        if waiting:
            stack.extend(waiting)
            continue
        stack.pop()
        children = tuple(results[position] for position in below)
        if isinstance(node, Module) and not scopes[0]:
            results[at] = node.with_children(children)  # the body stays as it is
        else:
            results[at] = _resized(node, children, scopes[0] if scopes else dict(own))
    return results[start]


def _resized(node: Expr, children: tuple[Expr, ...], sizes: Mapping[Any, Size]) -> Expr:
    try:
        return node.resized(children, lambda size: replace_in_size(size, sizes))
    except ShapeError as error:
        if error.nodes:
            raise
        values = ", ".join(f"{variable} = {size}" for variable, size in sizes.items())
        raise ShapeError(
            f"{node!r} cannot be made for {values}: {error.problem}",
            nodes=[node],
            expected="sizes that are non-negative integers",
            found=dict(sizes),
            hint="choose sizes that divide each other as the expression says",
        ) from error


def _position(node: Expr, sizes: Mapping[Any, Size]) -> tuple[Expr, Sizes]:
    return node, tuple((v, sizes[v]) for v in node.free_sizes if v in sizes and sizes[v] != v)


def _scopes(node: Expr, sizes: dict[Any, Size], *, conform: bool) -> list[dict[Any, Size]]:
    """What is to be replaced in each child. In a body: nothing where only its arguments' sizes change."""
    scopes = [sizes] * len(node.children)
    if isinstance(node, Module):
        bound = node.bound_sizes
        inside = {*node.body.free_sizes, *variables_of(size for spec in node.params for size in spec.symbol.shape)}
        if conform or any(variable in sizes and variable not in bound for variable in inside):
            solved = {variable: replace_in_size(size, sizes) for variable, size in node.solved_sizes().items()}
            scopes[0] = {v: size for v, size in (sizes | solved).items() if v in inside and size != v}
        else:
            scopes[0] = {}
    return scopes
