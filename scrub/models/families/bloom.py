"""BLOOM: ALiBi instead of positions, a norm on the embeddings, queries, keys and values fused.

Source: Scao et al. 2022; Press et al. 2022; weights as in `transformers.BloomForCausalLM`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from scrub.graph import register_elementwise
from scrub.models.architecture import Architecture, Attention, Embedding, Layer, Mlp, Norm, Readout
from scrub.models.families.config_reader import ConfigReader
from scrub.models.families.family import Family, Source, register
from scrub.models.families.views import linear, outputs, third_of_each_head
from scrub.models.tables import alibi_slopes


def _gelu(x: torch.Tensor) -> torch.Tensor:
    """`gelu_new` with sqrt(2 / pi) rounded to eight digits, which is the same number in single precision."""
    if x.dtype != torch.float64:
        return F.gelu(x, approximate="tanh")
    return 0.5 * x * (1.0 + torch.tanh(0.79788456 * x * (1.0 + 0.044715 * x * x)))


register_elementwise("gelu_bloom", _gelu)


def architecture(config: ConfigReader, class_name: str) -> Architecture:
    """From `transformers.BloomConfig`."""
    if config.slow_but_exact and config.pretraining_tp > 1:
        # transformers leaves out the biases of linear layers that it adds up in slices.
        config.refuse("slow_but_exact", expected="False, or pretraining_tp=1")
    d_model, n_heads = config.hidden_size, config.n_head
    norm = Norm("ln", config.layer_norm_epsilon)
    attention = Attention(
        n_heads,
        n_heads,
        d_model // n_heads,
        scale=(d_model // n_heads) ** -0.5,
        bias="qkvo",
        alibi_slopes=alibi_slopes(n_heads),
    )
    layer = Layer(
        attention,
        Mlp(4 * d_model, "gelu_bloom"),
        a_norm=norm,
        m_norm=norm,
        adds_to_normed=bool(config.apply_residual_connection_post_layernorm),
    )
    return Architecture(
        d_model=d_model,
        d_vocab=config.vocab_size,
        n_ctx=None,
        layers=(layer,) * config.n_layer,
        embedding=Embedding(norm=norm),
        readout=Readout(norm),
    )


_BLOCK = "transformer.h.{l}"
_FUSED = f"{_BLOCK}.self_attention.query_key_value"
SOURCES = {
    "t.w.tok_embeds": Source("transformer.word_embeddings.weight"),
    "t.embed_norm.w": Source("transformer.word_embeddings_layernorm.weight"),
    "t.embed_norm.b": Source("transformer.word_embeddings_layernorm.bias"),
    "a.norm.w": Source(f"{_BLOCK}.input_layernorm.weight"),
    "a.norm.b": Source(f"{_BLOCK}.input_layernorm.bias"),
    "a.w.q": Source(f"{_FUSED}.weight", third_of_each_head(0)),
    "a.w.k": Source(f"{_FUSED}.weight", third_of_each_head(1)),
    "a.w.v": Source(f"{_FUSED}.weight", third_of_each_head(2)),
    "a.w.o": Source(f"{_BLOCK}.self_attention.dense.weight", outputs),
    "a.b.q": Source(f"{_FUSED}.bias", third_of_each_head(0)),
    "a.b.k": Source(f"{_FUSED}.bias", third_of_each_head(1)),
    "a.b.v": Source(f"{_FUSED}.bias", third_of_each_head(2)),
    "a.b.o": Source(f"{_BLOCK}.self_attention.dense.bias"),
    "m.norm.w": Source(f"{_BLOCK}.post_attention_layernorm.weight"),
    "m.norm.b": Source(f"{_BLOCK}.post_attention_layernorm.bias"),
    "m.w.in": Source(f"{_BLOCK}.mlp.dense_h_to_4h.weight", linear),
    "m.b.in": Source(f"{_BLOCK}.mlp.dense_h_to_4h.bias"),
    "m.w.out": Source(f"{_BLOCK}.mlp.dense_4h_to_h.weight", linear),
    "m.b.out": Source(f"{_BLOCK}.mlp.dense_4h_to_h.bias"),
    "final.norm.w": Source("transformer.ln_f.weight"),
    "final.norm.b": Source("transformer.ln_f.bias"),
    "t.w.unembed": Source("lm_head.weight", linear),
}
COMPONENTS = {
    "t.input": "transformer.word_embeddings_layernorm",
    "b": _BLOCK,
    "a.norm": f"{_BLOCK}.input_layernorm",
    "a.p_bias": f"{_BLOCK}.self_attention.dense",
    "b.mid": f"{_BLOCK}.self_attention",
    "m.norm": f"{_BLOCK}.post_attention_layernorm",
    "m.pre": f"{_BLOCK}.mlp.dense_h_to_4h",
    "m.post": f"{_BLOCK}.mlp.gelu_impl",
    "m.p_bias": f"{_BLOCK}.mlp.dense_4h_to_h",
    "final.norm": "transformer.ln_f",
    "t.logits": "lm_head",
}
"""In `transformers` the attention and MLP modules add the residual stream themselves."""
register(
    Family(
        "bloom",
        ("BloomForCausalLM",),
        architecture,
        SOURCES,
        COMPONENTS,
        base_prefix="transformer.",
        # Old configs hold how the model was trained, which transformers does not read.
        harmless=frozenset(
            [
                "tie_word_embeddings",
                "attention_softmax_in_fp32",
                "bias_dropout_fusion",
                "masked_softmax_fusion",
                "n_inner",
                "offset_alibi",
                "seq_length",
                "skip_bias_add",
                "skip_bias_add_qkv",
                "unk_token_id",
            ]
        ),
    )
)
