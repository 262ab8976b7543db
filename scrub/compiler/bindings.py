"""What a program is bound to when it is run: a tensor for each free symbol, rows for each group of random variables."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch

from scrub.compiler.compiled import Kind
from scrub.compiler.reference import check_bound, check_fits
from scrub.graph import (
    Array,
    ConstructionError,
    Cumulant,
    DiscreteVar,
    Expr,
    RandomVariableError,
    ShapeError,
    StoredCumulantVar,
    Symbol,
    postorder,
)

Bindings = Mapping[Expr, torch.Tensor] | Mapping[Symbol, torch.Tensor]


class Inputs:
    """What expressions must be bound to.

    Attributes:
        symbols, groups: the free symbols, and the groups of the random variables (`probs_and_group`).
        keys: all of these, in the order in which a program takes their tensors.
        drawn: those of them that are bound draw by draw: the groups, and the symbols that are said to be.
    """

    def __init__(self, exprs: Sequence[Expr], batched: Collection[Symbol]) -> None:
        self._exprs = tuple(exprs)
        nodes = list(postorder(exprs))
        _check_drawable(nodes)
        variables = [node for node in nodes if isinstance(node, DiscreteVar)]
        self.symbols = tuple(dict.fromkeys(symbol for expr in exprs for symbol in expr.free_symbols))
        self.groups = tuple(dict.fromkeys(variable.probs_and_group for variable in variables))
        self.keys: tuple[Expr, ...] = (*self.symbols, *self.groups)
        self.drawn: frozenset[Expr] = frozenset((*batched, *self.groups))
        unknown = [symbol for symbol in batched if symbol not in self.symbols]
        if unknown:
            raise ConstructionError(
                f"compile: {unknown[0]!r} is to be bound draw by draw, but is no free symbol of the expressions",
                nodes=unknown,
                expected=self.symbols,
                found=unknown,
                hint=f"the free symbols are {[symbol.name for symbol in self.symbols]}",
            )
        self._arrays = tuple(dict.fromkeys(node.frozen for node in nodes if isinstance(node, Array)))

    def checked(self, bindings: Bindings | None) -> dict[Expr, torch.Tensor]:
        """The bindings, or the error that says what is wrong with them."""
        given: dict[Expr, torch.Tensor] = {}
        given.update(bindings.items() if bindings else ())
        for frozen in self._arrays:
            if frozen.is_stale:
                _ = frozen.value  # raises: the tensor was changed in place
        for expr in self._exprs:
            check_bound(expr, given)
        missing = [group for group in self.groups if group not in given]
        if missing:
            raise RandomVariableError(
                f"run: no rows are given for {len(missing)} groups of random variables, the first is {missing[0]!r}",
                nodes=missing[:4],
                expected="int64 rows [n] for each of program.groups",
                found=list(given),
                hint="bind variable.probs_and_group to the rows drawn, or let rc.estimate draw them",
            )
        self._check_draws(given)
        for symbol in self.symbols:
            shape = tuple(given[symbol].shape)
            check_fits(symbol, shape[1:] if symbol in self.drawn else shape, what="run")
        return given

    def kinds(self, given: Mapping[Expr, torch.Tensor]) -> tuple[Kind, ...]:
        """What the tensors are like."""
        return tuple(Kind.of(given[key], is_drawn=key in self.drawn) for key in self.keys)

    def num_draws(self, given: Mapping[Expr, torch.Tensor]) -> int:
        """How many draws the tensors are for."""
        return next((len(given[key]) for key in self.keys if key in self.drawn), 0)

    def _check_draws(self, given: Mapping[Expr, torch.Tensor]) -> None:
        for group in self.groups:
            rows = given[group]
            if rows.ndim != 1 or rows.dtype != torch.int64:
                raise ShapeError(
                    f"run: the rows of {group!r} are {list(rows.shape)} {rows.dtype}",
                    nodes=[group],
                    expected="int64 [n]",
                    found=(tuple(rows.shape), rows.dtype),
                )
        drawn = [key for key in self.keys if key in self.drawn]
        for symbol in drawn:
            if not given[symbol].ndim:
                raise ShapeError(
                    f"run: symbol {symbol.name!r} is bound draw by draw, the value has no axis of draws",
                    nodes=[symbol],
                    expected=("n", *symbol.shape),
                    found=(),
                )
        lengths = {key: len(given[key]) for key in drawn}
        if len(set(lengths.values())) > 1:
            raise ShapeError(
                f"run: different numbers of draws: {sorted(set(lengths.values()))}",
                nodes=list(lengths),
                axis=0,
                expected="one number of draws",
                found=list(lengths.values()),
            )


def _check_drawable(nodes: Sequence[Expr]) -> None:
    for node in nodes:
        if isinstance(node, Cumulant | StoredCumulantVar):
            raise RandomVariableError(
                f"compile: {node!r} is not a value for each draw",
                nodes=[node],
                found=node,
                hint="rc.estimate(expr, n=...) estimates expressions of cumulants",
            )
