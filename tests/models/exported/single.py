"""One call of an operator as a traced graph of its own, without `torch.export`, which takes a tenth of a second."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import Graph, Node

from scrub.graph import Expr, Symbol
from scrub.models.exported.folding import fold
from scrub.models.exported.lowering import Lowering
from scrub.models.exported.regions import find_regions
from scrub.models.exported.tracing import Traced
from tests.models.exported.cases import Case, T

Lowered = tuple[dict[str, Expr], dict[Symbol, torch.Tensor], dict[str, torch.Tensor]]


def operator_of(name: str) -> Any:
    library, function, overload = name.split(".")
    return getattr(getattr(getattr(torch.ops, library), function), overload)


def drawn(case: Case, dtype: torch.dtype, seed: int = 0) -> tuple[list[Any], dict[str, Any], list[torch.Tensor]]:
    """The arguments with their tensors, and the tensors alone in order."""
    generator = torch.Generator().manual_seed(seed)
    tensors: list[torch.Tensor] = []

    def draw(value: Any) -> Any:
        if isinstance(value, T):
            tensors.append(value.draw(generator, dtype))
            return tensors[-1]
        return [draw(part) for part in value] if isinstance(value, list) else value

    return [draw(value) for value in case.args], {key: draw(value) for key, value in case.kwargs.items()}, tensors


def lower_call(
    case: Case, args: Sequence[Any], kwargs: dict[str, Any], *, known: Sequence[torch.Tensor] = ()
) -> Lowered:
    """The lowered results, by position; what to bind; what torch gives. Tensors that are not known become symbols."""
    graph = Graph()
    inputs: dict[Node, str] = {}
    constants: dict[Node, Any] = {}
    values: dict[str, torch.Tensor] = {}

    def node_of(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            node = graph.placeholder(f"x{len(inputs) + len(constants)}")
            node.meta["val"] = value
            if any(value is one for one in known):
                constants[node] = value
            else:
                inputs[node] = node.name
                values[node.name] = value
            return node
        return [node_of(part) for part in value] if isinstance(value, list) else value

    arguments = tuple(node_of(value) for value in args), {key: node_of(value) for key, value in kwargs.items()}
    target = operator_of(case.operator)
    results = target(*args, **kwargs)
    node = graph.call_function(target, *arguments)
    node.meta["val"] = results
    outputs = {"0": node}
    if not isinstance(results, torch.Tensor):
        outputs = {}
        for i in supported_results(case.operator, len(results)):
            outputs[str(i)] = graph.call_function(operator.getitem, (node, i))
            outputs[str(i)].meta["val"] = results[i]
    nodes = [n for n in graph.nodes if n.op == "call_function"]
    traced = Traced(nodes, {}, constants, inputs, outputs, [])
    folded = fold(traced)
    symbols = {name: Symbol.new_from_name(tuple(n.meta["val"].shape), name) for n, name in inputs.items()}
    lowering = Lowering(traced, folded, find_regions(traced, folded, lambda path: True), {})
    expected = {name: results if isinstance(results, torch.Tensor) else results[int(name)] for name in outputs}
    return lowering.run({}, symbols), {symbols[name]: value for name, value in values.items()}, expected


def supported_results(name: str, count: int) -> range:
    """All of them, except of operators whose further results serve the backward pass."""
    first_only = ("dropout", "_with_indices", "adaptive_max", "batch_norm", "rrelu")
    return range(1 if any(part in name for part in first_only) else count)
