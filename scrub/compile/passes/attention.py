"""Recognises attention whose scores and pattern nothing else reads: from the softmax, up to the scores and down.

    einsum('s t, t e, .. -> ..', softmax(scale * einsum('s e, t e -> s t', q, k) + mask), v, ..)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch

from scrub.compile.ops import Contract, Picked, Sum, ToBatch, ToCore
from scrub.compile.ops.attention import Attention
from scrub.compile.passes.recognising import (
    Factor,
    Letters,
    Product,
    applied,
    constant_below,
    is_floating,
    permuted,
    without_factor,
)
from scrub.compile.values import Axis, Graph, Value, count_uses, values_below
from scrub.graph.functions.softmax import Softmax

NEVER = -3e4
"""What is added to scores that are masked is this or less. No score comes near, so that none can make up for it."""


class Pattern(NamedTuple):
    """The softmax of scores, read nowhere else.

    Attributes:
        queries, keys: factors of the scores, times `scale`.
        out: letters of the scores: batch, then the query's, then the key's.
        biases: other terms, with coefficients.
    """

    queries: Factor
    keys: Factor
    scale: float
    out: Letters
    biases: tuple[tuple[Value, float], ...]


def recognise_attention(graph: Graph, outputs: Sequence[Value]) -> list[Value]:
    """The outputs with scaled_dot_product_attention where nothing reads the scores and the pattern."""
    order = list(values_below(outputs))
    if not any(isinstance(applied(value), Softmax) for value in order):
        return list(outputs)
    uses = count_uses(outputs)
    patterns = {value: found for value in order if (found := _pattern(value, uses)) is not None}
    masks = _Masks(graph)
    new: dict[Value, Value] = {}
    for value in order:
        result = None
        if isinstance(value.op, Contract):
            result = _attended(graph, value, patterns, new, masks)
        new[value] = graph.again(value, [new[arg] for arg in value.args]) if result is None else result
    return [new[output] for output in outputs]


def _pattern(value: Value, uses: Mapping[Value, int]) -> Pattern | None:
    """The pattern that a value is, if it is one."""
    if not isinstance(applied(value), Softmax) or uses[value] != 1 or not is_floating(value):
        return None

    def is_ours(below: Value) -> bool:
        return uses[below] == 1

    masked, factor = without_factor(value.args[0], may_open=is_ours)
    if not is_ours(masked):
        return None
    if not isinstance(masked.op, Sum):
        return _scores(masked, factor, (), is_ours, value)
    terms = list(zip(masked.args, masked.op.coefficients, strict=True))
    for at, (term, coefficient) in enumerate(terms):
        rest = tuple((bias, c * factor) for i, (bias, c) in enumerate(terms) if i != at)
        if any(bias.axes and len(bias.axes) >= len(term.axes) for bias, _ in rest):
            continue  # a bias for each score: it is as large as the pattern itself
        found = _scores(term, coefficient * factor, rest, is_ours, value)
        if found is not None:
            return found
    return None


def _scores(
    term: Value,
    factor: float,
    biases: tuple[tuple[Value, float], ...],
    is_ours: Callable[[Value], bool],
    pattern: Value,
) -> Pattern | None:
    """The pattern, if a term of the masked scores is a product of queries and keys."""
    scores, own = without_factor(term, may_open=is_ours)
    op = scores.op
    if not is_ours(term) or not is_ours(scores) or not isinstance(op, Contract) or len(op.ins) != 2 or op.reduced:
        return None
    if scores.shape != pattern.shape or scores.axes != pattern.axes or len(op.out) < 2:
        return None
    first, second = (Factor(arg, letters) for arg, letters in zip(scores.args, op.ins, strict=True))
    keys, queries = (first, second) if op.out[-1] in first.letters else (second, first)
    if not (is_floating(keys.value) and keys.value.dtype == queries.value.dtype == pattern.dtype):
        return None
    summed = {letter for letters in op.ins for letter in letters if letter not in op.out}
    only_queries = [letter for letter in op.out[:-1] if letter in queries.letters and letter not in keys.letters]
    is_fit = all(len(set(letters)) == len(letters) and summed.issubset(letters) for letters in op.ins)
    if not is_fit or len(summed) != 1 or op.out[-1] in queries.letters or not only_queries:
        return None
    query = only_queries[-1]
    out = (*(letter for letter in op.out[:-1] if letter != query), query, op.out[-1])
    if out != op.out and biases:
        return None  # the axes of the biases are those of the scores as they were
    return Pattern(queries, keys, factor * own * op.scale, op.out, biases)


def _attended(
    graph: Graph,
    value: Value,
    patterns: Mapping[Value, Pattern],
    new: Mapping[Value, Value],
    masks: _Masks,
) -> Value | None:
    """A product with attention in the place of a pattern and of the values that it is applied to."""
    assert isinstance(value.op, Contract)
    at = next((i for i, arg in enumerate(value.args) if arg in patterns), None)
    if at is None:
        return None
    product = Product.of(value.op, value.args)
    probabilities, letters = product.factors[at]
    pattern = patterns[probabilities]
    key = letters[-1]
    others = [i for i, factor in enumerate(product.factors) if i != at and key in factor.letters]
    if key in product.out or len(set(letters)) < len(letters) or len(others) != 1:
        return None
    values = product.factors[others[0]]
    letter_of = dict(zip(pattern.out, letters, strict=True))
    own = [letter for letter in values.letters if letter not in letters]
    query = letter_of[_query(pattern)]
    if len(own) != 1 or len(set(values.letters)) < len(values.letters) or query in values.letters:
        return None
    if not set(values.value.axes).issubset(probabilities.axes) or values.value.dtype != probabilities.dtype:
        return None  # the pattern would be computed again along axes that only the values have
    kind = masks.kind(pattern.biases)
    if kind == "undefined":
        return None
    feature = next(letter for letter in pattern.keys.letters if letter not in pattern.out)
    batch = [letter_of[letter] for letter in pattern.out[:-1] if letter_of[letter] != query]
    axes = {letter: graph.axis(size) for letter, size in zip(letters, probabilities.shape, strict=True) if letter in batch}
    named = {**letter_of, feature: -1}
    q, k = (
        _with_batch(graph, new[factor.value], [named[letter] for letter in factor.letters], axes, last)
        for factor, last in ((pattern.queries, (query, -1)), (pattern.keys, (key, -1)))
    )
    v = _with_batch(graph, new[values.value], values.letters, axes, (key, own[0]))
    added = []
    if kind == "any":
        added.append(_bias_with_batch(graph, masks.added(pattern.biases, new), letters, axes))
    result = graph.value(Attention(pattern.scale, kind == "causal"), q, k, v, *added, name=value.name)
    for letter in reversed(batch):
        result = graph.value(ToCore(axes[letter]), result)
    factors = tuple(Factor(new[factor.value], factor.letters) for factor in product.factors)
    mixed = Factor(result, (*batch, query, own[0]))
    return product._replace(factors=factors).replaced([at, others[0]], mixed).build(graph, value.name)


def _query(pattern: Pattern) -> int:
    return [
        letter for letter in pattern.out[:-1] if letter in pattern.queries.letters and letter not in pattern.keys.letters
    ][-1]


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


class _Masks:
    """What is added to scores, as the kernel takes it. Masks are shared by many patterns: each is looked at once."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.kinds: dict[Value, str] = {}

    def kind(self, biases: Sequence[tuple[Value, float]]) -> str:
        """What is known of what is added: "none", "causal", "undefined" if a query sees nothing at all, else "any"."""
        if not biases:
            return "none"
        kinds = {self._kind_of(bias) if factor == 1.0 else "any" for bias, factor in biases}
        return kinds.pop() if len(biases) == 1 else "undefined" if "undefined" in kinds else "any"

    def added(self, biases: Sequence[tuple[Value, float]], new: Mapping[Value, Value]) -> Value:
        """The sum of all that is added."""
        if len(biases) == 1 and biases[0][1] == 1.0:
            return new[biases[0][0]]
        return self.graph.value(Sum(tuple(c for _, c in biases)), *(new[bias] for bias, _ in biases))

    def _kind_of(self, bias: Value) -> str:
        if bias not in self.kinds:
            self.kinds[bias] = _kind_of_tensor(constant_below(bias))
        return self.kinds[bias]


def _kind_of_tensor(bias: torch.Tensor | None) -> str:
    if bias is None or bias.ndim != 2:
        return "any"
    if not bias.any():
        return "none"
    if bool((bias == -torch.inf).all(-1).any()):
        return "undefined"  # softmax is not a number there, and the kernel says zero
    later = torch.ones(bias.shape, dtype=torch.bool, device=bias.device).triu(1)
    is_causal = bias.shape[0] == bias.shape[1] and not bias.tril().any() and bool((bias[later] <= NEVER).all())
    return "causal" if is_causal else "any"
