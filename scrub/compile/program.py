"""`compile`: expressions become a program that runs again and again, on other inputs and draws.

What the inputs are like (shapes, dtypes, devices) is known when they are bound, so the work is done at the first run
with inputs of a kind and remembered; the number of draws is not part of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch

from scrub.compile.compiled import Compiled, Kind
from scrub.compile.lowering import Lowering
from scrub.compile.ops import Input
from scrub.compile.passes import ALL_PASSES, run_passes
from scrub.compile.reference import check_bound, check_fits, check_sizes_are_known
from scrub.compile.values import Graph, Value
from scrub.graph import (
    Cumulant,
    DiscreteVar,
    Expr,
    RandomVariableError,
    ShapeError,
    StoredCumulantVar,
    Symbol,
    postorder,
)
from scrub.graph.expr import RESIZES
from scrub.graph.rules import uuid_from_name
from scrub.rewrite import bind, substitute_all_modules

Bindings = Mapping[Expr, torch.Tensor]


def compile(  # noqa: A001 - the field's word; rc.compile reads as torch.compile does
    exprs: Expr | Sequence[Expr],
    *,
    batched: Collection[Symbol] = (),
    passes: Collection[str] = ALL_PASSES,
) -> Program:
    """A program that computes expressions; what they share is computed once.

    Args:
        exprs: one or several, with free symbols and random variables that are bound when the program is run.
        batched: symbols that are bound to one value for each draw, along an axis in front of the symbol's own.
        passes: names of the passes to run, see `scrub.compile.passes`; all unless given.

    >>> x = Symbol.new_from_name((2,), "x")
    >>> program = compile([x.add(x), x.scale(3.0)], batched=[x])
    >>> program.run({x: torch.ones(4, 2)})[1].shape
    torch.Size([4, 2])
    """
    return Program([exprs] if isinstance(exprs, Expr) else list(exprs), batched=batched, passes=passes)


class Program:
    """Compiled expressions; made by `compile`."""

    def __init__(self, exprs: Sequence[Expr], *, batched: Collection[Symbol], passes: Collection[str]) -> None:
        self.exprs = tuple(exprs)
        self.batched = frozenset(batched)
        self.passes = tuple(passes)
        self.symbols = tuple(dict.fromkeys(symbol for expr in self.exprs for symbol in expr.free_symbols))
        nodes = list(postorder(self.exprs))
        _check_drawable(nodes)
        variables = [node for node in nodes if isinstance(node, DiscreteVar)]
        self.groups = tuple(dict.fromkeys(variable.probs_and_group for variable in variables))
        self._compiled: dict[tuple[Kind, ...], Compiled] = {}

    def run(self, bindings: Bindings | None = None) -> list[torch.Tensor]:
        """The values: [n, *shape] where an expression depends on the n draws, else of its own shape.

        Args:
            bindings: the tensor of every free symbol; for every group of random variables (`probs_and_group`) the rows
                drawn, int64 [n].
        """
        given = dict(bindings or {})
        return self.compiled(given).run([given[key] for key in (*self.symbols, *self.groups)])

    def compiled(self, bindings: Bindings) -> Compiled:
        """The program for inputs of the kind of these."""
        self._check(bindings)
        kinds = tuple(
            Kind.of(bindings[key], is_drawn=key in self.batched or key in self.groups)
            for key in (*self.symbols, *self.groups)
        )
        if kinds not in self._compiled:
            self._compiled[kinds] = self._compile(kinds)
        return self._compiled[kinds]

    def _compile(self, kinds: Sequence[Kind]) -> Compiled:
        graph = Graph()
        inputs: dict[Expr, Value] = {}
        for key, kind in zip((*self.symbols, *self.groups), kinds, strict=True):
            inputs[key] = graph.value(Input(key.digest, kind.shape, kind.dtype, kind.device, kind.is_drawn))
        exprs = [_of_known_sizes(expr, inputs) for expr in self.exprs]
        lowering = Lowering(graph, inputs)
        outputs = [lowering.run(expr) for expr in exprs]
        outputs = run_passes(graph, outputs, self.passes)
        return Compiled(list(inputs.values())[: len(kinds)], outputs)

    def _check(self, bindings: Bindings) -> None:
        for expr in self.exprs:
            check_bound(expr, bindings)
        missing = [group for group in self.groups if group not in bindings]
        if missing:
            raise RandomVariableError(
                f"run: no rows are given for {len(missing)} groups of random variables, the first is {missing[0]!r}",
                nodes=missing[:4],
                expected="int64 rows [n] for each of program.groups",
                found=list(bindings),
                hint="bind variable.probs_and_group to the rows drawn, or let rc.estimate draw them",
            )
        self._check_draws(bindings)
        for symbol in self.symbols:
            shape = tuple(bindings[symbol].shape)
            if symbol in self.batched and not shape:
                raise ShapeError(
                    f"run: symbol {symbol.name!r} is bound draw by draw, the value has no axis of draws",
                    nodes=[symbol],
                    expected=("n", *symbol.shape),
                    found=shape,
                )
            check_fits(symbol, shape[1:] if symbol in self.batched else shape, what="run")

    def _check_draws(self, bindings: Bindings) -> None:
        for group in self.groups:
            rows = bindings[group]
            if rows.ndim != 1 or rows.dtype != torch.int64:
                raise ShapeError(
                    f"run: the rows of {group!r} are {list(rows.shape)} {rows.dtype}",
                    nodes=[group],
                    expected="int64 [n]",
                    found=(tuple(rows.shape), rows.dtype),
                )
        drawn = [key for key in (*self.symbols, *self.groups) if key in self.batched or key in self.groups]
        lengths = {key: len(bindings[key]) for key in drawn if bindings[key].ndim}
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


def _of_known_sizes(expr: Expr, inputs: dict[Expr, Value]) -> Expr:
    """The expression with integer sizes, those of the inputs; symbols that get others are added to the inputs."""
    if not (expr.flags & RESIZES or expr.free_sizes):
        return expr
    sized: dict[Symbol, Expr] = {}
    for symbol in expr.free_symbols:
        if symbol.free_sizes:
            name = f"{symbol.digest} of {inputs[symbol].shape}"
            sized[symbol] = Symbol(inputs[symbol].shape, uuid_from_name(name), symbol.name)
            inputs[sized[symbol]] = inputs[symbol]
    bound = bind(expr, sized)
    check_sizes_are_known(bound)
    return substitute_all_modules(bound)
