"""Expressions lowered and passed through some passes: what became of them, and the torch module that computes it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

import torch

import scrub as rc
from scrub.compiler.emit import emit
from scrub.compiler.lowering import Lowering
from scrub.compiler.ops import Input
from scrub.compiler.passes import PASSES, run_passes
from scrub.compiler.values import Graph, Op, Value, values_below
from scrub.graph import Expr

AnOp = TypeVar("AnOp", bound=Op)
CPU = torch.device("cpu")


class Lowered:
    """Expressions after passes. Symbols are of `dtypes`, float64 if not given, and bound draw by draw if `drawn`."""

    def __init__(
        self,
        exprs: Expr | Sequence[Expr],
        passes: Collection[str],
        *,
        drawn: Collection[rc.Symbol] = (),
        dtypes: Mapping[rc.Symbol, torch.dtype] | None = None,
    ) -> None:
        exprs = [exprs] if isinstance(exprs, Expr) else list(exprs)
        assert set(passes) <= set(PASSES)
        graph = Graph()
        self.symbols = tuple(dict.fromkeys(symbol for expr in exprs for symbol in expr.free_symbols))
        inputs: dict[Expr, Value] = {}
        for symbol in self.symbols:
            dtype = (dtypes or {}).get(symbol, torch.float64)
            inputs[symbol] = graph.value(Input(symbol.digest, symbol.shape, dtype, CPU, symbol in drawn))
        self.inputs = tuple(inputs.values())
        lowering = Lowering(graph, inputs)
        before = [lowering.run(expr) for expr in exprs]
        self.outputs = run_passes(graph, before, passes)
        for old, new in zip(before, self.outputs, strict=True):
            assert (old.axes, old.shape, old.dtype) == (new.axes, new.shape, new.dtype)

    def count(self, kind: type[Op]) -> int:
        """How many values have an operation of this kind."""
        return len(self.ops(kind))

    def ops(self, kind: type[AnOp]) -> list[AnOp]:
        """The operations of this kind."""
        return [value.op for value in values_below(self.outputs) if isinstance(value.op, kind)]

    def run(self, bindings: Mapping[rc.Symbol, torch.Tensor] | None = None) -> list[torch.Tensor]:
        """The tensors of the outputs."""
        module = emit(self.outputs, self.inputs)
        return list(module(*((bindings or {})[symbol] for symbol in self.symbols)))


def array(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> rc.Array:
    """Normal random numbers."""
    return rc.Array(torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype))


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return array(*shape, seed=seed, dtype=dtype).value


def symbol(name: str, *shape: int) -> rc.Symbol:
    return rc.Symbol.new_from_name(shape, name)
