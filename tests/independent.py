"""An evaluator that shares no code with the package's rewriting: modules are closures, batches are loops.

`value_of(expr)` calls a module by looping over the batch axes of its arguments, evaluating the body with the symbols
bound to one batch entry each, and stacking. It is slow, recursive, and has nothing to do with substitution.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import torch

import scrub as rc

Scope = Mapping[rc.Symbol, torch.Tensor]


def value_of(expr: rc.Expr, scope: Scope | None = None) -> torch.Tensor:
    """The value of `expr` with its free symbols as given."""
    return _value(expr, dict(scope or {}), {})


def _value(expr: rc.Expr, scope: dict[rc.Symbol, torch.Tensor], memo: dict[rc.Expr, torch.Tensor]) -> torch.Tensor:
    if expr in memo:
        return memo[expr]
    if isinstance(expr, rc.Symbol):
        return scope[expr]
    if isinstance(expr, rc.Module):
        arguments = [_value(arg, scope, memo) for arg in expr.args]
        ndims = [symbol.ndim for symbol in expr.bindings]

        def call(*entries: torch.Tensor) -> torch.Tensor:
            return _value(expr.body, scope | dict(zip(expr.bindings, entries, strict=True)), {})

        result = loop_and_stack(call, arguments, ndims)
    else:
        result = expr.compute(*(_value(child, scope, memo) for child in expr.children))
    memo[expr] = result
    return result


def loop_and_stack(
    call: Callable[..., torch.Tensor], arguments: Sequence[torch.Tensor], ndims: Sequence[int]
) -> torch.Tensor:
    """`call` for every entry of the leading axes of the arguments, aligned from the right, equal or absent."""
    batches = [tuple(a.shape[: a.ndim - n]) for a, n in zip(arguments, ndims, strict=True)]
    batch = max(batches, key=len, default=())
    for own in batches:
        assert own == batch[len(batch) - len(own) :], (own, batch)
    results: list[torch.Tensor] = []
    for entry in itertools.product(*map(range, batch)):
        picked = [a[entry[len(batch) - len(own) :]] for a, own in zip(arguments, batches, strict=True)]
        results.append(call(*picked))
    if not batch:
        return results[0]
    return torch.stack(results).reshape((*batch, *results[0].shape))


def assert_same(actual: torch.Tensor, expected: torch.Tensor, *, tolerance: float = 1e-9) -> None:
    """Equal shape, and values equal to a tolerance, nan where nan."""
    assert tuple(actual.shape) == tuple(expected.shape), (tuple(actual.shape), tuple(expected.shape))
    torch.testing.assert_close(
        actual.to(torch.float64), expected.to(torch.float64), rtol=tolerance, atol=tolerance, equal_nan=True
    )
