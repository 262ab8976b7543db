"""Mistral: Llama with a sliding window in every layer.

Source: Jiang et al. 2023, "Mistral 7B"; weights as in `transformers.MistralForCausalLM`.
"""

from __future__ import annotations

from dataclasses import replace

from scrub.models.architecture import Architecture, Layer, Norm, Readout
from scrub.models.families.config_reader import ConfigReader
from scrub.models.families.family import Family, register
from scrub.models.families.llama import COMPONENTS, IGNORED, SOURCES, decoder, gated_mlp, grouped_attention, window


def architecture(config: ConfigReader, class_name: str) -> Architecture:
    """From `transformers.MistralConfig`."""
    norm = Norm("rms", config.rms_norm_eps)
    attention = grouped_attention(config)
    if config.sliding_window is not None:
        attention = replace(attention, window=window(config))
    layer = Layer(attention, gated_mlp(config), a_norm=norm, m_norm=norm)
    return decoder(config, [layer] * config.num_hidden_layers, Readout(norm))


register(
    Family(
        "mistral",
        ("MistralForCausalLM",),
        architecture,
        SOURCES,
        COMPONENTS,
        base_prefix="model.",
        ignored=IGNORED,
        harmless=frozenset(("tie_word_embeddings",)),
    )
)
