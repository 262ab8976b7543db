"""Expressions lowered so that gradients can be taken with respect to some of their nodes.

Such a node is read through a probe everywhere, so that its gradient is its own: another node of the same value, which
is the same value to the compiler, is told apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scrub.compiler.backends import Backend
from scrub.compiler.lowering import Lowering, Position
from scrub.compiler.ops.probe import Probe
from scrub.compiler.targets import Targets, not_there
from scrub.compiler.values import Graph, Value
from scrub.graph import ConstructionError, DtypeError, Expr, ShapeError


@dataclass(frozen=True)
class Asked:
    """What is to be computed, lowered.

    Attributes:
        graph: of the values.
        inputs: in the order in which their tensors come.
        outputs: the values of the expressions.
        probes: of the nodes that gradients are taken with respect to.
        of: which output they are of.
    """

    graph: Graph
    inputs: Sequence[Value]
    outputs: Sequence[Value]
    probes: Sequence[Value]
    of: int


class ProbedLowering(Lowering):
    """Lowers expressions with a probe on each of some nodes: everything else reads them through it.

    Attributes:
        probes: of the nodes, as far as they occur.
    """

    def __init__(self, graph: Graph, inputs: dict[Expr, Value], nodes: Sequence[Expr]) -> None:
        super().__init__(graph, inputs)
        self.probes: dict[Expr, Value] = {}
        self._number = {node: i for i, node in enumerate(nodes)}

    def _step(self, at: Position) -> list[Position]:
        waiting = super()._step(at)
        node, env = at
        if not waiting and not env and node in self._number:
            bare = self.results[at]
            _check_has_gradient(node, bare)
            self.probes[node] = self.graph.value(Probe(self._number[node]), bare, name=node.name)
            self.results[at] = self.probes[node]
        return waiting


def lower_with_probes(
    graph: Graph, inputs: dict[Expr, Value], exprs: Sequence[Expr], nodes: Sequence[Expr], of: int
) -> Asked:
    """Expressions lowered, with a probe on each of some nodes.

    Args:
        graph: where the values go.
        inputs: what free symbols and groups of random variables are.
        exprs: what is computed.
        nodes: what gradients are taken with respect to.
        of: which of the expressions they are of.

    Raises:
        MatchError: a node is not there.
        DtypeError: a node, or the objective, has no gradient.
    """
    given = list(dict.fromkeys(inputs.values()))
    lowering = ProbedLowering(graph, inputs, nodes)
    outputs = [lowering.run(expr) for expr in exprs]
    for node in nodes:
        if node not in lowering.probes:
            raise not_there(node, exprs)
    _check_has_gradient(exprs[of], outputs[of])
    return Asked(graph, given, outputs, [lowering.probes[node] for node in nodes], of)


def check_objective(exprs: Sequence[Expr], of: int, targets: Targets, backend: Backend) -> None:
    """Raise an error unless there are gradients of expression `of`, and something to take them with respect to."""
    if not targets.nodes:
        raise ConstructionError(
            "value_and_grad: the program was compiled without wrt",
            nodes=exprs[:1],
            hint="compile(exprs, wrt=[...]) says with respect to what: nodes, or matchers of them",
        )
    if backend == "cudagraphs":
        raise ConstructionError(
            "value_and_grad: a CUDA graph that was captured cannot be run backwards",
            found=backend,
            hint="compile another program for gradients, with backend='eager' or 'inductor'",
        )
    if not 0 <= of < len(exprs):
        raise ConstructionError(
            f"value_and_grad: there is no expression {of} among {len(exprs)}",
            expected=f"0 to {len(exprs) - 1}",
            found=of,
        )
    if exprs[of].shape != ():
        raise ShapeError(
            f"value_and_grad: the gradient is that of a scalar, {exprs[of]!r} has shape {list(exprs[of].shape)}",
            nodes=[exprs[of]],
            expected=(),
            found=exprs[of].shape,
            hint="take its sum or mean, or an index of it",
        )


def _check_has_gradient(node: Expr, value: Value) -> None:
    if value.dtype is not None and not value.dtype.is_floating_point:
        raise DtypeError(
            f"value_and_grad: {node!r} holds {value.dtype}, for which there are no gradients",
            nodes=[node],
            expected="a floating dtype",
            found=value.dtype,
        )
