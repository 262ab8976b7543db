"""Tables, parts, turned and regrouped axes, and bodies with batch axes."""

from __future__ import annotations

from collections.abc import Callable

import torch

import scrub as rc
from scrub.graph import Expr
from scrub.rewrite.testing.maker import Maker
from tests.compiler.patterns.registry import maybe, pattern, value


@pattern
def tables(maker: Maker) -> Expr:
    """Rows of several tables at positions drawn together or apart, of one position for all, and of computed tables."""
    size = maker.random.choice([2, 3])
    first = maker.variable((size,))
    group, rows = first.probs_and_group, int(first.probs_and_group.shape[0])
    made: list[Expr] = [first, rc.DiscreteVar(maker.array((rows, size)), group)]
    made.append(rc.DiscreteVar(rc.elementwise("tanh", maker.array((rows, size))), group))
    indexes = rc.DiscreteVar(rc.Array(torch.arange(rows) % size), group)
    for table in (maker.array((size, 2)), maker.array((size, 2)), value(maker, size, 2)):
        made.append(rc.GeneralFunction.gen_index(table, indexes, index_dim=0).sum())
    maker.random.shuffle(made)
    kept = made[: maker.random.choice([3, 4, 6])]
    return rc.Add(*kept, value(maker, size)) if maybe(maker) else kept[0].mul(kept[1]).add(kept[2])


@pattern
def picks(maker: Maker) -> Expr:
    """Parts of parts, of what was joined or turned, and parts joined to a whole again."""
    x = value(maker, 5, 3)
    start = maker.random.choice([0, 1])
    part = x.index([slice(start, start + 4)]).index([slice(1, maker.random.choice([3, 4]))])
    row = x.index([slice(1, 5)]).index([maker.random.randrange(4)])
    both = rc.Concat(x.index([slice(0, 2)]), value(maker, 2, 3), x.index([slice(2, 5)]), axis=0)
    again = rc.Concat(both.index([slice(0, 2)]), both.index([slice(4, 7)]), axis=0)
    across = both.index([slice(1, 4)]).index([maker.random.randrange(3)])
    turned = rc.Rearrange(again, "a b -> b a").index([slice(None), maker.random.randrange(5)])
    return rc.Add(row, across, turned, part.sum(0), again.index([maker.random.randrange(5)]))


@pattern
def regroupings(maker: Maker) -> Expr:
    """Axes split, merged and turned, twice."""
    x = value(maker, 4, 6)
    first = maker.random.choice(["(c a) (b d)", "(d c) (b a)", "(a c d) b"])
    once = rc.Rearrange(x, f"(a b) (c d) -> {first}", a=2, c=maker.random.choice([2, 3]))
    rows, columns = (int(n) for n in once.shape)
    text = maker.random.choice(["(e f) g -> (f e) g", "(e f) g -> e (g f)", "(e f) g -> g (e f)", "(e f) g -> (f g) e"])
    twice = rc.Rearrange(once, text, e=2 if rows % 2 == 0 else 3)
    return rc.Einsum((twice, (0, 1)), (maker.array((int(twice.shape[1]), 2)), (1, 2)), out_axes=(0, 2)).add(
        rc.Scalar(float(columns))
    )


@pattern
def calls_in_calls(maker: Maker) -> Expr:
    """Modules whose bodies call modules, with batch axes at both levels and symbols of the outer one used inside."""
    a, b = (rc.Symbol.new_from_name(shape, name) for name, shape in (("a", (2,)), ("b", (2, 2))))
    c = rc.Symbol.new_from_name((2,), "c")
    inner = rc.ModuleSpec(rc.elementwise("tanh", rc.Add(c, a if maybe(maker) else value(maker, 2))), [c])
    rows = rc.Module(inner, "rows", c=b)
    extra = rc.Module(inner, "again", c=rc.Einsum((b, (0, 1)), (a, (0,)), out_axes=(1,)))
    body = rc.Einsum((rows, (0, 1)), (extra, (1,)), (a, (0,)), out_axes=maker.random.choice([(0,), (1,), (1, 0)]))
    outer = rc.ModuleSpec(body, [a, b], allow_unused=True)
    batch = maker.random.choice([(), (2,), (3,), (2, 3)])
    own_a, own_b = (batch[maker.random.randint(0, len(batch)) :] for _ in range(2))
    call = rc.Module(outer, "outer", a=value(maker, *own_a, 2), b=value(maker, *own_b, 2, 2))
    return rc.Add(call, call) if maybe(maker, 0.2) else call.sum(0) if maybe(maker) else call


@pattern
def bodies(maker: Maker) -> Expr:
    """Nodes of many kinds in a body whose parameters have batch axes of their own, in a body that has some too."""
    a, b, c = (rc.Symbol.new_from_name((2,), name) for name in "abc")
    kinds: list[Callable[[], Expr]] = [
        lambda: rc.Concat(a, b, axis=0).index([slice(1, 3)]),
        lambda: rc.Concat.stack(b, a, c, axis=1).sum(1),
        lambda: rc.Rearrange(rc.Einsum((a, (0,)), (b, (1,)), out_axes=(0, 1)), "i j -> j i").index([0]),
        lambda: rc.softmax(b).mul(a),
        lambda: rc.GeneralFunction.gen_index(rc.Concat.stack(a, b, axis=0), rc.Array(torch.tensor(1)), index_dim=0),
        lambda: rc.Scatter(a.index([slice(0, 1)]), (slice(1, 2),), (2,)).add(b),
        lambda: rc.Conv(rc.Rearrange(a, "s -> s 1"), rc.Rearrange(b, "o -> 1 1 o"), [1], [(0, 0)]).sum(0),
        lambda: a.sum().add(c),
        lambda: rc.Einsum((a, (0,)), (b, (0,)), (c, (1,)), out_axes=(1,)),
    ]
    body = rc.Add(*(make() for make in maker.random.sample(kinds, maker.random.choice([2, 3, len(kinds)]))))
    inner = rc.ModuleSpec(body, [b], allow_unused=True)  # a and c are those of the outer body, or of no body
    own = maker.random.choice([(2,), (3,), (2, 3)])
    call: Expr = rc.Module(inner, "inner", b=value(maker, *own, 2) if maybe(maker) else maker.array((*own, 2)))
    call = rc.Einsum(
        (call, tuple(range(call.ndim))), out_axes=maker.random.choice([(call.ndim - 1,), (0, call.ndim - 1)])
    )
    outer = rc.ModuleSpec(call, [a, c], allow_unused=True)
    batch = maker.random.choice([(2,), (3,), (2, 2)])
    args = [value(maker, *batch[i:], 2) for i in maker.random.sample([0, len(batch)], 2)]
    return rc.Module(outer, "outer", a=args[0], c=args[1])
