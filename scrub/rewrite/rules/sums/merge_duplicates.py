"""Equal terms of a sum, up to a number."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING

import torch

from scrub.graph import Add, Einsum, Expr, Scalar
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.sums.cases import DTYPES, NUMBERS, array, maybe_name, part, random_sum, some_dtype
from scrub.rewrite.rules.sums.terms import computes_in, fits, split_coefficient, zero

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    """One to two expressions, plain and as multiples, and others."""
    shape, dtype = maker.shape(), some_dtype(maker)
    terms: list[Expr] = []
    for _ in range(maker.random.choice([1, 1, 2])):
        own = maker.some(shape)
        x = part(maker, own, dtype) if maker.random.random() < 0.5 else array(maker, own, dtype)
        axes = tuple(range(x.ndim))
        if dtype != torch.bool and maker.random.random() < 0.2:
            y = array(maker, own, dtype) if maker.random.random() < 0.5 else Scalar(0.0, shape)
            terms += [x, x.scale(-1.0), y, y.scale(-1.0)]
            continue
        for _ in range(maker.random.choice([2, 2, 3])):
            factor = maker.random.choice([1, 1, -1, 2, 60]) if dtype != torch.bool else 1
            times = Einsum((Scalar(factor), ()), (x, axes), out_axes=axes, name=maybe_name(maker))
            terms.append(x if maker.random.random() < 0.4 else times)
    if maker.random.random() < 0.3:
        return Add(*terms)
    return random_sum(maker, *terms, shape=shape, dtypes=DTYPES if dtype == torch.bool else NUMBERS)


@rewrite(keeps="value", cases=_cases, simplifies=True, idempotent=True)
def merge_duplicate_terms(add: Add, *, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """Terms that are equal up to a number become one multiple, in the place of the first.

        a + a        ->  2 * a
        2*a + b - a  ->  a + b
        a - a        ->  0

    Equal terms are the same draw where they are random, so this holds for them too. Values are taken to be finite.
    Booleans are left alone, and so are integers where the number does not fit their dtype.

    Args:
        add: the sum.
        dissolve: which multiples, such as `2*a`, may be taken apart.

    >>> x = Scalar(1.0, (3,), name="x")
    >>> merge_duplicate_terms(Add(x, x.scale(2.0), name="s")).print()
    's' [3] Einsum a,->a
      'x' [3] Scalar 1.0
      3.0 [] Scalar 3.0
    """
    may = Matcher(dissolve)
    groups: dict[Expr, list[float]] = {}
    rest_of: dict[Expr, Expr] = {}
    for term in add.children:
        number, rest = split_coefficient(term, may)
        rest_of[term] = rest
        groups.setdefault(rest, []).append(number)
    merged = {
        rest: total
        for rest, numbers in groups.items()
        if len(numbers) > 1 and rest.dtype != torch.bool and computes_in(rest, add)
        if fits(total := functools.reduce(operator.add, numbers), rest.dtype)
    }
    if not merged:
        return NoMatch("no two terms are equal up to a number, of a dtype that has such numbers")
    terms: list[Expr] = []
    done: set[Expr] = set()
    zeros: set[Expr] = set()
    for term in add.children:
        rest = rest_of[term]
        if rest not in merged:
            terms.append(term)
        elif rest not in done:
            done.add(rest)
            made = _times(merged[rest], rest)
            if merged[rest] != 0:
                terms.append(made)
            elif made not in zeros and (made is rest or made not in groups):
                zeros.add(made)
                terms.append(made)
    is_new = len(terms) == 1 and terms[0].name is None and terms[0] is not rest_of[add.children[0]]
    return terms[0] if is_new else Add(*terms)


def _times(number: float, rest: Expr) -> Expr:
    if number == 0:
        return zero(rest.shape, rest.dtype)
    if number == 1:
        return rest
    if isinstance(rest, Einsum) and rest.name is None:
        return Einsum(*rest.operands, (Scalar(number), ()), out_axes=rest.out_axes)
    return rest.scale(number)
