"""BERT: learned positions and token types, LayerNorm after each sum of the residual stream, attention both ways.

Source: Devlin et al. 2019; weights as in `transformers.BertForMaskedLM` and `BertLMHeadModel`, which read logits at
every position through a linear layer, a nonlinearity and a norm, and `BertForSequenceClassification`, which reads the
first position through the pooler, a linear layer and tanh.
"""

from __future__ import annotations

from scrub.models.architecture import Architecture, Attention, Embedding, Layer, Mlp, Norm, Readout, Transform
from scrub.models.families.activations import ACTIVATIONS
from scrub.models.families.config_reader import ConfigReader
from scrub.models.families.family import Family, Head, Source, register
from scrub.models.families.views import keys, linear, outputs, queries


def architecture(config: ConfigReader, class_name: str) -> Architecture:
    """From `transformers.BertConfig`. A decoder (`is_decoder`) is causal; cross-attention is not supported."""
    n_heads, d_model = config.num_attention_heads, config.hidden_size
    if d_model % n_heads:
        config.refuse("num_attention_heads", expected=f"a divisor of hidden_size={d_model}")
    if config.add_cross_attention:
        config.refuse("add_cross_attention", expected=False)
    if config.optional("position_embedding_type", "absolute") != "absolute":
        config.refuse("position_embedding_type", expected="absolute")
    norm = Norm("ln", config.layer_norm_eps)
    act = config.choice("hidden_act", ACTIVATIONS)
    d_head = d_model // n_heads
    is_classifier = class_name == "BertForSequenceClassification"
    return encoder(
        Attention(n_heads, n_heads, d_head, d_head**-0.5, bias="qkvo", is_causal=bool(config.is_decoder)),
        Mlp(config.intermediate_size, act),
        Embedding("learned", config.max_position_embeddings, n_token_types=config.type_vocab_size, norm=norm),
        n_layers=config.num_hidden_layers,
        d_model=d_model,
        d_vocab=config.vocab_size,
        pooler=Transform("tanh") if is_classifier else None,
        n_labels=config.num_labels if is_classifier else None,
    )


def encoder(
    attention: Attention,
    mlp: Mlp,
    embedding: Embedding,
    *,
    n_layers: int,
    d_model: int,
    d_vocab: int,
    pooler: Transform | None,
    n_labels: int | None,
) -> Architecture:
    """Layers with norms after each sum; with a pooler the first position is read, and without every one."""
    norm = embedding.norm
    readout = Readout(reads_first=pooler is not None, transform=pooler or Transform(mlp.act, norm), has_bias=True)
    return Architecture(
        d_model=d_model,
        d_vocab=d_vocab,
        n_ctx=embedding.n_positions,
        layers=(Layer(attention, mlp, mid_norm=norm, out_norm=norm),) * n_layers,
        embedding=embedding,
        readout=readout,
        d_out=n_labels,
    )


_BLOCK = "bert.encoder.layer.{l}"
SOURCES = {
    "t.w.tok_embeds": Source("bert.embeddings.word_embeddings.weight"),
    "t.w.pos_embeds": Source("bert.embeddings.position_embeddings.weight"),
    "t.w.type_embeds": Source("bert.embeddings.token_type_embeddings.weight"),
    "t.embed_norm.w": Source("bert.embeddings.LayerNorm.weight"),
    "t.embed_norm.b": Source("bert.embeddings.LayerNorm.bias"),
    "a.w.q": Source(f"{_BLOCK}.attention.self.query.weight", queries),
    "a.w.k": Source(f"{_BLOCK}.attention.self.key.weight", keys),
    "a.w.v": Source(f"{_BLOCK}.attention.self.value.weight", keys),
    "a.w.o": Source(f"{_BLOCK}.attention.output.dense.weight", outputs),
    "a.b.q": Source(f"{_BLOCK}.attention.self.query.bias", queries),
    "a.b.k": Source(f"{_BLOCK}.attention.self.key.bias", keys),
    "a.b.v": Source(f"{_BLOCK}.attention.self.value.bias", keys),
    "a.b.o": Source(f"{_BLOCK}.attention.output.dense.bias"),
    "b.mid_norm.w": Source(f"{_BLOCK}.attention.output.LayerNorm.weight"),
    "b.mid_norm.b": Source(f"{_BLOCK}.attention.output.LayerNorm.bias"),
    "m.w.in": Source(f"{_BLOCK}.intermediate.dense.weight", linear),
    "m.b.in": Source(f"{_BLOCK}.intermediate.dense.bias"),
    "m.w.out": Source(f"{_BLOCK}.output.dense.weight", linear),
    "m.b.out": Source(f"{_BLOCK}.output.dense.bias"),
    "b.out_norm.w": Source(f"{_BLOCK}.output.LayerNorm.weight"),
    "b.out_norm.b": Source(f"{_BLOCK}.output.LayerNorm.bias"),
}
COMPONENTS = {
    "t.input": "bert.embeddings",
    "b": _BLOCK,
    "a.p_bias": f"{_BLOCK}.attention.output.dense",
    "b.mid_norm": f"{_BLOCK}.attention.output",
    "m.pre": f"{_BLOCK}.intermediate.dense",
    "m.post": f"{_BLOCK}.intermediate",
    "m.p_bias": f"{_BLOCK}.output.dense",
}
_PREDICTIONS = Head(
    {
        "t.w.transform": Source("cls.predictions.transform.dense.weight", linear),
        "t.b.transform": Source("cls.predictions.transform.dense.bias"),
        "t.transform_norm.w": Source("cls.predictions.transform.LayerNorm.weight"),
        "t.transform_norm.b": Source("cls.predictions.transform.LayerNorm.bias"),
        "t.w.unembed": Source("cls.predictions.decoder.weight", linear),
        "t.b.unembed": Source("cls.predictions.decoder.bias"),
    },
    {
        "t.transform.pre": "cls.predictions.transform.dense",
        "t.transform": "cls.predictions.transform.transform_act_fn",
        "t.transform_norm": "cls.predictions.transform",
        "t.logits": "cls",
    },
)
_CLASSIFIER = Head(
    {
        "t.w.transform": Source("bert.pooler.dense.weight", linear),
        "t.b.transform": Source("bert.pooler.dense.bias"),
        "t.w.unembed": Source("classifier.weight", linear),
        "t.b.unembed": Source("classifier.bias"),
    },
    {"t.transform.pre": "bert.pooler.dense", "t.transform": "bert.pooler", "t.logits": "classifier"},
)
register(
    Family(
        "bert",
        ("BertForMaskedLM", "BertLMHeadModel", "BertForSequenceClassification"),
        architecture,
        SOURCES,
        COMPONENTS,
        base_prefix="bert.",
        ignored=(
            "embeddings.position_ids",
            "embeddings.token_type_ids",
            "cls.predictions.bias",
            "bert.pooler.dense.weight",
            "bert.pooler.dense.bias",
            "cls.seq_relationship.weight",
            "cls.seq_relationship.bias",
        ),
        renamed={r"LayerNorm\.gamma$": "LayerNorm.weight", r"LayerNorm\.beta$": "LayerNorm.bias"},
        harmless=frozenset(
            (
                "tie_word_embeddings",
                "directionality",
                "output_past",
                "pooler_fc_size",
                "pooler_num_attention_heads",
                "pooler_num_fc_layers",
                "pooler_size_per_head",
                "pooler_type",
            )
        ),
        heads={
            "BertForMaskedLM": _PREDICTIONS,
            "BertLMHeadModel": _PREDICTIONS,
            "BertForSequenceClassification": _CLASSIFIER,
        },
    )
)
