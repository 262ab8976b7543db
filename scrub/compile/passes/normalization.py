"""Recognises LayerNorm and RMSNorm, from the root that they divide by.

    c * rsqrt(k sum(c^2) + eps)  ->  rms_norm(c, eps / (k d)) / sqrt(k d)      d the size of the last axis
    c = x - mean(x)              ->  layer_norm in place of rms_norm

and takes in a weight and a bias along the last axis that come next. Only if the root is used for nothing else, since
else it would be computed twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from scrub.compile.ops import Contract, Fill, Rearranged, Sum
from scrub.compile.ops.normalization import Normalized
from scrub.compile.passes.recognising import Factor, Product, applied, is_floating, without_factor
from scrub.compile.values import Graph, Value, count_uses, values_below
from scrub.graph.functions.elementwise import Elementwise
from scrub.graph.functions.power import Pow

_ROUNDING = 1e-12


class Root(NamedTuple):
    """A value `factor / sqrt(mean(square^2) + eps)`; `centred` is x where `square` is x minus its mean, else None."""

    square: Value
    centred: Value | None
    eps: float
    factor: float


class Place(NamedTuple):
    """A product that has both a root, and what it is the root of, as factors at these positions."""

    product: Product
    root: int
    square: int


def recognise_normalization(graph: Graph, outputs: Sequence[Value]) -> list[Value]:
    """The outputs with layer_norm and rms_norm where they are meant."""
    order = list(values_below(outputs))
    roots = {value: root for value in order if (root := root_of(value)) is not None}
    if not roots:
        return list(outputs)
    uses = count_uses(outputs)
    places = _places(order, roots, uses)
    new: dict[Value, Value] = {}
    for value in order:
        op, args = value.op, [new[arg] for arg in value.args]
        if value in places:
            new[value] = _normalized(graph, value, places[value], roots, new)
        elif isinstance(op, Contract):
            new[value] = _with_weight(graph, value, Product.of(op, args), [uses[arg] == 1 for arg in value.args])
        elif isinstance(op, Sum):
            new[value] = _with_bias(graph, value, args, [uses[arg] == 1 for arg in value.args])
        else:
            new[value] = graph.again(value, args)
    return [new[output] for output in outputs]


def root_of(value: Value) -> Root | None:
    """The root that a value is, if it is one."""
    radicand = _radicand(value)
    if radicand is None or not is_floating(value):
        return None
    eps = 0.0
    if isinstance(radicand.op, Sum) and len(radicand.args) == 1:
        eps, factor = radicand.op.offset, radicand.op.coefficients[0]
        radicand = radicand.args[0]
    else:
        factor = 1.0
    total, scale = without_factor(radicand)
    square = _squared_in_sum(total)
    if square is None or not isinstance(total.op, Contract):
        return None
    count = factor * scale * total.op.scale * square.shape[-1]  # 1 where the mean is meant
    if not count > 0.0 or not eps >= 0.0:
        return None
    return Root(square, _centred(square), eps / count, 1.0 if abs(count - 1.0) < _ROUNDING else count**-0.5)


def _radicand(value: Value) -> Value | None:
    """u, if the value is 1 / sqrt(u)."""
    match applied(value):
        case Elementwise("rsqrt"):
            return value.args[0]
        case Elementwise("reciprocal"):
            root = value.args[0]
            if applied(root) == Elementwise("sqrt"):
                return root.args[0]
            return _power(root, 0.5)
        case _:
            return _power(value, -0.5)


def _power(value: Value, exponent: float) -> Value | None:
    """What is raised to that power."""
    if not isinstance(applied(value), Pow):
        return None
    base, of = value.args
    fits = base.shape == value.shape and base.axes == value.axes
    return base if fits and isinstance(of.op, Fill) and of.op.number == exponent else None


def _squared_in_sum(total: Value) -> Value | None:
    """c, if the value is a number times the sum of c^2 over the last core axis."""
    op = total.op
    if not isinstance(op, Contract) or op.reduced or op.out != op.ins[0][:-1] or len(set(op.ins[0])) < len(op.ins[0]):
        return None
    if not op.ins[0] or not total.args[0].shape[-1]:
        return None
    if len(op.ins) == 2 and op.ins[0] == op.ins[1] and total.args[0] is total.args[1]:
        return total.args[0]
    if len(op.ins) > 1:
        return None
    (square,) = total.args
    inner = square.op
    if isinstance(inner, Contract) and not inner.reduced and inner.ins == (inner.out, inner.out):
        return square.args[0] if square.args[0] is square.args[1] and inner.scale == 1.0 else None
    return _power(square, 2.0)


def _centred(value: Value) -> Value | None:
    """x, if the value is x minus its mean over the last core axis."""
    op = value.op
    if not isinstance(op, Sum) or op.offset != 0.0 or len(value.args) < 2:
        return None
    for at, term in enumerate(value.args):
        x, factor = _mean_along_last(term, value.shape)
        if x is None or x.shape != value.shape or x.axes != value.axes:
            continue
        rest = [
            (arg, coefficient)
            for i, (arg, coefficient) in enumerate(zip(value.args, op.coefficients, strict=True))
            if i != at
        ]
        is_x = rest == [(x, 1.0)] or (
            isinstance(x.op, Sum)
            and x.op.offset == 0.0
            and rest == list(zip(x.args, x.op.coefficients, strict=True))
        )
        if is_x and abs(op.coefficients[at] * factor + 1.0) < _ROUNDING:
            return x
    return None


def _mean_along_last(term: Value, shape: tuple[int, ...]) -> tuple[Value | None, float]:
    """x and a, if a term of a sum of that shape is a times the mean of x over the last core axis, for each position."""
    spread, outer = without_factor(term)
    if isinstance(spread.op, Rearranged):
        left, right = spread.op.left, spread.op.right
        is_new = len(right) == len(left) + 1 and (not right[-1] or right[-1] not in left)
        if right[:-1] != left or not is_new or any(len(group) != 1 for group in left) or len(right[-1]) > 1:
            return None, 0.0
        spread = spread.args[0]
    elif len(shape) > 1:
        return None, 0.0
    total, inner = without_factor(spread)
    op = total.op
    if not isinstance(op, Contract) or op.reduced or len(op.ins) != 1 or op.out != op.ins[0][:-1] or not op.ins[0]:
        return None, 0.0
    if len(set(op.ins[0])) < len(op.ins[0]):
        return None, 0.0
    (x,) = total.args
    return x, outer * inner * op.scale * x.shape[-1]


def _places(order: Sequence[Value], roots: Mapping[Value, Root], uses: Mapping[Value, int]) -> dict[Value, Place]:
    """Where roots are multiplied by what they are the roots of, of those for which this is all they are used for."""
    places: dict[Value, Place] = {}
    found: dict[Value, int] = {}
    for value in order:
        if isinstance(value.op, Contract) and any(arg in roots for arg in value.args):
            place = _place(Product.of(value.op, value.args), roots, uses)
            if place is not None:
                places[value] = place
                root = place.product.factors[place.root].value
                found[root] = found.get(root, 0) + 1

    def is_all(place: Place) -> bool:
        root = place.product.factors[place.root].value
        return found[root] == uses[root]

    return {value: place for value, place in places.items() if is_all(place)}


def _place(product: Product, roots: Mapping[Value, Root], uses: Mapping[Value, int]) -> Place | None:
    at = next(i for i, factor in enumerate(product.factors) if factor.value in roots)
    root, letters = product.factors[at]
    for i, factor in enumerate(product.factors):
        if factor.value is roots[root].square and _fits(factor.letters, letters):
            return Place(product, at, i)
    for i, factor in enumerate(product.factors):  # the weight comes first
        if i != at and uses[factor.value] == 1 and (opened := product.opened(i)) is not None:
            again = next(j for j, own in enumerate(opened.factors) if own == (root, letters))
            for j, own in enumerate(opened.factors):
                if own.value is roots[root].square and _fits(own.letters, letters):
                    return Place(opened, again, j)
    return None


def _fits(square: tuple[int, ...], root: tuple[int, ...]) -> bool:
    return square[:-1] == root and len(set(square)) == len(square)


def _normalized(
    graph: Graph, value: Value, place: Place, roots: Mapping[Value, Root], new: Mapping[Value, Value]
) -> Value:
    """The product with the normalized value in the place of the root and of what it is the root of."""
    root = roots[place.product.factors[place.root].value]
    x = root.square if root.centred is None else root.centred
    kernel = graph.value(Normalized(root.eps, root.centred is not None), new[x])
    factors = tuple(Factor(new[factor.value], factor.letters) for factor in place.product.factors)
    letters = factors[place.square].letters
    product = place.product._replace(factors=factors).replaced(
        [place.root, place.square], Factor(kernel, letters), factor=root.factor
    )
    return _with_weight(graph, value, product, [True] * len(product.factors))


def _with_weight(graph: Graph, value: Value, product: Product, is_ours: Sequence[bool]) -> Value:
    """The product, the weight taken into a normalized factor that nobody else uses."""
    for i, (factor, is_own) in enumerate(zip(product.factors, is_ours, strict=True)):
        op = factor.value.op
        if not is_own or not isinstance(op, Normalized) or op.has_weight:
            continue
        for j, (weight, letters) in enumerate(product.factors):
            if i != j and letters == factor.letters[-1:] and not weight.axes:
                weighted = graph.value(
                    Normalized(op.eps, op.is_centred, has_weight=True), factor.value.args[0], weight
                )
                product = product.replaced([i, j], Factor(weighted, factor.letters))
                return product.build(graph, value.name)
    return product.build(graph, value.name)


def _with_bias(graph: Graph, value: Value, args: Sequence[Value], is_ours: Sequence[bool]) -> Value:
    """The sum, the bias taken into a normalized term that nobody else uses."""
    op = value.op
    assert isinstance(op, Sum)
    for i, (term, is_own) in enumerate(zip(args, is_ours, strict=True)):
        norm = term.op
        if not is_own or not isinstance(norm, Normalized) or not norm.is_centred or norm.has_bias:
            continue
        for j, bias in enumerate(args):
            is_bias = bias.shape == term.shape[-1:] and not bias.axes and bias is not term
            if is_bias and op.coefficients[i] == op.coefficients[j] == 1.0 and bias.dtype in (None, term.dtype):
                kernel = Normalized(norm.eps, norm.is_centred, norm.has_weight, has_bias=True)
                biased = graph.value(kernel, *term.args, bias)
                rest = [(arg, c) for k, (arg, c) in enumerate(zip(args, op.coefficients, strict=True)) if k not in (i, j)]
                if not rest and op.offset == 0.0:
                    return biased
                terms = (biased, *(arg for arg, _ in rest))
                return graph.value(Sum((1.0, *(c for _, c in rest)), op.offset), *terms, name=value.name)
    return graph.again(value, args)
