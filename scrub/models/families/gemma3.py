"""Gemma 3, text only: Gemma 2 with norms of queries and keys instead of capped scores.

Layers with a window have a rotary table of their own. Configs may ask for attention in both directions.

Source: Gemma Team 2025, "Gemma 3 Technical Report"; weights as in `transformers.Gemma3ForCausalLM`.
"""

from __future__ import annotations

from dataclasses import replace

from scrub.models.architecture import Architecture, Attention
from scrub.models.families.config_reader import ConfigReader
from scrub.models.families.family import Family, register
from scrub.models.families.gemma2 import COMPONENTS, HARMLESS, SOURCES, gemma, gemma_norm
from scrub.models.families.llama import IGNORED, QK_NORMS, by_layer_type, grouped_attention, head_size
from scrub.models.families.rotary import rotary


def architecture(config: ConfigReader, class_name: str) -> Architecture:
    """From `transformers.Gemma3TextConfig`."""

    def attention(layer_type: str, window: int | None) -> Attention:
        name = "rope" if window is None else "rope_local"
        table = rotary(config, name, head_size(config), layer_type=layer_type)
        return replace(
            grouped_attention(config, bias="qkvo" if config.attention_bias else "", table=table),
            scale=config.query_pre_attn_scalar**-0.5,
            qk_norm=gemma_norm(config),
            is_causal=not config.use_bidirectional_attention,
            window=window,
        )

    return gemma(config, by_layer_type(config, attention))


# Attention in transformers never gets the cap of its scores, and `layer_types` is made of the pattern with the config.
_HARMLESS = ("attn_logit_softcapping", "sliding_window_pattern", "_sliding_window_pattern")
register(
    Family(
        "gemma3_text",
        ("Gemma3ForCausalLM",),
        architecture,
        SOURCES | QK_NORMS,
        COMPONENTS,
        base_prefix="model.",
        ignored=IGNORED,
        harmless=HARMLESS.union(_HARMLESS),
    )
)
