"""The modules of a transformer as expressions: unbatched, one sequence; batch axes come in by the batching rule.

Names: `t` the whole, `b` a block, `a` attention, `ln` a norm. Parameters of a module are symbols named after what they
take, and hypotheses are written against them: `a.q.input`, `a.k.input`, `a.v.input`.
"""

from __future__ import annotations

import math

from scrub.graph import (
    Add,
    Einsum,
    Expr,
    GeneralFunction,
    Module,
    ModuleSpec,
    Scalar,
    Symbol,
    elementwise,
    log_softmax,
    softmax,
)
from scrub.graph.rearrange import insert_axes
from scrub.models.config import TransformerConfig

MASKED_SCORE = -3e4
"""Added to attention scores that are masked: far below any score, and finite in every dtype, half precision too."""


def layer_norm_spec(seq: int, d_model: int, eps: float) -> ModuleSpec:
    """LayerNorm of `ln.input` [seq, d_model] with weight `ln.w` and bias `ln.b`."""
    x = Symbol.new_from_name((seq, d_model), "ln.input")
    w, b = (Symbol.new_from_name((d_model,), f"ln.{part}") for part in "wb")
    per_feature = Scalar(1.0 / d_model, name="ln.recip_d_model")
    mean = Einsum((x, (0, 1)), (per_feature, ()), out_axes=(0,), name="ln.mean")
    centred = Add(x, insert_axes(mean.scale(-1.0), at=1, count=1), name="ln.centred")
    var = Einsum((centred, (0, 1)), (centred, (0, 1)), (per_feature, ()), out_axes=(0,), name="ln.var")
    recip_std = elementwise("rsqrt", Add(var, Scalar(eps, name="ln.eps")), name="ln.recip_std")
    scaled = Einsum((centred, (0, 1)), (recip_std, (0,)), (w, (1,)), out_axes=(0, 1), name="ln.scaled")
    return ModuleSpec(Add(scaled, b, name="ln.out"), [x, w, b])


def attention_head_spec(seq: int, d_model: int, d_head: int) -> ModuleSpec:
    """One attention head of separate query, key and value inputs [seq, d_model]; `a.mask` [q, k] stays free."""
    q_in, k_in, v_in = (Symbol.new_from_name((seq, d_model), f"a.{part}.input") for part in "qkv")
    w_q, w_k, w_v = (Symbol.new_from_name((d_model, d_head), f"a.w.{part}_h") for part in "qkv")
    w_o = Symbol.new_from_name((d_head, d_model), "a.w.o_h")
    q, k, v = (
        Einsum.from_string("s d, d e -> s e", x, w, name=f"a.{part}")
        for x, w, part in ((q_in, w_q, "q"), (k_in, w_k, "k"), (v_in, w_v, "v"))
    )
    scale = Scalar(1.0 / math.sqrt(d_head), name="a.recip_sqrt_d_head")
    scores = Einsum.from_string("q e, k e,  -> q k", q, k, scale, name="a.scores")
    mask_bias = Einsum.from_string(
        "q k,  -> q k", Add(mask_symbol(seq), Scalar(-1.0)), Scalar(-MASKED_SCORE), name="a.mask_bias"
    )
    probs = softmax(Add(scores, mask_bias, name="a.masked_scores"), name="a.attn_probs")
    comb_v = Einsum.from_string("q k, k e -> q e", probs, v, name="a.comb_v")
    out = Einsum.from_string("q e, e d -> q d", comb_v, w_o, name="a.head")
    return ModuleSpec(out, [q_in, k_in, v_in, w_q, w_k, w_v, w_o])


def attention_spec(seq: int, n_heads: int, d_model: int, d_head: int) -> ModuleSpec:
    """All heads of a layer on `a.input`, summed; positions go to the query and key inputs only (shortformer)."""
    x = Symbol.new_from_name((seq, d_model), "a.input")
    qk_input = Add(x, positions_symbol(seq, d_model), name="a.qk_input")
    shapes = dict.fromkeys("qkv", (n_heads, d_model, d_head)) | {"o": (n_heads, d_head, d_model)}
    weights = {part: Symbol.new_from_name(shape, f"a.w.{part}") for part, shape in shapes.items()}
    heads = Module(
        attention_head_spec(seq, d_model, d_head),
        "a.head.on_inp",
        **{"a.q.input": qk_input, "a.k.input": qk_input, "a.v.input": x},
        **{f"a.w.{part}_h": weight for part, weight in weights.items()},
    )
    return ModuleSpec(Einsum.from_string("h s d -> s d", heads, name="a.sum"), [x, *weights.values()])


def block_spec(seq: int, config: TransformerConfig) -> ModuleSpec:
    """`b.input` plus attention on its norm."""
    d_model, n_heads, d_head = config.d_model, config.n_heads, config.d_head
    x = Symbol.new_from_name((seq, d_model), "b.input")
    norm_weights = {part: Symbol.new_from_name((d_model,), f"a.norm.{part}") for part in "wb"}
    norm = Module(
        layer_norm_spec(seq, d_model, config.norm_eps),
        "a.norm",
        **{"ln.input": x, "ln.w": norm_weights["w"], "ln.b": norm_weights["b"]},
    )
    attention = attention_spec(seq, n_heads, d_model, d_head)
    weights = {symbol.name or "": symbol for symbol in attention.symbols[1:]}
    call = Module(attention, "a", **{"a.input": norm}, **weights)
    return ModuleSpec(Add(x, call, name="b.out"), [x, *norm_weights.values(), *weights.values()])


def mask_symbol(seq: int) -> Symbol:
    """`a.mask` [query, key]: 1 where a query may attend to a key, 0 elsewhere."""
    return Symbol.new_from_name((seq, seq), "a.mask")


def positions_symbol(seq: int, d_model: int) -> Symbol:
    """`a.pos_input` [seq, d_model]: position embeddings."""
    return Symbol.new_from_name((seq, d_model), "a.pos_input")


def input_symbol(seq: int, d_model: int) -> Symbol:
    """`t.input` [seq, d_model]: embedded tokens."""
    return Symbol.new_from_name((seq, d_model), "t.input")


def negative_log_likelihood(logits: Expr, labels: Expr, name: str | None = None) -> Module:
    """Negative log-likelihood of labels, in nats, at each position.

    Args:
        logits: [..., d_vocab].
        labels: [...], int64.

    >>> import torch
    >>> from scrub.graph import Array
    >>> negative_log_likelihood(Array(torch.zeros(3, 2)), Array(torch.tensor([0, 1, 1]))).evaluate()
    tensor([0.6931, 0.6931, 0.6931])
    """
    x = Symbol.new_from_name((logits.shape[-1],), "ll.input")
    label = Symbol.new_from_name((), "ll.label")
    log_probs = log_softmax(x, name="ll.log_probs")
    picked = GeneralFunction.gen_index(log_probs, label, index_dim=0, batch_x=True, name="ll.picked")
    spec = ModuleSpec(picked.scale(-1.0, name="nll"), [x, label])
    return Module(spec, name, **{"ll.input": logits, "ll.label": labels})
