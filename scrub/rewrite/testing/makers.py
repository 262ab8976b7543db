"""How inner nodes of each type are made for generated expressions."""

from __future__ import annotations

import torch

from scrub.graph import (
    Add,
    Concat,
    Einsum,
    Expr,
    GeneralFunction,
    Index,
    Module,
    ModuleSpec,
    Rearrange,
    Scatter,
    Shape,
    Symbol,
    Tag,
    elementwise,
    log_softmax,
    softmax,
)
from scrub.rewrite.testing.maker import Maker, makes


@makes(Add)
def make_add(maker: Maker, shape: Shape, depth: int) -> Expr | None:
    count = maker.random.choice([0, 1, 2, 2, 3, 4]) if shape == () else maker.random.choice([1, 2, 2, 3, 4])
    full = maker.random.randrange(count) if count else 0
    terms = [maker.expr(shape if i == full else maker.some(shape), depth) for i in range(count)]
    if terms and maker.random.random() < 0.3:
        terms.append(maker.random.choice(terms))
    return Add(*terms)


@makes(Einsum)
def make_einsum(maker: Maker, shape: Shape, depth: int) -> Expr | None:
    """Output axes, some of them the same; sum axes; each axis in at least one operand, now and then twice in it."""
    chance = maker.random.random
    sizes: list[int] = []
    out_axes: list[int] = []
    for size in shape:
        same = [axis for axis in out_axes if sizes[axis] == size]
        if same and chance() < 0.1:
            out_axes.append(same[0])
        else:
            out_axes.append(len(sizes))
            sizes.append(size)
    sizes += [maker.random.choice([1, 2, 3]) for _ in range(maker.random.choice([0, 0, 1, 1, 2]))]
    count = maker.random.choice([1, 2, 2, 3])
    axes_of: list[list[int]] = [[] for _ in range(count)]
    for axis in range(len(sizes)):
        homes = [i for i in range(count) if chance() < 0.5] or [maker.random.randrange(count)]
        for i in homes:
            axes_of[i].append(axis)
            if chance() < 0.08:
                axes_of[i].append(axis)
    operands: list[tuple[Expr, list[int]]] = []
    for axes in axes_of:
        maker.random.shuffle(axes)
        operands.append((maker.expr(tuple(sizes[a] for a in axes[:4]), depth), axes[:4]))
    present = {axis for _, axes in operands for axis in axes}
    if not present.issuperset(out_axes):
        return None
    return Einsum(*operands, out_axes=out_axes)


@makes(Rearrange)
def make_rearrange(maker: Maker, shape: Shape, depth: int) -> Expr | None:
    """Every output axis is kept, a new axis of size 1, a repeat, or a product; then permuted and merged below."""
    chance = maker.random.random
    right: list[tuple[int, ...]] = []
    sizes: dict[int, int] = {}
    repeated: set[int] = set()
    for size in shape:
        if size == 1 and chance() < 0.5:
            right.append(())
            continue
        group: tuple[int, ...] = (len(sizes),)
        if size > 1 and chance() < 0.3:
            first, second = maker.factors(size)
            group = (len(sizes), len(sizes) + 1)
            sizes[group[0]], sizes[group[1]] = first, second
        else:
            sizes[group[0]] = size
        repeated |= {axis for axis in group if chance() < 0.15}
        right.append(group)
    on_left = [axis for axis in sizes if axis not in repeated]
    if chance() < 0.7:
        maker.random.shuffle(on_left)
    left: list[tuple[int, ...]] = []
    for axis in on_left:
        if left and left[-1] and chance() < 0.25:
            left[-1] = (*left[-1], axis)
        else:
            left.append((axis,))
        if chance() < 0.1:
            left.append(())
    child_shape = tuple(num(sizes, group) for group in left)
    return Rearrange.from_groups(maker.expr(child_shape, depth), tuple(left), tuple(right), sizes)


def num(sizes: dict[int, int], group: tuple[int, ...]) -> int:
    """Size of a merged axis."""
    total = 1
    for axis in group:
        total *= sizes[axis]
    return total


@makes(Index)
def make_index(maker: Maker, shape: Shape, depth: int) -> Expr | None:
    entries: list[object] = []
    child_shape: list[int] = []
    wanted = list(shape)
    while wanted or maker.random.random() < 0.2:
        if len(child_shape) > 3:
            break
        if not wanted or maker.random.random() < 0.15:
            size = maker.random.choice([1, 2, 3])
            entries.append(maker.random.randrange(size))
        else:
            kept = wanted.pop(0)
            kind = maker.random.choice(["all", "slice", "positions"])
            size = kept if kind == "all" else kept + maker.random.choice([0, 1, 2])
            if kind == "slice":
                start = maker.random.randint(0, size - kept)
                entries.append(slice(start, start + kept))
            elif kind == "positions" and (size or not kept):
                size = max(size, 1)
                entries.append(maker.positions(size, kept))
            else:
                entries.append(slice(None))
                size = kept
        child_shape.append(size)
    if wanted:
        return None
    return Index(maker.expr(tuple(child_shape), depth), entries)  # type: ignore[arg-type]


@makes(Concat)
def make_concat(maker: Maker, shape: Shape, depth: int) -> Expr | None:
    if not shape:
        return None
    axis = maker.random.randrange(len(shape))
    sizes = maker.split(shape[axis], maker.random.choice([1, 2, 2, 3]))
    parts = [maker.expr((*shape[:axis], size, *shape[axis + 1 :]), depth) for size in sizes]
    return Concat(*parts, axis=axis)


@makes(Scatter)
def make_scatter(maker: Maker, shape: Shape, depth: int) -> Expr | None:
    """Each axis of the result is filled whole, at one position, in a slice or at distinct positions."""
    entries: list[object] = []
    child_shape: list[int] = []
    for size in shape:
        kind = maker.random.choice(["all", "all", "one", "slice", "positions"])
        if kind == "one" and size:
            entries.append(maker.random.randrange(size))
            continue
        count = (
            maker.random.randint(0, size) if maker.random.random() < 0.2 else maker.random.randint(min(1, size), size)
        )
        if kind == "slice":
            start = maker.random.randint(0, size - count)
            entries.append(slice(start, start + count))
        elif kind == "positions":
            entries.append(torch.tensor(maker.random.sample(range(size), count), dtype=torch.int64))
        else:
            entries.append(slice(None))
            count = size
        child_shape.append(count)
    return Scatter(maker.expr(tuple(child_shape), depth), entries, shape)  # type: ignore[arg-type]


@makes(GeneralFunction)
def make_function(maker: Maker, shape: Shape, depth: int) -> Expr | None:
    x = maker.expr(shape, depth)
    if shape and maker.random.random() < 0.2:
        return maker.random.choice([softmax, log_softmax])(x)
    bounded = ["tanh", "sin", "cos", "sigmoid", "relu", "gelu", "step", "abs", "gaussian_cdf"]
    return elementwise(maker.random.choice(bounded), x)


@makes(Tag)
def make_tag(maker: Maker, shape: Shape, depth: int) -> Expr | None:
    return Tag.new_from_name(maker.expr(shape, depth), maker.name("tag"))


@makes(Module)
def make_module(maker: Maker, shape: Shape, depth: int) -> Expr | None:
    """A call whose body uses one parameter, alone or next to something else; one leading axis may be a batch axis."""
    num_batch = 1 if shape and maker.random.random() < 0.3 else 0
    batch, inner = shape[:num_batch], shape[num_batch:]
    symbol = Symbol.new_from_name(maker.some(inner), f"p{maker.random.randint(0, 99)}")
    body: Expr = Add(symbol, maker.expr(inner, depth))
    if maker.random.random() < 0.5:
        body = elementwise("tanh", body)
    spec = ModuleSpec(body, [symbol])
    return Module(spec, None, **{str(symbol.name): maker.expr(batch + symbol.shape, depth)})
