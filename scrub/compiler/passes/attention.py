"""Recognises attention whose scores and pattern nothing else reads.

    einsum('s t, t e, .. -> ..', softmax(scale * einsum('s e, t e -> s t', q, k) + mask), v, ..)

The pattern and what it is applied to become one factor of the product. Leading core axes become batch axes for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from scrub.compiler.ops import Contract, Picked, ToBatch, ToCore
from scrub.compiler.ops.attention import Attention
from scrub.compiler.passes.masks import Masks
from scrub.compiler.passes.recognising import Factor, Letters, Product, applied, permuted
from scrub.compiler.passes.scores import Pattern, pattern_of
from scrub.compiler.values import Axis, Graph, Value, count_uses, values_below
from scrub.graph.functions.softmax import Softmax


class Place(NamedTuple):
    """Where a pattern is applied to values.

    Attributes:
        product: the product that has both as factors.
        at: their positions.
        pattern: how the pattern comes about.
        letters: of the pattern, in the product: batch axes and the query's position in any order, then the key's.
        feature: letter of the axis that the values have and the pattern has not.
    """

    product: Product
    at: tuple[int, int]
    pattern: Pattern
    letters: Letters
    feature: int


def recognise_attention(graph: Graph, outputs: Sequence[Value]) -> list[Value]:
    """The outputs with scaled_dot_product_attention where nothing reads the scores and the pattern.

    >>> import torch
    >>> from scrub.compiler.ops import Apply, Input
    >>> graph = Graph()
    >>> q, k, v = (graph.value(Input(key, (3, 2), torch.float32, torch.device("cpu"), False)) for key in "qkv")
    >>> scores = graph.value(Contract(((0, 2), (1, 2)), (0, 1), 0.5), q, k)
    >>> mixed = graph.value(Contract(((0, 1), (1, 2)), (0, 2)), graph.value(Apply(Softmax()), scores), v)
    >>> recognise_attention(graph, [mixed])
    [[; 3, 2] attention * 0.5]
    """
    order = list(values_below(outputs))
    if not any(isinstance(applied(value), Softmax) for value in order):
        return list(outputs)
    uses = count_uses(outputs)
    patterns = {value: found for value in order if (found := pattern_of(value, uses)) is not None}
    masks = Masks(graph)
    new: dict[Value, Value] = {}
    for value in order:
        place = _place(value, patterns)
        if place is None or masks.kind(place.pattern) == "undefined":
            new[value] = graph.again(value, [new[arg] for arg in value.args])
        else:
            new[value] = _attended(graph, value, place, masks, new)
    return [new[output] for output in outputs]


def _place(value: Value, patterns: Mapping[Value, Pattern]) -> Place | None:
    """Where a product applies a pattern, if it does."""
    at = next((i for i, arg in enumerate(value.args) if arg in patterns), None)
    if at is None or not isinstance(value.op, Contract):
        return None
    product = Product.of(value.op, value.args)
    probabilities, letters = product.factors[at]
    others = [i for i, factor in enumerate(product.factors) if i != at and letters[-1] in factor.letters]
    if letters[-1] in product.out or len(set(letters)) < len(letters) or len(others) != 1:
        return None
    values, own = product.factors[others[0]]
    features = [letter for letter in own if letter not in letters]
    pattern = patterns[probabilities]
    query = letters[pattern.out.index(pattern.query)]
    if len(features) != 1 or len(set(own)) < len(own) or query in own:
        return None
    if not set(values.axes).issubset(probabilities.axes) or values.dtype != probabilities.dtype:
        return None  # the pattern would be computed again along axes that only the values have
    return Place(product, (at, others[0]), pattern, letters, features[0])


def _attended(graph: Graph, value: Value, place: Place, masks: Masks, new: Mapping[Value, Value]) -> Value:
    """The product with attention in the place of a pattern and of the values that it is applied to."""
    product, at, pattern, letters, feature = place
    probabilities, values = (product.factors[i] for i in at)
    in_product = {**dict(zip(pattern.out, letters, strict=True)), pattern.feature: -1}
    query, key = in_product[pattern.query], letters[-1]
    axes = {
        letter: graph.axis(size)
        for letter, size in zip(letters, probabilities.value.shape, strict=True)
        if letter not in (query, key)
    }

    def prepared(factor: Factor, last: tuple[int, int]) -> Value:
        own = [in_product[letter] for letter in factor.letters]
        return _with_batch(graph, new[factor.value], own, axes, last)

    args = [prepared(pattern.queries, (query, -1)), prepared(pattern.keys, (key, -1))]
    args.append(_with_batch(graph, new[values.value], values.letters, axes, (key, feature)))
    kind = masks.kind(pattern)
    if kind == "any":
        args.append(_bias_with_batch(graph, masks.added(pattern, new), letters, axes))
    result = graph.value(Attention(pattern.scale, kind == "causal"), *args, name=value.name)
    for letter in reversed(axes):
        result = graph.value(ToCore(axes[letter]), result)
    factors = tuple(Factor(new[factor.value], factor.letters) for factor in product.factors)
    mixed = Factor(result, (*axes, query, feature))
    return product._replace(factors=factors).replaced(at, mixed).build(graph, value.name)


def _with_batch(
    graph: Graph, value: Value, letters: Sequence[int], axes: Mapping[int, Axis], last: tuple[int, int]
) -> Value:
    """The value with core axes `last`, all others batch axes."""
    batch = [letter for letter in axes if letter in letters]
    value = permuted(graph, value, [letters.index(letter) for letter in (*batch, *last)])
    for letter in batch:
        value = graph.value(ToBatch(axes[letter]), value)
    return value


def _bias_with_batch(graph: Graph, bias: Value, letters: Letters, axes: Mapping[int, Axis]) -> Value:
    """A term that broadcasts to the scores, with the leading core axes as batch axes."""
    own = letters[len(letters) - len(bias.shape) :]
    while len(own) > 2:
        if bias.shape[0] == 1:
            bias = graph.value(Picked((0, *(None for _ in own[1:]))), bias)
        else:
            bias = graph.value(ToBatch(axes[own[0]]), bias)
        own = own[1:]
    return bias
