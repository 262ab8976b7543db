"""OPT: learned positions that count the tokens the mask shows, norms before or after, embeddings that may be projected.

Source: Zhang et al. 2022; weights as in `transformers.OPTForCausalLM`.
"""

from __future__ import annotations

from scrub.models.architecture import Architecture, Attention, Embedding, Layer, Mlp, Norm, Readout
from scrub.models.families.activations import ACTIVATIONS
from scrub.models.families.config_reader import ConfigReader
from scrub.models.families.family import Family, Source, register
from scrub.models.families.views import keys, linear, outputs, queries

_OFFSET = 2


def architecture(config: ConfigReader, class_name: str) -> Architecture:
    """From `transformers.OPTConfig`."""
    d_model, n_heads = config.hidden_size, config.num_attention_heads
    n_ctx, d_embed = config.max_position_embeddings, config.word_embed_proj_dim
    is_projected, has_bias, is_before = d_embed != d_model, bool(config.enable_bias), config.do_layer_norm_before
    has_weights = bool(config.layer_norm_elementwise_affine)
    norm = Norm("ln", eps=1e-5, weight=has_weights, bias=has_weights)
    attention = Attention(
        n_heads, n_heads, d_model // n_heads, scale=(d_model // n_heads) ** -0.5, bias="qkvo" if has_bias else ""
    )
    act = config.choice("activation_function", ACTIVATIONS)
    mlp = Mlp(config.ffn_dim, act, bias_in=has_bias, bias_out=has_bias)
    has_final_norm = not config._remove_final_layer_norm and is_before
    if is_before:
        layer = Layer(attention, mlp, a_norm=norm, m_norm=norm)
    else:
        layer = Layer(attention, mlp, mid_norm=norm, out_norm=norm)
    return Architecture(
        d_model=d_model,
        d_vocab=config.vocab_size,
        n_ctx=n_ctx,
        layers=(layer,) * config.num_hidden_layers,
        embedding=Embedding(
            "learned",
            n_positions=n_ctx + _OFFSET,
            position_offset=_OFFSET,
            positions_from_mask=True,
            d_embed=d_embed if is_projected else None,
        ),
        readout=Readout(norm if has_final_norm else None, d_embed=d_embed if is_projected else None),
    )


_MODEL = "model.decoder"
_BLOCK = f"{_MODEL}.layers.{{l}}"
_NORMS = {
    "a.norm": f"{_BLOCK}.self_attn_layer_norm",
    "b.mid_norm": f"{_BLOCK}.self_attn_layer_norm",
    "m.norm": f"{_BLOCK}.final_layer_norm",
    "final.norm": f"{_MODEL}.final_layer_norm",
}
_NORMS_WITH_LAST = {**_NORMS, "b.out_norm": f"{_BLOCK}.final_layer_norm"}
SOURCES = {
    "t.w.tok_embeds": Source(f"{_MODEL}.embed_tokens.weight"),
    "t.w.pos_embeds": Source(f"{_MODEL}.embed_positions.weight"),
    "t.w.project_in": Source(f"{_MODEL}.project_in.weight", linear),
    **{f"{norm}.w": Source(f"{name}.weight") for norm, name in _NORMS_WITH_LAST.items()},
    **{f"{norm}.b": Source(f"{name}.bias") for norm, name in _NORMS_WITH_LAST.items()},
    "a.w.q": Source(f"{_BLOCK}.self_attn.q_proj.weight", queries),
    "a.w.k": Source(f"{_BLOCK}.self_attn.k_proj.weight", keys),
    "a.w.v": Source(f"{_BLOCK}.self_attn.v_proj.weight", keys),
    "a.w.o": Source(f"{_BLOCK}.self_attn.out_proj.weight", outputs),
    "a.b.q": Source(f"{_BLOCK}.self_attn.q_proj.bias", queries),
    "a.b.k": Source(f"{_BLOCK}.self_attn.k_proj.bias", keys),
    "a.b.v": Source(f"{_BLOCK}.self_attn.v_proj.bias", keys),
    "a.b.o": Source(f"{_BLOCK}.self_attn.out_proj.bias"),
    "m.w.in": Source(f"{_BLOCK}.fc1.weight", linear),
    "m.b.in": Source(f"{_BLOCK}.fc1.bias"),
    "m.w.out": Source(f"{_BLOCK}.fc2.weight", linear),
    "m.b.out": Source(f"{_BLOCK}.fc2.bias"),
    "t.w.project_out": Source(f"{_MODEL}.project_out.weight", linear),
    "t.w.unembed": Source("lm_head.weight", linear),
}
COMPONENTS = {
    "b": _BLOCK,
    **_NORMS,
    "a": f"{_BLOCK}.self_attn",
    "a.p_bias": f"{_BLOCK}.self_attn",
    "m.pre": f"{_BLOCK}.fc1",
    "m.post": f"{_BLOCK}.activation_fn",
    "m": f"{_BLOCK}.fc2",
    "m.p_bias": f"{_BLOCK}.fc2",
    "t.projected_out": f"{_MODEL}.project_out",
    "t.logits": "lm_head",
}
"""The MLP and its norm work on [batch * seq, size] in `transformers`. A norm after a block is the block, "b"."""
register(
    Family(
        "opt",
        ("OPTForCausalLM",),
        architecture,
        SOURCES,
        COMPONENTS,
        base_prefix="model.",
        ignored=("decoder.version",),
        # Configs of Galactica hold `learned_embeddings` and `scale_embeddings`, which transformers does not read.
        harmless=frozenset(("tie_word_embeddings", "init_std", "learned_embeddings", "scale_embeddings")),
    )
)
