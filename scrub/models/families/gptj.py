"""GPT-J: neighbouring features rotated together, attention and MLP side by side on one norm, a biased unembedding.

Source: Wang and Komatsuzaki 2021; weights as in `transformers.GPTJForCausalLM`.
"""

from __future__ import annotations

from scrub.models.architecture import Architecture, Attention, Layer, Mlp, Norm, Readout, RotaryTable
from scrub.models.families.activations import ACTIVATIONS
from scrub.models.families.config_reader import ConfigReader
from scrub.models.families.family import Family, Source, register
from scrub.models.families.views import keys, linear, outputs, queries
from scrub.models.tables import plain_frequencies

_THETA = 10000.0


def architecture(config: ConfigReader, class_name: str) -> Architecture:
    """From `transformers.GPTJConfig`."""
    d_head = config.n_embd // config.n_head
    width = config.rotary_dim
    if not width or width % 2 or width > d_head:
        config.refuse("rotary_dim", expected=f"an even number from 2 to {d_head}, the size of a head")
    norm = Norm("ln", config.layer_norm_epsilon)
    attention = Attention(
        config.n_head,
        config.n_head,
        d_head,
        scale=d_head**-0.5,
        rotary=RotaryTable("rope", width, plain_frequencies(_THETA, width), is_interleaved=True),
    )
    d_mlp = 4 * config.n_embd if config.n_inner is None else config.n_inner
    mlp = Mlp(d_mlp, config.choice("activation_function", ACTIVATIONS))
    return Architecture(
        d_model=config.n_embd,
        d_vocab=config.vocab_size,
        n_ctx=config.n_positions,
        layers=(Layer(attention, mlp, a_norm=norm, is_parallel=True, shares_norm=True),) * config.n_layer,
        readout=Readout(norm, has_bias=True),
    )


_BLOCK = "transformer.h.{l}"
SOURCES = {
    "t.w.tok_embeds": Source("transformer.wte.weight"),
    "a.norm.w": Source(f"{_BLOCK}.ln_1.weight"),
    "a.norm.b": Source(f"{_BLOCK}.ln_1.bias"),
    "a.w.q": Source(f"{_BLOCK}.attn.q_proj.weight", queries),
    "a.w.k": Source(f"{_BLOCK}.attn.k_proj.weight", keys),
    "a.w.v": Source(f"{_BLOCK}.attn.v_proj.weight", keys),
    "a.w.o": Source(f"{_BLOCK}.attn.out_proj.weight", outputs),
    "m.w.in": Source(f"{_BLOCK}.mlp.fc_in.weight", linear),
    "m.b.in": Source(f"{_BLOCK}.mlp.fc_in.bias"),
    "m.w.out": Source(f"{_BLOCK}.mlp.fc_out.weight", linear),
    "m.b.out": Source(f"{_BLOCK}.mlp.fc_out.bias"),
    "final.norm.w": Source("transformer.ln_f.weight"),
    "final.norm.b": Source("transformer.ln_f.bias"),
    "t.w.unembed": Source("lm_head.weight", linear),
    "t.b.unembed": Source("lm_head.bias"),
}
COMPONENTS = {
    "t.input": "transformer.drop",
    "b": _BLOCK,
    "a.norm": f"{_BLOCK}.ln_1",
    "a": f"{_BLOCK}.attn",
    "m.pre": f"{_BLOCK}.mlp.fc_in",
    "m.post": f"{_BLOCK}.mlp.act",
    "m.p_bias": f"{_BLOCK}.mlp",
    "final.norm": "transformer.ln_f",
    "t.logits": "lm_head",
}
register(
    Family(
        "gptj",
        ("GPTJForCausalLM",),
        architecture,
        SOURCES,
        COMPONENTS,
        base_prefix="transformer.",
        ignored=(".attn.bias", ".attn.masked_bias", ".attn.embed_positions"),
        # Old configs hold `rotary` and `scale_attn_weights`, which transformers does not read.
        harmless=frozenset(
            [
                "tie_word_embeddings",
                "rotary",
                "scale_attn_weights",
                "summary_type",
                "summary_use_proj",
                "summary_activation",
                "summary_proj_to_labels",
                "summary_first_dropout",
            ]
        ),
    )
)
