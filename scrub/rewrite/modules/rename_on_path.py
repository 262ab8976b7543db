"""Telling changed copies from originals: new names on the paths to what a matcher finds."""

from __future__ import annotations

from collections.abc import Callable

from scrub.graph import Array, Expr, Scalar, Symbol
from scrub.rewrite.iterative import IterativeMatcher, IterativeMatcherIn
from scrub.rewrite.search import nothing_found
from scrub.rewrite.states import State, next_for

Position = tuple[Expr, State]


def rename_on_replaced_path(
    expr: Expr,
    matcher: IterativeMatcherIn,
    rename: Callable[[Expr], str | None],
    *,
    assert_any_found: bool = True,
) -> Expr:
    """Rename every node on the paths from the root to what a matcher finds, both ends included.

    Only these paths change: a shared node that is also on others appears twice in the result, under its new name and
    under its own. Leaves are never renamed; a node that is found through one keeps its name, its parents do not.

    Args:
        expr: what to rewrite.
        matcher: finds the ends of the paths.
        rename: node of `expr` -> its new name. Called once per distinct node, with unnamed ones too.
        assert_any_found: raise if nothing is found.

    Raises:
        MatchError: nothing is found.

    >>> from scrub.graph import Add
    >>> shared = Add(Scalar(1.0, name="x"), name="shared")
    >>> whole = Add(Add(shared, name="left"), Add(shared, name="right"), name="sum")
    >>> path = IterativeMatcher("left").chain("x")
    >>> rename_on_replaced_path(whole, path, lambda node: f"{node.name}.scrubbed").print()
    'sum.scrubbed' [] Add
      'left.scrubbed' [] Add
        'shared.scrubbed' [] Add
          'x' [] Scalar 1.0
      'right' [] Add
        'shared' [] Add
          'x'
    """
    start: Position = (expr, IterativeMatcher(matcher).state)
    results: dict[Position, Expr | None] = {}  # None: nothing is found at or below it
    names: dict[Expr, str | None] = {}
    stack: list[tuple[Position, bool, list[Position | None] | None]] = [(start, False, None)]
    while stack:
        position, is_found, below = stack.pop()
        if position in results:
            continue
        node, state = position
        if below is None:
            is_found, following = state.step(node)
            states = [next_for(following, i) for i in range(len(node.children))]
            below = [None if s is None else (child, s) for child, s in zip(node.children, states, strict=True)]
            stack.append((position, is_found, below))
            stack.extend((child, False, None) for child in reversed(below) if child is not None)
            continue
        renamed = [None if child is None else results[child] for child in below]
        if not is_found and all(new is None for new in renamed):
            results[position] = None
        elif isinstance(node, Array | Scalar | Symbol):
            results[position] = node
        else:
            if node not in names:
                names[node] = rename(node)
            children = [child if new is None else new for child, new in zip(node.children, renamed, strict=True)]
            results[position] = node.with_children(children).rename(names[node])
    result = results[start]
    if result is None and assert_any_found:
        raise nothing_found(expr, matcher)
    return expr if result is None else result
