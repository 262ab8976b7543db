"""Cumulants of sums."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from scrub.graph import Add, Cumulant, Expr
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, Options, rewrite
from scrub.rewrite.rules.cumulants.common import maybe_name, problem_with_dtype, random_argument, small_shapes
from scrub.rewrite.rules.sums.terms import broadcast_to

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _case(maker: Maker) -> Expr:
    shapes = small_shapes(maker, maker.random.choice([1, 1, 2, 2, 3]))
    args = [random_argument(maker, shape) for shape in shapes]
    for i, shape in enumerate(shapes):
        if maker.random.random() < 0.6:
            terms = [random_argument(maker, shape)]
            terms += [random_argument(maker, maker.some(shape)) for _ in range(maker.random.choice([0, 1, 2]))]
            maker.random.shuffle(terms)
            args[i] = Add(*terms, name=maybe_name(maker))
    return Cumulant(*args, name=maybe_name(maker))


def _choices(cumulant: Cumulant) -> Iterator[Options]:
    yield {}
    for i in range(cumulant.order):
        yield {"argument": i}


@rewrite(keeps="value", cases=_case, choices=_choices, idempotent=True)
def split_cumulant_of_sum(
    cumulant: Cumulant, *, argument: int | None = None, dissolve: MatcherIn = True
) -> Expr | NoMatch:
    """A cumulant is linear in each argument: one that is a sum gives a sum of cumulants.

        k(a + b, c)  ->  k(a, c) + k(b, c)

    Terms that are broadcast in the sum are repeated to its shape.

    Args:
        cumulant: the cumulant.
        argument: position of the sum; the first one that may be taken apart if not given.
        dissolve: which sums may be taken apart.

    >>> from scrub.graph import Scalar
    >>> a, b, c = (Scalar(1.0, name=name) for name in "abc")
    >>> split_cumulant_of_sum(Cumulant(Add(a, b), c, name="k")).print()
    'k' [] Add
      k2(a, c) [] Cumulant
        'a' [] Scalar 1.0
        'c' [] Scalar 1.0
      k2(b, c) [] Cumulant
        'b' [] Scalar 1.0
        'c'
    """
    may = Matcher(dissolve)
    for i, child in enumerate(cumulant.children):
        if argument in (None, i) and isinstance(child, Add) and child.children and may(child):
            break
    else:
        return NoMatch("no argument that was asked for is a sum that may be taken apart")
    problem = problem_with_dtype([*cumulant.children, *child.children])
    if problem is not None:
        return problem
    before, after = cumulant.children[:i], cumulant.children[i + 1 :]
    return Add(*(Cumulant(*before, broadcast_to(term, child.shape), *after) for term in child.children))
