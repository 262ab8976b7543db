"""Recognises LayerNorm and RMSNorm, from the root that they divide by.

    c * rsqrt(k sum(c^2) + eps)  ->  rms_norm(c, eps / (k d)) / sqrt(k d)      d the size of the last axis
    c = x - mean(x)              ->  layer_norm in place of rms_norm

and takes in a weight and a bias along the last axis that come next. Only if the root is used for nothing else, since
else it would be computed twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from scrub.compiler.ops import Contract, Sum
from scrub.compiler.ops.normalization import Normalized
from scrub.compiler.passes.recognising import Factor, Product
from scrub.compiler.passes.roots import Root, root_of
from scrub.compiler.values import Graph, Value, count_uses, values_below


class Place(NamedTuple):
    """A product that has both a root, and what it is the root of, as factors at these positions."""

    product: Product
    root: int
    square: int


def recognise_normalization(graph: Graph, outputs: Sequence[Value]) -> list[Value]:
    """The outputs with layer_norm and rms_norm where they are meant.

    >>> import torch
    >>> from scrub.compiler.ops import Apply, Input
    >>> from scrub.graph.functions.elementwise import Elementwise
    >>> graph = Graph()
    >>> x = graph.value(Input("x", (3, 4), torch.float32, torch.device("cpu"), False))
    >>> var = graph.value(Contract(((0, 1), (0, 1)), (0,), 0.25), x, x)
    >>> root = graph.value(Apply(Elementwise("rsqrt")), graph.value(Sum((1.0,), 1e-5), var))
    >>> recognise_normalization(graph, [graph.value(Contract(((0, 1), (0,)), (0, 1)), x, root)])
    [[; 3, 4] rms_norm]
    """
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
        elif isinstance(op, Contract | Sum) and any(isinstance(arg.op, Normalized) for arg in args):
            is_ours = [uses[arg] == 1 for arg in value.args]
            if isinstance(op, Sum):
                new[value] = _with_bias(graph, value, op, args, is_ours)
            else:
                new[value] = _with_weight(graph, value, Product.of(op, args), is_ours)
        else:
            new[value] = graph.again(value, args)
    return [new[output] for output in outputs]


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
                    Normalized(op.eps, op.is_centred, has_weight=True), factor.value.args[0], weight, name=value.name
                )
                product = product.replaced([i, j], Factor(weighted, factor.letters))
                return product.build(graph, value.name)
    return product.build(graph, value.name)


def _with_bias(graph: Graph, value: Value, op: Sum, args: Sequence[Value], is_ours: Sequence[bool]) -> Value:
    """The sum, the bias taken into a normalized term that nobody else uses."""
    for i, (term, is_own) in enumerate(zip(args, is_ours, strict=True)):
        norm = term.op
        if not is_own or not isinstance(norm, Normalized) or not norm.is_centred or norm.has_bias:
            continue
        for j, bias in enumerate(args):
            is_bias = bias.shape == term.shape[-1:] and not bias.axes and bias is not term
            if is_bias and op.coefficients[i] == op.coefficients[j] == 1.0 and bias.dtype in (None, term.dtype):
                kernel = Normalized(norm.eps, norm.is_centred, norm.has_weight, has_bias=True)
                biased = graph.value(kernel, *term.args, bias)
                rest = [
                    (arg, c) for k, (arg, c) in enumerate(zip(args, op.coefficients, strict=True)) if k not in (i, j)
                ]
                if not rest and op.offset == 0.0:
                    return biased
                terms = (biased, *(arg for arg, _ in rest))
                return graph.value(Sum((1.0, *(c for _, c in rest)), op.offset), *terms, name=value.name)
    return graph.again(value, args)
