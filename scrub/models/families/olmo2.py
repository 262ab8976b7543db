"""OLMo 2: Llama with norms after attention and MLP instead of before, and norms of all queries and keys of a layer.

Source: OLMo Team 2024, "2 OLMo 2 Furious"; weights as in `transformers.Olmo2ForCausalLM`.
"""

from __future__ import annotations

from dataclasses import replace

from scrub.models.architecture import Architecture, Layer, Norm, Readout
from scrub.models.families.config_reader import ConfigReader
from scrub.models.families.family import Family, Source, register
from scrub.models.families.llama import (
    COMPONENTS_WITHOUT_NORMS,
    IGNORED,
    WITHOUT_NORMS,
    decoder,
    gated_mlp,
    grouped_attention,
)
from scrub.models.families.views import keys, queries


def architecture(config: ConfigReader, class_name: str) -> Architecture:
    """From `transformers.Olmo2Config`."""
    norm = Norm("rms", config.rms_norm_eps)
    attention = replace(
        grouped_attention(config, bias="qkvo" if config.attention_bias else ""), qk_norm=norm, qk_norm_over="all"
    )
    layer = Layer(attention, gated_mlp(config), a_out_norm=norm, m_out_norm=norm)
    return decoder(config, [layer] * config.num_hidden_layers, Readout(norm))


_BLOCK = "model.layers.{l}"
_NORMS = {
    "a.out_norm": f"{_BLOCK}.post_attention_layernorm",
    "m.out_norm": f"{_BLOCK}.post_feedforward_layernorm",
}
SOURCES = WITHOUT_NORMS | {
    **{f"{name}.w": Source(f"{module}.weight") for name, module in _NORMS.items()},
    "a.q.norm.w": Source(f"{_BLOCK}.self_attn.q_norm.weight", queries),
    "a.k.norm.w": Source(f"{_BLOCK}.self_attn.k_norm.weight", keys),
}
register(
    Family(
        "olmo2",
        ("Olmo2ForCausalLM",),
        architecture,
        SOURCES,
        COMPONENTS_WITHOUT_NORMS | _NORMS,
        base_prefix="model.",
        ignored=IGNORED,
        harmless=frozenset(("tie_word_embeddings",)),
    )
)
