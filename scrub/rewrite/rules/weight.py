"""The measure that every simplifying rule makes smaller: so any mixture of them comes to an end."""

from __future__ import annotations

from scrub.graph import Add, Expr, Scalar, postorder


def weight(expr: Expr, known: dict[Expr, int] | None = None) -> int:
    """Size of the expression written out as a tree: 1 for a scalar, 2 for any other node, plus what is below.

    A sum weighs 3 more for each term, so that fewer terms are lighter even where a factor comes in: 2 * a + b is
    lighter than a + a + b.

    Args:
        expr: what to weigh.
        known: weights of expressions seen before, extended on the way.

    >>> weight(Add(Scalar(1.0), Scalar(2.0)))
    10
    """
    weights = {} if known is None else known
    for node in postorder([expr], descend=lambda node: node not in weights):
        if node not in weights:
            own = 1 if isinstance(node, Scalar) else 2 + 3 * len(node.children) * isinstance(node, Add)
            weights[node] = own + sum(weights[child] for child in node.children)
    return weights[expr]
