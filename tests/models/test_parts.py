"""The parts of a transformer, each option of each, against plain torch written by hand (`by_hand`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import scrub as rc
from scrub.graph import Expr, Symbol
from scrub.models.architecture import (
    Architecture,
    Attention,
    Embedding,
    Experts,
    Layer,
    Mlp,
    Norm,
    Patches,
    Readout,
    RotaryTable,
    Transform,
)
from scrub.models.embedding import embedded_patches, embedded_tokens
from scrub.models.inputs import attention_inputs, mask_of
from scrub.models.lower import embedding_weights, lower_transformer, weight_symbols
from scrub.models.parts.attention import attention_spec, attention_weights
from scrub.models.parts.block import block_spec
from scrub.models.parts.mlp import mlp_spec
from scrub.models.parts.norms import call, norm_spec
from scrub.models.tables import plain_frequencies
from tests.models import by_hand

SEQ, D_MODEL, D_HEAD = 6, 10, 6
PLAIN = Attention(3, 3, D_HEAD, D_HEAD**-0.5)
GROUPED = Attention(6, 2, D_HEAD, D_HEAD**-0.5)
LN, RMS = Norm("ln", 1e-3), Norm("rms", 1e-3)


def table(width: int, *, is_interleaved: bool = False) -> RotaryTable:
    return RotaryTable("rope", width, plain_frequencies(50.0, width), is_interleaved)


ATTENTION = {
    "causal": PLAIN,
    "scores in the millions": replace(PLAIN, scale=1e6),
    "both ways": replace(PLAIN, is_causal=False),
    "window": replace(PLAIN, window=3),
    "window both ways": replace(PLAIN, window=2, is_causal=False),
    "biases": replace(PLAIN, bias="qkvo"),
    "bias of values": replace(PLAIN, bias="v"),
    "softcap": replace(PLAIN, softcap=0.7),
    "alibi": replace(PLAIN, alibi_slopes=(0.5, 0.25, 0.1)),
    "alibi, grouped": replace(GROUPED, alibi_slopes=(0.5, 0.25, 0.1, 0.7, 0.3, 0.2)),
    "rotary": replace(PLAIN, rotary=table(D_HEAD)),
    "rotary, some features": replace(PLAIN, rotary=table(4)),
    "rotary, neighbours": replace(PLAIN, rotary=table(D_HEAD, is_interleaved=True)),
    "rotary, some neighbours": replace(PLAIN, rotary=table(4, is_interleaved=True)),
    "grouped": GROUPED,
    "one group": replace(GROUPED, n_key_value_heads=1),
    "grouped, with all": replace(GROUPED, bias="qkvo", qk_norm=RMS, rotary=table(D_HEAD), softcap=2.0, window=4),
    "norm of each head": replace(PLAIN, qk_norm=RMS),
    "norm with bias": replace(PLAIN, qk_norm=LN),
    "norm over all heads": replace(PLAIN, qk_norm=RMS, qk_norm_over="all"),
    "norm over all heads, grouped": replace(GROUPED, qk_norm=RMS, qk_norm_over="all", rotary=table(D_HEAD)),
    "shortformer": replace(PLAIN, shortformer=True),
}
MLPS = {
    "plain": Mlp(7, "relu"),
    "no biases": Mlp(7, "gelu", bias_in=False, bias_out=False),
    "gated": Mlp(7, "silu", is_gated=True),
    "gated, bias after the gate": Mlp(7, "gelu", is_gated=True, bias_after_gate=True),
    "solu with a norm": Mlp(7, "solu", post_norm=LN),
    "gated, no biases": Mlp(7, "silu", is_gated=True, bias_in=False, bias_out=False),
}
EXPERT = MLPS["gated, no biases"]
EXPERTS = {
    "two of four": Experts(EXPERT, 4, 2),
    "one of four": Experts(EXPERT, 4, 1),
    "all of three": Experts(EXPERT, 3, 3),
    "not renormalized": Experts(EXPERT, 4, 2, is_renormalized=False),
    "not gated": Experts(MLPS["no biases"], 4, 3),
}
_A, _M = replace(PLAIN, bias="qkvo"), MLPS["plain"]
BLOCKS = {
    "pre-norm": Layer(_A, _M, a_norm=LN, m_norm=LN),
    "post-norm": Layer(_A, _M, mid_norm=LN, out_norm=LN),
    "norms on both sides": Layer(PLAIN, EXPERT, a_norm=RMS, a_out_norm=RMS, m_norm=RMS, m_out_norm=RMS),
    "norms after": Layer(GROUPED, EXPERT, a_out_norm=RMS, m_out_norm=RMS),
    "every norm": Layer(_A, _M, a_norm=LN, a_out_norm=RMS, mid_norm=RMS, m_norm=LN, m_out_norm=RMS, out_norm=LN),
    "parallel": Layer(_A, _M, a_norm=LN, m_norm=RMS, is_parallel=True),
    "parallel, one norm": Layer(_A, _M, a_norm=LN, is_parallel=True, shares_norm=True),
    "adds to what is normed": Layer(_A, _M, a_norm=LN, m_norm=LN, adds_to_normed=True),
    "experts": Layer(PLAIN, EXPERTS["two of four"], a_norm=RMS, m_norm=RMS),
    "attention only": Layer(_A, None, a_norm=LN),
    "attention only, post-norm": Layer(_A, None, out_norm=LN),
}


def drawn(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    """A tensor for each name."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, dtype=torch.float64, generator=generator) for name, shape in shapes.items()}


def of(symbols: Iterable[Symbol]) -> dict[str, Tensor]:
    return drawn({str(s.name): tuple(int(size) for size in s.shape) for s in symbols})


def evaluated(spec: rc.ModuleSpec, values: Mapping[str, Tensor], free: Mapping[str, Expr] | None = None) -> Tensor:
    """The module called on these values, with its free symbols bound."""
    module = call(spec, "part", *(rc.Array(values[str(s.name)], str(s.name)) for s in spec.symbols))
    inputs = free or {}
    return rc.bind(module, {s: inputs[str(s.name)] for s in module.free_symbols}).evaluate()


def model_of(*layers: Layer, **parts: object) -> Architecture:
    return Architecture(D_MODEL, 13, SEQ, layers, **parts)  # pyright: ignore[reportArgumentType]


def inputs_of(attention: Attention) -> dict[str, Expr]:
    """Masks and tables that a model binds."""
    architecture = model_of(Layer(replace(attention, shortformer=False)))
    given = {"dtype": torch.float64, "device": torch.device("cpu")}
    inputs = attention_inputs(architecture, {}, SEQ, None, None, **given)  # pyright: ignore[reportArgumentType]
    return inputs | {"a.pos_input": rc.Array(drawn({"p": (SEQ, D_MODEL)}, seed=5)["p"], "p")}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention(name: str) -> None:
    attention = ATTENTION[name]
    values = of(attention_spec(attention, SEQ, D_MODEL).symbols)
    if attention.alibi_slopes is not None:
        values["a.alibi.slopes"] = torch.tensor(attention.alibi_slopes, dtype=torch.float64)
        if len(attention.query_axes) == 2:  # head g * n + i is entry [i, g]
            groups = attention.n_key_value_heads
            values["a.alibi.slopes"] = values["a.alibi.slopes"].view(groups, -1).T
    positions = drawn({"p": (SEQ, D_MODEL)}, seed=5)["p"] if attention.shortformer else None
    wanted = by_hand.attention(attention, values["a.input"], values, pos_input=positions)
    got = evaluated(attention_spec(attention, SEQ, D_MODEL), values, inputs_of(attention))
    tolerance = 1e-6 if attention.rotary else 1e-10  # tables of cosines are float32's
    torch.testing.assert_close(got, wanted, rtol=tolerance, atol=tolerance)


def test_every_option_of_attention_changes_it() -> None:
    """Otherwise its test would not notice that it is ignored."""
    results: dict[str, Tensor] = {}
    for name, attention in ATTENTION.items():
        if attention.n_heads == 3:
            values = of(attention_spec(attention, SEQ, D_MODEL).symbols)
            values |= {"a.alibi.slopes": torch.tensor([0.5, 0.25, 0.1], dtype=torch.float64)}
            values |= of(attention_spec(PLAIN, SEQ, D_MODEL).symbols)
            results[name] = by_hand.attention(attention, values["a.input"], values, pos_input=_positions(attention))
    names = list(results)
    for i, first in enumerate(names):
        for second in names[:i]:
            assert (results[first] - results[second]).abs().max() > 1e-3, (first, second)


def _positions(attention: Attention) -> Tensor | None:
    return drawn({"p": (SEQ, D_MODEL)}, seed=5)["p"] if attention.shortformer else None


@pytest.mark.parametrize("name", ["causal", "both ways", "window", "window both ways"])
def test_masks_with_padding_on_either_side(name: str) -> None:
    attention = ATTENTION[name]
    shown = torch.tensor([[1] * 6, [0, 0, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]])
    got = mask_of(attention, SEQ, rc.Array(shown, "shown"), dtype=torch.float64, device=torch.device("cpu")).evaluate()
    among = by_hand.mask(attention, SEQ)
    assert got.tolist() == [
        [[float(a and s) for a, s in zip(row, keys, strict=True)] for row in among] for keys in shown
    ]


@pytest.mark.parametrize("norm", [LN, RMS, replace(LN, bias=False), replace(LN, weight=False, bias=False)], ids=str)
def test_norms_are_torch_s(norm: Norm) -> None:
    values = of(norm_spec(norm, SEQ, D_MODEL).symbols)
    weight, bias = values.get("ln.w"), values.get("ln.b")
    if norm.kind == "ln":
        wanted = functional.layer_norm(values["ln.input"], (D_MODEL,), weight, bias, norm.eps)
    else:
        wanted = functional.rms_norm(values["ln.input"], (D_MODEL,), weight, norm.eps)
    torch.testing.assert_close(evaluated(norm_spec(norm, SEQ, D_MODEL), values), wanted)


def test_a_norm_that_multiplies_by_one_plus_its_weight() -> None:
    norm = replace(RMS, one_plus_weight=True)
    values = of(norm_spec(norm, SEQ, D_MODEL).symbols)
    wanted = functional.rms_norm(values["ln.input"], (D_MODEL,), 1 + values["ln.w"], norm.eps)
    torch.testing.assert_close(evaluated(norm_spec(norm, SEQ, D_MODEL), values), wanted)


@pytest.mark.parametrize("name", [*MLPS, *EXPERTS])
def test_mlps_and_experts(name: str) -> None:
    mlp: Mlp | Experts = MLPS[name] if name in MLPS else EXPERTS[name]
    values = of(mlp_spec(mlp, SEQ, D_MODEL).symbols)
    wanted = by_hand.mlp(mlp, values["m.input"], values)
    torch.testing.assert_close(evaluated(mlp_spec(mlp, SEQ, D_MODEL), values), wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks(name: str) -> None:
    layer = BLOCKS[name]
    spec = block_spec(layer, SEQ, D_MODEL)
    values = of(spec.symbols)
    wanted = by_hand.block(layer, values["b.input"], values)
    got = evaluated(spec, values, inputs_of(layer.attention))
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)


READOUTS = {
    "at every position": Readout(LN),
    "no norm, a bias": Readout(has_bias=True),
    "softcap": Readout(RMS, softcap=1.5),
    "bias and softcap": Readout(RMS, has_bias=True, softcap=1.5),
    "projected": Readout(LN, d_embed=4),
    "transformed": Readout(transform=Transform("gelu", LN), has_bias=True),
    "the first position": Readout(LN, reads_first=True, has_bias=True),
    "the first position, transformed": Readout(reads_first=True, transform=Transform("tanh"), has_bias=True),
}


@pytest.mark.parametrize("name", READOUTS)
def test_readouts(name: str) -> None:
    """On the residual stream that a block leaves."""
    readout, layer = READOUTS[name], BLOCKS["post-norm"]
    architecture = model_of(layer, readout=readout, d_out=5)
    weights = of(weight_symbols(architecture))
    x = drawn({"x": (SEQ, D_MODEL)}, seed=3)["x"]
    bind_w = lower_transformer(weights, architecture, seq_len=SEQ)["t.bind_w"]
    free = inputs_of(layer.attention) | {"t.input": rc.Array(x, "x")}
    got = rc.bind(bind_w, {s: free[str(s.name)] for s in bind_w.free_symbols}).evaluate()
    in_block = {n.replace("0.", ".", 1): w for n, w in weights.items() if n[:3] in ("a0.", "b0.", "m0.")}
    stream = by_hand.normed(readout.norm, by_hand.block(layer, x, in_block), weights, "final.norm")
    if readout.reads_first:
        stream = stream[0]
    if readout.d_embed is not None:
        stream = stream @ weights["t.w.project_out"]
    if readout.transform is not None:
        stream = by_hand.ACTIVATIONS[readout.transform.act](
            stream @ weights["t.w.transform"] + weights["t.b.transform"]
        )
        stream = by_hand.normed(readout.transform.norm, stream, weights, "t.transform_norm")
    logits = stream @ weights["t.w.unembed"] + (weights["t.b.unembed"] if readout.has_bias else 0)
    wanted = logits if readout.softcap is None else readout.softcap * (logits / readout.softcap).tanh()
    assert got.shape == ((5,) if readout.reads_first else (SEQ, 5))
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("image", [(8, 6), (9, 8)], ids=str)
def test_patches_are_a_convolution(image: tuple[int, int]) -> None:
    """Also where the last rows and columns fill no patch."""
    patches = Patches(image, (4, 3), 2)
    n_positions = 1 + (image[0] // 4) * (image[1] // 3)
    architecture = model_of(Layer(PLAIN), embedding=Embedding("learned", n_positions, patches=patches))
    weights = of(embedding_weights(architecture))
    pixels = drawn({"pixels": (5, 2, *image)}, seed=7)["pixels"]
    filters = weights["t.w.patches"].permute(3, 0, 1, 2)
    convolved = functional.conv2d(pixels, filters, weights["t.b.patches"], stride=(4, 3)).flatten(2).transpose(1, 2)
    token = weights["t.w.class_token"].expand(5, 1, -1)
    wanted = torch.cat([token, convolved], 1) + weights["t.w.pos_embeds"]
    arrays = {name: rc.Array(weight, name) for name, weight in weights.items()}
    got = embedded_patches(architecture, arrays, rc.Array(pixels, "pixels")).evaluate()
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("has_types", [True, False])
def test_embeddings_of_tokens_positions_and_token_types(has_types: bool) -> None:
    options = Embedding("learned", 9, position_offset=2, scale=3.0, n_token_types=2, norm=LN, d_embed=4)
    architecture = model_of(Layer(PLAIN), embedding=options)
    weights = of(embedding_weights(architecture))
    arrays = {name: rc.Array(weight, name) for name, weight in weights.items()}
    tokens, types = torch.tensor([[3, 1, 12], [0, 5, 5]]), torch.tensor([[0, 1, 1], [1, 0, 0]])
    given = rc.Array(types, "types") if has_types else None
    got = embedded_tokens(architecture, arrays, rc.Array(tokens, "tokens"), None, None, given).evaluate()
    wanted = weights["t.w.tok_embeds"][tokens] * 3.0 @ weights["t.w.project_in"] + weights["t.w.pos_embeds"][2:5]
    wanted = wanted + weights["t.w.type_embeds"][types if has_types else torch.zeros_like(types)]
    torch.testing.assert_close(got, by_hand.normed(LN, wanted, weights, "t.embed_norm"), rtol=1e-10, atol=1e-10)


def test_weights_of_grouped_heads_are_not_repeated() -> None:
    shapes = {str(s.name): s.shape for s in attention_weights(GROUPED, D_MODEL)}
    assert shapes["a.w.q"] == (3, 2, D_MODEL, D_HEAD)
    assert shapes["a.w.k"] == shapes["a.w.v"] == (2, D_MODEL, D_HEAD)
