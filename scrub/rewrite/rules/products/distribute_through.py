"""A product with sums nested below it, as one sum of products."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from scrub.graph import Add, Einsum, Expr
from scrub.rewrite.iterative import IterativeMatcher, IterativeMatcherIn, new_traversal
from scrub.rewrite.rule import NoMatch, Options, rewrite
from scrub.rewrite.rules.products.axes import with_operands
from scrub.rewrite.rules.products.cases import product_with
from scrub.rewrite.rules.products.distribute import dtype_problem
from scrub.rewrite.rules.sums.cases import part, random_sum, some_dtype
from scrub.rewrite.rules.sums.terms import computes_in
from scrub.rewrite.states import State, next_for

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker

Position = tuple[Expr, State | None]


def _cases(maker: Maker) -> Expr:
    if maker.random.random() < 0.3:
        return maker.pattern(Einsum, Add, Einsum, Add)
    shape, dtype = maker.shape(max_ndim=2), some_dtype(maker)
    x = random_sum(maker, part(maker, maker.some(shape), dtype), shape=shape)
    if maker.random.random() < 0.7:
        inner = product_with(maker, x, max_others=1)
        x = Add(inner, part(maker, maker.some(inner.shape), dtype))
    return product_with(maker, x, max_others=1)


def _choices(einsum: Einsum) -> Iterator[Options]:
    yield {"max_terms": 60}
    yield {"max_terms": 60, "operand": 0}
    yield {"max_terms": 60, "traversal": new_traversal(end_depth=3)}


@rewrite(keeps="value", pattern=(Einsum, Add), cases=_cases, choices=_choices)
def distribute_through(
    einsum: Einsum,
    *,
    operand: int | None = None,
    traversal: IterativeMatcherIn = True,
    max_terms: int = 10_000,
) -> Expr | NoMatch:
    """Everything that is reached below an einsum through sums and einsums becomes one flat sum of einsums.

        ((a + b)*c + d) * e  ->  ((a*c)*e + (b*c)*e) + d*e

    Args:
        einsum: the product.
        operand: position of the only operand to go into; all if not given.
        traversal: which sums and einsums below may be taken apart, as a matcher that starts at `einsum`: for example
            `new_traversal(end_depth=2)` for its own operands only.
        max_terms: do nothing if there would be more terms, one for every way down.

    >>> from scrub.graph import Scalar
    >>> a, b, c, d, e = (Scalar(float(i), (2,), name=name) for i, name in enumerate("abcde"))
    >>> distribute_through(Add(Add(a, b).mul(c), d).mul(e, name="s")).print()
    's' [2] Add
      (a * c) * e [2] Einsum a,a->a
        a * c [2] Einsum a,a->a
          'a' [2] Scalar 0.0
          'c' [2] Scalar 2.0
        'e' [2] Scalar 4.0
      (b * c) * e [2] Einsum a,a->a
        b * c [2] Einsum a,a->a
          'b' [2] Scalar 1.0
          'c'
        'e'
      d * e [2] Einsum a,a->a
        'd' [2] Scalar 3.0
        'e'
    """
    if operand is not None and not 0 <= operand < len(einsum.children):
        return NoMatch(f"operand {operand} is none of its {len(einsum.children)}")
    root: Position = (einsum, IterativeMatcher(traversal).state)
    below = _below(root, operand)
    counts: dict[Position, int] = {}
    for position, children in below.items():
        combine = sum if isinstance(position[0], Add) else math.prod
        counts[position] = min(combine(counts[child] for child in children), max_terms + 1) if children else 1
    if counts[root] == 1:
        return NoMatch("no sum below may be taken apart")
    if counts[root] > max_terms:
        return NoMatch(f"there would be more than {max_terms} terms")
    products: dict[Position, list[Expr]] = {}
    for position, children in below.items():
        node = position[0]
        if isinstance(node, Einsum) and children:
            summands = [_summands(child, below, products) for child in children]
            products[position] = [with_operands(node, dict(enumerate(p))) for p in itertools.product(*summands)]
        if children:
            reason = dtype_problem(node, products.get(position, []), einsum)
            if reason is not None:
                return NoMatch(reason)
    return Add(*products[root])


def _below(root: Position, operand: int | None) -> dict[Position, list[Position]]:
    """What is below each position that is reached, children first; nothing below those that are not taken apart."""
    below: dict[Position, list[Position]] = {}
    stack: list[tuple[Position, list[Position] | None]] = [(root, None)]
    while stack:
        position, children = stack.pop()
        if position in below:
            continue
        if children is not None:
            below[position] = children
            continue
        children = _open_children(position, root, operand if position == root else None)
        stack.append((position, children))
        stack.extend((child, None) for child in reversed(children) if child not in below)
    return below


def _open_children(position: Position, root: Position, operand: int | None) -> list[Position]:
    node, state = position
    if state is None or not isinstance(node, Add | Einsum):
        return []
    is_found, following = state.step(node)
    if position != root and not (is_found and computes_in(node, root[0])):
        return []
    return [(child, next_for(following, i) if operand in (None, i) else None) for i, child in enumerate(node.children)]


def _summands(
    position: Position, below: Mapping[Position, list[Position]], products: Mapping[Position, list[Expr]]
) -> list[Expr]:
    """What it is the sum of, through sums, from what the products below are sums of."""
    summands: list[Expr] = []
    stack = [position]
    while stack:
        at = stack.pop()
        if at in products:
            summands += products[at]
        elif below[at]:
            stack.extend(reversed(below[at]))
        else:
            summands.append(at[0])
    return summands
