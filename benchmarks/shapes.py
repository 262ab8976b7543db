"""Transformers of published shapes as expressions over tensors without content: what `lowering` measures.

Blocks are GPT-2's (LayerNorm, biases, GELU) and Llama's (RMSNorm, rotary positions, grouped queries, SwiGLU). Heads
are one module called with a batch of heads; in grouped attention the axes are (query heads of a group, groups), so that
keys and values, which have the groups only, line up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import scrub as rc


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a transformer, in the field's usual names."""

    family: str
    n_layers: int
    n_heads: int
    n_key_value_heads: int
    d_model: int
    d_head: int
    d_mlp: int
    d_vocab: int
    seq: int


SHAPES = {
    "GPT-2 XL": ModelShape("gpt2", 48, 25, 25, 1600, 64, 6400, 50257, 1024),
    "Llama-3-8B": ModelShape("llama", 32, 32, 8, 4096, 128, 14336, 128256, 1024),
}
Weights = Callable[[str, tuple[int, ...]], rc.Expr]


def _symbols(**shapes: tuple[int, ...]) -> dict[str, rc.Symbol]:
    return {name: rc.Symbol.new_from_name(shape, name) for name, shape in shapes.items()}


def _call(spec: rc.ModuleSpec, name: str, *args: rc.Expr) -> rc.Module:
    return rc.Module(spec, name, **{str(s.name): arg for s, arg in zip(spec.symbols, args, strict=True)})


def norm_spec(shape: ModelShape) -> rc.ModuleSpec:
    """LayerNorm with weight and bias, or RMSNorm with a weight."""
    s = _symbols(x=(shape.seq, shape.d_model), w=(shape.d_model,), b=(shape.d_model,))
    x: rc.Expr = s["x"]
    per_feature = rc.Scalar(1 / shape.d_model, name="recip_d_model")
    if shape.family == "gpt2":
        mean = rc.Einsum((x, (0, 1)), (per_feature, ()), out_axes=(0,), name="mean")
        x = rc.Add(x, rc.Rearrange(mean.scale(-1.0), "s -> s 1"), name="centred")
    var = rc.Einsum((x, (0, 1)), (x, (0, 1)), (per_feature, ()), out_axes=(0,), name="var")
    recip_std = rc.elementwise("rsqrt", rc.Add(var, rc.Scalar(1e-5)), name="recip_std")
    scaled = rc.Einsum((x, (0, 1)), (recip_std, (0,)), (s["w"], (1,)), out_axes=(0, 1), name="scaled")
    if shape.family == "gpt2":
        return rc.ModuleSpec(rc.Add(scaled, s["b"], name="norm.out"), list(s.values()))
    return rc.ModuleSpec(scaled, [s["x"], s["w"]])


def head_spec(shape: ModelShape) -> rc.ModuleSpec:
    """One head: query, key and value inputs, weights and biases (Llama: rotations of queries and keys)."""
    seq, d_model, d_head = shape.seq, shape.d_model, shape.d_head
    s = _symbols(
        **{f"{part}.input": (seq, d_model) for part in "qkv"},
        **{f"w.{part}": (d_model, d_head) for part in "qkv"},
        **{"w.o": (d_head, d_model)},
        **({f"b.{part}": (d_head,) for part in "qkv"} if shape.family == "gpt2" else {}),
    )
    free = _symbols(mask=(seq, seq), cos=(seq, d_head), sin=(seq, d_head), rotate=(d_head, d_head))
    projected: dict[str, rc.Expr] = {}
    for part in "qkv":
        x: rc.Expr = rc.Einsum.from_string("s d, d e -> s e", s[f"{part}.input"], s[f"w.{part}"], name=f"{part}.lin")
        if shape.family == "gpt2":
            x = rc.Add(x, s[f"b.{part}"], name=part)
        elif part != "v":
            turned = rc.Einsum.from_string("s e, e f -> s f", x, free["rotate"], name=f"{part}.turned")
            x = rc.Add(x.mul(free["cos"]), turned.mul(free["sin"]), name=part)
        projected[part] = x
    scale = rc.Scalar(1 / math.sqrt(d_head), name="recip_sqrt_d_head")
    scores = rc.Einsum.from_string("q e, k e,  -> q k", projected["q"], projected["k"], scale, name="scores")
    probs = rc.softmax(rc.Add(scores, free["mask"], name="masked_scores"), name="attn_probs")
    comb_v = rc.Einsum.from_string("q k, k e -> q e", probs, projected["v"], name="comb_v")
    return rc.ModuleSpec(rc.Einsum.from_string("q e, e d -> q d", comb_v, s["w.o"], name="head"), list(s.values()))


def mlp_spec(shape: ModelShape) -> rc.ModuleSpec:
    """Two layers with GELU and biases, or SwiGLU without."""
    d_model, d_mlp = shape.d_model, shape.d_mlp
    s = _symbols(**{"m.input": (shape.seq, d_model), "m.w.in": (d_model, d_mlp), "m.w.out": (d_mlp, d_model)})
    if shape.family == "gpt2":
        s |= _symbols(**{"m.b.in": (d_mlp,), "m.b.out": (d_model,)})
        pre = rc.Einsum.from_string("s d, d m -> s m", s["m.input"], s["m.w.in"], name="m.lin")
        post: rc.Expr = rc.elementwise("gelu_new", rc.Add(pre, s["m.b.in"], name="m.pre"), name="m.post")
        out = rc.Einsum.from_string("s m, m d -> s d", post, s["m.w.out"], name="m.proj")
        return rc.ModuleSpec(rc.Add(out, s["m.b.out"], name="m.out"), list(s.values()))
    s |= _symbols(**{"m.w.gate": (d_model, d_mlp)})
    gate = rc.elementwise("silu", rc.Einsum.from_string("s d, d m -> s m", s["m.input"], s["m.w.gate"], name="m.gate"))
    pre = rc.Einsum.from_string("s d, d m -> s m", s["m.input"], s["m.w.in"], name="m.lin")
    return rc.ModuleSpec(
        rc.Einsum.from_string("s m, s m, m d -> s d", gate, pre, s["m.w.out"], name="m.out"), [*s.values()]
    )


def lower(shape: ModelShape, weight: Weights) -> rc.Expr:
    """The logits [seq, d_vocab] of embedded tokens `t.input`; `weight(name, shape)` gives each weight."""
    norm, head, mlp = norm_spec(shape), head_spec(shape), mlp_spec(shape)
    d_model, groups = shape.d_model, shape.n_key_value_heads
    per_group = shape.n_heads // groups
    batch = {"q": (per_group, groups), "k": (groups,), "v": (groups,), "o": (per_group, groups)}
    has_bias = shape.family == "gpt2"
    norm_weights = [("w", (d_model,)), ("b", (d_model,))][: 1 + has_bias]
    residual: rc.Expr = rc.Symbol.new_from_name((shape.seq, d_model), "t.input")
    for layer in range(shape.n_layers):
        a, m = f"a{layer}", f"m{layer}"
        x = _call(norm, f"{a}.norm", residual, *(weight(f"{a}.norm.{part}", size) for part, size in norm_weights))
        weights = [
            weight(f"{a}.w.{part}", (*axes, *((d_model, shape.d_head) if part != "o" else (shape.d_head, d_model))))
            for part, axes in batch.items()
        ]
        weights += [weight(f"{a}.b.{part}", (*batch[part], shape.d_head)) for part in "qkv"] if has_bias else []
        heads = _call(head, f"{a}.heads", x, x, x, *weights)
        attention: rc.Expr = rc.Einsum.from_string("i g s d -> s d", heads, name=a)
        if has_bias:
            attention = rc.Add(attention, weight(f"{a}.b.o", (d_model,)), name=f"{a}.p_bias")
        residual = rc.Add(residual, attention, name=f"b{layer}.mid")
        x = _call(norm, f"{m}.norm", residual, *(weight(f"{m}.norm.{part}", size) for part, size in norm_weights))
        args = [weight(f"{m}.{str(s.name)[2:]}", s.shape) for s in mlp.symbols[1:]]
        residual = rc.Add(residual, _call(mlp, m, x, *args), name=f"b{layer}")
    final = _call(norm, "final.norm", residual, *(weight(f"final.norm.{part}", size) for part, size in norm_weights))
    unembed = weight("t.w.unembed", (d_model, shape.d_vocab))
    return rc.Einsum.from_string("s d, d v -> s v", final, unembed, name="t.logits")


def split_every_head(model: rc.Expr) -> rc.Expr:
    """Each layer's sum over heads as a sum of calls of their own, named `a{layer}.h{head}`."""

    def split(node: rc.Expr) -> rc.Expr:
        heads = node.children[0].cast(rc.Module)
        per_group, groups = heads.shape[:2]
        calls: list[rc.Expr] = []
        for g in range(groups):
            for i in range(per_group):
                at = {0: (), 1: (g,), 2: (i, g)}
                args = [
                    arg.index(at[arg.ndim - s.ndim]) if arg.ndim > s.ndim else arg for s, arg in heads.bindings.items()
                ]
                calls.append(heads.with_children((heads.body, *args)).rename(f"{node.name}.h{g * per_group + i}"))
        return rc.Add(*calls, name=node.name)

    return model.update(rc.Regex(r"^a\d+$"), split)
