"""Lowering: a checkpoint becomes an expression with its weights bound once, at the top."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from scrub.graph import Array, CheckpointError, Einsum, Expr, GeneralFunction, I, Module, Symbol
from scrub.models.config import TransformerConfig
from scrub.models.modules import block_spec, input_symbol, layer_norm_spec
from scrub.rewrite import module_new_bind

_BLOCK_WEIGHTS = {
    "a.norm.w": "ln1.w",
    "a.norm.b": "ln1.b",
    "a.w.q": "attn.W_Q",
    "a.w.k": "attn.W_K",
    "a.w.v": "attn.W_V",
    "a.w.o": "attn.W_O",
}
"""Parameter of the block module -> name of the weight within its block, in TransformerLens' layout."""


def lower_transformer(
    weights: Mapping[str, torch.Tensor], config: TransformerConfig, *, seq_len: int | None = None
) -> dict[str, Expr]:
    """A transformer as expressions, for sequences of one length. Weights are shared, not copied.

    Args:
        weights: in TransformerLens' layout, see `TransformerConfig.weight_shapes`.
        config: sizes and options.
        seq_len: length of the sequences; `config.n_ctx` if None.

    Returns:
        "t.bind_w" [seq_len, d_vocab]: the logits, with free symbols `t.input`, `a.mask`, `a.pos_input`;
        "t.w.tok_embeds" [d_vocab, d_model] and "t.w.pos_embeds" [n_ctx, d_model].

    Raises:
        CheckpointError: a weight is missing, unknown or of the wrong shape, or the sequences are too long.

    >>> from scrub.models import load_shipped
    >>> shipped = load_shipped("attn_only_2l")
    >>> lower_transformer(shipped.weights, shipped.config, seq_len=8)["t.bind_w"]
    't.bind_w' [8, 2048] Module
    """
    config.check_weights(weights)
    seq = config.n_ctx if seq_len is None else seq_len
    if not 1 <= seq <= config.n_ctx:
        raise CheckpointError(
            f"sequences of {seq} tokens do not fit the model's {config.n_ctx} positions",
            expected=f"1 to {config.n_ctx}",
            found=seq,
        )
    bindings: dict[Symbol, Expr] = {}

    def weight(name: str, source: str) -> Symbol:
        array = Array(weights[source], name)
        symbol = Symbol.new_from_name(array.shape, name)
        bindings[symbol] = array
        return symbol

    residual: Expr = input_symbol(seq, config.d_model)
    block = block_spec(seq, config)
    for layer in range(config.n_layers):
        bound = {
            parameter: weight(parameter.replace("a.", f"a{layer}.", 1), f"blocks.{layer}.{source}")
            for parameter, source in _BLOCK_WEIGHTS.items()
        }
        residual = Module(block, f"b{layer}", **{"b.input": residual}, **bound)
    norm = {f"ln.{part}": weight(f"final.norm.{part}", f"ln_final.{part}") for part in "wb"}
    ln = layer_norm_spec(seq, config.d_model, config.norm_eps)
    final = Module(ln, "final.norm", **{"ln.input": residual}, **norm)
    unembed = weight("t.w.unembed", "unembed.W_U")
    logits = Einsum.from_string("s d, d v -> s v", final, unembed, name="t.logits")
    return {
        "t.bind_w": Module.from_bindings(logits, bindings, "t.bind_w"),
        "t.w.tok_embeds": Array(weights["embed.W_E"], "t.w.tok_embeds"),
        "t.w.pos_embeds": Array(weights["pos_embed.W_pos"], "t.w.pos_embeds"),
    }


def bind_tokens(lowered: Mapping[str, Expr], tokens: Expr, name: str = "t.call") -> Module:
    """The model called on tokens [seq], int64: embeds them, and binds positions and the causal mask.

    >>> from scrub.models import bind_tokens, load_shipped
    >>> shipped = load_shipped("attn_only_2l")
    >>> bind_tokens(shipped.lower(seq_len=4), Array(torch.tensor([1, 2, 3, 4]), "tokens")).shape
    (4, 2048)
    """
    model = lowered["t.bind_w"]
    if not tokens.ndim:
        raise CheckpointError(
            f"{tokens!r} is a single token, not a sequence", nodes=[tokens], expected="[seq]", found=()
        )
    seq = tokens.shape[-1]
    if model.shape[-2] != seq:
        raise CheckpointError(
            f"the model was lowered for {model.shape[-2]} tokens, {tokens!r} has {seq}",
            nodes=[model, tokens],
            expected=model.shape[-2],
            found=seq,
            hint="lower it with seq_len=" + str(seq),
        )
    table = lowered["t.w.tok_embeds"]
    embeds = GeneralFunction.gen_index(table, tokens, index_dim=0, name="idxed_embeds")
    dtype = table.dtype or torch.get_default_dtype()
    mask = Array(torch.ones(seq, seq, dtype=dtype, device=table.device).tril(), "t.a.c.causal_mask")
    positions = lowered["t.w.pos_embeds"].index(I[:seq], name="t.w.pos_embeds_idxed")
    return module_new_bind(model, ("t.input", embeds), ("a.mask", mask), ("a.pos_input", positions), name=name)
