"""Llama 1 to 3: rotary positions, root-mean-square norms, gated MLPs, grouped queries.

Source: Touvron et al. 2023; Grattafiori et al. 2024; weights as in `transformers.LlamaForCausalLM`.
"""

from __future__ import annotations

from scrub.models.architecture import Architecture, Attention, Embedding, Layer, Mlp, Norm, Readout
from scrub.models.families.activations import ACTIVATIONS
from scrub.models.families.config_reader import ConfigReader
from scrub.models.families.family import Family, Source, register
from scrub.models.families.rotary import rotary
from scrub.models.families.views import keys, linear, outputs, queries


def architecture(config: ConfigReader, class_name: str) -> Architecture:
    """From `transformers.LlamaConfig`."""
    norm = Norm("rms", config.rms_norm_eps)
    attention = Attention(
        config.num_attention_heads,
        config.num_key_value_heads,
        config.head_dim,
        config.head_dim**-0.5,
        bias="qkvo" if config.attention_bias else "",
        rotary=rotary(config, "rope", config.head_dim),
    )
    act, has_bias = config.choice("hidden_act", ACTIVATIONS), bool(config.mlp_bias)
    mlp = Mlp(config.intermediate_size, act, is_gated=True, bias_in=has_bias, bias_out=has_bias)
    return Architecture(
        d_model=config.hidden_size,
        d_vocab=config.vocab_size,
        n_ctx=config.max_position_embeddings,
        layers=(Layer(attention, mlp, a_norm=norm, m_norm=norm),) * config.num_hidden_layers,
        embedding=Embedding(),
        readout=Readout(norm),
    )


_BLOCK = "model.layers.{l}"
SOURCES = {
    "t.w.tok_embeds": Source("model.embed_tokens.weight"),
    "a.norm.w": Source(f"{_BLOCK}.input_layernorm.weight"),
    "a.w.q": Source(f"{_BLOCK}.self_attn.q_proj.weight", queries),
    "a.w.k": Source(f"{_BLOCK}.self_attn.k_proj.weight", keys),
    "a.w.v": Source(f"{_BLOCK}.self_attn.v_proj.weight", keys),
    "a.w.o": Source(f"{_BLOCK}.self_attn.o_proj.weight", outputs),
    "a.b.q": Source(f"{_BLOCK}.self_attn.q_proj.bias", queries),
    "a.b.k": Source(f"{_BLOCK}.self_attn.k_proj.bias", keys),
    "a.b.v": Source(f"{_BLOCK}.self_attn.v_proj.bias", keys),
    "a.b.o": Source(f"{_BLOCK}.self_attn.o_proj.bias"),
    "m.norm.w": Source(f"{_BLOCK}.post_attention_layernorm.weight"),
    "m.w.gate": Source(f"{_BLOCK}.mlp.gate_proj.weight", linear),
    "m.w.in": Source(f"{_BLOCK}.mlp.up_proj.weight", linear),
    "m.w.out": Source(f"{_BLOCK}.mlp.down_proj.weight", linear),
    "m.b.gate": Source(f"{_BLOCK}.mlp.gate_proj.bias"),
    "m.b.in": Source(f"{_BLOCK}.mlp.up_proj.bias"),
    "m.b.out": Source(f"{_BLOCK}.mlp.down_proj.bias"),
    "final.norm.w": Source("model.norm.weight"),
    "t.w.unembed": Source("lm_head.weight", linear),
}
COMPONENTS = {
    "t.input": "model.embed_tokens",
    "b": _BLOCK,
    "a.norm": f"{_BLOCK}.input_layernorm",
    "a": f"{_BLOCK}.self_attn",
    "m.norm": f"{_BLOCK}.post_attention_layernorm",
    "m.gate.pre": f"{_BLOCK}.mlp.gate_proj",
    "m.gate": f"{_BLOCK}.mlp.act_fn",
    "m.pre": f"{_BLOCK}.mlp.up_proj",
    "m": f"{_BLOCK}.mlp",
    "final.norm": "model.norm",
    "t.logits": "lm_head",
}
register(
    Family(
        "llama",
        ("LlamaForCausalLM",),
        architecture,
        SOURCES,
        COMPONENTS,
        base_prefix="model.",
        ignored=(".rotary_emb.inv_freq",),
        harmless=frozenset(("tie_word_embeddings",)),
    )
)
