"""Cumulants of products."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrub.graph import Add, Cumulant, Einsum, Expr
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.cumulants.common import (
    is_certain,
    is_connected,
    maybe_name,
    partitions,
    problem_with_dtype,
    random_argument,
)

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _case(maker: Maker) -> Expr:
    """One to four arguments, products of up to three factors."""
    order = maker.random.choice([1, 1, 2, 2, 3, 4])
    args: list[Expr] = []
    num_factors = 0
    for _ in range(order):
        shape = maker.shape(max_ndim=1 if order < 4 else 0, max_size=2)
        if maker.random.random() < 0.3 or num_factors > 3:
            args.append(random_argument(maker, shape))
            num_factors += 1
            continue
        size = [*shape, maker.random.choice([1, 2])]
        operands: list[tuple[Expr, list[int]]] = []
        for i in range(maker.random.choice([1, 2, 2, 3]) if order < 3 else 2):
            own = [a for a in range(len(size)) if maker.random.random() < 0.5] if i else list(range(len(size)))
            maker.random.shuffle(own)
            factor = random_argument(maker, tuple(size[a] for a in own))
            operands.append((factor, own))
        out = list(range(len(shape))) + ([0] if shape and maker.random.random() < 0.1 else [])
        args.append(Einsum(*operands, out_axes=out, name=maybe_name(maker)))
        num_factors += len(operands)
    return Cumulant(*args, name=maybe_name(maker))


@rewrite(keeps="value", cases=_case, idempotent=True)
def split_cumulant_of_products(
    cumulant: Cumulant, *, max_factors: int = 6, dissolve: MatcherIn = True
) -> Expr | NoMatch:
    """A cumulant of products as a sum of products of cumulants of their factors, over partitions of the factors.

        k(a * b)     ->  k(a, b) + k(a) * k(b)
        k(a * b, c)  ->  k(a, b, c) + k(a) * k(b, c) + k(b) * k(a, c)

    The partitions are those that connect the arguments: no set of arguments, but none and all, is a union of blocks.
    Source: Leonov and Shiryaev 1959, "On a method of calculation of semi-invariants", theorem 2.

    Args:
        cumulant: the cumulant; arguments that are no products count as one factor.
        max_factors: most random factors in all. The number of terms is at most the Bell number of this: 203 for 6.
        dissolve: which products may be taken apart.

    >>> from scrub.graph import DiscreteVar, Scalar
    >>> x, y = (DiscreteVar(Scalar(1.0, (3,)), name=name) for name in "xy")
    >>> split_cumulant_of_products(Cumulant(x.mul(y), name="k")).print(max_depth=2)
    'k' [] Add
      k2(x, y) [] Cumulant ...
      k1(x) * k1(y) [] Einsum ,->
        k1(x) [] Cumulant ...
        k1(y) [] Cumulant ...
    """
    may = Matcher(dissolve)
    factors: list[Expr] = []
    axes: list[tuple[int, ...]] = []
    home: list[int] = []
    constants: list[tuple[Expr, tuple[int, ...]]] = []
    out_axes: list[int] = []
    start, num_taken = 0, 0
    for position, child in enumerate(cumulant.children):
        if isinstance(child, Einsum) and may(child) and child.children:
            operands, own_out = child.operands, child.out_axes
            num_taken += 1
        else:
            operands, own_out = ((child, tuple(range(child.ndim))),), tuple(range(child.ndim))
        for operand, own in operands:
            shifted = tuple(start + axis for axis in own)
            if is_certain(operand):
                constants.append((operand, shifted))
            else:
                factors.append(operand)
                axes.append(shifted)
                home.append(position)
        out_axes += [start + axis for axis in own_out]
        start += 1 + max((axis for _, own in operands for axis in own), default=0)
    problem = problem_with_dtype([*cumulant.children, *factors, *(constant for constant, _ in constants)])
    if problem is not None:
        return problem
    if not num_taken:
        return NoMatch("no argument is a product that may be taken apart")
    if len(set(home)) < cumulant.order:
        return NoMatch("an argument is constant")
    if len(factors) > max_factors:
        return NoMatch(f"it has {len(factors)} random factors, more than {max_factors}")
    terms: list[Expr] = []
    for partition in partitions(len(factors)):
        if not is_connected(partition, home):
            continue
        blocks = [
            (Cumulant(*(factors[i] for i in block)), tuple(axis for i in block for axis in axes[i]))
            for block in partition
        ]
        trivial = not constants and len(blocks) == 1 and list(blocks[0][1]) == out_axes
        terms.append(blocks[0][0] if trivial else Einsum(*blocks, *constants, out_axes=out_axes))
    return Add(*terms)
