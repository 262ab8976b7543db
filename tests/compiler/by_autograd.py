"""Gradients by autograd through the reference: every node computed by its own `compute`, one outcome after another."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch

from scrub.graph import Array, DiscreteVar, Expr, Symbol, postorder
from scrub.rewrite import substitute_all_modules

Tensors = Mapping[Expr, torch.Tensor]


def gradients(
    objective: Expr, nodes: Sequence[Expr], *, symbols: Tensors, rows: Mapping[Expr, int]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The value of a scalar expression without modules, and its gradients.

    Args:
        objective: what gradients are of.
        nodes: what they are with respect to, among the nodes below it or not.
        symbols: values of the free symbols.
        rows: row of every group of random variables.
    """
    values: dict[Expr, torch.Tensor] = {}
    for node in postorder([objective, *nodes]):
        if isinstance(node, Symbol):
            value = symbols[node]
        elif isinstance(node, DiscreteVar):
            value = values[node.children[0]][rows[node.probs_and_group]]
        else:
            value = node.compute(*(values[child] for child in node.children))
        if node in nodes:
            value = value.clone() if value.requires_grad else value.detach().clone().requires_grad_()
        values[node] = value
    result = values[objective]
    sources = [values[node] for node in nodes]
    if not result.requires_grad:
        return result.detach(), [torch.zeros_like(source) for source in sources]
    found = torch.autograd.grad(result, sources, allow_unused=True, materialize_grads=True)
    return result.detach(), [gradient.detach() for gradient in found]


def outcomes(groups: Sequence[Expr]) -> list[dict[Expr, int]]:
    """Every joint outcome: the row of each group."""
    rows = itertools.product(*(range(int(group.shape[0])) for group in groups))
    return [dict(zip(groups, row, strict=True)) for row in rows]


def expected(objective: Expr, nodes: Sequence[Expr], groups: Sequence[Expr]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Values [n] at every joint outcome, and gradients [n, *shape] draw by draw."""
    plain = substitute_all_modules(objective)
    found = [gradients(plain, nodes, symbols={}, rows=rows) for rows in outcomes(groups)]
    return torch.stack([value for value, _ in found]), [
        torch.stack([gradient[k] for _, gradient in found]) for k in range(len(nodes))
    ]


def is_differentiable(node: Expr) -> bool:
    """Whether something has a gradient with respect to the node."""
    return node.dtype is not None and node.dtype.is_floating_point


def weights(expr: Expr) -> list[Array]:
    """The arrays that there are gradients with respect to."""
    return [node for node in postorder([expr]) if isinstance(node, Array) and is_differentiable(node)]
