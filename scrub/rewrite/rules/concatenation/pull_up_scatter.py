"""A scatter below an operation that maps zeros to zeros moves above it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from scrub.graph import Add, Einsum, Expr, GeneralFunction, Index, Rearrange, Scatter
from scrub.graph.functions.cast import Cast
from scrub.graph.functions.elementwise import Elementwise
from scrub.graph.index import Entry, IndexEntry
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.concatenation.cases import scattered
from scrub.rewrite.rules.products.cases import product_with
from scrub.rewrite.testing.maker import Maker

ZERO_AT_ZERO = frozenset({"sin", "tanh", "relu", "gelu", "gelu_new", "silu", "step", "abs", "sqrt"})
"""Elementwise functions f with f(0) = 0."""


def _cases(maker: Maker) -> Expr:
    """Sums at the same place and at others, products along diagonals and not."""
    kind = maker.random.choice([Add, Add, Einsum, Einsum, GeneralFunction, Rearrange])
    if kind is Einsum and maker.random.random() < 0.5:
        size = maker.random.choice([2, 3])
        square = scattered(maker, maker.expr((size, size), 1), (4, 4))
        scatter = square if maker.random.random() < 0.5 else scattered(maker, maker.expr(maker.shape(), 1))
        return product_with(maker, scatter, dtypes=[torch.float64])
    if kind is Rearrange and maker.random.random() < 0.5:
        scatter = scattered(maker, maker.expr(maker.shape(), 1))
        there = tuple((axis,) for axis in range(scatter.ndim))
        order = tuple(maker.random.sample(there, scatter.ndim))
        return Rearrange.from_groups(scatter, there, order, {}, maker.name("n"))
    if kind is not Add:
        return maker.pattern(kind, Scatter)
    if maker.random.random() < 0.3:
        parts = [maker.expr(shape, 1) for shape in [maker.shape()] * 2]
        first = scattered(maker, parts[0])
        return Add(first, scattered(maker, parts[1], first.shape))
    first = maker.pattern(Scatter).cast(Scatter)
    second = first.with_children([maker.expr(first.children[0].shape, 1)])
    return Add(
        *maker.random.choice([[first, second], [first, second, first], [first], [first, second, first.scale(2)]])
    )


@rewrite(keeps="value", cases=_cases)
def pull_up_scatter(
    expr: Add | Einsum | GeneralFunction | Rearrange, *, child: int | None = None, dissolve: MatcherIn = True
) -> Expr | NoMatch:
    """An operation on a scatter becomes the scatter of the operation on what it placed.

        f(scatter(x))  ->  scatter(f(x))          where f(0) = 0
        scatter(a) + scatter(b)  ->  scatter(a + b)    at the same index
        scatter(x) * w  ->  scatter(x * w[index])      and summed over: x * w[index]
        permuted scatter(x)  ->  scatter(permuted x)

    Values are taken to be finite, so that zero times anything is zero.

    Args:
        expr: a sum, product, elementwise function or permutation.
        child: index of the operand of a product that is the scatter; the first for which it is possible if not given.
        dissolve: which scatters may be moved.

    >>> from scrub.graph import I, Scalar, elementwise
    >>> pull_up_scatter(elementwise("tanh", Scatter(Scalar(1.0, (2,), name="x"), I[0:2], (5,)), name="t"))
    't' [5] Scatter [0:2]
    """
    may = Matcher(dissolve)
    scatters = [
        (i, node)
        for i, node in enumerate(expr.children)
        if isinstance(node, Scatter) and child in (None, i) and may(node)
    ]
    if not scatters:
        return NoMatch("no child is a scatter that may be moved")
    if isinstance(expr, Add):
        return _of_sum(expr, may)
    if isinstance(expr, GeneralFunction):
        return _of_function(expr, scatters[0][1])
    if isinstance(expr, Rearrange):
        return _of_permutation(expr, scatters[0][1])
    results = (_of_product(expr, index) for index, _ in scatters)
    reasons: list[NoMatch] = []
    for result in results:
        if not isinstance(result, NoMatch):
            return result
        reasons.append(result)
    return reasons[-1]


def _of_sum(add: Add, may: Matcher) -> Expr | NoMatch:
    first = add.children[0]
    for index, term in enumerate(add.children):
        if not isinstance(term, Scatter) or not isinstance(first, Scatter) or term.params != first.params:
            return NoMatch(f"term {index} is no scatter at the same index as term 0")
        if not may(term):
            return NoMatch(f"term {index} may not be moved")
    return Scatter(Add(*(term.children[0] for term in add.children)), first.cast(Scatter).idx, add.shape)


def _of_function(function: GeneralFunction, scatter: Scatter) -> Expr | NoMatch:
    spec = function.spec
    if not isinstance(spec, Cast) and not (isinstance(spec, Elementwise) and spec.function in ZERO_AT_ZERO):
        return NoMatch(f"{spec.label} does not keep zeros zero")
    return Scatter(GeneralFunction(scatter.children[0], spec=spec), scatter.idx, scatter.shape)


def _of_permutation(rearrange: Rearrange, scatter: Scatter) -> Expr | NoMatch:
    axes = {group[0]: axis for axis, group in enumerate(rearrange.left) if len(group) == 1}
    order = [axes.get(group[0]) if len(group) == 1 else None for group in rearrange.right]
    if None in order or len(axes) != scatter.ndim:
        return NoMatch("it does more than permute axes")
    kept = [axis for axis, entry in enumerate(scatter.entries) if not isinstance(entry, int)]
    placed = [kept.index(axis) for axis in order if axis in kept]
    groups = tuple((axis,) for axis in range(len(kept)))
    inner = Rearrange.from_groups(scatter.children[0], groups, tuple((axis,) for axis in placed), {})
    return Scatter(inner, [scatter.idx[axis] for axis in order if axis is not None], rearrange.shape)


def _of_product(einsum: Einsum, index: int) -> Expr | NoMatch:
    scatter, axes = einsum.children[index].cast(Scatter), einsum.in_axes[index]
    cut: dict[int, tuple[Entry, IndexEntry]] = {}
    for axis, (label, entry) in enumerate(zip(axes, scatter.entries, strict=True)):
        if entry is not None:
            if axes.count(label) > 1:
                return NoMatch(f"axis {axis} of the scatter is taken along a diagonal")
            cut[label] = entry, scatter.idx[axis]
    gone = {label for label, (entry, _) in cut.items() if isinstance(entry, int)}
    operands: list[tuple[Expr, Sequence[int]]] = []
    for i, (child, own) in enumerate(einsum.operands):
        left = [label for label in own if label not in gone]
        if i == index:
            operands.append((scatter.children[0], left))
        elif any(label in cut for label in own):
            operands.append((Index(child, [cut[a][1] if a in cut else slice(None) for a in own]), left))
        else:
            operands.append((child, own))
    inner = Einsum(*operands, out_axes=[label for label in einsum.out_axes if label not in gone])
    if not any(label in cut for label in einsum.out_axes):
        return inner
    placed = [cut[label][1] if label in cut else slice(None) for label in einsum.out_axes]
    return Scatter(inner, placed, einsum.shape)
