"""What passes look for, and what only looks like it: random expressions of the shapes that models are made of.

Each is built from a maker's random parts with something turned at random: a scale, an axis, an operand order, a mask, a
part left out. A pass that recognises too much computes the wrong thing on some of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

import scrub as rc
from scrub.graph import Expr
from scrub.rewrite.testing.maker import Maker

Pattern = Callable[[Maker], Expr]
PATTERNS: dict[str, Pattern] = {}


def pattern(function: Pattern) -> Pattern:
    PATTERNS[function.__name__] = function
    return function


def maybe(maker: Maker, chance: float = 0.5) -> bool:
    return maker.random.random() < chance


def value(maker: Maker, *shape: int) -> Expr:
    """Something of that shape: a variable, an array, or computed from them."""
    leaf = maker.variable(shape) if maybe(maker, 0.6) else maker.array(shape)
    return leaf if maybe(maker, 0.8) else rc.Add(leaf, maker.expr(shape, 1))


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
def loss(maker: Maker) -> Expr:
    """Log-probabilities of targets, or nearly: of other axes, scaled, with a softmax in the place of its logarithm."""
    rows, words = maker.random.choice([1, 2, 3]), maker.random.choice([2, 3])
    logits = value(maker, rows, words)
    if maybe(maker):
        logits = rc.Einsum.from_string("s d, d v -> s v", logits, maker.array((words, 3)))
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
def gated(maker: Maker) -> Expr:
    """SwiGLU: two products of one input, multiplied, and a third."""
    x = normed(maker, value(maker, 2, 3))
    gate = rc.elementwise("silu", rc.Einsum.from_string("s d, d m -> s m", x, maker.array((3, 4))))
    pre = rc.Einsum.from_string("s d, d m -> s m", x, maker.array((3, 4)))
    return rc.Einsum.from_string("s m, s m, m d -> s d", gate, pre, maker.array((4, 3)))


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
def matrices(maker: Maker) -> Expr:
    """Products of two tensors over any number of axes, which come in any order in both and in the result."""
    counts = [maker.random.choice(choice) for choice in ([0, 0, 1], [0, 1, 1, 2], [1, 1, 2], [0, 1, 1, 2])]
    letters = iter(range(10))
    batch, rows, summed, columns = ([next(letters) for _ in range(count)] for count in counts)
    size = {letter: maker.random.choice([2, 3]) for letter in range(10)}
    left, right, out = [*batch, *rows, *summed], [*batch, *summed, *columns], [*batch, *rows, *columns]
    if maybe(maker, 0.7):
        for axes in (left, right, out):
            maker.random.shuffle(axes)
    x = value(maker, *(size[letter] for letter in left))
    weight = maker.array(tuple(size[letter] for letter in right))
    if maybe(maker, 0.3):
        stored = maker.random.sample(right, len(right))
        moved = tuple((stored.index(letter),) for letter in right)
        base = maker.array(tuple(size[letter] for letter in stored))
        left_groups = tuple((i,) for i in range(len(stored)))
        weight = rc.Rearrange.from_groups(base, left_groups, moved, {})
    return rc.Einsum((x, left), (weight, right), out_axes=out)


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
def all_heads_but_one(maker: Maker) -> Expr:
    """The sum of a run of siblings, while another of them is used on its own."""
    count, left_out = maker.random.choice([(4, 0), (4, 3), (5, 1), (5, 4)])
    x, whole = value(maker, 2, 3), maker.array((count, 3, 2))
    heads = [
        rc.elementwise("tanh", rc.Einsum.from_string("s d, d e -> s e", x, whole.index([i]))) for i in range(count)
    ]
    rest = [head for i, head in enumerate(heads) if i != left_out]
    return rc.Add(*rest, rc.softmax(heads[left_out]))


@pattern
def regroupings(maker: Maker) -> Expr:
    """Axes split, merged and turned, twice."""
    x = value(maker, 4, 6)
    first = maker.random.choice(
        ["(a b) (c d) -> (c a) (b d)", "(a b) (c d) -> (d c) (b a)", "(a b) (c d) -> (a c d) b"]
    )
    once = rc.Rearrange(x, first, a=2, c=maker.random.choice([2, 3]))
    rows, columns = (int(n) for n in once.shape)
    text = maker.random.choice(["(e f) g -> (f e) g", "(e f) g -> e (g f)", "(e f) g -> g (e f)", "(e f) g -> (f g) e"])
    twice = rc.Rearrange(once, text, e=2 if rows % 2 == 0 else 3)
    return rc.Einsum((twice, (0, 1)), (maker.array((int(twice.shape[1]), 2)), (1, 2)), out_axes=(0, 2)).add(
        rc.Scalar(float(columns))
    )


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
