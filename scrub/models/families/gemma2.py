"""Gemma 2: norms before and after attention and MLP, soft-capped scores and logits, a window in every other layer.

Norms multiply by 1 + weight, and embeddings are scaled by the root of d_model.

Source: Gemma Team 2024, "Gemma 2"; weights as in `transformers.Gemma2ForCausalLM`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch

from scrub.models.architecture import Architecture, Attention, Embedding, Layer, Norm, Readout
from scrub.models.families.config_reader import ConfigReader
from scrub.models.families.family import Family, Source, register
from scrub.models.families.llama import (
    COMPONENTS_WITHOUT_NORMS,
    IGNORED,
    WITHOUT_NORMS,
    by_layer_type,
    decoder,
    gated_mlp,
    grouped_attention,
)


def architecture(config: ConfigReader, class_name: str) -> Architecture:
    """From `transformers.Gemma2Config`."""
    if config.use_bidirectional_attention:
        config.refuse("use_bidirectional_attention", expected=False)
    attention = replace(
        grouped_attention(config, bias="qkvo" if config.attention_bias else ""),
        scale=config.query_pre_attn_scalar**-0.5,
        softcap=softcap(config, "attn_logit_softcapping"),
    )
    return gemma(config, by_layer_type(config, lambda _, window: replace(attention, window=window)))


def gemma(config: ConfigReader, attention: Iterable[Attention]) -> Architecture:
    """A model of layers with these kinds of attention."""
    norm, mlp = gemma_norm(config), gated_mlp(config, act="hidden_activation")
    layers = [Layer(kind, mlp, a_norm=norm, a_out_norm=norm, m_norm=norm, m_out_norm=norm) for kind in attention]
    readout = Readout(norm, softcap=softcap(config, "final_logit_softcapping"))
    scale = torch.tensor(config.hidden_size**0.5, dtype=torch.float32)  # a buffer of single precision in transformers
    return decoder(config, layers, readout, Embedding(scale=scale.item()))


def gemma_norm(config: ConfigReader) -> Norm:
    """By which all norms of a model divide and multiply."""
    return Norm("rms", config.rms_norm_eps, one_plus_weight=True)


def softcap(config: ConfigReader, name: str) -> float | None:
    """The cap that a field sets, if any.

    Raises:
        CheckpointError: it is 0.

    >>> import types
    >>> softcap(ConfigReader(types.SimpleNamespace(final_logit_softcapping=30.0)), "final_logit_softcapping")
    30.0
    """
    cap = getattr(config, name)
    if cap == 0:
        config.refuse(name, expected="None, or a number other than 0")
    return cap


_BLOCK = "model.layers.{l}"
_NORMS = {
    "a.norm": f"{_BLOCK}.input_layernorm",
    "a.out_norm": f"{_BLOCK}.post_attention_layernorm",
    "m.norm": f"{_BLOCK}.pre_feedforward_layernorm",
    "m.out_norm": f"{_BLOCK}.post_feedforward_layernorm",
}
SOURCES = WITHOUT_NORMS | {f"{name}.w": Source(f"{module}.weight") for name, module in _NORMS.items()}
COMPONENTS = COMPONENTS_WITHOUT_NORMS | _NORMS
# Without layers that have it, the window does nothing; transformers does not read the others, which published configs
# hold, but `hidden_activation` and `layer_types`.
HARMLESS = frozenset(("tie_word_embeddings", "sliding_window", "sliding_window_size", "hidden_act"))
register(
    Family(
        "gemma2",
        ("Gemma2ForCausalLM",),
        architecture,
        SOURCES,
        COMPONENTS,
        base_prefix="model.",
        ignored=IGNORED,
        harmless=HARMLESS,
    )
)
