"""Finds attention patterns: softmax of scores that nothing else reads.

softmax(scale * einsum('s e, t e -> s t', q, k) + mask)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from scrub.compiler.ops import Contract, Sum
from scrub.compiler.passes.recognising import Factor, Letters, applied, is_floating, without_factor
from scrub.compiler.values import Value
from scrub.graph.functions.softmax import Softmax


class Pattern(NamedTuple):
    """The softmax of scores, read nowhere else.

    Attributes:
        queries, keys: factors of the scores, times `scale`.
        out: letters of the scores: batch, then the query's, then the key's.
        biases: other terms, with coefficients.
        offset: a number that is added. It changes nothing by itself, but without it biases may be large where nothing
            is masked, and swallow the scores.
    """

    queries: Factor
    keys: Factor
    scale: float
    out: Letters
    biases: tuple[tuple[Value, float], ...]
    offset: float

    @property
    def query(self) -> int:
        """The letter of the query's position."""
        own = [letter for letter in self.out[:-1] if letter not in self.keys.letters]
        return own[-1]

    @property
    def feature(self) -> int:
        """The letter that queries and keys are summed over."""
        return next(letter for letter in self.keys.letters if letter not in self.out)


def pattern_of(value: Value, uses: Mapping[Value, int]) -> Pattern | None:
    """The pattern that a value is, if it is one."""
    if not isinstance(applied(value), Softmax) or uses[value] != 1 or not is_floating(value):
        return None

    def is_ours(below: Value) -> bool:
        return uses[below] == 1

    masked, factor = without_factor(value.args[0], may_open=is_ours)
    if not is_ours(masked):
        return None
    if not isinstance(masked.op, Sum):
        return _scores(masked, factor, ((), 0.0), is_ours, value)
    terms = list(zip(masked.args, masked.op.coefficients, strict=True))
    for at, (term, coefficient) in enumerate(terms):
        rest = tuple((bias, c * factor) for i, (bias, c) in enumerate(terms) if i != at)
        if any(bias.axes and len(bias.axes) >= len(term.axes) for bias, _ in rest):
            continue  # a bias for each score: it is as large as the pattern itself
        found = _scores(term, coefficient * factor, (rest, masked.op.offset * factor), is_ours, value)
        if found is not None:
            return found
    return None


def _scores(
    term: Value,
    factor: float,
    added: tuple[tuple[tuple[Value, float], ...], float],
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
    if out != op.out and added[0]:
        return None  # the axes of the biases are those of the scores as they were
    return Pattern(queries, keys, factor * own * op.scale, op.out, *added)
