"""Walks over the distinct nodes of expressions, with explicit stacks: depth is limited by memory alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from scrub.graph.expr import Expr


def postorder(roots: Iterable[Expr], *, descend: Callable[[Expr], bool] | None = None) -> Iterator[Expr]:
    """Every distinct node once, children before parents, left to right.

    Args:
        roots: where to start.
        descend: whether to visit what is below a node; all if None. The node itself comes in any case.

    >>> import scrub as rc
    >>> [n.name for n in postorder([rc.Add(rc.Scalar(1.0, name="a"), rc.Scalar(2.0, name="b"), name="c")])]
    ['a', 'b', 'c']
    """
    seen: set[Expr] = set()
    stack: list[tuple[Expr, bool]] = [(root, False) for root in reversed(list(roots))]
    while stack:
        node, is_ready = stack.pop()
        if is_ready:
            yield node
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            if descend is None or descend(node):
                stack.extend((child, False) for child in reversed(node.children))


def rebuild(roots: Iterable[Expr], transform: Callable[[Expr, tuple[Expr, ...]], Expr]) -> dict[Expr, Expr]:
    """Map every distinct node below the roots, children first: `transform(node, new_children) -> new node`."""
    results: dict[Expr, Expr] = {}
    for node in postorder(roots):
        results[node] = transform(node, tuple(results[child] for child in node.children))
    return results
