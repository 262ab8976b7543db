"""Llama 1 to 3: rotary positions, root-mean-square norms, gated MLPs, grouped queries.

Most families that came later differ from it in a few choices; what they share with it is here.

Source: Touvron et al. 2023; Grattafiori et al. 2024; weights as in `transformers.LlamaForCausalLM`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from scrub.models.architecture import Architecture, Attention, Embedding, Layer, Mlp, Norm, Readout, RotaryTable
from scrub.models.families.activations import ACTIVATIONS
from scrub.models.families.config_reader import ConfigReader
from scrub.models.families.family import Family, Source, register
from scrub.models.families.rotary import rotary
from scrub.models.families.views import keys, linear, outputs, queries


def architecture(config: ConfigReader, class_name: str) -> Architecture:
    """From `transformers.LlamaConfig`."""
    norm = Norm("rms", config.rms_norm_eps)
    attention = grouped_attention(config, bias="qkvo" if config.attention_bias else "")
    layer = Layer(attention, gated_mlp(config, has_bias=bool(config.mlp_bias)), a_norm=norm, m_norm=norm)
    return decoder(config, [layer] * config.num_hidden_layers, Readout(norm))


def head_size(config: ConfigReader) -> int:
    """Features of a head: `head_dim`, which configs of some families have only if it is not the usual size.

    >>> import types
    >>> head_size(ConfigReader(types.SimpleNamespace(hidden_size=32, num_attention_heads=4)))
    8
    """
    return config.optional("head_dim", None) or config.hidden_size // config.num_attention_heads


def grouped_attention(config: ConfigReader, *, bias: str = "", table: RotaryTable | None = None) -> Attention:
    """Attention with rotary positions, without a window; `table` is for where not all features are rotated alike."""
    d_head = head_size(config)
    return Attention(
        config.num_attention_heads,
        config.num_key_value_heads,
        d_head,
        d_head**-0.5,
        bias=bias,
        rotary=table or rotary(config, "rope", d_head),
    )


def gated_mlp(config: ConfigReader, *, act: str = "hidden_act", has_bias: bool = False) -> Mlp:
    """The MLP; `act` is the field of its nonlinearity."""
    act = config.choice(act, ACTIVATIONS)
    return Mlp(config.intermediate_size, act, is_gated=True, bias_in=has_bias, bias_out=has_bias)


def decoder(
    config: ConfigReader, layers: Iterable[Layer], readout: Readout, embedding: Embedding | None = None
) -> Architecture:
    """The layers between an embedding of tokens alone and a readout."""
    return Architecture(
        d_model=config.hidden_size,
        d_vocab=config.vocab_size,
        n_ctx=config.max_position_embeddings,
        layers=tuple(layers),
        embedding=embedding or Embedding(),
        readout=readout,
    )


def window(config: ConfigReader) -> int:
    """`config.sliding_window`: how many positions a query sees, itself included.

    Raises:
        CheckpointError: there is none.
    """
    size = config.sliding_window
    if size is None or size < 1:
        config.refuse("sliding_window", expected="a number of positions, 1 or more")
    return size


def by_layer_type(config: ConfigReader, attention: Callable[[str, int | None], Attention]) -> list[Attention]:
    """The attention of each layer, for configs that name the type of each in `layer_types`.

    Args:
        config: of the model.
        attention: from a type, "full_attention" or "sliding_attention", and its window. Called once for each type.

    Raises:
        CheckpointError: a type that is neither, or not one for each layer; or layers with a window, and no window.

    >>> import types
    >>> types_of_layers = {"layer_types": ["full_attention", "sliding_attention"], "num_hidden_layers": 2}
    >>> config = ConfigReader(types.SimpleNamespace(**types_of_layers, sliding_window=4))
    >>> [a.window for a in by_layer_type(config, lambda _, window: Attention(1, 1, 8, 0.25, window=window))]
    [None, 4]
    """
    types, full, sliding = config.layer_types, "full_attention", "sliding_attention"
    if len(types) != config.num_hidden_layers or not {full, sliding}.issuperset(types):
        config.refuse("layer_types", expected=f"{config.num_hidden_layers} of {full!r} and {sliding!r}")
    windows = {full: None} if sliding not in types else {full: None, sliding: window(config)}
    made = {kind: attention(kind, size) for kind, size in windows.items() if kind in types}
    return [made[kind] for kind in types]


_BLOCK = "model.layers.{l}"
WITHOUT_NORMS = {
    "t.w.tok_embeds": Source("model.embed_tokens.weight"),
    "a.w.q": Source(f"{_BLOCK}.self_attn.q_proj.weight", queries),
    "a.w.k": Source(f"{_BLOCK}.self_attn.k_proj.weight", keys),
    "a.w.v": Source(f"{_BLOCK}.self_attn.v_proj.weight", keys),
    "a.w.o": Source(f"{_BLOCK}.self_attn.o_proj.weight", outputs),
    "a.b.q": Source(f"{_BLOCK}.self_attn.q_proj.bias", queries),
    "a.b.k": Source(f"{_BLOCK}.self_attn.k_proj.bias", keys),
    "a.b.v": Source(f"{_BLOCK}.self_attn.v_proj.bias", keys),
    "a.b.o": Source(f"{_BLOCK}.self_attn.o_proj.bias"),
    "m.w.gate": Source(f"{_BLOCK}.mlp.gate_proj.weight", linear),
    "m.w.in": Source(f"{_BLOCK}.mlp.up_proj.weight", linear),
    "m.w.out": Source(f"{_BLOCK}.mlp.down_proj.weight", linear),
    "m.b.gate": Source(f"{_BLOCK}.mlp.gate_proj.bias"),
    "m.b.in": Source(f"{_BLOCK}.mlp.up_proj.bias"),
    "m.b.out": Source(f"{_BLOCK}.mlp.down_proj.bias"),
    "final.norm.w": Source("model.norm.weight"),
    "t.w.unembed": Source("lm_head.weight", linear),
}
"""Weights of a model without those of the norms in its blocks, which families place differently."""
SOURCES = WITHOUT_NORMS | {
    "a.norm.w": Source(f"{_BLOCK}.input_layernorm.weight"),
    "m.norm.w": Source(f"{_BLOCK}.post_attention_layernorm.weight"),
}
QK_NORMS = {
    "a.q.norm.w": Source(f"{_BLOCK}.self_attn.q_norm.weight"),
    "a.k.norm.w": Source(f"{_BLOCK}.self_attn.k_norm.weight"),
}
"""Norms of queries and keys, for families that have them for each head by itself."""
COMPONENTS_WITHOUT_NORMS = {
    "t.input": "model.embed_tokens",
    "b": _BLOCK,
    "a": f"{_BLOCK}.self_attn",
    "a.p_bias": f"{_BLOCK}.self_attn",
    "m.gate.pre": f"{_BLOCK}.mlp.gate_proj",
    "m.gate": f"{_BLOCK}.mlp.act_fn",
    "m.pre": f"{_BLOCK}.mlp.up_proj",
    "m": f"{_BLOCK}.mlp",
    "m.p_bias": f"{_BLOCK}.mlp",
    "final.norm": "model.norm",
    "t.logits": "lm_head",
    "t.logits.lin": "lm_head",
}
COMPONENTS = COMPONENTS_WITHOUT_NORMS | {
    "a.norm": f"{_BLOCK}.input_layernorm",
    "m.norm": f"{_BLOCK}.post_attention_layernorm",
}
# Notes of other libraries, which transformers does not read, in published configs.
_HARMLESS = ("tie_word_embeddings", "is_llama_config", "rope_interleaved", "transformers.js_config")
IGNORED = (".rotary_emb.inv_freq",)
"""Tables that checkpoints of old versions of `transformers` hold."""
register(
    Family(
        "llama",
        ("LlamaForCausalLM",),
        architecture,
        SOURCES,
        COMPONENTS,
        base_prefix="model.",
        ignored=IGNORED,
        harmless=frozenset(_HARMLESS),
    )
)
