"""Layers of models, and what only looks like them: norms, linear layers, gated ones, losses."""

from __future__ import annotations

import torch

import scrub as rc
from scrub.graph import Expr
from scrub.rewrite.testing.maker import Maker
from tests.compiler.patterns.registry import maybe, pattern, value


def normed(maker: Maker, x: Expr) -> Expr:
    """LayerNorm or RMSNorm over the last axis [.., s, d], or nearly."""
    rows, size = (int(n) for n in x.shape[-2:])
    recip = rc.Scalar(1 / size if maybe(maker, 0.75) else 1 / (size + 1))
    if maybe(maker, 0.6):
        if maybe(maker, 0.85):
            mean: Expr = rc.Einsum((x, (0, 1)), (recip, ()), out_axes=(0,))
            x = rc.Add(x, rc.Rearrange(mean.scale(-1.0 if maybe(maker, 0.75) else 1.0), "s -> s 1"))
        else:
            x = x.sub(rc.Rearrange(x.mean(0), "d -> 1 d"))
    other = x if maybe(maker, 0.85) else x.mul(x)
    var: Expr = rc.Einsum((x, (0, 1)), (other, (0, 1)), (recip, ()), out_axes=(0,))
    eps = rc.Scalar(maker.random.choice([1e-5, 1e-5, 0.1, 1.0]))
    factor = rc.elementwise("rsqrt", var.add(eps))
    if maybe(maker, 0.1):
        factor = rc.elementwise("sigmoid", var)
    kind = maker.random.choice(["weight", "plain", "by row"] if rows == size else ["weight", "weight", "plain"])
    if kind == "weight":
        out: Expr = rc.Einsum((x, (0, 1)), (factor, (0,)), (value(maker, size), (1,)), out_axes=(0, 1))
    elif kind == "by row":  # the factor is that of another axis
        out = rc.Einsum((x, (0, 1)), (factor, (1,)), out_axes=(0, 1))
    else:
        out = rc.Einsum((x, (0, 1)), (factor, (0,)), out_axes=(0, 1))
    return out.add(value(maker, size)) if maybe(maker) else out


@pattern
def norm(maker: Maker) -> Expr:
    size = maker.random.choice([2, 3, 4])
    return normed(maker, value(maker, maker.random.choice([1, 3, size]), size))


@pattern
def linear(maker: Maker) -> Expr:
    """Products with weights, biases, turned weights, several in a row."""
    rows, size = maker.random.choice([1, 2, 3]), maker.random.choice([2, 3])
    x: Expr = value(maker, rows, size)
    for _ in range(maker.random.choice([1, 2, 3])):
        wide = maker.random.choice([2, 3])
        if maybe(maker):
            x = rc.Einsum.from_string("s d, d e -> s e", x, maker.array((size, wide)))
        else:
            x = rc.Einsum.from_string("e d, s d -> s e", maker.array((wide, size)), x)
        if maybe(maker):
            x = x.add(value(maker, wide) if maybe(maker, 0.8) or rows != wide else value(maker, rows, 1))
        elif maybe(maker):
            x = rc.Add(x.scale(maker.random.choice([1.0, 0.5])), maker.array((wide,)).scale(2.0))
        if maybe(maker, 0.3):
            x = x.scale(maker.random.choice([-1.0, 0.5, 2.0]))
        if maybe(maker, 0.3):
            x = rc.elementwise(maker.random.choice(["gelu", "relu", "tanh"]), x)
        size = wide
    return x


@pattern
def gated(maker: Maker) -> Expr:
    """SwiGLU: two products of one input, multiplied, and a third."""
    x = normed(maker, value(maker, 2, 3))
    gate = rc.elementwise("silu", rc.Einsum.from_string("s d, d m -> s m", x, maker.array((3, 4))))
    pre = rc.Einsum.from_string("s d, d m -> s m", x, maker.array((3, 4)))
    return rc.Einsum.from_string("s m, s m, m d -> s d", gate, pre, maker.array((4, 3)))


@pattern
def wide_weights(maker: Maker) -> Expr:
    """Weights with several axes of columns, in memory in another order than they are read; of rows or of one vector."""
    d, h, e, s = maker.random.sample(range(9), 4)
    size = {d: 2, h: 3, e: 2, s: maker.random.choice([1, 2])}
    read, stored = (maker.random.choice([[d, h, e], [d, e, h], [h, e, d], [e, d, h]]) for _ in range(2))
    base = maker.array(tuple(size[letter] for letter in stored))
    moved = tuple((stored.index(letter),) for letter in read)
    weight = rc.Rearrange.from_groups(base, ((0,), (1,), (2,)), moved, {})
    is_vector = maybe(maker)
    x = maker.array((size[d],)) if is_vector else value(maker, size[s], size[d])
    out = maker.random.choice([[h, e], [e, h]])
    product = rc.Einsum((x, [d] if is_vector else [s, d]), (weight, read), out_axes=out if is_vector else [s, *out])
    return product.add(maker.array(tuple(size[letter] for letter in out))) if maybe(maker) else product


@pattern
def loss(maker: Maker) -> Expr:
    """Log-probabilities of targets, or nearly: of other axes, scaled, with a softmax in the place of its logarithm."""
    rows, words = maker.random.choice([1, 2, 3]), maker.random.choice([2, 3])
    logits = value(maker, rows, words)
    if maybe(maker):
        logits = rc.Einsum.from_string("s d, d v -> s v", logits, maker.array((words, 3)))
        logits = logits.scale(2.0) if maybe(maker, 0.4) else logits
        logits = logits.add(maker.array((3,))) if maybe(maker, 0.4) else logits
        words = 3
    scores = rc.log_softmax(logits) if maybe(maker, 0.8) else rc.softmax(logits)
    table = torch.tensor([[maker.random.randrange(words) for _ in range(rows)] for _ in range(2)])
    group = maker.variable(()).probs_and_group
    if int(group.shape[0]) != 2:
        table = torch.cat([table, table[:1]])
    targets = rc.DiscreteVar(rc.Array(table), group) if maybe(maker) else rc.Array(table[0])
    way = maker.random.choice(["gather", "gather", "gather", "every"])
    if way == "gather":
        picked: Expr = rc.GeneralFunction.gen_index(scores, targets, index_dim=0, batch_x=True)
    else:  # all rows at all targets
        picked = rc.GeneralFunction.gen_index(scores, targets, index_dim=1)
    picked = picked.scale(-1.0) if maybe(maker, 0.8) else picked
    return picked.mean() if maybe(maker, 0.3) else picked


@pattern
def loss_of_words(maker: Maker) -> Expr:
    """Log-probabilities of labels under a linear layer of something drawn, with a factor and a bias or without."""
    rows, size, words = maker.random.choice([1, 3]), 2, maker.random.choice([3, 5])
    x = maker.variable((rows, size))
    logits: Expr = rc.Einsum.from_string("s d, d v -> s v", x, maker.array((size, words)))
    if maybe(maker):
        logits = logits.scale(maker.random.choice([2.0, -0.5]))
    if maybe(maker):
        logits = logits.add(maker.array((words,)))
    outcomes = int(x.probs_and_group.shape[0])
    table = torch.tensor([[maker.random.randrange(words) for _ in range(rows)] for _ in range(outcomes)])
    labels = rc.DiscreteVar(rc.Array(table), x.probs_and_group) if maybe(maker) else rc.Array(table[0])
    picked = rc.GeneralFunction.gen_index(rc.log_softmax(logits), labels, index_dim=0, batch_x=True)
    return picked.scale(-1.0) if maybe(maker) else picked.mean()


def variants(maker: Maker) -> list[Expr]:
    """A model of two layers and versions of it in which one head or another is left out, turned or reads other data."""
    size, count = 2, maker.random.choice([2, 3])
    x, other = value(maker, 2, size), value(maker, 2, size)
    weights = [[maker.array((size, size)) for _ in range(count)] for _ in range(2)]
    final = maker.array((size, 3))

    def model(changed: tuple[int, int] | None, kind: str) -> Expr:
        stream: Expr = x
        for layer in range(2):
            own = normed(Maker("one norm"), stream)
            heads: list[Expr] = []
            for i, weight in enumerate(weights[layer]):
                source = other if (layer, i) == changed and kind == "other" else own
                out: Expr = rc.elementwise("tanh", rc.Einsum.from_string("s d, d e -> s e", source, weight))
                if (layer, i) == changed and kind == "turned":
                    out = out.scale(-1.0)
                if (layer, i) == changed and kind == "constant":
                    out = rc.Scalar(0.5, (2, size))
                if (layer, i) != changed or kind != "left out":
                    heads.append(out)
            stream = rc.Add(stream, *heads)
        return rc.Einsum.from_string("s d, d v -> s v", normed(Maker("last norm"), stream), final)

    kinds = ["left out", "turned", "other", "constant"]
    chosen = [(maker.random.randrange(2), maker.random.randrange(count)) for _ in range(maker.random.choice([2, 4]))]
    return [model(None, ""), *(model(at, maker.random.choice(kinds)) for at in chosen)]
