"""A product with a sum, as a sum of products."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from scrub.graph import Add, Einsum, Expr
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, Options, rewrite
from scrub.rewrite.rules.products.axes import with_operands
from scrub.rewrite.rules.products.cases import product_with
from scrub.rewrite.rules.sums.cases import part, random_sum, some_dtype
from scrub.rewrite.rules.sums.terms import computes_in

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    if maker.random.random() < 0.3:
        return maker.pattern(Einsum, Add)
    shape = maker.shape()
    return product_with(maker, random_sum(maker, part(maker, maker.some(shape), some_dtype(maker)), shape=shape))


def _choices(einsum: Einsum) -> Iterator[Options]:
    yield {}
    for i, operand in enumerate(einsum.children):
        if isinstance(operand, Add):
            yield {"operand": i}
            yield {"operand": i, "terms": set(operand.children[::2])}


@rewrite(keeps="value", pattern=(Einsum, Add), cases=_cases, choices=_choices)
def distribute(
    einsum: Einsum, *, operand: int | None = None, terms: MatcherIn = True, dissolve: MatcherIn = True
) -> Expr | NoMatch:
    """An einsum over a sum becomes a sum of einsums.

        (a + b) * c      ->  a * c + b * c
        (a + b + c) * d  ->  a * d + (b + c) * d        with terms="a"

    Args:
        einsum: the product.
        operand: position of the sum; the first sum that may be taken apart if not given.
        terms: which terms get an einsum of their own. The others stay together, in one.
        dissolve: which sums may be taken apart.

    >>> from scrub.graph import Scalar
    >>> a, b, c = (Scalar(value, (2,), name=name) for value, name in [(1.0, "a"), (2.0, "b"), (3.0, "c")])
    >>> distribute(Add(a, b).mul(c, name="s")).print()
    's' [2] Add
      a * c [2] Einsum a,a->a
        'a' [2] Scalar 1.0
        'c' [2] Scalar 3.0
      b * c [2] Einsum a,a->a
        'b' [2] Scalar 2.0
        'c'
    """
    may, chosen = Matcher(dissolve), Matcher(terms)
    positions = range(len(einsum.children)) if operand is None else [operand]
    if operand is not None and not 0 <= operand < len(einsum.children):
        return NoMatch(f"operand {operand} is none of its {len(einsum.children)}")
    position = next((i for i in positions if isinstance(einsum.children[i], Add) and may(einsum.children[i])), None)
    if position is None:
        what = "no operand is" if operand is None else f"operand {operand}, {einsum.children[operand]!r}, is not"
        return NoMatch(f"{what} a sum that may be taken apart")
    add = einsum.children[position]
    groups = [[term] for term in add.children if chosen(term)]
    rest = [term for term in add.children if not chosen(term)]
    if not groups:
        return NoMatch(f"none of the {len(add.children)} terms of {add!r} is chosen")
    summands = [term for (term,) in groups] + ([rest[0] if len(rest) == 1 else Add(*rest)] if rest else [])
    products = [with_operands(einsum, {position: summand}) for summand in summands]
    reason = dtype_problem(add, [*products, *summands[len(groups) :]], einsum)
    return Add(*products) if reason is None else NoMatch(reason)


def dtype_problem(opened: Expr, parts: list[Expr], whole: Expr) -> str | None:
    """Why a part of a product cannot be computed on its own, if it cannot: it would be in another dtype.

    Args:
        opened: what is taken apart.
        parts: what is computed instead.
        whole: the product.
    """
    for part_ in (opened, *parts):
        if not computes_in(part_, whole):
            return f"{part_!r} would be computed in {part_.dtype}, the whole is in {whole.dtype}"
    return None
