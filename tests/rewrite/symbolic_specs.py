"""Modules of a transformer written once for all sizes, for the tests of symbolic sizes."""

from __future__ import annotations

import torch
import torch.nn.functional as F

import scrub as rc
from scrub.graph import elementwise, size_value, softmax, symbolic_sizes

SEQ, D_MODEL, N_HEADS, D_HEAD, D_MLP = symbolic_sizes("seq d_model n_heads d_head d_mlp")
EPS = 1e-5
MASKED = -1e5


def symbol(name: str, *shape: object) -> rc.Symbol:
    return rc.Symbol.new_from_name(shape, name)  # type: ignore[arg-type]


def column(expr: rc.Expr) -> rc.Expr:
    """[n] -> [n, 1]."""
    return rc.Rearrange(expr, "a -> a 1")


def layer_norm_spec() -> rc.ModuleSpec:
    x, w, b = symbol("ln.input", SEQ, D_MODEL), symbol("ln.w", D_MODEL), symbol("ln.b", D_MODEL)
    centred = x.sub(column(x.mean(axis=1)))
    var = centred.mul(centred).mean(axis=1)
    recip_std = elementwise("rsqrt", var.add(rc.Scalar(EPS)))
    return rc.ModuleSpec(
        rc.Einsum.from_string("s d, s, d -> s d", centred, recip_std, w).add(b, name="ln.out"), [x, w, b]
    )


def attention_spec() -> rc.ModuleSpec:
    """Weights as torch holds them: q, k, v of all heads side by side; `a.head` [n_heads] says how many there are."""
    x, mask = symbol("a.input", SEQ, D_MODEL), symbol("a.mask", SEQ, SEQ)
    per_head = symbol("a.head", N_HEADS)
    w = {part: symbol(f"a.w.{part}", N_HEADS * D_HEAD, D_MODEL) for part in "qkv"}
    w_o = symbol("a.w.o", D_MODEL, N_HEADS * D_HEAD)
    q, k, v = (
        rc.Rearrange(
            rc.Einsum.from_string("s d, e d -> s e", x, w[part]), "s (h e) -> h s e", h=N_HEADS, name=f"a.{part}"
        )
        for part in "qkv"
    )
    scale = elementwise("rsqrt", size_value(D_HEAD))
    scores = rc.Einsum.from_string("h q e, h k e, -> h q k", q, k, scale, name="a.scores")
    probs = softmax(scores.add(mask.add(rc.Scalar(-1.0)).scale(-MASKED)), name="a.probs")
    mixed = rc.Einsum.from_string("h q k, h k e, h -> q h e", probs, v, per_head)
    out = rc.Einsum.from_string("q e, d e -> q d", rc.Rearrange(mixed, "q h e -> q (h e)"), w_o, name="a.out")
    return rc.ModuleSpec(out, [x, mask, per_head, *w.values(), w_o])


def mlp_spec() -> rc.ModuleSpec:
    x, w_in, w_out = symbol("m.input", SEQ, D_MODEL), symbol("m.in", D_MLP, D_MODEL), symbol("m.out", D_MODEL, D_MLP)
    hidden = elementwise("gelu", rc.Einsum.from_string("s d, e d -> s e", x, w_in))
    return rc.ModuleSpec(rc.Einsum.from_string("s e, d e -> s d", hidden, w_out, name="m.result"), [x, w_in, w_out])


def block_spec() -> rc.ModuleSpec:
    """Norm, attention, norm, MLP, with the residual; the modules inside are called with symbolic sizes."""
    x = symbol("b.input", SEQ, D_MODEL)
    attention, mlp = attention_spec(), mlp_spec()
    norms = [(symbol(f"b.ln{i}.w", D_MODEL), symbol(f"b.ln{i}.b", D_MODEL)) for i in (1, 2)]

    def norm(value: rc.Expr, i: int) -> rc.Module:
        return rc.Module(
            layer_norm_spec(), f"ln{i + 1}", **{"ln.input": value, "ln.w": norms[i][0], "ln.b": norms[i][1]}
        )

    weights = {str(s.name): s for s in (*attention.symbols[1:], *mlp.symbols[1:])}
    inner = {name: s for name, s in weights.items() if name.startswith("a.")}
    middle = x.add(rc.Module(attention, "a", **{"a.input": norm(x, 0)}, **inner), name="b.middle")
    outer = {name: s for name, s in weights.items() if name.startswith("m.")}
    out = middle.add(rc.Module(mlp, "m", **{"m.input": norm(middle, 1)}, **outer), name="b.out")
    return rc.ModuleSpec(out, [x, *(s for pair in norms for s in pair), *weights.values()])


def random_weights(d_model: int, n_heads: int, d_head: int, d_mlp: int, seq: int, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    return {
        "b.ln1.w": normal(d_model),
        "b.ln1.b": normal(d_model),
        "b.ln2.w": normal(d_model),
        "b.ln2.b": normal(d_model),
        "a.mask": torch.ones(seq, seq, dtype=torch.float64).tril(),
        "a.head": torch.ones(n_heads, dtype=torch.float64),
        "a.w.q": normal(n_heads * d_head, d_model),
        "a.w.k": normal(n_heads * d_head, d_model),
        "a.w.v": normal(n_heads * d_head, d_model),
        "a.w.o": normal(d_model, n_heads * d_head),
        "m.in": normal(d_mlp, d_model),
        "m.out": normal(d_model, d_mlp),
    }


def torch_attention(x: torch.Tensor, w: dict[str, torch.Tensor]) -> torch.Tensor:
    n_heads = w["a.head"].shape[0]
    q, k, v = (F.linear(x, w[f"a.w.{part}"]).unflatten(-1, (n_heads, -1)).transpose(-2, -3) for part in "qkv")
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return F.linear(mixed.transpose(-2, -3).flatten(-2), w["a.w.o"])


def torch_block(x: torch.Tensor, w: dict[str, torch.Tensor]) -> torch.Tensor:
    d_model = x.shape[-1]
    middle = x + torch_attention(F.layer_norm(x, (d_model,), w["b.ln1.w"], w["b.ln1.b"], EPS), w)
    normed = F.layer_norm(middle, (d_model,), w["b.ln2.w"], w["b.ln2.b"], EPS)
    return middle + F.linear(F.gelu(F.linear(normed, w["m.in"])), w["m.out"])
