"""Phi-3: Llama with fused weights, and positions that may rotate only part of a head.

Source: Abdin et al. 2024, "Phi-3 Technical Report"; weights as in `transformers.Phi3ForCausalLM`.
"""

from __future__ import annotations

from dataclasses import replace

from scrub.models.architecture import Architecture, Layer, Norm, Readout
from scrub.models.families.config_reader import ConfigReader
from scrub.models.families.family import Family, Source, register
from scrub.models.families.llama import (
    COMPONENTS,
    IGNORED,
    SOURCES,
    decoder,
    gated_mlp,
    grouped_attention,
    head_size,
    window,
)
from scrub.models.families.rotary import rotary
from scrub.models.families.views import grouped_slice, half, keys, linear, queries


def architecture(config: ConfigReader, class_name: str) -> Architecture:
    """From `transformers.Phi3Config`."""
    norm = Norm("rms", config.rms_norm_eps)
    width = int(head_size(config) * config.rope_parameters["partial_rotary_factor"])
    attention = grouped_attention(config, table=rotary(config, "rope", width))
    if config.sliding_window is not None:
        attention = replace(attention, window=window(config))
    layer = Layer(attention, gated_mlp(config), a_norm=norm, m_norm=norm)
    return decoder(config, [layer] * config.num_hidden_layers, Readout(norm))


_BLOCK = "model.layers.{l}"
_FUSED = f"{_BLOCK}.self_attn.qkv_proj.weight"
_GATED = f"{_BLOCK}.mlp.gate_up_proj.weight"
_SPLIT = ("m.gate.pre", "m.pre", "m.gate")

# A config puts the next two into `rope_parameters` when it is made. Transformers does not read the others, which
# published configs hold: there are no biases, and weights of some would not fit.
_HARMLESS = (
    "tie_word_embeddings",
    "original_max_position_embeddings",
    "partial_rotary_factor",
    "attention_bias",
    "mlp_bias",
    "lm_head_bias",
    "full_attn_mod",
    "interpolate_factor",
)
register(
    Family(
        "phi3",
        ("Phi3ForCausalLM",),
        architecture,
        SOURCES
        | {
            "a.w.q": Source(_FUSED, grouped_slice("q", queries)),
            "a.w.k": Source(_FUSED, grouped_slice("k", keys)),
            "a.w.v": Source(_FUSED, grouped_slice("v", keys)),
            "m.w.gate": Source(_GATED, half(0, linear)),
            "m.w.in": Source(_GATED, half(1, linear)),
        },
        {name: module for name, module in COMPONENTS.items() if name not in _SPLIT}
        | {"m.gate": f"{_BLOCK}.mlp.activation_fn"},
        base_prefix="model.",
        ignored=IGNORED,
        harmless=frozenset(_HARMLESS),
    )
)
