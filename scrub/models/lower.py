"""Lowering: an architecture and its weights become an expression with the weights bound once, at the top."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from scrub.graph import (
    Add,
    Array,
    CheckpointError,
    Einsum,
    Expr,
    I,
    Module,
    ModuleSpec,
    Size,
    Symbol,
    elementwise,
    symbolic_sizes,
)
from scrub.models.architecture import Architecture, Layer
from scrub.models.parts.attention import masked_score
from scrub.models.parts.block import block_spec, block_weights
from scrub.models.parts.norms import norm_weights, normed

Weight = torch.Tensor | Expr


def weight_symbols(architecture: Architecture) -> list[Symbol]:
    """Symbols of all weights under the names that the expression gives them, `a0.w.q` and so on, with their shapes."""
    a = architecture
    symbols = embedding_weights(a)
    own: dict[Layer, list[Symbol]] = {}
    for number, layer in enumerate(a.layers):
        if layer not in own:
            own[layer] = block_weights(layer, a.d_model)
        symbols += [_in_layer(symbol, number) for symbol in own[layer]]
    return symbols + readout_weights(a)


def embedding_weights(architecture: Architecture) -> list[Symbol]:
    """Weights of what comes before the first block."""
    a, e = architecture, architecture.embedding
    shapes: dict[str, tuple[int, ...]] = {}
    if e.patches is None:
        shapes["t.w.tok_embeds"] = (a.d_vocab, e.d_embed or a.d_model)
    else:
        shapes["t.w.patches"] = (e.patches.n_channels, *e.patches.patch, a.d_model)
        shapes["t.b.patches"] = (a.d_model,)
        shapes["t.w.class_token"] = (a.d_model,)
    if e.positions != "none":
        shapes["t.w.pos_embeds"] = (e.n_positions, a.d_model)
    if e.n_token_types:
        shapes["t.w.type_embeds"] = (e.n_token_types, a.d_model)
    symbols = [Symbol.new_from_name(shape, name) for name, shape in shapes.items()]
    symbols += norm_weights(e.norm, "t.embed_norm", a.d_model)
    if e.d_embed is not None:
        symbols.append(Symbol.new_from_name((e.d_embed, a.d_model), "t.w.project_in"))
    return symbols


def readout_weights(architecture: Architecture) -> list[Symbol]:
    """Weights of what comes after the last block."""
    a, r = architecture, architecture.readout
    d_read = r.d_embed or a.d_model
    symbols = norm_weights(r.norm, "final.norm", a.d_model)
    shapes: dict[str, tuple[int, ...]] = {}
    if r.d_embed is not None:
        shapes["t.w.project_out"] = (a.d_model, r.d_embed)
    if r.transform is not None:
        shapes |= {"t.w.transform": (d_read, d_read), "t.b.transform": (d_read,)}
        symbols += norm_weights(r.transform.norm, "t.transform_norm", d_read)
    shapes["t.w.unembed"] = (d_read, a.n_logits)
    if r.has_bias:
        shapes["t.b.unembed"] = (a.n_logits,)
    return symbols + [Symbol.new_from_name(shape, name) for name, shape in shapes.items()]


def lower_transformer(
    weights: Mapping[str, Weight], architecture: Architecture, *, seq_len: Size | None = None
) -> dict[str, Expr]:
    """A transformer as expressions. Weights are shared, not copied.

    Args:
        weights: under the names of `weight_symbols`.
        architecture: sizes and options.
        seq_len: length of the sequences; a size variable `seq` if None, for sequences of any length.

    Returns:
        "t.bind_w" [seq_len, n_logits]: the logits, with free symbols `t.input` [seq_len, d_model], masks `a.mask`
        [query, key], and tables of positions; and the arrays that embed tokens, "t.w.tok_embeds" and so on.

    Raises:
        CheckpointError: a weight is missing, unknown or of the wrong shape, or the sequences are too long.

    >>> from scrub.models import load_shipped
    >>> shipped = load_shipped("attn_only_2l")
    >>> lower_transformer(shipped.weights, shipped.architecture, seq_len=8)["t.bind_w"]
    't.bind_w' [8, 2048] Module
    """
    check_weights(weights, architecture)
    a = architecture
    if seq_len is None:
        (seq_len,) = symbolic_sizes("seq")
    if a.n_ctx is not None and isinstance(seq_len, int) and not 1 <= seq_len <= a.n_ctx:
        raise CheckpointError(
            f"sequences of {seq_len} tokens do not fit the model's {a.n_ctx} positions",
            expected=f"1 to {a.n_ctx}",
            found=seq_len,
        )
    bindings: dict[Symbol, Expr] = {}

    def bound(symbol: Symbol) -> Symbol:
        bindings[symbol] = as_expr(weights[str(symbol.name)], symbol.name)
        return symbol

    masked = masked_score(weights["t.w.unembed"].dtype)
    specs: dict[Layer, ModuleSpec] = {}
    residual: Expr = Symbol.new_from_name((seq_len, a.d_model), "t.input")
    for number, layer in enumerate(a.layers):
        if layer not in specs:
            specs[layer] = block_spec(layer, seq_len, a.d_model, masked=masked)
        args = {str(s.name): bound(_in_layer(s, number)) for s in specs[layer].symbols[1:]}
        residual = Module(specs[layer], f"b{number}", **{"b.input": residual}, **args)
    for symbol in readout_weights(a):
        bound(symbol)
    lowered: dict[str, Expr] = {"t.bind_w": Module.from_bindings(_read(a, residual), bindings, "t.bind_w")}
    return lowered | {str(s.name): as_expr(weights[str(s.name)], s.name) for s in embedding_weights(a)}


def as_expr(value: Weight, name: str | None) -> Expr:
    """An expression as it is, a tensor as an array."""
    return value if isinstance(value, Expr) else Array(value, name)


def check_weights(weights: Mapping[str, Weight], architecture: Architecture) -> None:
    """Raise a `CheckpointError` that names every weight that is missing, unknown or of the wrong shape."""
    shapes = {str(symbol.name): symbol.shape for symbol in weight_symbols(architecture)}
    problems = [f"{name} is missing" for name in shapes if name not in weights]
    problems += [f"{name} is not a weight of this model" for name in weights if name not in shapes]
    problems += [
        f"{name} has shape {tuple(weights[name].shape)} instead of {shape}"
        for name, shape in shapes.items()
        if name in weights and tuple(weights[name].shape) != shape
    ]
    if problems:
        raise CheckpointError(
            "the weights do not fit the config:\n    " + "\n    ".join(problems),
            expected=shapes,
            found={name: tuple(weight.shape) for name, weight in weights.items()},
        )


def _in_layer(symbol: Symbol, number: int) -> Symbol:
    """`a.w.q` of a block is `a3.w.q` in layer 3."""
    part, rest = str(symbol.name).split(".", 1)
    return Symbol.new_from_name(symbol.shape, f"{part}{number}.{rest}")


def _read(architecture: Architecture, residual: Expr) -> Expr:
    """The logits, from the last residual stream; weights are the symbols of `readout_weights`."""
    r = architecture.readout
    w = {str(symbol.name): symbol for symbol in readout_weights(architecture)}
    x = normed(r.norm, residual, "final.norm")
    axes = "s"
    if r.reads_first:
        x, axes = x.index(I[0], name="t.first"), ""
    if r.d_embed is not None:
        x = Einsum.from_string(f"{axes} d, d e -> {axes} e", x, w["t.w.project_out"], name="t.projected_out")
    if r.transform is not None:
        product = Einsum.from_string(f"{axes} d, d e -> {axes} e", x, w["t.w.transform"])
        x = elementwise(r.transform.act, Add(product, w["t.b.transform"], name="t.transform.pre"), name="t.transform")
        x = normed(r.transform.norm, x, "t.transform_norm")
    last = not r.has_bias and r.softcap is None
    name = "t.logits" if last else "t.logits.lin"
    logits: Expr = Einsum.from_string(f"{axes} d, d v -> {axes} v", x, w["t.w.unembed"], name=name)
    if r.has_bias:
        name = "t.logits" if r.softcap is None else "t.logits.p_bias"
        logits = Add(logits, w["t.b.unembed"], name=name)
    if r.softcap is not None:
        logits = elementwise("tanh", logits.scale(1.0 / r.softcap)).scale(r.softcap, name="t.logits")
    return logits
