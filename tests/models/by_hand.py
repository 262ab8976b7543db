"""A transformer and its parts in plain torch, one head, one token, one expert at a time, after their formulas.

Weights are in a dictionary under the names of the expression, with heads or experts as first axes: `a3.w.q` for the
whole transformer, `a.w.q` for a part.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from scrub.models.architecture import Architecture, Attention, Experts, Layer, Mlp, Norm, Readout, RotaryTable

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


def mask(attention: Attention, seq: int, shown: Sequence[int] | None = None) -> Tensor:
    """[query, key] booleans; `shown` is 0 for keys that are padding."""
    rows = [
        [
            (key <= query or not attention.is_causal)
            and (attention.window is None or abs(query - key) < attention.window)
            and (shown is None or shown[key] == 1)
            for key in range(seq)
        ]
        for query in range(seq)
    ]
    return torch.tensor(rows)


def counted(shown: Sequence[int]) -> list[int]:
    """The number of tokens before each; at padding, that number whatever it is, but 0 at least."""
    return [max(0, sum(shown[: i + 1]) - 1) for i in range(len(shown))]


def rotated(x: Tensor, rotary: RotaryTable | None, positions: Sequence[int] | None = None) -> Tensor:
    """x [seq, d_head]: pairs of features are complex numbers, multiplied by exp(i position angle)."""
    if rotary is None:
        return x
    positions = range(len(x)) if positions is None else positions
    angles, factor = rotary.frequencies(len(x))
    half = rotary.width // 2
    pairs = [(2 * j, 2 * j + 1) if rotary.is_interleaved else (j, j + half) for j in range(half)]
    out = x.clone()
    for row, position in enumerate(positions):
        turn = torch.polar(torch.full_like(angles, factor), position * angles).to(torch.complex128)
        for number, (first, second) in enumerate(pairs):
            turned = torch.complex(x[row, first], x[row, second]) * turn[number]
            out[row, first], out[row, second] = turned.real, turned.imag
    return out


def attention(
    a: Attention,
    x: Tensor,
    weights: Weights,
    *,
    pos_input: Tensor | None = None,
    shown: Sequence[int] | None = None,
    positions: Sequence[int] | None = None,
) -> Tensor:
    """x [seq, d_model] -> [seq, d_model], head after head, without the bias of what it writes.

    `pos_input` is added for queries and keys (shortformer). Queries that see no key get 0.
    """
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
        q, k = (rotated(part[name], a.rotary, positions) for name in "qk")
        scores = q @ k.T * a.scale
        if a.softcap is not None:
            scores = a.softcap * (scores / a.softcap).tanh()
        if a.alibi_slopes is not None:
            of_keys = torch.tensor(range(seq) if shown is None else counted(shown), dtype=x.dtype)
            scores = scores + a.alibi_slopes[head] * of_keys
        seen = mask(a, seq, shown)
        probs = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        probs = probs.masked_fill(~seen.any(-1, keepdim=True), 0.0)
        total = total + probs @ part["v"] @ weights["a.w.o"][query_head]
    return total


def _qk_normed(a: Attention, x: Tensor, part: str, read: Tensor, weights: Weights, at: tuple[int, ...]) -> Tensor:
    norm = a.qk_norm
    assert norm is not None
    if a.qk_norm_over == "head":
        return normed(norm, x, weights, f"a.{part}.norm")
    w = weights[f"a.w.{part}"]
    bias = weights[f"a.b.{part}"] if part in a.bias else w.new_zeros(*w.shape[:-2], a.d_head)
    heads = zip(w.reshape(-1, *w.shape[-2:]), bias.reshape(-1, a.d_head), strict=True)
    all_heads = torch.cat([read @ head + b for head, b in heads], dim=-1)
    scale = all_heads.pow(2).mean(-1, keepdim=True).add(norm.eps).sqrt()
    out = x / scale
    return out * (weights[f"a.{part}.norm.w"][at] + norm.one_plus_weight) if norm.weight else out


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
    of_experts = {name: w for name, w in weights.items() if re.match(r"m\.(w\.(gate|in|out)|post_norm\.)", name)}
    experts = [{name: w[e] for name, w in of_experts.items()} for e in range(m.n_experts)]
    rows: list[Tensor] = []
    for token in x:
        probs = (token @ weights["m.w.router"]).softmax(-1)
        ranked = sorted(range(m.n_experts), key=lambda e, probs=probs: -float(probs[e]))[: m.n_active]
        total = sum(float(probs[e]) for e in ranked) if m.is_renormalized else 1.0
        outputs = [probs[e] / total * mlp(m.expert, token, experts[e]) for e in ranked]
        rows.append(torch.stack(outputs).sum(0))
    return torch.stack(rows)


def block(
    layer: Layer,
    x: Tensor,
    weights: Weights,
    *,
    pos_input: Tensor | None = None,
    shown: Sequence[int] | None = None,
    positions: Sequence[int] | None = None,
) -> Tensor:
    """x [seq, d_model] -> [seq, d_model]; the formula of `Layer`."""
    read = normed(layer.a_norm, x, weights, "a.norm")
    pos_input = pos_input if layer.attention.shortformer else None
    written = attention(layer.attention, read, weights, pos_input=pos_input, shown=shown, positions=positions)
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


def readout(r: Readout, x: Tensor, weights: Weights) -> Tensor:
    """The last residual stream [seq, d_model] -> logits [seq, n_logits], or [n_logits] of the first position."""
    x = normed(r.norm, x, weights, "final.norm")
    if r.reads_first:
        x = x[0]
    if r.d_embed is not None:
        x = x @ weights["t.w.project_out"]
    if r.transform is not None:
        x = ACTIVATIONS[r.transform.act](x @ weights["t.w.transform"] + weights["t.b.transform"])
        x = normed(r.transform.norm, x, weights, "t.transform_norm")
    logits = x @ weights["t.w.unembed"]
    if r.has_bias:
        logits = logits + weights["t.b.unembed"]
    return logits if r.softcap is None else r.softcap * (logits / r.softcap).tanh()


def transformer(
    architecture: Architecture,
    weights: Weights,
    tokens: Sequence[int],
    *,
    shown: Sequence[int] | None = None,
    positions: Sequence[int] | None = None,
    types: Sequence[int] | None = None,
) -> Tensor:
    """Logits [seq, n_logits] of one sequence, or [n_logits] of a classifier. At padding, they mean nothing."""
    e, seq = architecture.embedding, len(tokens)
    x = weights["t.w.tok_embeds"][list(tokens)] * e.scale
    if e.d_embed is not None:
        x = x @ weights["t.w.project_in"]
    rows: Sequence[int] = counted(shown) if e.positions_from_mask and shown is not None else range(seq)
    rows = rows if positions is None else positions
    pos_input = None
    if e.positions != "none":
        pos_input = torch.stack([weights["t.w.pos_embeds"][e.position_offset + row] for row in rows])
    if e.positions == "learned" and pos_input is not None:
        x = x + pos_input
    if e.n_token_types:
        x = x + weights["t.w.type_embeds"][[0] * seq if types is None else list(types)]
    x = normed(e.norm, x, weights, "t.embed_norm")
    for number, layer in enumerate(architecture.layers):
        of_layer = {f"{name[0]}.{name.split('.', 1)[1]}": w for name, w in weights.items() if _is_of(number, name)}
        x = block(layer, x, of_layer, pos_input=pos_input, shown=shown, positions=positions)
    return readout(architecture.readout, x, weights)


def _is_of(number: int, name: str) -> bool:
    return name.split(".")[0] in {f"{part}{number}" for part in "abm"}
