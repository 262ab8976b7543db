"""The reference evaluator: small, and obviously right. Walks, memoises by node, frees a tensor after its last use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence

import torch

from scrub.graph import (
    Array,
    DiscreteVar,
    Expr,
    RandomVariableError,
    ShapeError,
    StoredCumulantVar,
    Symbol,
    UnboundSymbolError,
    is_symbolic,
    postorder,
    provide,
)
from scrub.graph.expr import RANDOM
from scrub.graph.stored_cumulant_var import HINT as NOT_DRAWABLE
from scrub.rewrite import Matcher, bind, get_paths, substitute_all_modules


@provide
def evaluate(expr: Expr) -> torch.Tensor:
    """The value of an expression without free symbols and random variables.

    Raises:
        UnboundSymbolError, RandomVariableError: with a path to what is in the way, and what to do about it.

    >>> from scrub.graph import Scalar
    >>> evaluate(Scalar(2.0).scale(3.0))
    tensor(6., dtype=torch.float64)
    """
    return evaluate_many([expr])[0]


def evaluate_many(
    exprs: Sequence[Expr],
    bindings: Mapping[Symbol, torch.Tensor] | None = None,
) -> list[torch.Tensor]:
    """The values of several expressions; each distinct subexpression is computed once.

    Args:
        exprs: what to evaluate.
        bindings: values of free symbols, of exactly their shapes; symbolic sizes are those that the values have.

    >>> x = Symbol.new_from_name((2,), "x")
    >>> evaluate_many([x.add(x), x.scale(3.0)], {x: torch.ones(2)})
    [tensor([2., 2.]), tensor([3., 3.])]
    """
    given = dict(bindings or {})
    for symbol, value in given.items():
        check_fits(symbol, tuple(value.shape), what="evaluate")
    for expr in exprs:
        check_bound(expr, given)
        _check_not_random(expr)
    arrays = {symbol: Array(value, symbol.name) for symbol, value in given.items()}  # so that dtypes are known
    bound = [bind(expr, arrays) for expr in exprs]
    for expr in bound:
        check_sizes_are_known(expr)
    return _computed([substitute_all_modules(expr) for expr in bound])


def _computed(exprs: Sequence[Expr]) -> list[torch.Tensor]:
    """The values of expressions without modules, symbols and random variables."""
    order = list(postorder(exprs))
    uses = Counter(child for node in order for child in node.children)
    uses.update(exprs)
    values: dict[Expr, torch.Tensor] = {}
    for node in order:
        values[node] = node.compute(*(values[child] for child in node.children))
        for child in node.children:
            uses[child] -= 1
            if not uses[child]:
                del values[child]
    return [values[expr] for expr in exprs]


def check_fits(symbol: Symbol, shape: tuple[int, ...], *, what: str) -> None:
    """Raise a `ShapeError` unless a value of that shape can be bound to the symbol, whose sizes may be symbolic."""
    if len(shape) != symbol.ndim or not all(
        is_symbolic(expected) or size == expected for size, expected in zip(shape, symbol.shape, strict=True)
    ):
        raise ShapeError(
            f"{what}: symbol {symbol.name!r} has shape {symbol.shape}, the value {shape}",
            nodes=[symbol],
            expected=symbol.shape,
            found=shape,
        )


def check_sizes_are_known(expr: Expr) -> None:
    """Raise an `UnboundSymbolError` that names what has a size that is still symbolic."""
    if expr.free_sizes:
        names = [str(variable) for variable in expr.free_sizes]
        where = [node for node in postorder([expr]) if node.free_sizes][:4]
        raise UnboundSymbolError(
            f"cannot evaluate {expr!r}: the size {names[0]} is not known",
            nodes=where,
            found=names,
            hint=f"give it one with rc.bind_sizes(expr, {', '.join(f'{name}=...' for name in names)})",
        )


def check_bound(expr: Expr, given: Container[Expr]) -> None:
    """Raise an `UnboundSymbolError` that shows the way to a free symbol that is not given."""
    unbound = [symbol for symbol in expr.free_symbols if symbol not in given]
    if unbound:
        paths = get_paths(expr, unbound[0], see_through=True) or get_paths(expr, unbound[0])  # of unused arguments
        path = paths[unbound[0]]
        raise UnboundSymbolError(
            f"cannot evaluate {expr!r}: {len(unbound)} unbound symbols, the first is {unbound[0].name!r}",
            nodes=[*unbound[:10], *path[:-1][-4:]],
            found=unbound,
            hint="bind them with rc.module_new_bind(expr, (name, value), ...)",
        )


def _check_not_random(expr: Expr) -> None:
    if expr.flags & RANDOM:
        variable, path = next(iter(get_paths(expr, Matcher(DiscreteVar, StoredCumulantVar)).items()))
        drawing = "draw it with rc.Sampler(spec).sample(expr), or take its expectation with rc.estimate(expr, ...)"
        raise RandomVariableError(
            f"cannot evaluate {expr!r}: it depends on random variable {variable!r}",
            nodes=[variable, *path[:-1][-4:]],
            found=variable,
            hint=drawing if isinstance(variable, DiscreteVar) else NOT_DRAWABLE,
        )
