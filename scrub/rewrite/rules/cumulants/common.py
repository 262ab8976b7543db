"""What rules of cumulants share: what is certainly constant, which random sources an expression reads, partitions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from scrub.graph import Cumulant, DiscreteVar, Einsum, Expr, Shape, StoredCumulantVar, postorder
from scrub.rewrite.rule import NoMatch

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker

Partition = tuple[tuple[int, ...], ...]


def is_certain(expr: Expr) -> bool:
    """Whether the expression is constant whatever its surroundings: a symbol may come to stand for something random.

    >>> from scrub.graph import Scalar, Symbol
    >>> is_certain(Scalar(1.0)), is_certain(Symbol.new_from_name((), "s"))
    (True, False)
    """
    return expr.is_constant and not expr.free_symbols


def sources(expr: Expr) -> set[Expr | str]:
    """What the randomness of an expression comes from: groups, and the uuids of variables with stored cumulants.

    What is under a cumulant is constant, and no source.

    >>> from scrub.graph import Scalar
    >>> dice = DiscreteVar(Scalar(1.0, (6,)))
    >>> sources(dice.add(Cumulant(DiscreteVar(Scalar(1.0, (2,)))))) == {dice.probs_and_group}
    True
    """
    outside = postorder([expr], descend=lambda node: not isinstance(node, Cumulant))
    found: set[Expr | str] = set()
    for node in outside:
        if isinstance(node, DiscreteVar):
            found.add(node.probs_and_group)
        elif isinstance(node, StoredCumulantVar):
            found.add(node.uuid)
    return found


def problem_with_dtype(exprs: Sequence[Expr]) -> NoMatch | None:
    """Sums and products of integers and booleans are not what sums and products of their expectations are."""
    for expr in exprs:
        if expr.dtype is not None and not expr.dtype.is_floating_point:
            return NoMatch(f"{expr!r} is {expr.dtype}, of which there is no expectation in the same dtype")
    return None


def partitions(count: int) -> Iterator[Partition]:
    """All ways to part 0..count-1 into blocks, in order.

    >>> list(partitions(2))
    [((0, 1),), ((0,), (1,))]
    """
    blocks: list[list[list[int]]] = [[]]
    for item in range(count):
        blocks = [
            grown
            for known in blocks
            for grown in (
                *([*known[:i], [*block, item], *known[i + 1 :]] for i, block in enumerate(known)),
                [*known, [item]],
            )
        ]
    for known in blocks:
        yield tuple(tuple(block) for block in known)


def is_connected(partition: Partition, home: Sequence[int]) -> bool:
    """Whether the blocks join all homes: those of two items in one block are joined.

    >>> is_connected(((0, 1), (2,)), [0, 1, 1]), is_connected(((0,), (1, 2)), [0, 1, 1])
    (True, False)
    """
    root = {place: place for place in home}

    def find(place: int) -> int:
        while root[place] != place:
            place = root[place]
        return place

    for block in partition:
        for item in block[1:]:
            root[find(home[item])] = find(home[block[0]])
    return len({find(place) for place in home}) <= 1


def argument_axes(exprs: Sequence[Expr]) -> list[tuple[int, ...]]:
    """Axis numbers of each of several expressions, all different, in order."""
    result: list[tuple[int, ...]] = []
    start = 0
    for expr in exprs:
        result.append(tuple(range(start, start + expr.ndim)))
        start += expr.ndim
    return result


def product(operands: Sequence[tuple[Expr, Sequence[int]]], out_axes: Sequence[int]) -> Expr:
    """The einsum; the operand itself where there is one, with the same axes."""
    if len(operands) == 1 and tuple(operands[0][1]) == tuple(out_axes):
        return operands[0][0]
    return Einsum(*operands, out_axes=out_axes)


# ---- generated cases ----------------------------------------------------------------------------------------------


def small_shapes(maker: Maker, count: int) -> list[Shape]:
    """Shapes of arguments, small enough that the cumulant is."""
    return [maker.shape(max_ndim=2 if count < 3 else 1, max_size=3) for _ in range(count)]


def random_argument(maker: Maker, shape: Shape) -> Expr:
    """Something random, or now and then a constant."""
    chance = maker.random.random()
    if chance < 0.4:
        return maker.variable(shape)
    return maker.expr(shape, 1) if chance > 0.9 else maker.random_expr(shape, 1)


def maybe_name(maker: Maker) -> str | None:
    """A name of a node, or none."""
    return maker.name("n") if maker.random.random() < 0.4 else None
