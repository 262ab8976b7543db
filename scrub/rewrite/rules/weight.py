"""The measure that every simplifying rule makes smaller: so any mixture of them comes to an end."""

from __future__ import annotations

from scrub.graph import Expr, Scalar, postorder


def weight(expr: Expr, known: dict[Expr, int] | None = None) -> int:
    """Size of the expression written out as a tree: 1 for a scalar, 2 for any other node, plus what is below.

    Args:
        expr: what to weigh.
        known: weights of expressions seen before, extended on the way.

    >>> from scrub.graph import Add
    >>> weight(Add(Scalar(1.0), Scalar(2.0)))
    4
    """
    weights = {} if known is None else known
    for node in postorder([expr], descend=lambda node: node not in weights):
        if node not in weights:
            own = 1 if isinstance(node, Scalar) else 2
            weights[node] = own + sum(weights[child] for child in node.children)
    return weights[expr]
