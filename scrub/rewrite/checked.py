"""`checked`: any function from expression to expression, with its claim to keep the value tested on each call."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, ParamSpec, overload

import torch

from scrub.graph import (
    Array,
    Concat,
    ConstructionError,
    Cumulant,
    DiscreteVar,
    Expr,
    GeneralFunction,
    Index,
    Rearrange,
    RewriteError,
    Symbol,
    Tag,
    postorder,
    rebuild,
)
from scrub.graph.expr import RANDOM
from scrub.graph.functions.gen_index import GenIndex
from scrub.rewrite.compare import name_problem, shape_problem, text_difference, value_problem
from scrub.rewrite.substitute import bind, substitute_all_modules

P = ParamSpec("P")
Rewrite = Callable[Concatenate[Expr, P], Expr]

_TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}


@overload
def checked(function: Rewrite[P], /) -> Rewrite[P]: ...
@overload
def checked(
    function: None = None,
    /,
    *,
    seed: int = 0,
    trials: int = 2,
    values: Mapping[str | Symbol, torch.Tensor] | None = None,
    tolerance: float | None = None,
    max_outcomes: int = 1000,
) -> Callable[[Rewrite[P]], Rewrite[P]]: ...
@overload
def checked(
    function: Rewrite[P],
    /,
    *,
    seed: int = 0,
    trials: int = 2,
    values: Mapping[str | Symbol, torch.Tensor] | None = None,
    tolerance: float | None = None,
    max_outcomes: int = 1000,
) -> Rewrite[P]: ...
def checked(
    function: Rewrite[P] | None = None,
    /,
    *,
    seed: int = 0,
    trials: int = 2,
    values: Mapping[str | Symbol, torch.Tensor] | None = None,
    tolerance: float | None = None,
    max_outcomes: int = 1000,
) -> Any:
    """The function, checked on each call: shape, dtype, names and value of what it returns against what it was given.

    Works on a rule, a lambda, or a function of yours, inline (`checked(rule)(expr)`) or as a decorator. Both
    expressions are evaluated on their own arrays, with free symbols bound to random values, and at every joint outcome
    of the random variables (at some of them, where there are more than `max_outcomes`).

    Args:
        function: takes an expression first, and returns one.
        seed: of the random values.
        trials: how many random bindings to try; one is enough where there are no free symbols.
        values: values of free symbols, by symbol or name, for which random ones will not do.
        tolerance: largest difference allowed, relative to the largest value (absolute below 1); if not given, one that
            suits the dtype (1e-10 for float64, 1e-4 for float32).
        max_outcomes: most joint outcomes to go through; where there are more, as many are drawn.

    Raises:
        RewriteError: something changed; the message shows what and where, and how the two expressions differ.

    >>> from scrub.graph import Add, Scalar
    >>> x = Symbol.new_from_name((2,), "x")
    >>> doubled = Add(x, x, name="doubled")
    >>> checked(lambda expr: x.scale(2.0, name="doubled"))(doubled)
    'doubled' [2] Einsum a,->a
    >>> checked(lambda expr: x.scale(3.0, name="doubled"))(doubled)
    Traceback (most recent call last):
        ...
    scrub.graph.errors.RewriteError: <lambda> does not keep the value: the value changed at 2 of 2 positions, ...
    """
    if function is None:
        return functools.partial(
            checked, seed=seed, trials=trials, values=values, tolerance=tolerance, max_outcomes=max_outcomes
        )
    name = getattr(function, "__name__", None) or repr(function)

    @functools.wraps(function, updated=())
    def run(expr: Expr, *args: P.args, **kwargs: P.kwargs) -> Expr:
        result = function(expr, *args, **kwargs)
        if not isinstance(result, Expr):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConstructionError(f"{name} returned {type(result).__name__}, not an Expr", nodes=[expr])
        if result is not expr:
            work = _Check(expr, result, torch.Generator().manual_seed(seed), dict(values or {}), max_outcomes)
            problem = shape_problem(expr, result) or name_problem(expr, result) or work.problem(trials, tolerance)
            if problem is not None:
                raise RewriteError(
                    f"{name} does not keep {'the value' if 'value' in problem else 'its promise'}: {problem}\n"
                    + text_difference(expr, result),
                    nodes=[expr, result],
                    expected=expr,
                    found=result,
                )
        return result

    return run


class _Check:
    """The comparison of the values of two expressions."""

    def __init__(
        self,
        before: Expr,
        after: Expr,
        generator: torch.Generator,
        given: Mapping[str | Symbol, torch.Tensor],
        max_outcomes: int,
    ) -> None:
        self.pair = (before, after)
        self.generator = generator
        self.given = given
        self.max_outcomes = max_outcomes
        self.symbols = tuple(dict.fromkeys((*before.free_symbols, *after.free_symbols)))

    def problem(self, trials: int, tolerance: float | None) -> str | None:
        """How the values differ, or None."""
        for _ in range(trials if self.symbols else 1):
            bound = self._bound()
            old, new = self._values(bound)
            allowed = _TOLERANCE.get(old.dtype, 0.0) if tolerance is None else tolerance
            finite = old[torch.isfinite(old)].abs() if old.is_floating_point() else old.reshape(-1)[:0]
            scale = max(1.0, float(finite.max())) if finite.numel() else 1.0
            found = value_problem(old, new, rtol=0.0, atol=allowed * scale)
            if found is not None:
                return found
        return None

    def _bound(self) -> list[Expr]:
        """The two expressions with a value for each free symbol, without modules."""
        if not self.symbols:
            return [substitute_all_modules(expr) for expr in self.pair]
        inlined = substitute_all_modules(self.pair[0])
        ranges = _index_ranges(inlined)
        floats = (n.dtype for n in postorder([inlined]) if isinstance(n, Array) and n.value.is_floating_point())
        dtype = next(floats, torch.float64)
        arrays: dict[Symbol, Expr] = {}
        for symbol in self.symbols:
            value = self.given.get(symbol, self.given.get(symbol.name or symbol))
            if value is None and symbol in ranges:
                value = torch.randint(ranges[symbol], symbol.shape, generator=self.generator)
            elif value is None:
                value = torch.randn(symbol.shape, dtype=torch.float64, generator=self.generator).to(dtype)
            arrays[symbol] = Array(value.to(self.pair[0].device or "cpu"), symbol.name)
        return [substitute_all_modules(bind(expr, arrays)) for expr in self.pair]

    def _values(self, exprs: list[Expr]) -> tuple[torch.Tensor, torch.Tensor]:
        from scrub.rewrite.testing.oracle import groups_of, value_of  # with it comes all that makes test expressions

        groups = groups_of(exprs)
        count = 1
        for group in groups:
            count *= group.shape[0]
        if count > self.max_outcomes:
            pairs = [self._values(at) for at in self._drawn(exprs, groups)]
            return torch.stack([old for old, _ in pairs]), torch.stack([new for _, new in pairs])
        if not any(expr.flags & RANDOM for expr in exprs):
            return exprs[0].evaluate(), exprs[1].evaluate()
        old, new = (value_of(expr, groups=groups) for expr in exprs)
        dtype = exprs[0].dtype
        return (old.to(dtype), new.to(dtype)) if dtype is not None and dtype.is_floating_point else (old, new)

    def _drawn(self, exprs: list[Expr], groups: tuple[Expr, ...]) -> list[list[Expr]]:
        """The expressions at randomly drawn outcomes, fewer the larger they are."""
        num_nodes = sum(1 for _ in postorder(exprs))
        draws: list[list[Expr]] = []
        for _ in range(max(2, min(self.max_outcomes, 20_000 // num_nodes))):
            rows = {g: int(torch.randint(g.shape[0], (), generator=self.generator)) for g in groups}
            draws.append([_at_outcome(expr, rows) for expr in exprs])
        return draws


def _at_outcome(expr: Expr, rows: Mapping[Expr, int]) -> Expr:
    """The expression with each variable that is under no cumulant replaced by one row of its table."""

    def transform(node: Expr, children: tuple[Expr, ...]) -> Expr:
        if isinstance(node, Cumulant):
            return node
        if isinstance(node, DiscreteVar):
            return Index(children[0], (rows[node.probs_and_group],))
        return node.with_children(children)

    return rebuild([expr], transform)[expr]


def _index_ranges(expr: Expr) -> dict[Symbol, int]:
    """Symbols that are, perhaps rearranged, positions to gather from an axis, and the size of that axis."""
    ranges: dict[Symbol, int] = {}
    for node in postorder([expr]):
        if not (isinstance(node, GeneralFunction) and isinstance(node.spec, GenIndex)):
            continue
        table, index = node.children
        own = table.shape[index.ndim :] if node.spec.batch_x and node.spec.batch_index else table.shape
        waiting = [index]
        while waiting:
            at = waiting.pop()
            if isinstance(at, Symbol):
                size = own[node.spec.index_dim]
                ranges[at] = min(size, ranges.get(at, size))
            elif isinstance(at, Rearrange | Index | Tag | Concat):
                waiting.extend(at.children)
    return ranges
