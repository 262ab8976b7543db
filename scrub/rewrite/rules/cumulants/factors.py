"""Constant factors in arguments of cumulants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from scrub.graph import Cumulant, Einsum, Expr, Scalar
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, Options, rewrite
from scrub.rewrite.rules.cumulants.common import (
    argument_axes,
    is_certain,
    maybe_name,
    problem_with_dtype,
    product,
    random_argument,
    small_shapes,
)

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _case(maker: Maker) -> Expr:
    shapes = small_shapes(maker, maker.random.choice([1, 1, 2, 3]))
    args = [random_argument(maker, shape) for shape in shapes]
    for i, shape in enumerate(shapes):
        if maker.random.random() < 0.7:
            args[i] = _product(maker, shape)
    return Cumulant(*args, name=maybe_name(maker))


def _product(maker: Maker, shape: tuple[int, ...]) -> Expr:
    """Random and constant factors, some axes summed, some twice."""
    axes = [*range(len(shape))]
    size = dict(enumerate(shape))
    for _ in range(maker.random.choice([0, 1])):
        size[len(size)] = maker.random.choice([1, 2])
    operands: list[tuple[Expr, list[int]]] = []
    for i in range(maker.random.choice([1, 2, 3])):
        own = [axis for axis in size if maker.random.random() < 0.6]
        if i == 0:
            own = list(size)
        if own and maker.random.random() < 0.1:
            own.append(own[0])
        maker.random.shuffle(own)
        shape_of = tuple(size[axis] for axis in own)
        operands.append((random_argument(maker, shape_of), own))
    if maker.random.random() < 0.5:
        operands.append((Scalar(maker.random.choice([2.0, -1.0, 0.5])), []))
    elif maker.random.random() < 0.5:
        own = list(size)
        operands.append((maker.array(tuple(size.values())), own))
    maker.random.shuffle(operands)
    return Einsum(*operands, out_axes=axes, name=maybe_name(maker))


def _choices(cumulant: Cumulant) -> Iterator[Options]:
    yield {}
    for i in range(cumulant.order):
        yield {"argument": i}


@rewrite(keeps="value", cases=_case, choices=_choices)
def pull_factors_out_of_cumulant(
    cumulant: Cumulant, *, argument: int | None = None, dissolve: MatcherIn = True
) -> Expr | NoMatch:
    """Constant factors of an argument that is a product become factors of the cumulant.

        k(2 * x, y)  ->  2 * k(x, y)        k(W @ x, y)  ->  W @ k(x, y)

    Factors that depend on a free symbol stay: it may be bound to something random.

    Args:
        cumulant: the cumulant.
        argument: position of the product; the first one with a constant factor if not given.
        dissolve: which products may be taken apart.

    >>> from scrub.graph import DiscreteVar
    >>> x = DiscreteVar(Scalar(1.0, (3, 2)), name="x")
    >>> pull_factors_out_of_cumulant(Cumulant(x.scale(2.0), name="k")).print(max_depth=1)
    'k' [2] Einsum a,->a
      k1(x) [2] Cumulant ...
      2.0 [] Scalar 2.0
    """
    may = Matcher(dissolve)
    for i, child in enumerate(cumulant.children):
        if argument not in (None, i) or not isinstance(child, Einsum) or not may(child):
            continue
        constants = [operand for operand in child.operands if is_certain(operand[0])]
        rest = [operand for operand in child.operands if not is_certain(operand[0])]
        if constants and rest:
            break
    else:
        return NoMatch("no argument that was asked for is a product of constant and random factors")
    problem = problem_with_dtype([*cumulant.children, *(operand for operand, _ in child.operands)])
    if problem is not None:
        return problem
    axes = argument_axes(cumulant.children)
    first = cumulant.ndim
    kept = tuple(dict.fromkeys(axis for _, own in rest for axis in own))
    before, after = cumulant.children[:i], cumulant.children[i + 1 :]
    inner = Cumulant(*before, product(rest, kept), *after)

    def shifted(own: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(first + axis for axis in own)

    in_front = tuple(axis for own in axes[:i] for axis in own)
    behind = tuple(axis for own in axes[i + 1 :] for axis in own)
    return Einsum(
        (inner, in_front + shifted(kept) + behind),
        *((operand, shifted(own)) for operand, own in constants),
        out_axes=in_front + shifted(child.out_axes) + behind,
    )
