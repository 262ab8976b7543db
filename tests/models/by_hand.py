"""The parts of a transformer in plain torch, one head, one token, one expert at a time, after their formulas.

Weights are in a dictionary under the names of the expression, `a.w.q`, with heads or experts as first axes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from scrub.models.architecture import Attention, Experts, Layer, Mlp, Norm, RotaryTable

Weights = Mapping[str, Tensor]

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "silu": functional.silu,
    "gelu": functional.gelu,
    "tanh": torch.tanh,
    "solu": lambda x: x * x.softmax(-1),
}


def normed(norm: Norm | None, x: Tensor, weights: Weights, name: str) -> Tensor:
    """x [..., size]: minus its mean if it is a LayerNorm, divided by the root of the mean square of that."""
    if norm is None:
        return x
    centred = x - x.mean(-1, keepdim=True) if norm.kind == "ln" else x
    out = centred / (centred.pow(2).mean(-1, keepdim=True) + norm.eps).sqrt()
    if norm.weight:
        out = out * (weights[f"{name}.w"] + norm.one_plus_weight)
    return out + weights[f"{name}.b"] if norm.bias and norm.kind == "ln" else out


def mask(attention: Attention, seq: int) -> Tensor:
    """[query, key] booleans."""
    rows = [
        [
            (key <= query or not attention.is_causal)
            and (attention.window is None or abs(query - key) < attention.window)
            for key in range(seq)
        ]
        for query in range(seq)
    ]
    return torch.tensor(rows)


def rotated(x: Tensor, rotary: RotaryTable | None) -> Tensor:
    """x [seq, d_head]: pairs of features are complex numbers, multiplied by exp(i position angle)."""
    if rotary is None:
        return x
    angles, factor = rotary.frequencies(len(x))
    half = rotary.width // 2
    pairs = [(2 * j, 2 * j + 1) if rotary.is_interleaved else (j, j + half) for j in range(half)]
    out = x.clone()
    for position in range(len(x)):
        turn = torch.polar(torch.full_like(angles, factor), position * angles).to(torch.complex128)
        for number, (first, second) in enumerate(pairs):
            turned = torch.complex(x[position, first], x[position, second]) * turn[number]
            out[position, first], out[position, second] = turned.real, turned.imag
    return out


def attention(a: Attention, x: Tensor, weights: Weights, *, pos_input: Tensor | None = None) -> Tensor:
    """x [seq, d_model] -> [seq, d_model], head after head. `pos_input` is added for queries and keys (shortformer)."""
    seq, per_group = len(x), a.n_heads // a.n_key_value_heads
    of_query_and_key = x if pos_input is None else x + pos_input
    total = torch.zeros_like(x)
    for head in range(a.n_heads):
        group = head // per_group
        query_head = (head,) if per_group == 1 else (head % per_group, group)
        part: dict[str, Tensor] = {}
        for name, read, at in (
            ("q", of_query_and_key, query_head),
            ("k", of_query_and_key, (group,)),
            ("v", x, (group,)),
        ):
            part[name] = read @ weights[f"a.w.{name}"][at]
            if name in a.bias:
                part[name] = part[name] + weights[f"a.b.{name}"][at]
        for name in "qk" if a.qk_norm else "":
            part[name] = _qk_normed(
                a, part[name], name, of_query_and_key, weights, query_head if name == "q" else (group,)
            )
        scores = rotated(part["q"], a.rotary) @ rotated(part["k"], a.rotary).T * a.scale
        if a.softcap is not None:
            scores = a.softcap * (scores / a.softcap).tanh()
        if a.alibi_slopes is not None:
            scores = scores + a.alibi_slopes[head] * torch.arange(seq, dtype=x.dtype)
        probs = scores.masked_fill(~mask(a, seq), -torch.inf).softmax(-1)
        total = total + probs @ part["v"] @ weights["a.w.o"][query_head]
    return total


def _qk_normed(a: Attention, x: Tensor, part: str, read: Tensor, weights: Weights, at: tuple[int, ...]) -> Tensor:
    norm = a.qk_norm
    assert norm is not None
    if a.qk_norm_over == "head":
        return normed(norm, x, weights, f"a.{part}.norm")
    w = weights[f"a.w.{part}"]
    all_heads = torch.cat([read @ head for head in w.reshape(-1, *w.shape[-2:])], dim=-1)
    scale = all_heads.pow(2).mean(-1, keepdim=True).add(norm.eps).sqrt()
    return x / scale * weights[f"a.{part}.norm.w"][at]


def mlp(m: Mlp | Experts, x: Tensor, weights: Weights) -> Tensor:
    """x [seq, d_model] -> [seq, d_model], without the last bias."""
    if isinstance(m, Mlp):
        bias_in, bias_gate = (weights.get(name, torch.zeros(())) for name in ("m.b.in", "m.b.gate"))
        act, pre = ACTIVATIONS[m.act], x @ weights["m.w.in"]
        if not m.is_gated:
            post = act(pre + bias_in)
        elif m.bias_after_gate:
            post = act(x @ weights["m.w.gate"]) * pre + bias_in
        else:
            post = act(x @ weights["m.w.gate"] + bias_gate) * (pre + bias_in)
        return normed(m.post_norm, post, weights, "m.post_norm") @ weights["m.w.out"]
    of_experts = {name: w for name, w in weights.items() if name in ("m.w.gate", "m.w.in", "m.w.out")}
    experts = [{name: w[e] for name, w in of_experts.items()} for e in range(m.n_experts)]
    rows: list[Tensor] = []
    for token in x:
        probs = (token @ weights["m.w.router"]).softmax(-1)
        ranked = sorted(range(m.n_experts), key=lambda e, probs=probs: -float(probs[e]))[: m.n_active]
        total = sum(float(probs[e]) for e in ranked) if m.is_renormalized else 1.0
        outputs = [probs[e] / total * mlp(m.expert, token, experts[e]) for e in ranked]
        rows.append(torch.stack(outputs).sum(0))
    return torch.stack(rows)


def block(layer: Layer, x: Tensor, weights: Weights) -> Tensor:
    """x [seq, d_model] -> [seq, d_model]; the formula of `Layer`."""
    read = normed(layer.a_norm, x, weights, "a.norm")
    written = attention(layer.attention, read, weights)
    if "o" in layer.attention.bias:
        written = written + weights["a.b.o"]
    written = normed(layer.a_out_norm, written, weights, "a.out_norm")
    mid = (read if layer.adds_to_normed else x) + written
    if layer.mlp is None:
        return normed(layer.out_norm, mid, weights, "b.out_norm")
    if not layer.is_parallel:
        mid = normed(layer.mid_norm, mid, weights, "b.mid_norm")
    if not layer.shares_norm:
        read = normed(layer.m_norm, x if layer.is_parallel else mid, weights, "m.norm")
    added = mlp(layer.mlp, read, weights)
    if (layer.mlp if isinstance(layer.mlp, Mlp) else layer.mlp.expert).bias_out:
        added = added + weights["m.b.out"]
    added = normed(layer.m_out_norm, added, weights, "m.out_norm")
    return normed(layer.out_norm, (read if layer.adds_to_normed else mid) + added, weights, "b.out_norm")
