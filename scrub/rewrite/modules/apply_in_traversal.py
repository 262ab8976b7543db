"""Cut out the part of an expression that a traversal covers, transform it, put the rest back."""

from __future__ import annotations

from collections.abc import Callable

from scrub.graph import ConstructionError, Cumulant, DiscreteVar, Expr, Module, Symbol
from scrub.graph.rules import uuid_from_name
from scrub.rewrite.iterative import IterativeMatcher, IterativeMatcherIn
from scrub.rewrite.modules.parameters import bind_apart
from scrub.rewrite.resize import conform_all_modules
from scrub.rewrite.states import State, next_for

Position = tuple[Expr, State | None, frozenset[Symbol], bool]
"""A node, the traversal's state there (None: beyond), its free symbols that covered modules around it bind, and whether
it is below a covered cumulant."""


def apply_in_traversal(expr: Expr, traversal: IterativeMatcherIn, transform: Callable[[Expr], Expr]) -> Expr:
    """`transform` applied to what the traversal covers and nothing else.

    The nodes that the traversal reaches are cut out: each node beyond is replaced by a symbol of its shape and name.
    `transform` gets the whole that remains, `expr` down to these symbols, and may leave symbols out, use them several
    times, or return something with more leading axes. Then what was beyond is put back, unchanged in all its names.

    Where the traversal ends is decided path by path: a shared node may be covered on one path and beyond on another.
    It is reached or not; whether the traversal finds it does not matter.

    A symbol says neither how it depends on a parameter of a covered module, nor that it is random. So what depends on
    such a parameter cannot be cut off, nor can what is random below a covered cumulant: it stays, down to the largest
    parts that do not. A symbol has no dtype either, so a transform that asks for it sees less than there is.

    Args:
        expr: what to rewrite.
        traversal: where to. The root is always covered.
        transform: cut expression -> what takes its place.

    Raises:
        ModuleBindingError: the transform moved a symbol to where a part put back would lose its meaning.

    >>> from scrub.graph import Add, Scalar
    >>> from scrub.rewrite.iterative import new_traversal
    >>> from scrub.rewrite.rules import flatten_sum
    >>> a, b, c, d = (Scalar(1.0, name=name) for name in "abcd")
    >>> whole = Add(Add(Add(a, b, name="inner"), c, name="outer"), d, name="sum")
    >>> apply_in_traversal(whole, new_traversal(term_early_at="outer"), flatten_sum.everywhere).print()
    'sum' [] Add
      'inner' [] Add
        'a' [] Scalar 1.0
        'b' [] Scalar 1.0
      'c' [] Scalar 1.0
      'd' [] Scalar 1.0
    """
    work = _Cut(conform_all_modules(expr))  # a symbol of what is beyond has its sizes, not those of a body
    cut = work.run(IterativeMatcher(traversal).state)
    result = transform(cut)
    if not isinstance(result, Expr):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConstructionError(
            f"apply_in_traversal: the transform returned {type(result).__name__}, not an Expr", nodes=[expr]
        )
    return bind_apart(result, work.beyond)


class _Cut:
    """The covered part of an expression. `beyond`: what the symbols in it stand for."""

    def __init__(self, expr: Expr) -> None:
        self.expr = expr
        self.beyond: dict[Symbol, Expr] = {}
        self.results: dict[Position, Expr] = {}

    def run(self, state: State) -> Expr:
        start: Position = (self.expr, state, frozenset(), False)
        stack: list[tuple[Position, list[Position] | None]] = [(start, None)]
        while stack:
            position, below = stack.pop()
            if position in self.results:
                continue
            node, at, bound, in_cumulant = position
            must_stay = bool(bound) or (in_cumulant and not node.is_constant)
            if below is not None:
                self.results[position] = node.with_children([self.results[child] for child in below])
            elif at is None and not must_stay:
                self.results[position] = self._symbol(node)
            elif at is None and isinstance(node, DiscreteVar):
                self.results[position] = node
            else:
                below = _below(position)
                stack.append((position, below))
                stack.extend((child, None) for child in reversed(below))
        return self.results[start]

    def _symbol(self, node: Expr) -> Expr:
        if isinstance(node, Symbol):
            return node
        symbol = Symbol(node.shape, uuid_from_name(f"beyond {self.expr.digest} {node.digest}"), node.name)
        self.beyond[symbol] = node
        return symbol


def _below(position: Position) -> list[Position]:
    node, at, bound, in_cumulant = position
    following = None if at is None else at.step(node)[1]
    own = node.bindings if isinstance(node, Module) else {}
    in_cumulant = in_cumulant or isinstance(node, Cumulant)
    below: list[Position] = []
    for i, child in enumerate(node.children):
        scope = bound.union(own) if own and i == 0 else bound
        inside = scope.intersection(child.free_symbols) if scope else scope
        below.append((child, next_for(following, i), inside, in_cumulant))
    return below
