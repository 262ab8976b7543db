"""A common factor of terms of a sum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scrub.graph import Add, Einsum, Expr, Rearrange, Scalar
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, Options, rewrite
from scrub.rewrite.rules.sums.cases import maybe_name, part, random_sum, some_dtype
from scrub.rewrite.rules.sums.terms import computes_in

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker

Operands = Sequence[tuple[Expr, tuple[int, ...]]]


def _cases(maker: Maker) -> Expr:
    """Products with a factor in common, on the same axes, whose other factors have some or all of its axes."""
    sizes = [maker.random.choice([1, 2, 3]) for _ in range(maker.random.choice([1, 2, 3, 4]))]
    dtype = some_dtype(maker)
    labels = list(range(len(sizes)))
    own = [maker.random.choice(labels) for _ in range(maker.random.choice([0, 1, 2, 2]))]
    x = part(maker, tuple(sizes[label] for label in own), dtype)
    out = [label for label in labels if maker.random.random() < 0.6]
    if out and maker.random.random() < 0.2:
        out.append(out[0])
    terms: list[Expr] = []
    for _ in range(maker.random.choice([2, 2, 3])):
        needed = [label for label in out if label not in own]
        others = [*dict.fromkeys(needed), *(label for label in own if maker.random.random() < 0.5)]
        inner = len(sizes)  # summed away within the other factor
        narrow = {label for label in needed if maker.random.random() < 0.15}  # broadcast in the sum
        y = part(maker, tuple(1 if label in narrow else [*sizes, 2][label] for label in [*others, inner]), dtype)
        operands = [(x, own), (y, [*others, inner])]
        maker.random.shuffle(operands)
        terms.append(Einsum(*operands, out_axes=out, name=maybe_name(maker)))
    return random_sum(maker, *terms, shape=terms[0].shape)


def _choices(add: Add) -> Iterator[Options]:
    yield {}
    for term in add.children[:3]:
        yield {"operand": {*term.children, term}}


@dataclass(frozen=True)
class _Place:
    """A factor of a term: which of its operands it is."""

    term: int
    operand: int


@rewrite(keeps="value", cases=_cases, choices=_choices)
def factor_common_operand(add: Add, *, operand: MatcherIn = True, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """Products with a common factor become that factor times a sum.

        a*x + b*x + c  ->  (a + b)*x + c
        x + b*x        ->  (1 + b)*x

    The factor must have the same axes in each: the same ones summed, the same ones kept, in the same order. Of several
    common factors, the first is taken.

    Args:
        add: the sum.
        operand: which factor to take out.
        dissolve: which products may be taken apart.

    >>> a, b, x = (Scalar(value, (2,), name=name) for value, name in [(1.0, "a"), (2.0, "b"), (3.0, "x")])
    >>> factor_common_operand(Add(a.mul(x), b.mul(x), name="s")).print()
    's' [2] Einsum a,a->a
      'x' [2] Scalar 3.0
      a + b [2] Add
        'a' [2] Scalar 1.0
        'b' [2] Scalar 2.0
    """
    wanted, may = Matcher(operand), Matcher(dissolve)
    common: dict[object, list[_Place]] = {}
    for i, term in enumerate(add.children):
        if not computes_in(term, add):
            continue
        operands, out = _product(term, may)
        seen: set[Expr] = set()
        for position, (factor, axes) in enumerate(operands):
            if factor in seen or not wanted(factor):
                continue
            seen.add(factor)
            rest = [other for k, (other, _) in enumerate(operands) if k != position]
            is_open = all(computes_in(other, add) for other in rest) and (rest or add.dtype == term.dtype)
            if is_open:
                number = _numbering(axes, out)
                key = (factor, tuple(number[a] for a in axes), tuple(number[a] for a in out), term.shape)
                common.setdefault(key, []).append(_Place(i, position))
    for places in common.values():
        if len(places) > 1 and any(len(_product(add.children[p.term], may)[0]) > 1 for p in places):
            return _factored(add, places, may)
    return NoMatch("no two terms are products with a common factor on the same axes")


def _product(term: Expr, may: Matcher) -> tuple[Operands, tuple[int, ...]]:
    """Operands and output axes, of the term itself if it is no product that may be taken apart."""
    if isinstance(term, Einsum) and term.children and may(term):
        return term.operands, term.out_axes
    axes = tuple(range(term.ndim))
    return [(term, axes)], axes


def _numbering(axes: Sequence[int], out: Sequence[int]) -> dict[int, int]:
    """The axes of the factor and of the result, numbered by first appearance."""
    return {axis: i for i, axis in enumerate(dict.fromkeys((*axes, *out)))}


def _factored(add: Add, places: Sequence[_Place], may: Matcher) -> Expr | NoMatch:
    rests: list[tuple[Expr, tuple[int, ...]]] = []
    for place in places:
        operands, term_out = _product(add.children[place.term], may)
        number = _numbering(operands[place.operand][1], term_out)
        rests.append(_rest([pair for k, pair in enumerate(operands) if k != place.operand], number))
    operands, term_out = _product(add.children[places[0].term], may)
    factor, own = operands[places[0].operand]
    number = _numbering(own, term_out)  # the factor's axes and the result's have the same numbers in every place
    axes, out = tuple(number[a] for a in own), tuple(number[a] for a in term_out)
    union = tuple(sorted({axis for _, rest_axes in rests for axis in rest_axes}))
    inner = Add(*(_aligned(rest, rest_axes, union) for rest, rest_axes in rests))
    made = Einsum((factor, axes), (inner, union), out_axes=out)
    if not computes_in(inner, add) or not computes_in(made, add):
        return NoMatch(f"what multiplies {factor!r} is of {inner.dtype}, the sum of {add.dtype}")
    chosen = {place.term for place in places}
    if len(chosen) == len(add.children):
        return made
    first = min(chosen)
    return Add(*(made if i == first else term for i, term in enumerate(add.children) if i == first or i not in chosen))


def _rest(operands: Operands, number: dict[int, int]) -> tuple[Expr, tuple[int, ...]]:
    """The product of what is left, and the numbers of its axes, in order; axes without a number are summed."""
    if not operands:
        return Scalar(1.0), ()
    kept = sorted({axis for _, axes in operands for axis in axes if axis in number}, key=number.__getitem__)
    numbers = tuple(number[axis] for axis in kept)
    if len(operands) == 1 and operands[0][1] == tuple(kept):
        return operands[0][0], numbers
    return Einsum(*operands, out_axes=kept), numbers


def _aligned(rest: Expr, axes: tuple[int, ...], union: tuple[int, ...]) -> Expr:
    """Axes of size 1 where it has none of the union's, so that the sum broadcasts it; leading ones need none."""
    if not axes:
        return rest
    left = tuple((axis,) for axis in axes)
    right = tuple((axis,) if axis in axes else () for axis in union[union.index(axes[0]) :])
    return rest if right == left else Rearrange.from_groups(rest, left, right, {})
