"""GPT-Neo: GPT-2's block with layers that alternate between global and windowed attention, whose scores are not scaled.

Source: Black et al. 2021; weights as in `transformers.GPTNeoForCausalLM`.
"""

from __future__ import annotations

from scrub.models.architecture import Architecture, Attention, Embedding, Layer, Mlp, Norm, Readout
from scrub.models.families import gpt2
from scrub.models.families.activations import ACTIVATIONS
from scrub.models.families.config_reader import ConfigReader
from scrub.models.families.family import Family, Source, register
from scrub.models.families.views import keys, linear, outputs, queries


def architecture(config: ConfigReader, class_name: str) -> Architecture:
    """From `transformers.GPTNeoConfig`."""
    d_model, n_heads = config.hidden_size, config.num_heads
    norm = Norm("ln", config.layer_norm_epsilon)
    d_mlp = 4 * d_model if config.intermediate_size is None else config.intermediate_size
    mlp = Mlp(d_mlp, config.choice("activation_function", ACTIVATIONS))
    kinds = list(config.attention_layers)
    if len(kinds) != config.num_layers or not {"global", "local"}.issuperset(kinds):
        config.refuse("attention_layers", expected=f"'global' or 'local' for each of {config.num_layers} layers")
    if config.window_size < 1:
        config.refuse("window_size", expected="at least 1")
    windows = {"global": None, "local": config.window_size}
    layers = {
        kind: Layer(
            Attention(n_heads, n_heads, d_model // n_heads, scale=1.0, bias="o", window=window),
            mlp,
            a_norm=norm,
            m_norm=norm,
        )
        for kind, window in windows.items()
    }
    return Architecture(
        d_model=d_model,
        d_vocab=config.vocab_size,
        n_ctx=config.max_position_embeddings,
        layers=tuple(layers[kind] for kind in kinds),
        embedding=Embedding("learned", config.max_position_embeddings),
        readout=Readout(norm),
    )


_BLOCK = "transformer.h.{l}"
_ATTENTION = f"{_BLOCK}.attn.attention"
SOURCES = gpt2.SOURCES | {
    "a.w.q": Source(f"{_ATTENTION}.q_proj.weight", queries),
    "a.w.k": Source(f"{_ATTENTION}.k_proj.weight", keys),
    "a.w.v": Source(f"{_ATTENTION}.v_proj.weight", keys),
    "a.w.o": Source(f"{_ATTENTION}.out_proj.weight", outputs),
    "a.b.o": Source(f"{_ATTENTION}.out_proj.bias"),
    "m.w.in": Source(f"{_BLOCK}.mlp.c_fc.weight", linear),
    "m.w.out": Source(f"{_BLOCK}.mlp.c_proj.weight", linear),
}
register(
    Family(
        "gpt_neo",
        ("GPTNeoForCausalLM",),
        architecture,
        SOURCES,
        gpt2.COMPONENTS,
        base_prefix="transformer.",
        ignored=(".attention.bias", ".attention.masked_bias"),
        # `attention_layers`, which is read, is `attention_types` written out.
        harmless=frozenset(
            [
                "attention_types",
                "tie_word_embeddings",
                "summary_type",
                "summary_use_proj",
                "summary_activation",
                "summary_proj_to_labels",
                "summary_first_dropout",
            ]
        ),
    )
)
