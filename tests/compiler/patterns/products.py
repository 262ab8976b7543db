"""Sums, products and numbers."""

from __future__ import annotations

import scrub as rc
from scrub.graph import Expr
from scrub.rewrite.testing.maker import Maker
from tests.compiler.patterns.registry import maybe, pattern, value


@pattern
def product_of_weights(maker: Maker) -> Expr:
    """Constants among themselves, on one side of something drawn or on both."""
    a, b, c = (maker.random.choice([1, 2, 3]) for _ in range(3))
    w = rc.Einsum.from_string("a b, b c -> a c", maker.array((a, b)), maker.array((b, c)))
    if maybe(maker):
        w = w.add(maker.array((a, c)) if maybe(maker) else maker.scalar(()))
    x = value(maker, 2, a)
    operands = [(x, (0, 1)), (w, (1, 2)), (maker.array((c,)), (2,)), (maker.array((b, c)), (3, 2))]
    maker.random.shuffle(operands)
    out = maker.random.choice([(0, 2), (2, 0), (0,), (2, 1, 0)])
    used = [*operands[: maker.random.choice([3, 4])]]
    if not any(0 in axes for _, axes in used):
        used.append((x, (0, 1)))
    if not any(2 in axes for _, axes in used) or not any(1 in axes for _, axes in used):
        used.append((w, (1, 2)))
    return rc.Einsum(*used, out_axes=out)


@pattern
def sums_of_sums(maker: Maker) -> Expr:
    """Sums in sums, with factors, of which some cancel; terms that broadcast; the same term again."""
    shape = maker.random.choice([(2,), (2, 3), (3, 3)])
    terms = [value(maker, *shape) for _ in range(3)]
    inner: Expr = rc.Add(*(term.scale(maker.random.choice([1.0, -1.0, 2.0])) for term in terms), rc.Scalar(0.5))
    if maybe(maker):
        inner = inner.scale(maker.random.choice([-1.0, 3.0]))
    outer = rc.Add(inner, terms[0].scale(-1.0), value(maker, *maker.some(shape)), maker.scalar(()))
    weight = maker.array((shape[-1], 2))
    letters = tuple(range(len(shape)))
    out = rc.Einsum((outer, letters), (weight, (letters[-1], 9)), out_axes=(*letters[:-1], 9))
    if maybe(maker):
        parts = [rc.Einsum((term, letters), (weight, (letters[-1], 9)), out_axes=(*letters[:-1], 9)) for term in terms]
        out = rc.Add(out, *parts)
    return out


@pattern
def matrices(maker: Maker) -> Expr:
    """Products of two tensors over any number of axes, which come in any order in both and in the result."""
    counts = [maker.random.choice(choice) for choice in ([0, 0, 1], [0, 1, 2, 2], [1, 1, 2], [0, 1, 1, 2])]
    letters = iter(range(10))
    batch, rows, summed, columns = ([next(letters) for _ in range(count)] for count in counts)
    size = {letter: maker.random.choice([2, 3]) for letter in range(10)}
    left, right, out = [*batch, *rows, *summed], [*batch, *summed, *columns], [*batch, *rows, *columns]
    if maybe(maker, 0.7):
        for axes in (left, right, out):
            maker.random.shuffle(axes)
    x = value(maker, *(size[letter] for letter in left))
    if len(left) > 1 and maybe(maker):
        turned = value(maker, *(size[letter] for letter in reversed(left)))
        axes = tuple((i,) for i in range(len(left)))
        x = rc.Rearrange.from_groups(turned, axes, axes[::-1], {})
    weight = maker.array(tuple(size[letter] for letter in right))
    if maybe(maker, 0.3):
        stored = maker.random.sample(right, len(right))
        moved = tuple((stored.index(letter),) for letter in right)
        base = maker.array(tuple(size[letter] for letter in stored))
        left_groups = tuple((i,) for i in range(len(stored)))
        weight = rc.Rearrange.from_groups(base, left_groups, moved, {})
    return rc.Einsum((x, left), (weight, right), out_axes=out)


@pattern
def broadcasts(maker: Maker) -> Expr:
    """Sums and products of values that differ in axes, sizes of 1 and draws."""
    x, y = value(maker, 3, 1), value(maker, 1, 2)
    both = rc.Add(x, y, value(maker, 2)) if maybe(maker) else x.mul(y)
    third = rc.Einsum((both, (0, 1)), (value(maker, 2, 2), (1, 2)), (value(maker, 3), (0,)), out_axes=(2, 0))
    if maybe(maker):
        return rc.Rearrange(third, "a b -> (b a)")
    if maybe(maker):
        return rc.Rearrange(third, maker.random.choice(["a b -> a r b", "a b -> b a r", "a b -> b (r a)"]), r=2)
    return rc.Add(third, rc.Rearrange(y, "a b -> b a"))


@pattern
def numbers(maker: Maker) -> Expr:
    """Numbers that have a shape of their own, in sums and products."""
    x, scalar = value(maker, 1, 2), rc.Scalar(maker.random.choice([0.5, 2.0, -1.0]), (3, 1))
    wide = rc.Add(x, scalar) if maybe(maker) else rc.Add(x, value(maker, 2), scalar, rc.Scalar(0.25))
    count = rc.Einsum((wide, (0, 1)), (rc.Scalar(0.5, (2,)), (2,)), (rc.Scalar(3.0, (2,)), (1,)), out_axes=(0, 1))
    if maybe(maker):
        return rc.Einsum(
            (count, (0, 1)), (rc.Scalar(0.5, (2, 2)), (2, 3)), out_axes=maker.random.choice([(1, 0), (2, 0)])
        )
    return count.scale(2.0).add(count.scale(-0.5)).scale(3.0)


@pattern
def diagonals(maker: Maker) -> Expr:
    """Axes that occur twice in an operand or in the result, sums along some axes, axes turned around."""
    x = value(maker, 2, 3, 2)
    turned = rc.Einsum((x, (0, 1, 2)), out_axes=maker.random.choice([(2, 0), (1, 0), (2,), (2, 1), (2, 0, 1)]))
    diagonal = rc.Einsum(
        (x, (0, 1, 0)), (value(maker, 3), (1,)), out_axes=maker.random.choice([(0,), (0, 0), (0, 1, 0)])
    )
    if maybe(maker):
        return rc.Add(diagonal.sum(), turned)
    axes, others = tuple(range(diagonal.ndim)), tuple(range(5, 5 + turned.ndim))
    return rc.Einsum((diagonal, axes), (turned, others), out_axes=(0, 5, 0))


@pattern
def powers(maker: Maker) -> Expr:
    """A function that takes no batch axes in an operand that it broadcasts."""
    shapes = [(3, 2), maker.random.choice([(2,), (3, 1), (), (3, 2)])]
    maker.random.shuffle(shapes)
    base = rc.elementwise("sigmoid", value(maker, *shapes[0])).add(rc.Scalar(0.5))
    power: Expr = rc.GeneralFunction(base, value(maker, *shapes[1]), spec=rc.FUNCTIONS["pow"]())
    if maybe(maker):
        symbol = rc.Symbol.new_from_name(shapes[0], "base")
        body = rc.GeneralFunction(symbol, value(maker, *shapes[1]), spec=rc.FUNCTIONS["pow"]())
        power = rc.Module(rc.ModuleSpec(body, [symbol]), None, base=rc.Concat.stack(base, base.scale(2.0), axis=0))
    return power
