"""How inner nodes of each type are made for generated expressions."""

from __future__ import annotations

import torch

from scrub.graph import (
    FUNCTIONS,
    Add,
    Array,
    Concat,
    Conv,
    Einsum,
    Expr,
    GeneralFunction,
    Index,
    Module,
    ModuleSpec,
    Rearrange,
    Scalar,
    Scatter,
    SetSymbolicShape,
    Shape,
    Symbol,
    Tag,
    cast_to,
    elementwise,
    log_softmax,
    softmax,
)
from scrub.graph.sizes import product
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
    child_shape = tuple(product([sizes[axis] for axis in group]) for group in left)
    return Rearrange.from_groups(maker.expr(child_shape, depth), tuple(left), tuple(right), sizes)


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


@makes(Conv)
def make_conv(maker: Maker, shape: Shape, depth: int) -> Expr | None:
    """Small kernels; the axes in front of the spatial ones, if any, are batch axes of the input."""
    if len(shape) < 2 or 0 in shape:
        return None
    num_spatial = maker.random.randint(1, min(3, len(shape) - 1))
    *batch, out_channels = *shape[: -num_spatial - 1], shape[-1]
    kernel = [maker.random.choice([1, 2]) for _ in range(num_spatial)]
    stride = [maker.random.choice([1, 1, 2]) for _ in range(num_spatial)]
    padding = [(maker.random.choice([0, 0, 1]), maker.random.choice([0, 0, 1])) for _ in range(num_spatial)]
    sizes: list[int] = []
    for i, size in enumerate(shape[-num_spatial - 1 : -1]):
        padded = (size - 1) * stride[i] + kernel[i] + maker.random.randrange(stride[i])
        if padded <= sum(padding[i]):
            padding[i] = (0, 0)
        sizes.append(padded - sum(padding[i]))
    in_channels = maker.random.choice([1, 2])
    value = maker.expr((*batch, *sizes, in_channels), depth)
    return Conv(value, maker.expr((*kernel, in_channels, out_channels), depth), stride, padding)


@makes(GeneralFunction)
def make_function(maker: Maker, shape: Shape, depth: int) -> Expr | None:
    kind = maker.random.choice(
        ["elementwise"] * 6 + ["softmax", "softmax", "extreme", "pow", "gather", "gather", "cast"]
    )
    if kind == "softmax" and shape:
        return maker.random.choice([softmax, log_softmax])(maker.expr(shape, depth))
    if kind == "extreme":
        spec = FUNCTIONS[maker.random.choice(["min", "max"])]()
        return GeneralFunction(maker.expr((*shape, maker.random.choice([1, 2, 3])), depth), spec=spec)
    if kind == "pow":
        return make_pow(maker, shape, depth)
    if kind == "gather":
        return make_gather(maker, shape, depth)
    if kind == "cast":
        whole = maker.random.random() < 0.5
        return cast_to(make_positions(maker, shape, 3, depth) if whole else maker.expr(shape, depth), torch.float64)
    bounded = ["tanh", "sin", "cos", "sigmoid", "relu", "gelu", "step", "abs", "gaussian_cdf"]
    return elementwise(maker.random.choice(bounded), maker.expr(shape, depth))


def make_pow(maker: Maker, shape: Shape, depth: int) -> Expr:
    """A power of a base between 0.5 and 1.5; base or exponent may be broadcast."""
    shapes = [shape, maker.some(shape)]
    maker.random.shuffle(shapes)
    base = Add(elementwise("sigmoid", maker.expr(shapes[0], depth)), Scalar(0.5))
    is_constant = maker.random.random() < 0.5
    number = Scalar(maker.random.choice([0.0, 1.0, 2.0, 0.5, -1.0]), shapes[1])
    exponent = number if is_constant else elementwise("tanh", maker.expr(shapes[1], depth))
    return GeneralFunction(base, exponent, spec=FUNCTIONS["pow"]())


def make_gather(maker: Maker, shape: Shape, depth: int) -> Expr:
    """`gen_index` in three of its four ways, at a constant or a computed index."""
    size = maker.random.choice([1, 2, 3])
    start = maker.random.randint(0, len(shape))
    stop = maker.random.randint(start, len(shape))
    way = maker.random.choice(["table", "table", "both", "x"])
    if way == "x":  # the index replaces one axis of x
        index = make_positions(maker, shape[start:stop], size, depth)
        x = maker.expr((*shape[:start], size, *shape[stop:]), depth)
        return GeneralFunction.gen_index(x, index, stop - len(shape) - 1, batch_x=True, batch_index=False)
    batch, rest = shape[:start], shape[start:]
    at = maker.random.randint(0, len(rest))
    x_shape = (*rest[:at], size, *rest[at:])
    index = make_positions(maker, batch, size, depth)
    dim = at - len(x_shape) if maker.random.random() < 0.5 else at
    if way == "table":
        return GeneralFunction.gen_index(maker.expr(x_shape, depth), index, dim)
    return GeneralFunction.gen_index(maker.expr((*batch, *x_shape), depth), index, dim, batch_x=True)


def make_positions(maker: Maker, shape: Shape, size: int, depth: int) -> Expr:
    """Positions on an axis of that size: an array, or computed from one, or from the sign of something."""

    def constant(at: Shape) -> Expr:
        return Array(maker.positions(size, product(at)).reshape(at))

    kind = maker.random.choice(["array", "array", "array", "index", "sign"])
    if kind == "index":
        return Index(constant((2, *shape)), (maker.random.randrange(2),))
    if kind == "sign" and size > 1 and depth > 0:
        return cast_to(elementwise("step", maker.array(shape)), torch.int64)
    return constant(shape)


@makes(SetSymbolicShape)
def make_claim(maker: Maker, shape: Shape, depth: int) -> Expr | None:
    claimed = [size if maker.random.random() < 0.5 else None for size in shape]
    names = [maker.random.choice(["pos", "d_model"]) if maker.random.random() < 0.2 else None for _ in shape]
    return SetSymbolicShape(maker.expr(shape, depth), claimed, axis_names=names)


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
