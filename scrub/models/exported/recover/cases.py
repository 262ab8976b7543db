"""Generated cases for the rules: linear layers as exporting leaves them, of random sizes and layouts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scrub.graph import (
    Add,
    Einsum,
    Expr,
    GeneralFunction,
    Module,
    ModuleSpec,
    Rearrange,
    Scalar,
    Symbol,
    cast_to,
    elementwise,
    softmax,
)
from scrub.graph.functions.power import Pow
from scrub.graph.rearrange import insert_axes

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def linear(maker: Maker, x: Expr, size_out: int) -> Expr:
    """`x` [..., d] through a linear layer, its weight either way round, with a bias or none."""
    axes = "ijklm"[: x.ndim - 1]
    is_out_first = maker.random.random() < 0.5
    shape = (size_out, x.shape[-1]) if is_out_first else (x.shape[-1], size_out)
    spec = f"{axes}d,{'fd' if is_out_first else 'df'}->{axes}f"
    product = Einsum.from_string(spec, x, maker.array(shape))
    if maker.random.random() < 0.4:
        return product
    terms = [product, maker.array((size_out,))]
    return Add(*(terms if maker.random.random() < 0.5 else terms[::-1]))


def sizes(maker: Maker, count: int) -> list[int]:
    """Sizes of 2 or 3."""
    return [maker.random.choice([2, 3]) for _ in range(count)]


def split_linear(maker: Maker) -> Expr:
    """The result of a linear layer split into heads, and permuted or merged with others."""
    b, s, h, e, d = sizes(maker, 5)
    made = linear(maker, maker.array((b, s, d)), h * e)
    spec = maker.random.choice(["b s (h e) -> b s h e", "b s (h e) -> b h s e", "b s (h e) -> (b h) s e"])
    return Rearrange(made, spec, h=h, name=maker.random.choice([None, "n1"]))


def scaled_product(maker: Maker) -> Expr:
    """A product times a number."""
    a, b, c = sizes(maker, 3)
    product = Einsum.from_string("ab,bc->ac", maker.array((a, b)), maker.array((b, c)))
    return product.scale(maker.random.choice([0.5, -1.0]), maker.random.choice([None, "n7"]))


def product_of_scaled(maker: Maker) -> Expr:
    """A product of two activations, one or both of which are multiplied by a number."""
    a, b, c = sizes(maker, 3)
    left, right = (elementwise("tanh", maker.array(shape)) for shape in ((a, b), (b, c)))
    scaled = left.scale(0.5, maker.random.choice([None, "n9"]))
    return Einsum.from_string("ab,bc->ac", scaled, right.scale(2.0) if maker.random.random() < 0.5 else right)


def turned_product(maker: Maker) -> Expr:
    """The result of a linear layer with its axes in another order."""
    b, s, d, f = sizes(maker, 4)
    product = Einsum.from_string("bsd,fd->bsf", maker.array((b, s, d)), maker.array((f, d)), name="layer")
    spec = maker.random.choice(["b s f -> s b f", "b s f -> f b s"])
    return Rearrange(product, spec, maker.random.choice([None, "n6"]))


def turned_sum(maker: Maker) -> Expr:
    """An activation and the permuted result of a linear layer with a bias."""
    b, s, d, f = sizes(maker, 4)
    layer = linear(maker, maker.array((s, b, d)), f)
    layer = layer if isinstance(layer, Add) else Add(layer, maker.array((f,)))
    terms = [maker.array((b, s, f)), Rearrange(layer, "s b f -> b s f")]
    return Add(*(terms if maker.random.random() < 0.5 else terms[::-1]), name=maker.random.choice([None, "n8"]))


def product_of_merged(maker: Maker) -> Expr:
    """Heads merged for a linear layer; or batch and position merged for one."""
    b, s, h, e, d = sizes(maker, 5)
    if maker.random.random() < 0.5:
        x = Rearrange(maker.array((b, h, s, e)), "b h s e -> b s (h e)")
    else:
        x = Rearrange(maker.array((b, s, h * e)), "b s d -> (b s) d")
    made = linear(maker, x, d)
    return next(node for node in (made, *made.children) if isinstance(node, Einsum))


def sum_of_merged(maker: Maker) -> Expr:
    """A bias, and batch and position merged; or a function of that."""
    b, s, d = sizes(maker, 3)
    product = Einsum.from_string("bsd,bsd->bsd", maker.array((b, s, d)), maker.array((b, s, d)))
    merged = Rearrange(product, "b s d -> (b s) d")
    if maker.random.random() < 0.4:
        return elementwise("tanh", merged, name=maker.random.choice([None, "n2"]))
    return Add(merged, maker.array(maker.random.choice([(d,), (b * s, d), (1, d), ()])))


def call_of_linear(maker: Maker) -> Expr:
    """The call of a module that is a linear layer, on an input with batch axes or without."""
    d, f = sizes(maker, 2)
    x = maker.array((*sizes(maker, maker.random.randint(1, 2)), d))
    parameter = Symbol.new_from_name((2, d) if x.ndim == 1 else x.shape, "input")
    body = linear(maker, parameter, f)
    arg = maker.array((3, *parameter.shape)) if maker.random.random() < 0.4 else maker.array(parameter.shape)
    return Module(ModuleSpec(body, [parameter]), maker.random.choice([None, "n3"]), input=arg)


def attention(maker: Maker) -> Expr:
    """The last linear layer of an attention, with its axes apart; grouped queries, rotations and masks or not."""
    from scrub.models.exported.recover.normal import normal_form

    b, s, d = sizes(maker, 3)
    merged = heads_side_by_side(maker, maker.array((b, s, d)), maker.array((b, s, d)))
    out = normal_form(linear(maker, merged, d))
    return next(node for node in (out, *out.children) if isinstance(node, Einsum))


def attention_in_parts(maker: Maker) -> Expr:
    """The call of a module that combines values for each head; or of one that is given the result of that."""
    b, s, d = sizes(maker, 3)
    if maker.random.random() < 0.5:
        merged = heads_side_by_side(maker, maker.array((b, s, d)), maker.array((b, s, d)))
        x = Symbol.new_from_name(merged.shape, "hidden_states")
        return Module(ModuleSpec(linear(maker, x, d), [x]), "output", hidden_states=merged)
    x = Symbol.new_from_name((b, s, d), "hidden_states")
    body = heads_side_by_side(maker, x, x)
    return Module(ModuleSpec(body, [x]), "self", hidden_states=maker.array((b, s, d)))


def heads_side_by_side(maker: Maker, x: Expr, memory: Expr) -> Expr:
    """Attention before its last linear layer: [batch, seq, (heads d_head)]."""
    (b, s, _), e = x.shape, maker.random.choice([2, 3])
    g, r = maker.random.choice([(2, 1), (3, 1), (2, 2), (3, 2), (1, 3)])
    q = Rearrange(linear(maker, x, g * r * e), "b s (h e) -> b h s e", e=e)
    k, v = (
        Rearrange(linear(maker, maker.random.choice([x, memory]), g * e), "b s (g e) -> b (g r) s e", e=e, r=r)
        for _ in range(2)
    )
    if maker.random.random() < 0.3:
        table = maker.array((s, e))
        q, k = (Einsum.from_string("b h s e, s e -> b h s e", each, table) for each in (q, k))
    scores = Einsum.from_string("b h q e, b h k e,  -> b h q k", q, k, Scalar(0.5))
    masks: list[Expr] = [maker.array(maker.random.choice([(s, s), (b, 1, s, s), (g * r, 1, 1)]))]
    probs = softmax(Add(scores, *masks[: maker.random.randint(0, 1)]))
    combined = Einsum.from_string("b h q k, b h k e -> b h q e", probs, v)
    return Rearrange(combined, "b h s e -> b s (h e)")


def with_ones(maker: Maker) -> Expr:
    """Axes of size 1 on both sides, and factors of size 1."""
    a, b = sizes(maker, 2)
    spec = maker.random.choice(["1 (a b) -> 1 a b", "1 a 1 -> a 1", "a 1 -> 1 a", "a 1 -> a (b c)", "(a b) -> a b"])
    shape = {"1 (": (1, a * b), "1 a": (1, a, 1), "a 1": (a, 1), "(a ": (a,)}[spec[:3]]
    named = {"b": 1} if spec == "(a b) -> a b" else {"b": 1, "c": b} if "(b c)" in spec else {"a": a}
    return Rearrange(maker.array(shape), spec, None, **named)


def norm(maker: Maker) -> Expr:
    """The arithmetic of a norm: with or without mean, weight and bias, powers and roots written one way or another."""
    chance = maker.random.random
    shape = (*sizes(maker, maker.random.choice([1, 2])), maker.random.choice([3, 4, 5]))
    x, size, rows = maker.array(shape), shape[-1], "ij"[: len(shape) - 1]
    if chance() < 0.3:
        x = x.scale(3.0)
    is_centred, has_ones = chance() < 0.5, chance() < 0.5
    if is_centred:
        mean = Einsum.from_string(f"{rows}d,->{rows}", x, Scalar(1.0 / size))
        x = Add(x, insert_axes(mean, at=len(rows), count=1).scale(-1.0))
    square: Expr = (
        GeneralFunction(x, Scalar(2.0), spec=Pow())
        if chance() < 0.3
        else Einsum.from_string(f"{rows}d,{rows}d->{rows}d", x, x)
    )
    mean = Einsum.from_string(f"{rows}d,->{rows}", square, Scalar(1.0 / size))
    if has_ones:
        mean = insert_axes(mean, at=len(rows), count=1)
    inside = Add(mean, Scalar(maker.random.choice([1e-5, 0.1])))
    root = elementwise("rsqrt", inside) if chance() < 0.5 else elementwise("reciprocal", elementwise("sqrt", inside))
    if has_ones:
        root = Rearrange(root, f"{' '.join(rows)} 1 -> {' '.join(rows)}")
    out: Expr = Einsum.from_string(f"{rows}d,{rows}->{rows}d", x, root)
    if chance() < 0.2:
        return Einsum.from_string(f"d,{rows}d->{rows}d", maker.array((size,)), cast_to(out, torch.float64))
    weight = maker.array((size,))
    if chance() < 0.7:
        out = Einsum.from_string(f"d,{rows}d->{rows}d", weight, out)
    if is_centred and chance() < 0.7:
        return Add(out, maker.array((size,)))
    return out


def residual(maker: Maker) -> Expr:
    """A sum of sums, of layers and other activations."""
    s, d = sizes(maker, 2)
    stream: Expr = maker.array((s, d))
    for _ in range(maker.random.randint(2, 4)):
        written = linear(maker, stream, d) if maker.random.random() < 0.6 else maker.array((s, d))
        stream = Add(stream, written, name=maker.random.choice([None, "n4"]))
    return stream


def block(maker: Maker) -> Expr:
    """The call of a residual block, with batch axes or without."""
    s, d = sizes(maker, 2)
    x = Symbol.new_from_name((s, d), "block.input")
    body: Expr = x
    for _ in range(maker.random.randint(1, 2)):
        body = Add(body, elementwise("tanh", linear(maker, body, d), name="mlp"))
    arg = maker.array((2, s, d) if maker.random.random() < 0.4 else (s, d))
    return Module(ModuleSpec(body, [x]), maker.random.choice([None, "n5"]), **{"block.input": arg})
