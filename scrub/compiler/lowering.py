"""Expressions become values. Modules are inlined on the way, without ever building what comes out as an expression.

A body is lowered once for each set of values that its free symbols stand for: results are memoised on (node, values of
its free symbols), so equal calls meet and the cost is that of the distinct ones. A module called with batch axes, heads
say, has its body lowered on values with batch axes (`scrub.compiler.values`); random variables are rows of their tables
picked at positions that come in as an input along the axis of draws.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from scrub.compiler.ops import (
    Apply,
    ApplyEach,
    Constant,
    Contract,
    Fill,
    Gather,
    Joined,
    NodeCall,
    OnDiagonal,
    Picked,
    Rearranged,
    Sum,
    ToBatch,
    ToCore,
)
from scrub.compiler.ops.arithmetic import broadcast
from scrub.compiler.values import Axis, Graph, Value
from scrub.graph import (
    Add,
    Array,
    Concat,
    DiscreteVar,
    Einsum,
    Expr,
    GeneralFunction,
    Index,
    Module,
    Rearrange,
    Scalar,
    SetSymbolicShape,
    Symbol,
    Tag,
)
from scrub.graph.functions.gen_index import GenIndex
from scrub.graph.sizes import product
from scrub.graph.walk import settle

logger = logging.getLogger(__name__)

Env = tuple[tuple[Symbol, Value], ...]
Position = tuple[Expr, Env]
Rule = Callable[[Graph, Expr, Sequence[Value]], Value]
_PICKS_ROW = GenIndex(0, batch_x=False, batch_index=True)


class Lowering:
    """Lowers expressions into one graph.

    Args:
        graph: where the values go.
        inputs: what free symbols, and the groups of random variables (their rows), are.

    Attributes:
        results: the value of every (node, values of its free symbols that modules bind) so far.
    """

    def __init__(self, graph: Graph, inputs: Mapping[Expr, Value]) -> None:
        self.graph = graph
        self.inputs = inputs
        self.results: dict[Position, Value] = {}

    def run(self, expr: Expr) -> Value:
        """The value of an expression whose free symbols and random variables are inputs, of integer sizes."""
        start: Position = (expr, ())
        settle(start, self.results, self._step)
        return self.results[start]

    def _step(self, at: Position) -> list[Position]:
        node, env = at
        if isinstance(node, Symbol):
            self.results[at] = env[0][1] if env else self.inputs[node]
            return []
        scope = dict(env)
        if isinstance(node, Module):
            return self._step_module(at, node, scope)
        children = node.children[:1] if isinstance(node, DiscreteVar) else node.children
        below = [_restricted(child, scope) for child in children]
        waiting = [position for position in below if position not in self.results]
        if not waiting:
            self.results[at] = self._lowered(node, [self.results[position] for position in below])
        return waiting

    def _lowered(self, node: Expr, args: list[Value]) -> Value:
        if isinstance(node, DiscreteVar):
            rows = self.inputs[node.probs_and_group]
            return self.graph.value(Gather.of(_PICKS_ROW, rows), args[0], rows, name=node.name)
        rule = RULES.get(type(node))
        value = self.graph.value(NodeCall(node), *args) if rule is None else rule(self.graph, node, args)
        value.name = value.name or node.name
        return value

    def _step_module(self, at: Position, module: Module, scope: dict[Symbol, Value]) -> list[Position]:
        below = [_restricted(arg, scope) for arg in module.args]
        waiting = [position for position in below if position not in self.results]
        if waiting:
            return waiting
        args = [self.results[position] for position in below]
        body_scope = {symbol: scope[symbol] for symbol in module.body.free_symbols if symbol in scope}
        axes = _axes_of_call(module, [*args, *body_scope.values()])
        for symbol, arg in zip(module.bindings, args, strict=True):
            value = arg
            for axis in axes[len(axes) - (len(arg.shape) - symbol.ndim) :]:
                value = self.graph.value(ToBatch(axis), value)
            body_scope[symbol] = value
        body = _restricted(module.body, body_scope)
        if body not in self.results:
            return [body]
        result = self.results[body]
        for axis in reversed(axes):
            result = self.graph.value(ToCore(axis), result)
        result.name = result.name or module.name
        self.results[at] = result
        return []


def _restricted(node: Expr, scope: Mapping[Symbol, Value]) -> Position:
    if not scope:
        return node, ()
    return node, tuple((symbol, scope[symbol]) for symbol in node.free_symbols if symbol in scope)


def _axes_of_call(module: Module, live: Sequence[Value]) -> list[Axis]:
    """Batch axes for those that the arguments bring: the first that no value in reach has, so that equal calls meet."""
    first = 1 + max((axis.order for value in live for axis in value.axes), default=0)
    return [Axis(first + i, size) for i, size in enumerate(module.shape[: module.num_batch])]


def _array(graph: Graph, node: Expr, args: Sequence[Value]) -> Value:
    frozen = node.cast(Array).frozen
    return graph.value(Constant(frozen.digest, frozen.value.device, frozen.value))


def _scalar(graph: Graph, node: Expr, args: Sequence[Value]) -> Value:
    scalar = node.cast(Scalar)
    return graph.value(Fill(scalar.value, scalar.shape))


def _same(graph: Graph, node: Expr, args: Sequence[Value]) -> Value:
    return args[0]


def _einsum(graph: Graph, node: Expr, args: Sequence[Value]) -> Value:
    einsum = node.cast(Einsum)
    out = tuple(dict.fromkeys(einsum.out_axes))
    if not args:
        return graph.value(Fill(1.0, ()))
    kept, scale = list(zip(args, einsum.in_axes, strict=True)), 1.0
    if any(arg.dtype is not None and arg.dtype.is_floating_point for arg in args):
        kept, scale = _without_numbers(kept, out)
    values, ins = zip(*kept, strict=True)
    if scale == 1.0 and len(values) == 1 and ins[0] == out == einsum.out_axes:
        return values[0]
    result = graph.value(Contract(ins, out, scale), *values)
    return result if out == einsum.out_axes else graph.value(OnDiagonal(out, einsum.out_axes), result)


def _without_numbers(
    operands: list[tuple[Value, tuple[int, ...]]], out: tuple[int, ...]
) -> tuple[list[tuple[Value, tuple[int, ...]]], float]:
    """Operands without those that are one number and give no axis its size; and the product of these numbers."""
    scale = 1.0
    rest = list(operands)
    for operand in operands:
        value, axes = operand
        if isinstance(value.op, Fill) and len(rest) > 1:
            others = {axis for other in rest if other is not operand for axis in other[1]}
            if others.issuperset(axes):
                scale *= value.op.number
                rest.remove(operand)
    return rest, scale


def _add(graph: Graph, node: Expr, args: Sequence[Value]) -> Value:
    terms, offset = list(args), 0.0
    if any(arg.dtype is not None and arg.dtype.is_floating_point for arg in args):
        numbers = [arg for arg in args if isinstance(arg.op, Fill) and _broadcasts_away(arg, args)]
        offset = sum(arg.op.number for arg in numbers if isinstance(arg.op, Fill))
        terms = [arg for arg in args if arg not in numbers]
    if not args:
        return graph.value(Fill(0.0, ()))
    if len(terms) == 1 and offset == 0.0:
        return terms[0]
    return graph.value(Sum((1.0,) * len(terms), offset), *terms)


def _broadcasts_away(number: Value, terms: Sequence[Value]) -> bool:
    """Whether a number adds nothing to the shape of the sum: another term, not a number, has all its axes."""
    full = broadcast([term.shape for term in terms])
    rest = [term.shape for term in terms if not isinstance(term.op, Fill)]
    return bool(rest) and broadcast(rest) == full


def _rearrange(graph: Graph, node: Expr, args: Sequence[Value]) -> Value:
    rearrange = node.cast(Rearrange)
    sizes = dict(enumerate(rearrange.sizes))
    for group, size in zip(rearrange.left, args[0].shape, strict=True):
        unknown = [axis for axis in group if sizes[axis] is None]
        if unknown:
            rest = product([sizes[axis] for axis in group if sizes[axis] is not None])
            sizes[unknown[0]] = size if len(group) == 1 else size // rest
    known = tuple(size for _, size in sorted(sizes.items()) if size is not None)
    return graph.value(Rearranged(rearrange.left, rearrange.right, known), *args)


def _index(graph: Graph, node: Expr, args: Sequence[Value]) -> Value:
    return graph.value(Picked(node.cast(Index).entries), *args)


def _concat(graph: Graph, node: Expr, args: Sequence[Value]) -> Value:
    return graph.value(Joined(node.cast(Concat).axis), *args)


def _function(graph: Graph, node: Expr, args: Sequence[Value]) -> Value:
    function = node.cast(GeneralFunction)
    if isinstance(function.spec, GenIndex):
        return graph.value(Gather.of(function.spec, args[1]), *args)
    is_batchable = function.function_shape().is_batchable
    if any(arg.axes and not takes for arg, takes in zip(args, is_batchable, strict=True)):
        logger.warning("%r takes no batch axes where it has some: computed once for each draw, which is slow", node)
        return graph.value(ApplyEach(function.spec), *args)
    return graph.value(Apply(function.spec), *args)


RULES: dict[type[Expr], Rule] = {
    Array: _array,
    Scalar: _scalar,
    Tag: _same,
    SetSymbolicShape: _same,
    Einsum: _einsum,
    Add: _add,
    Rearrange: _rearrange,
    Index: _index,
    Concat: _concat,
    GeneralFunction: _function,
}
"""How a node becomes a value; a type that is not listed is computed by its own `compute`."""
