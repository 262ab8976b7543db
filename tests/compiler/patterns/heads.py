"""Attention heads and other siblings, and what only looks like them."""

from __future__ import annotations

import math

import torch

import scrub as rc
from scrub.graph import Expr
from scrub.rewrite.testing.maker import Maker
from tests.compiler.patterns.registry import maybe, pattern, value


def head(maker: Maker, *, num_queries: int, num_keys: int, d_model: int, d_head: int) -> tuple[Expr, list[rc.Symbol]]:
    """The body of an attention head, or nearly, and its parameters."""
    shapes = {
        "q": (num_queries, d_model),
        "k": (num_keys, d_model),
        "v": (num_keys, d_model),
        **{f"w{part}": (d_model, d_head) for part in "qkv"},
        "wo": (d_head, d_model),
    }
    s = {name: rc.Symbol.new_from_name(shape, name) for name, shape in shapes.items()}
    q, k, v = (rc.Einsum.from_string("s d, d e -> s e", s[part], s[f"w{part}"]) for part in "qkv")
    scale = rc.Scalar(maker.random.choice([1 / math.sqrt(d_head), 1.0, -0.5, 2.0]))
    turned = maybe(maker, 0.15)
    scores: Expr = rc.Einsum.from_string("q e, k e, -> k q" if turned else "q e, k e, -> q k", q, k, scale)
    mask = maker.random.choice(["causal", "causal", "none", "random", "after"])
    shape = tuple(int(n) for n in scores.shape)
    if mask == "causal":
        hidden = torch.ones(shape, dtype=torch.float64).triu(1) * maker.random.choice([-1e30, -math.inf, -2.0])
        scores = scores.add(rc.Array(hidden.nan_to_num(nan=0.0, neginf=-math.inf), "mask"))
    elif mask == "random":
        scores = scores.add(value(maker, *shape[maker.random.choice([0, 1]) :]))
    probs: Expr = rc.softmax(scores)
    if mask == "after":  # probabilities that do not sum to 1
        probs = probs.mul(rc.Array(torch.ones(shape, dtype=torch.float64).tril()))
    mixed = rc.Einsum.from_string("k q, k e -> q e" if turned else "q k, k e -> q e", probs, v)
    if maybe(maker, 0.2):
        mixed = rc.Add(mixed, mixed.scale(0.5))
    return rc.Einsum.from_string("q e, e d -> q d", mixed, s["wo"]), list(s.values())


@pattern
def attention(maker: Maker) -> Expr:
    """Heads called together, summed, or one by one; with inputs of their own or shared; keys for groups of queries."""
    d_model, d_head = maker.random.choice([2, 3]), 2
    num_queries = maker.random.choice([1, 2, 3])
    num_keys = num_queries if maybe(maker, 0.7) else 2
    body, symbols = head(maker, num_queries=num_queries, num_keys=num_keys, d_model=d_model, d_head=d_head)
    batch = maker.random.choice([(2,), (3,), (2, 2)])
    args: dict[str, Expr] = {}
    for symbol in symbols:
        name = str(symbol.name)
        own = batch if name in ("wq", "wo") else batch[maker.random.choice([0, len(batch) - 1]) :]
        own = own if name.startswith("w") or maybe(maker, 0.2) else ()
        args[name] = value(maker, *own, *symbol.shape) if not own else maker.array((*own, *symbol.shape))
    spec = rc.ModuleSpec(body, symbols)
    heads = rc.Module(spec, "heads", **args)
    letters = tuple(range(heads.ndim))
    if maybe(maker) and len(batch) == 1:
        calls: list[Expr] = []
        for i in range(batch[0]):
            own_args = {
                name: arg.index([i]) if arg.ndim > symbol.ndim else arg
                for (name, arg), symbol in zip(args.items(), symbols, strict=True)
            }
            if maybe(maker, 0.3):
                part = maker.random.choice("qkv")
                own_args[part] = value(maker, *own_args[part].shape)
            call: Expr = rc.Module(spec, f"h{i}", **own_args)
            calls.append(call.scale(maker.random.choice([-1.0, 0.5])) if maybe(maker, 0.2) else call)
        return rc.Add(*calls, *calls[: maker.random.choice([0, 0, 1])])
    return rc.Einsum((heads, letters), out_axes=letters[-2:]) if maybe(maker, 0.7) else heads


@pattern
def causal_heads(maker: Maker) -> Expr:
    """Heads as they are in models, summed or one by one: what must be recognised."""
    num_heads, seq, d_model, d_head = 2, maker.random.choice([2, 3]), 3, 2
    x = value(maker, seq, d_model)
    w = {part: maker.array((num_heads, d_model, d_head)) for part in "qkv"}
    q, k, v = (rc.Einsum.from_string("s d, h d e -> h s e", x, w[part]) for part in "qkv")
    scores = rc.Einsum.from_string("h q e, h k e, -> h q k", q, k, rc.Scalar(1 / math.sqrt(d_head)))
    mask = torch.full((seq, seq), maker.random.choice([-1e30, -math.inf]), dtype=torch.float64).triu(1)
    probs = rc.softmax(scores.add(rc.Array(mask, "mask")) if maybe(maker, 0.8) else scores)
    mixed = rc.Einsum.from_string("h q k, h k e -> h q e", probs, v)
    out = maker.array((num_heads, d_head, d_model))
    return rc.Einsum.from_string("h q e, h e d -> q d", mixed, out)


@pattern
def siblings(maker: Maker) -> Expr:
    """The same computation on slices of one tensor, on tensors of one shape, and on ones that do not match."""
    size = maker.random.choice([2, 3])
    count = maker.random.choice([2, 3, 4, 5])
    x, whole = value(maker, 2, size), maker.array((count, size, 2))
    results: list[Expr] = []
    for i in range(count):
        weight = whole.index([i if maybe(maker, 0.9) else 0]) if maybe(maker, 0.8) else maker.array((size, 2))
        own = x if maybe(maker, 0.7) else value(maker, 2, size)
        result: Expr = rc.elementwise("tanh", rc.Einsum.from_string("s d, d e -> s e", own, weight))
        if maybe(maker, 0.2):
            result = result.scale(2.0)
        results.append(result)
    if maybe(maker, 0.3):
        maker.random.shuffle(results)
    joined = maker.random.choice(["sum", "later", "concat", "stack", "product", "uneven"])
    if joined == "sum":
        return rc.Add(*results)
    if joined == "later":
        return rc.Add(*results[1:], results[0].mul(results[1]))
    if joined == "product":
        return rc.Einsum(*((result, (0, 1)) for result in results), out_axes=maker.random.choice([(0,), (1, 0)]))
    if joined == "stack":
        weights = maker.array((count, 2, 3))
        axis = maker.random.choice([0, 1])
        stacked = rc.Concat.stack(*results, axis=axis)
        text = "h s e, h e d -> s d" if axis == 0 else "s h e, h e d -> s d"
        return rc.Einsum.from_string(text, stacked, weights)
    cut = results if joined == "concat" else [results[0].index(rc.I[:1]), *results[1:]]
    together = rc.Concat(*cut, axis=0)
    return together.index([slice(1, int(together.shape[0]))]) if maybe(maker) else together


@pattern
def all_heads_but_one(maker: Maker) -> Expr:
    """The sum of a run of siblings, while another of them is used on its own."""
    count, left_out = maker.random.choice([(4, 0), (4, 0), (5, 1), (5, 4)])
    x, whole = value(maker, 2, 3), maker.array((count, 3, 2))
    heads = [
        rc.elementwise("tanh", rc.Einsum.from_string("s d, d e -> s e", x, whole.index([i]))) for i in range(count)
    ]
    rest = [head for i, head in enumerate(heads) if i != left_out]
    terms = [rc.softmax(heads[left_out]), *rest]
    return rc.Add(*terms) if maybe(maker, 0.8) else rc.Add(*reversed(terms))
