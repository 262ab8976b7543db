"""Qwen2: Llama with biases of queries, keys and values, and a sliding window in some layers if the config asks.

Source: Yang et al. 2024, "Qwen2 Technical Report"; weights as in `transformers.Qwen2ForCausalLM`.
"""

from __future__ import annotations

from dataclasses import replace

from scrub.models.architecture import Architecture, Attention, Layer, Norm, Readout
from scrub.models.families.config_reader import ConfigReader
from scrub.models.families.family import Family, register
from scrub.models.families.llama import (
    COMPONENTS,
    IGNORED,
    SOURCES,
    by_layer_type,
    decoder,
    gated_mlp,
    grouped_attention,
)


def architecture(config: ConfigReader, class_name: str) -> Architecture:
    """From `transformers.Qwen2Config`."""
    return windowed(config, grouped_attention(config, bias="qkv"))


def windowed(config: ConfigReader, attention: Attention) -> Architecture:
    """Layers with this attention, a window put to it in those that the config names "sliding_attention"."""
    norm, mlp = Norm("rms", config.rms_norm_eps), gated_mlp(config)
    layers = [
        Layer(chosen, mlp, a_norm=norm, m_norm=norm)
        for chosen in by_layer_type(config, lambda _, window: replace(attention, window=window))
    ]
    return decoder(config, layers, Readout(norm))


# `layer_types` is made of the next two with the config, and without it the window does nothing; transformers does not
# read the last, which published configs hold.
HARMLESS = frozenset(("tie_word_embeddings", "use_sliding_window", "max_window_layers", "sliding_window", "use_mrope"))
register(
    Family(
        "qwen2",
        ("Qwen2ForCausalLM",),
        architecture,
        SOURCES,
        COMPONENTS,
        base_prefix="model.",
        ignored=IGNORED,
        harmless=HARMLESS,
    )
)
