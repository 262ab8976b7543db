"""Qwen3: Qwen2 with norms of the queries and keys of each head instead of their biases.

Source: Yang et al. 2025, "Qwen3 Technical Report"; weights as in `transformers.Qwen3ForCausalLM`.
"""

from __future__ import annotations

from dataclasses import replace

from scrub.models.architecture import Architecture, Norm
from scrub.models.families.config_reader import ConfigReader
from scrub.models.families.family import Family, register
from scrub.models.families.llama import COMPONENTS, IGNORED, QK_NORMS, SOURCES, grouped_attention
from scrub.models.families.qwen2 import HARMLESS, windowed


def architecture(config: ConfigReader, class_name: str) -> Architecture:
    """From `transformers.Qwen3Config`."""
    attention = grouped_attention(config, bias="qkvo" if config.attention_bias else "")
    return windowed(config, replace(attention, qk_norm=Norm("rms", config.rms_norm_eps)))


register(
    Family(
        "qwen3",
        ("Qwen3ForCausalLM",),
        architecture,
        SOURCES | QK_NORMS,
        COMPONENTS,
        base_prefix="model.",
        ignored=IGNORED,
        harmless=HARMLESS,
    )
)
