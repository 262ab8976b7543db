"""Expressions as a function of tensors that torch differentiates, and that may be part of a larger computation."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import fx

from scrub.compiler.bindings import Inputs
from scrub.compiler.compiled import Kind
from scrub.compiler.emit import emit
from scrub.compiler.passes import ALL_PASSES, run_passes
from scrub.compiler.program import MOST_ASSUMED_DRAWS, lower_for, without_cycle_collection
from scrub.compiler.ranges import Ranges
from scrub.compiler.values import Graph
from scrub.graph import ConstructionError, Expr, Symbol


class TorchFunction:
    """Calls compute expressions of tensors; torch takes gradients through them as through any of its own operations.

    `compile` is for whole computations and gradients of a scalar: it plans memory and computes portions of the draws.
    This is for parts of one that is put together in torch.

    Args:
        exprs: what is computed.
        args: the free symbols of the expressions, in the order in which calls take their tensors. A call that is given
            one that no expression reads ignores it.
        batched: those of them whose tensors have an axis of draws in front.

    Raises:
        ConstructionError: an expression has a free symbol that is not among the arguments.

    >>> x, w = Symbol.new_from_name((2,), "x"), Symbol.new_from_name((2,), "w")
    >>> function = TorchFunction([x.mul(w).sum()], [x, w], batched=[x])
    >>> weight = torch.tensor([1.0, 5.0], requires_grad=True)
    >>> (total,) = function(torch.ones(3, 2), weight)
    >>> total.tolist(), torch.autograd.grad(total.sum(), weight)[0].tolist()
    ([6.0, 6.0, 6.0], [3.0, 3.0])
    """

    def __init__(self, exprs: Sequence[Expr], args: Sequence[Symbol], *, batched: Collection[Symbol] = ()) -> None:
        self.exprs = tuple(exprs)
        self.args = tuple(args)
        free = {symbol for expr in exprs for symbol in expr.free_symbols}
        unknown = [symbol for symbol in free if symbol not in self.args]
        if unknown:
            raise ConstructionError(
                f"{unknown[0]!r} is free in the expressions, and no argument",
                nodes=unknown,
                expected=[symbol.name for symbol in self.args],
                found=unknown[0].name,
                hint="add it to args, or bind it",
            )
        self.inputs = Inputs(self.exprs, [symbol for symbol in batched if symbol in free])
        self._positions = [self.args.index(symbol) for symbol in self.inputs.symbols]
        self._modules: dict[tuple[Kind, ...], tuple[fx.GraphModule, Ranges]] = {}

    def __call__(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The values: [n, *shape] where an expression depends on what is batched, else of its own shape.

        Args:
            tensors: one for each of `args`.
        """
        given = [tensors[i] for i in self._positions]
        kinds = tuple(
            Kind.of(tensor, is_drawn=key in self.inputs.drawn)
            for key, tensor in zip(self.inputs.keys, given, strict=True)
        )
        found = self._modules.get(kinds)
        if found is None:
            self.inputs.checked(dict(zip(self.inputs.symbols, given, strict=True)))
            with without_cycle_collection():
                found = self._modules[kinds] = self._compiled(kinds)
        module, ranges = found
        ranges.check(given)
        return module(*given)

    def _compiled(self, kinds: Sequence[Kind]) -> tuple[fx.GraphModule, Ranges]:
        graph = Graph(assumed_draws=MOST_ASSUMED_DRAWS)
        inputs, lowered = lower_for(graph, self.exprs, self.inputs, kinds)
        return emit(run_passes(graph, lowered, ALL_PASSES), inputs), Ranges(inputs, lowered)
