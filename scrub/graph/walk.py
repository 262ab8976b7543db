"""Walks over the distinct nodes of expressions, with explicit stacks: depth is limited by memory alone."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from scrub.graph.expr import Expr

P = TypeVar("P", bound=Hashable)


def postorder(
    roots: Iterable[Expr],
    *,
    descend: Callable[[Expr], bool] | None = None,
    below: Callable[[Expr], Iterable[Expr]] | None = None,
) -> Iterator[Expr]:
    """Every distinct node once, children before parents, left to right.

    Args:
        roots: where to start.
        descend: whether to visit what is below a node; all if None. The node itself comes in any case.
        below: what is below a node; its children if None.

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
                children = node.children if below is None else list(below(node))
                stack.extend((child, False) for child in reversed(children))


def rebuild(roots: Iterable[Expr], transform: Callable[[Expr, tuple[Expr, ...]], Expr]) -> dict[Expr, Expr]:
    """Map every distinct node below the roots, children first: `transform(node, new_children) -> new node`."""
    results: dict[Expr, Expr] = {}
    for node in postorder(roots):
        results[node] = transform(node, tuple(results[child] for child in node.children))
    return results


def settle(start: P, results: Mapping[P, object], step: Callable[[P], Sequence[P]]) -> None:
    """Bring about the result of a position, such as a node with a state, and before it those of what it depends on.

    Args:
        start: the position.
        results: results by position; `step` adds to it.
        step: adds the result of a position, and returns nothing; or returns the positions that must come first.

    >>> lengths: dict[str, int] = {"": 0}
    >>> def step(word):
    ...     if word[1:] not in lengths:
    ...         return [word[1:]]
    ...     lengths[word] = 1 + lengths[word[1:]]
    ...     return []
    >>> settle("deep", lengths, step)
    >>> lengths["deep"]
    4
    """
    stack = [start]
    while stack:
        at = stack[-1]
        waiting = step(at) if at not in results else ()
        if waiting:
            stack.extend(reversed(waiting))
        else:
            stack.pop()
