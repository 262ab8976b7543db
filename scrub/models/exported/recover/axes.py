"""Rules that bring the axes of linear layers apart: heads, groups, batch and position, as the axes of einsums.

A `Rearrange` that splits an axis goes down into the weights, where it is a view; one that merges axes comes up, until
the two meet. What is left between are einsums with an axis for each of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scrub.graph import Add, Einsum, Expr, GeneralFunction, Module, Rearrange, Size
from scrub.models.exported.recover import cases
from scrub.models.exported.recover.norms import is_norm
from scrub.models.exported.recover.rules import recovers
from scrub.models.exported.recover.splitting import split_axis
from scrub.models.exported.recover.views import elementary_sizes, factors, is_scaling, is_view, rearranged
from scrub.rewrite import Matcher, NoMatch, substitute
from scrub.rewrite.rules import absorb_outer_permutation, flatten_einsum, push_rearrange_through_add
from scrub.rewrite.rules.products.axes import sizes_of

if TYPE_CHECKING:
    from collections.abc import Sequence


@recovers(cases=cases.split_linear)
def split_into_weights(rearrange: Rearrange) -> Expr | NoMatch:
    """An axis that is split goes into the weights that make it: heads become an axis of the einsum.

        (b s (h e) -> b h s e)(x W + bias)  ->  x (h e d) W, with h, plus (h e) bias

    >>> from scrub.graph import Symbol
    >>> x, w = Symbol.new_from_name((5, 8), "x"), Symbol.new_from_name((6, 8), "w")
    >>> linear = Einsum.from_string("s d, f d -> s f", x, w)
    >>> split_into_weights(Rearrange(linear, "s (h e) -> s h e", h=2, name="q")).print()
    'q' [5, 2, 3] Einsum ab,cdb->acd
      'x' [5, 8] Symbol ...
      rearrange(w) [2, 3, 8] Rearrange (a b) c -> a b c, a=2, b=3
        'w' [6, 8] Symbol ...
    """
    (child,) = rearrange.children
    if is_view(child):
        return NoMatch("it is a view of a leaf")
    sizes = elementary_sizes(rearrange)
    reason = NoMatch("it splits no axis")
    for axis, group in enumerate(rearrange.left):
        parts = tuple(part for part in group if sizes[part] != 1)
        if len(parts) < 2:
            continue
        is_within_norm = isinstance(child, Module) and is_norm(child) and axis == child.ndim - 1
        opened = substitute(child) if is_within_norm else child  # a norm over all heads together
        split = split_axis(opened, axis, [sizes[part] for part in parts])
        if isinstance(split, NoMatch):
            reason = split
            continue
        ones = [part for part in group if sizes[part] == 1]
        left = (*rearrange.left[:axis], *((part,) for part in parts), *rearrange.left[axis + 1 :])
        right = tuple(tuple(part for part in merged if part not in ones) for merged in rearrange.right)
        declared = {part: size for part, size in enumerate(rearrange.sizes) if size is not None and part not in ones}
        return rearranged(split, left, right, declared)
    return reason


@recovers(cases=cases.product_of_merged)
def unmerge_operands(einsum: Einsum) -> Expr | NoMatch:
    """An axis merged in an operand is taken apart in the whole product: in the weights, and above it merged again.

        (b s (h e) <- b h s e)(x) W  ->  x (d h e) W, summed over h and e

    >>> from scrub.graph import Symbol
    >>> x, w = Symbol.new_from_name((2, 5, 3), "x"), Symbol.new_from_name((4, 6), "w")
    >>> merged = Rearrange(x, "h s e -> s (h e)")
    >>> unmerge_operands(Einsum.from_string("s f, d f -> s d", merged, w, name="out")).children[1]
    rearrange(w) [4, 2, 3] Rearrange a (b c) -> a b c
    """
    reason = NoMatch("no operand merges axes")
    for position, axis, sizes in _merged(einsum):
        label = einsum.in_axes[position][axis]
        unmerged = _split_label(einsum, label, sizes)
        if isinstance(unmerged, NoMatch):
            reason = unmerged
            continue
        if label not in einsum.out_axes:
            return unmerged
        return _merged_again(unmerged, einsum.out_axes.index(label), len(sizes))
    return reason


@recovers(cases=cases.sum_of_merged)
def lift_merge(node: Add | GeneralFunction) -> Expr | NoMatch:
    """An axis that a term, or an argument of a function, merges, is merged above instead.

        (b s <- (b s))(x) + bias  ->  (b s <- (b s))(x + bias)

    >>> from scrub.graph import Symbol
    >>> x, b = Symbol.new_from_name((2, 5, 3), "x"), Symbol.new_from_name((3,), "b")
    >>> lift_merge(Add(Rearrange(x.scale(2.0), "b s d -> (b s) d"), b, name="sum"))
    'sum' [10, 3] Rearrange a b c -> (a b) c
    """
    reason = NoMatch("nothing below merges axes")
    for position, axis, sizes in _merged(node):
        use = node.axis_map()[position][axis]
        if not isinstance(use, int) or is_view(node.children[position]):
            continue
        split = split_axis(node, use, sizes)
        if isinstance(split, NoMatch):
            reason = split
            continue
        return _merged_again(split.rename(None), use, len(sizes))
    return reason


def _merged(node: Expr) -> list[tuple[int, int, Sequence[Size]]]:
    """(child, axis, sizes of what it is merged of) for each axis that a child merges."""
    found: list[tuple[int, int, Sequence[Size]]] = []
    for position, child in enumerate(node.children):
        if isinstance(child, Rearrange):
            own = elementary_sizes(child)
            for axis, group in enumerate(child.right):
                sizes = [own[part] for part in group if own[part] != 1]
                if len(sizes) > 1:
                    found.append((position, axis, sizes))
    return found


def _split_label(einsum: Einsum, label: int, sizes: Sequence[Size]) -> Einsum | NoMatch:
    """The einsum with one of its axes as several, whether it sums over it or not."""
    if einsum.out_axes.count(label) > 1 or any(axes.count(label) > 1 for axes in einsum.in_axes):
        return NoMatch("the axis is on a diagonal")
    first = 1 + max(other for axes in einsum.in_axes for other in axes)
    parts = tuple(range(first, first + len(sizes)))

    def replaced(axes: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(new for old in axes for new in (parts if old == label else (old,)))

    operands: list[tuple[Expr, tuple[int, ...]]] = []
    for child, axes in einsum.operands:
        if label in axes:
            split = split_axis(child, axes.index(label), sizes)
            if isinstance(split, NoMatch):
                return split
            operands.append((split, replaced(axes)))
        else:
            operands.append((child, axes))
    return Einsum(*operands, out_axes=replaced(einsum.out_axes))


def _merged_again(expr: Expr, axis: int, count: int) -> Expr:
    left = tuple((i,) for i in range(expr.ndim))
    merged = tuple(range(axis, axis + count))
    return Rearrange.from_groups(expr, left, (*left[:axis], merged, *left[axis + count :]), {})


@recovers(cases=cases.with_ones)
def pair_ones(rearrange: Rearrange) -> Expr | NoMatch:
    """Axes of size 1 that go on one side and come on the other are one axis, and factors of size 1 are left out.

        1 (a b) -> 1 a b  ->  c (a b) -> c a b

    Which axis of size 1 is which makes no difference to the value; that a batch of one stays an axis does to rules.

    >>> from scrub.graph import Symbol
    >>> pair_ones(Rearrange(Symbol.new_from_name((1, 6), "x"), "1 (a b) -> 1 a b", a=2))
    rearrange(x) [1, 2, 3] Rearrange a (b c) -> a b c...
    """
    sizes = elementary_sizes(rearrange)
    ones = {part for part, size in enumerate(sizes) if size == 1}
    kept = {part for part in ones if (part,) in rearrange.left and (part,) in rearrange.right}
    left, right = (
        [tuple(part for part in group if part not in ones or part in kept) for group in side]
        for side in (rearrange.left, rearrange.right)
    )
    number = len(sizes)
    while () in left and () in right:
        left[left.index(())] = right[right.index(())] = (number,)
        number += 1
    if (tuple(left), tuple(right)) == (rearrange.left, rearrange.right):
        return NoMatch("it has no axes of size 1 to pair, and no factors of size 1")
    declared = {part: size for part, size in enumerate(rearrange.sizes) if size is not None}
    return Rearrange.from_groups(rearrange.children[0], tuple(left), tuple(right), declared)


@recovers(cases=cases.scaled_product)
def scale_product(einsum: Einsum) -> Expr | NoMatch:
    """A product times a number has the number as one of its operands: attention scores with their scale.

        2 * (sum_k x[i, k] y[k, j])  ->  sum_k x[i, k] y[k, j] 2

    >>> from scrub.graph import Symbol
    >>> q, k = Symbol.new_from_name((5, 8), "q"), Symbol.new_from_name((6, 8), "k")
    >>> scale_product(Einsum.from_string("q e, k e -> q k", q, k).scale(0.5))
    q * k * 0.5 [5, 6] Einsum ab,cb,->ac
    """
    if not is_scaling(einsum) or einsum.dtype == torch.bool:
        return NoMatch("it is no expression times numbers")
    inner = einsum.children[factors(einsum)[0]]
    if not isinstance(inner, Einsum):
        return NoMatch("what it scales is no product")
    return flatten_einsum.attempt(einsum, dissolve=Matcher(inner))


@recovers(cases=cases.product_of_scaled)
def scale_operands(einsum: Einsum) -> Expr | NoMatch:
    """A number by which an operand of a product of two activations is multiplied is an operand of the product itself.

        sum_e (2 * q)[i, e] k[j, e]  ->  sum_e q[i, e] 2 k[j, e]

    So it is with scores of scaled queries. A square, such as that in a norm, stays the square of what it is of.

    >>> from scrub.graph import Symbol, elementwise
    >>> q, k = (elementwise("tanh", Symbol.new_from_name((5, 8), name)) for name in "qk")
    >>> scale_operands(Einsum.from_string("a e, b e -> a b", q.scale(0.5), k))
    tanh(q) * 0.5 * tanh(k) [5, 5] Einsum ab,,cb->ac
    """
    operands = [einsum.children[i] for i in factors(einsum)]
    if len(operands) < 2 or len(set(operands)) < len(operands) or any(map(is_view, operands)):
        return NoMatch("it is no product of different activations")
    if all(axis in einsum.out_axes or size == 1 for axis, size in sizes_of(einsum).items()):
        return NoMatch("it sums over nothing")
    return flatten_einsum.attempt(einsum, dissolve=Matcher(is_scaling))


@recovers(cases=cases.turned_product)
def turn_product(rearrange: Rearrange) -> Expr | NoMatch:
    """A product whose axes are permuted has them in that order itself, and keeps its name, that of a layer.

        (i j -> j i)(sum_k x[i, k] y[k, j])  ->  sum_k x[i, k] y[k, j] with axes j, i

    >>> from scrub.graph import Symbol
    >>> x, w = Symbol.new_from_name((5, 8), "x"), Symbol.new_from_name((6, 8), "w")
    >>> turn_product(Rearrange(Einsum.from_string("s d, f d -> s f", x, w, name="q_proj"), "s f -> f s"))
    'q_proj' [6, 5] Einsum ab,cb->ca
    """
    if not _is_permutation(rearrange):
        return NoMatch("it splits, merges, repeats or adds axes")
    result = absorb_outer_permutation.attempt(rearrange)
    return result if isinstance(result, NoMatch) or result.name else result.rename(rearrange.children[0].name)


@recovers(cases=cases.turned_sum)
def turn_terms(add: Add) -> Expr | NoMatch:
    """A term that is a sum with its axes permuted becomes the sum of permuted terms, where that can be taken up.

        x + (i j -> j i)(y + b)  ->  x + ((i j -> j i)(y) + (i j -> j i)(b))

    >>> from scrub.graph import Symbol
    >>> x, y, b = (Symbol.new_from_name(shape, name) for shape, name in [((3, 5), "x"), ((5, 3), "y"), ((3,), "b")])
    >>> turn_terms(Add(x, Rearrange(Add(y, b, name="out_proj"), "s d -> d s"), name="resid")).children[1]
    'out_proj' [3, 5] Add
    """
    turned = list(add.children)
    for i, term in enumerate(turned):
        inner = term.children[0] if isinstance(term, Rearrange) else None
        if isinstance(inner, Add) and isinstance(term, Rearrange) and _is_permutation(term):
            pushed = push_rearrange_through_add.attempt(term)
            if isinstance(pushed, Expr):
                turned[i] = pushed if pushed.name else pushed.rename(inner.name)
    return NoMatch("no term is a permuted sum") if turned == list(add.children) else Add(*turned)


def _is_permutation(rearrange: Rearrange) -> bool:
    return all(len(group) == 1 and group in rearrange.left for group in rearrange.right)
