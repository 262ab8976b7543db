"""DistilBERT: BERT without token types; its sinusoidal positions, if it has them, are stored like learned ones.

Source: Sanh et al. 2019; weights as in `transformers.DistilBertForMaskedLM`, which reads logits at every position
through a linear layer, a nonlinearity and a norm, and `DistilBertForSequenceClassification`, which reads the first
position through a linear layer and relu. The eps of every norm is 1e-12.
"""

from __future__ import annotations

from scrub.models.architecture import Architecture, Attention, Embedding, Mlp, Norm, Transform
from scrub.models.families.activations import ACTIVATIONS
from scrub.models.families.bert import encoder
from scrub.models.families.config_reader import ConfigReader
from scrub.models.families.family import Family, Head, Source, register
from scrub.models.families.views import keys, linear, outputs, queries


def architecture(config: ConfigReader, class_name: str) -> Architecture:
    """From `transformers.DistilBertConfig`."""
    n_heads, d_model = config.n_heads, config.dim
    if d_model % n_heads:
        config.refuse("n_heads", expected=f"a divisor of dim={d_model}")
    norm = Norm("ln", 1e-12)
    act = config.choice("activation", ACTIVATIONS)
    d_head = d_model // n_heads
    is_classifier = class_name == "DistilBertForSequenceClassification"
    return encoder(
        Attention(n_heads, n_heads, d_head, d_head**-0.5, bias="qkvo", is_causal=False),
        Mlp(config.hidden_dim, act),
        Embedding("learned", config.max_position_embeddings, norm=norm),
        n_layers=config.n_layers,
        d_model=d_model,
        d_vocab=config.vocab_size,
        pooler=Transform("relu") if is_classifier else None,
        n_labels=config.num_labels if is_classifier else None,
    )


_BLOCK = "distilbert.transformer.layer.{l}"
SOURCES = {
    "t.w.tok_embeds": Source("distilbert.embeddings.word_embeddings.weight"),
    "t.w.pos_embeds": Source("distilbert.embeddings.position_embeddings.weight"),
    "t.embed_norm.w": Source("distilbert.embeddings.LayerNorm.weight"),
    "t.embed_norm.b": Source("distilbert.embeddings.LayerNorm.bias"),
    "a.w.q": Source(f"{_BLOCK}.attention.q_lin.weight", queries),
    "a.w.k": Source(f"{_BLOCK}.attention.k_lin.weight", keys),
    "a.w.v": Source(f"{_BLOCK}.attention.v_lin.weight", keys),
    "a.w.o": Source(f"{_BLOCK}.attention.out_lin.weight", outputs),
    "a.b.q": Source(f"{_BLOCK}.attention.q_lin.bias", queries),
    "a.b.k": Source(f"{_BLOCK}.attention.k_lin.bias", keys),
    "a.b.v": Source(f"{_BLOCK}.attention.v_lin.bias", keys),
    "a.b.o": Source(f"{_BLOCK}.attention.out_lin.bias"),
    "b.mid_norm.w": Source(f"{_BLOCK}.sa_layer_norm.weight"),
    "b.mid_norm.b": Source(f"{_BLOCK}.sa_layer_norm.bias"),
    "m.w.in": Source(f"{_BLOCK}.ffn.lin1.weight", linear),
    "m.b.in": Source(f"{_BLOCK}.ffn.lin1.bias"),
    "m.w.out": Source(f"{_BLOCK}.ffn.lin2.weight", linear),
    "m.b.out": Source(f"{_BLOCK}.ffn.lin2.bias"),
    "b.out_norm.w": Source(f"{_BLOCK}.output_layer_norm.weight"),
    "b.out_norm.b": Source(f"{_BLOCK}.output_layer_norm.bias"),
}
COMPONENTS = {
    "t.input": "distilbert.embeddings",
    "b": _BLOCK,
    "a.p_bias": f"{_BLOCK}.attention.out_lin",
    "b.mid_norm": f"{_BLOCK}.sa_layer_norm",
    "m.pre": f"{_BLOCK}.ffn.lin1",
    "m.post": f"{_BLOCK}.ffn.activation",
    "m.p_bias": f"{_BLOCK}.ffn",
}
_PREDICTIONS = Head(
    {
        "t.w.transform": Source("vocab_transform.weight", linear),
        "t.b.transform": Source("vocab_transform.bias"),
        "t.transform_norm.w": Source("vocab_layer_norm.weight"),
        "t.transform_norm.b": Source("vocab_layer_norm.bias"),
        "t.w.unembed": Source("vocab_projector.weight", linear),
        "t.b.unembed": Source("vocab_projector.bias"),
    },
    {
        "t.transform.pre": "vocab_transform",
        "t.transform": "activation",
        "t.transform_norm": "vocab_layer_norm",
        "t.logits": "vocab_projector",
    },
)
_CLASSIFIER = Head(
    {
        "t.w.transform": Source("pre_classifier.weight", linear),
        "t.b.transform": Source("pre_classifier.bias"),
        "t.w.unembed": Source("classifier.weight", linear),
        "t.b.unembed": Source("classifier.bias"),
    },
    {"t.transform.pre": "pre_classifier", "t.logits": "classifier"},
)
register(
    Family(
        "distilbert",
        ("DistilBertForMaskedLM", "DistilBertForSequenceClassification"),
        architecture,
        SOURCES,
        COMPONENTS,
        base_prefix="distilbert.",
        ignored=("embeddings.position_ids",),
        renamed={r"LayerNorm\.gamma$": "LayerNorm.weight", r"LayerNorm\.beta$": "LayerNorm.bias"},
        harmless=frozenset(("tie_word_embeddings", "tie_weights_", "output_past", "sinusoidal_pos_embds")),
        heads={"DistilBertForMaskedLM": _PREDICTIONS, "DistilBertForSequenceClassification": _CLASSIFIER},
    )
)
