"""GPT-2: learned positions, LayerNorm before attention and MLP, biases everywhere, tied unembedding.

Source: Radford et al. 2019; weights as in `transformers.GPT2LMHeadModel`, whose linear layers store [in, out].
"""

from __future__ import annotations

from scrub.models.architecture import Architecture, Attention, Embedding, Layer, Mlp, Norm, Readout
from scrub.models.families.activations import ACTIVATIONS
from scrub.models.families.config_reader import ConfigReader
from scrub.models.families.family import Family, Source, register
from scrub.models.families.views import conv1d, keys, linear, outputs, queries, third


def architecture(config: ConfigReader, class_name: str) -> Architecture:
    """From `transformers.GPT2Config`."""
    norm = Norm("ln", config.layer_norm_epsilon)
    mlp = Mlp(config.n_inner or 4 * config.n_embd, config.choice("activation_function", ACTIVATIONS))
    d_head = config.n_embd // config.n_head
    scale = d_head**-0.5 if config.scale_attn_weights else 1.0
    by_layer = config.scale_attn_by_inverse_layer_idx
    layers = [
        Layer(
            Attention(config.n_head, config.n_head, d_head, scale / (number + 1 if by_layer else 1), bias="qkvo"),
            mlp,
            a_norm=norm,
            m_norm=norm,
        )
        for number in range(config.n_layer)
    ]
    return Architecture(
        d_model=config.n_embd,
        d_vocab=config.vocab_size,
        n_ctx=config.n_positions,
        layers=tuple(layers),
        embedding=Embedding("learned", config.n_positions),
        readout=Readout(norm),
    )


_BLOCK = "transformer.h.{l}"
SOURCES = {
    "t.w.tok_embeds": Source("transformer.wte.weight"),
    "t.w.pos_embeds": Source("transformer.wpe.weight"),
    "a.norm.w": Source(f"{_BLOCK}.ln_1.weight"),
    "a.norm.b": Source(f"{_BLOCK}.ln_1.bias"),
    "a.w.q": Source(f"{_BLOCK}.attn.c_attn.weight", conv1d(third(0, queries))),
    "a.w.k": Source(f"{_BLOCK}.attn.c_attn.weight", conv1d(third(1, keys))),
    "a.w.v": Source(f"{_BLOCK}.attn.c_attn.weight", conv1d(third(2, keys))),
    "a.w.o": Source(f"{_BLOCK}.attn.c_proj.weight", conv1d(outputs)),
    "a.b.q": Source(f"{_BLOCK}.attn.c_attn.bias", third(0, queries)),
    "a.b.k": Source(f"{_BLOCK}.attn.c_attn.bias", third(1, keys)),
    "a.b.v": Source(f"{_BLOCK}.attn.c_attn.bias", third(2, keys)),
    "a.b.o": Source(f"{_BLOCK}.attn.c_proj.bias"),
    "m.norm.w": Source(f"{_BLOCK}.ln_2.weight"),
    "m.norm.b": Source(f"{_BLOCK}.ln_2.bias"),
    "m.w.in": Source(f"{_BLOCK}.mlp.c_fc.weight"),
    "m.b.in": Source(f"{_BLOCK}.mlp.c_fc.bias"),
    "m.w.out": Source(f"{_BLOCK}.mlp.c_proj.weight"),
    "m.b.out": Source(f"{_BLOCK}.mlp.c_proj.bias"),
    "final.norm.w": Source("transformer.ln_f.weight"),
    "final.norm.b": Source("transformer.ln_f.bias"),
    "t.w.unembed": Source("lm_head.weight", linear),
}
COMPONENTS = {
    "t.input": "transformer.drop",
    "b": _BLOCK,
    "a.norm": f"{_BLOCK}.ln_1",
    "a.p_bias": f"{_BLOCK}.attn",
    "m.norm": f"{_BLOCK}.ln_2",
    "m.pre": f"{_BLOCK}.mlp.c_fc",
    "m.post": f"{_BLOCK}.mlp.act",
    "m.p_bias": f"{_BLOCK}.mlp",
    "final.norm": "transformer.ln_f",
    "t.logits": "lm_head",
}
register(
    Family(
        "gpt2",
        ("GPT2LMHeadModel",),
        architecture,
        SOURCES,
        COMPONENTS,
        base_prefix="transformer.",
        ignored=(".attn.bias", ".attn.masked_bias"),
        harmless=frozenset(
            [
                "summary_type",
                "summary_use_proj",
                "summary_activation",
                "summary_proj_to_labels",
                "summary_first_dropout",
                "n_ctx",  # in published configs; n_positions counts
                "reorder_and_upcast_attn",
                "tie_word_embeddings",
            ]
        ),
    )
)
