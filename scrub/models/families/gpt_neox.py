"""GPT-NeoX and Pythia: part of each head rotated, queries, keys and values fused, attention and MLP side by side.

Source: Black et al. 2022; Biderman et al. 2023; weights as in `transformers.GPTNeoXForCausalLM`.
"""

from __future__ import annotations

from scrub.models.architecture import Architecture, Attention, Layer, Mlp, Norm, Readout, RotaryTable
from scrub.models.families.activations import ACTIVATIONS
from scrub.models.families.config_reader import ConfigReader
from scrub.models.families.family import Family, Source, register
from scrub.models.families.rotary import rotary
from scrub.models.families.views import linear, outputs, third_of_each_head


def architecture(config: ConfigReader, class_name: str) -> Architecture:
    """From `transformers.GPTNeoXConfig`."""
    n_heads = config.num_attention_heads
    d_head = config.hidden_size // n_heads
    norm = Norm("ln", config.layer_norm_eps)
    attention = Attention(
        n_heads,
        n_heads,
        d_head,
        scale=d_head**-0.5,
        bias="qkvo" if config.attention_bias else "",
        rotary=_rotary(config, d_head),
    )
    layer = Layer(
        attention,
        Mlp(config.intermediate_size, config.choice("hidden_act", ACTIVATIONS)),
        a_norm=norm,
        m_norm=norm,
        is_parallel=bool(config.use_parallel_residual),
    )
    return Architecture(
        d_model=config.hidden_size,
        d_vocab=config.vocab_size,
        n_ctx=config.max_position_embeddings,
        layers=(layer,) * config.num_hidden_layers,
        readout=Readout(norm),
    )


def _rotary(config: ConfigReader, d_head: int) -> RotaryTable | None:
    width = int(d_head * config.rope_parameters.get("partial_rotary_factor", 1.0))
    if width < 1:
        return None
    table = rotary(config, "rope", width)
    if table.width > d_head:
        config.refuse("rope_parameters", expected=f"at most {d_head} features of a head rotated, not {table.width}")
    return table


_BLOCK = "gpt_neox.layers.{l}"
SOURCES = {
    "t.w.tok_embeds": Source("gpt_neox.embed_in.weight"),
    "a.norm.w": Source(f"{_BLOCK}.input_layernorm.weight"),
    "a.norm.b": Source(f"{_BLOCK}.input_layernorm.bias"),
    "a.w.q": Source(f"{_BLOCK}.attention.query_key_value.weight", third_of_each_head(0)),
    "a.w.k": Source(f"{_BLOCK}.attention.query_key_value.weight", third_of_each_head(1)),
    "a.w.v": Source(f"{_BLOCK}.attention.query_key_value.weight", third_of_each_head(2)),
    "a.w.o": Source(f"{_BLOCK}.attention.dense.weight", outputs),
    "a.b.q": Source(f"{_BLOCK}.attention.query_key_value.bias", third_of_each_head(0)),
    "a.b.k": Source(f"{_BLOCK}.attention.query_key_value.bias", third_of_each_head(1)),
    "a.b.v": Source(f"{_BLOCK}.attention.query_key_value.bias", third_of_each_head(2)),
    "a.b.o": Source(f"{_BLOCK}.attention.dense.bias"),
    "m.norm.w": Source(f"{_BLOCK}.post_attention_layernorm.weight"),
    "m.norm.b": Source(f"{_BLOCK}.post_attention_layernorm.bias"),
    "m.w.in": Source(f"{_BLOCK}.mlp.dense_h_to_4h.weight", linear),
    "m.b.in": Source(f"{_BLOCK}.mlp.dense_h_to_4h.bias"),
    "m.w.out": Source(f"{_BLOCK}.mlp.dense_4h_to_h.weight", linear),
    "m.b.out": Source(f"{_BLOCK}.mlp.dense_4h_to_h.bias"),
    "final.norm.w": Source("gpt_neox.final_layer_norm.weight"),
    "final.norm.b": Source("gpt_neox.final_layer_norm.bias"),
    "t.w.unembed": Source("lm_head.weight", linear),
}
COMPONENTS = {
    "t.input": "gpt_neox.emb_dropout",
    "b": _BLOCK,
    "a.norm": f"{_BLOCK}.input_layernorm",
    "a": f"{_BLOCK}.attention",
    "a.p_bias": f"{_BLOCK}.attention",
    "m.norm": f"{_BLOCK}.post_attention_layernorm",
    "m.pre": f"{_BLOCK}.mlp.dense_h_to_4h",
    "m.post": f"{_BLOCK}.mlp.act",
    "m.p_bias": f"{_BLOCK}.mlp",
    "final.norm": "gpt_neox.final_layer_norm",
    "t.logits": "lm_head",
}
register(
    Family(
        "gpt_neox",
        ("GPTNeoXForCausalLM",),
        architecture,
        SOURCES,
        COMPONENTS,
        base_prefix="gpt_neox.",
        ignored=(".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"),
        renamed={r"^embed_out\.": "lm_head."},
        harmless=frozenset(("tie_word_embeddings", "is_decoder", "attention_probs_dropout_prob")),
    )
)
