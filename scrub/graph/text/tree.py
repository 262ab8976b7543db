"""Which line of text each node gets: depth first, a node's second appearance on a line without anything below."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol, cast

from scrub.graph.errors import ConstructionError
from scrub.graph.expr import Expr
from scrub.graph.module import Module


class TraversalState(Protocol):
    """Where a traversal stands on a path; immutable and hashable."""

    def step(self, node: Expr, /) -> tuple[bool, Any]:
        """(whether it finds the node, state for the children: None if finished, one for all, or a tuple, one each)."""
        ...


class Traversal(Protocol):
    """What decides, along each path, how far to go; an `IterativeMatcher` is one."""

    @property
    def state(self) -> Any:
        """The `TraversalState` at the root."""
        ...


class Line(NamedTuple):
    """One line of the tree.

    Attributes:
        node, depth: the node and its depth below the root.
        is_repeat: it was printed before, so nothing is printed below.
        is_cut: it has children that are not printed, because of `max_depth`, `descend` or `traversal`.
        argument: name of the parameter this node is bound to in the module above, or None.
        times: how many equal neighbours, children of the same node, the line stands for.
        is_last: nothing follows below the same parent.
    """

    node: Expr
    depth: int
    is_repeat: bool = False
    is_cut: bool = False
    argument: str | None = None
    times: int = 1
    is_last: bool = True


class _Finished:
    """The state of a child that the traversal does not enter, where it enters others."""

    def step(self, node: Expr) -> tuple[bool, None]:
        return False, None


_FINISHED = _Finished()
_FOLD = 3  # so many repeats in a row become one line


def tree_lines(
    expr: Expr | Iterable[Expr],
    *,
    max_depth: int | None = None,
    descend: Callable[[Expr], bool] | None = None,
    traversal: Traversal | None = None,
) -> Iterator[Line]:
    """The lines of an expression, linear in its distinct nodes (and states of the traversal).

    A node is printed in full once. Where it was cut by `max_depth` or by `traversal`, both of which depend on the path,
    it is printed again where they allow more of it.

    Args:
        expr: the root, or several.
        max_depth: deepest level to print; all if None.
        descend: whether to print what is below a node; always if None.
        traversal: how far to go along each path, for example `new_traversal(end_depth=3)`. Only where it goes
            matters, not what it finds.

    >>> from scrub.graph import Add, Scalar
    >>> x = Scalar(1.0, name="x")
    >>> [(line.node.name, line.depth, line.is_repeat) for line in tree_lines(Add(x, x, name="twice"))]
    [('twice', 0, False), ('x', 1, False), ('x', 1, True)]
    """
    if traversal is not None and not hasattr(getattr(traversal, "state", None), "step"):
        raise ConstructionError(
            f"a traversal is an IterativeMatcher, not {traversal!r}",
            found=traversal,
            hint="new_traversal(end_depth=3), or restrict(True, term_early_at=...); a predicate goes to descend=",
        )
    start: Any = None if traversal is None else traversal.state
    is_plain = max_depth is None and descend is None and traversal is None
    shown: dict[Expr, list[tuple[Any, int]]] = {}  # the states and depths a node was printed in
    partial: set[Expr] = set()  # printed, but not to the bottom
    path: list[Expr] = []
    num_marked = 0  # so many nodes at the beginning of the path are in `partial`
    roots = [expr] if isinstance(expr, Expr) else list(expr)
    stack: list[tuple[Expr, int, str | None, Any, int, bool]] = [
        (root, 0, None, start, 1, root is roots[-1]) for root in reversed(roots)
    ]
    while stack:
        node, depth, argument, state, count, is_last = stack.pop()
        following: Any = None
        is_stopped = False
        earlier = shown.get(node)
        if not is_plain:
            is_stopped = descend is not None and not descend(node)
            is_stopped_here = max_depth is not None and depth >= max_depth
            if state is not None:
                following = state.step(node)[1]
                is_stopped_here |= _is_finished(following)
            is_stopped |= is_stopped_here
            del path[depth:]
            path.append(node)
            num_marked = min(num_marked, depth)
            is_partly_shown = earlier is not None and node in partial
            if is_partly_shown and not is_stopped and not any(s == state and d <= depth for s, d in earlier or ()):
                earlier = None  # more of it may be shown here
            elif node.children and (is_stopped_here or is_partly_shown):
                partial.update(path[num_marked:])  # what is above shows less than all, too
                num_marked = len(path)
        if earlier is not None:
            if count < _FOLD:
                for i in range(count):
                    yield Line(node, depth, True, False, argument, 1, is_last and i == count - 1)
            else:
                yield Line(node, depth, True, False, argument, count, is_last)
            continue
        is_cut = is_stopped and bool(node.children)
        yield Line(node, depth, False, is_cut, argument, 1, is_last and count == 1)
        shown.setdefault(node, []).append((state, depth))
        if count > 1:
            stack.append((node, depth, argument, state, count - 1, is_last))
        if is_cut or not node.children:
            continue
        partial.discard(node)
        _push(stack, node, depth + 1, following)


def _push(stack: list[tuple[Expr, int, str | None, Any, int, bool]], node: Expr, depth: int, following: object) -> None:
    """The children, equal neighbours together, so that the first comes off first."""
    children = node.children
    last = len(children) - 1
    if isinstance(node, Module):
        names = [None, *(spec.symbol.name for spec in node.params)]
        for i in range(last, -1, -1):
            stack.append((children[i], depth, names[i], _state(following, i), 1, i == last))
        return
    i = last
    while i >= 0:
        first = i
        while first and children[first - 1] is children[i] and not isinstance(following, tuple):
            first -= 1
        stack.append((children[i], depth, None, _state(following, i), i - first + 1, i == last))
        i = first - 1


def _is_finished(following: Any) -> bool:
    if isinstance(following, tuple):
        return all(state is None for state in cast("tuple[Any, ...]", following))
    return following is None


def _state(following: Any, child: int) -> Any:
    if isinstance(following, tuple):
        states = cast("tuple[Any, ...]", following)
        state = states[child] if child < len(states) else None
        return _FINISHED if state is None else state
    return following
