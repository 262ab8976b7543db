"""What published configs hold: their sizes, and fields that Hugging Face's present classes do not know.

Facts from the `config.json` files of the models named. Such a field is kept by the config class and read by nothing,
so that loading must not stumble over it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_MASKED = "transformer.h.0.{}.masked_bias"

UNREAD: Mapping[str, Mapping[str, Any]] = {
    "gpt2": {"n_ctx": 12, "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}}},
    "gpt_neo": {
        "gradient_checkpointing": False,
        "summary_activation": None,
        "summary_first_dropout": 0.1,
        "summary_proj_to_labels": True,
        "summary_type": "cls_index",
        "summary_use_proj": True,
        "tokenizer_class": "GPT2Tokenizer",
    },
    "gpt_neox": {"rope_scaling": None, "classifier_dropout": 0.1, "use_cache": True},
    "gptj": {
        "gradient_checkpointing": False,
        "rotary": True,
        "scale_attn_weights": True,
        "summary_activation": None,
        "summary_first_dropout": 0.1,
        "summary_proj_to_labels": True,
        "summary_type": "cls_index",
        "summary_use_proj": True,
        "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50, "temperature": 1.0}},
        "tokenizer_class": "GPT2Tokenizer",
    },
    "opt": {"activation_dropout": 0.0, "prefix": "</s>"},
    "bloom": {
        "attention_softmax_in_fp32": True,
        "bias_dropout_fusion": True,
        "masked_softmax_fusion": True,
        "n_inner": None,
        "offset_alibi": 100,
        "seq_length": 2048,
        "skip_bias_add": True,
        "skip_bias_add_qkv": False,
        "unk_token_id": 0,
    },
    "llama": {"pretraining_tp": 1, "rope_scaling": None},
    "mistral": {"rope_theta": 10000.0},
    "qwen2": {"max_window_layers": 21, "sliding_window": 32768, "use_mrope": False},
    "qwen3": {"max_window_layers": 28, "rope_scaling": None, "sliding_window": None},
    "gemma2": {"hidden_act": "gelu_pytorch_tanh", "cache_implementation": "hybrid"},
    "gemma3_text": {"cache_implementation": "hybrid", "rope_local_base_freq": 10000, "sliding_window_pattern": 6},
    "olmo2": {"rope_scaling": None},
    "phi3": {
        "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"},
        "attention_bias": False,
        "rope_scaling": None,
    },
    "mixtral": {"router_aux_loss_coef": 0.02, "rope_theta": 1e6},
    "bert": {"gradient_checkpointing": False, "position_embedding_type": "absolute"},
    "distilbert": {"tie_weights_": True, "qa_dropout": 0.1, "sinusoidal_pos_embds": False},
    "vit": {"encoder_stride": 16, "label2id": {"LABEL_0": 0, "LABEL_1": 1}},
}


def strip(prefix: str) -> Callable[[str], str]:
    """Names without what precedes the model without its head."""
    return lambda name: name.removeprefix(prefix)


def old_norms(name: str) -> str:
    """Norms as the first BERT files have them."""
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


# family -> (names in published files, further tensors in them: masks, tables and heads that are not used).
FILES: Mapping[str, tuple[Callable[[str], str], Mapping[str, tuple[int, ...]]]] = {
    "gpt2": (strip("transformer."), {"h.0.attn.bias": (1, 1, 12, 12), "h.1.attn.bias": (1, 1, 12, 12)}),
    "bloom": (strip("transformer."), {}),
    "gpt_neo": (str, {"transformer.h.0.attn.attention.bias": (1, 1, 12, 12), _MASKED.format("attn.attention"): ()}),
    "gptj": (str, {"transformer.h.0.attn.bias": (1, 1, 12, 12), _MASKED.format("attn"): ()}),
    "gpt_neox": (
        str,
        {
            "gpt_neox.layers.0.attention.bias": (1, 1, 12, 12),
            "gpt_neox.layers.0.attention.masked_bias": (),
            "gpt_neox.layers.0.attention.rotary_emb.inv_freq": (1,),
        },
    ),
    "llama": (str, {"model.layers.0.self_attn.rotary_emb.inv_freq": (2,)}),
    "bert": (
        old_norms,
        {
            "bert.pooler.dense.weight": (16, 16),
            "bert.pooler.dense.bias": (16,),
            "cls.seq_relationship.weight": (2, 16),
            "cls.seq_relationship.bias": (2,),
        },
    ),
}

PUBLISHED: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "gpt2": ("gpt2", {}),
    "gpt2-xl": ("gpt2", {"n_embd": 1600, "n_head": 25, "n_layer": 48}),
    "gpt-neo-1.3B": ("gpt_neo", {}),
    "pythia-70m": (
        "gpt_neox",
        {
            "hidden_size": 512,
            "intermediate_size": 2048,
            "num_attention_heads": 8,
            "num_hidden_layers": 6,
            "rotary_pct": 0.25,
            "rotary_emb_base": 10000,
            "vocab_size": 50304,
        },
    ),
    "gpt-j-6B": ("gptj", {}),
    "opt-125m": ("opt", {}),
    "opt-350m": (
        "opt",
        {
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "ffn_dim": 4096,
            "word_embed_proj_dim": 512,
            "do_layer_norm_before": False,
        },
    ),
    "bloom-560m": ("bloom", {"hidden_size": 1024, "n_layer": 24, "n_head": 16}),
    "Llama-2-70b": (
        "llama",
        {
            "hidden_size": 8192,
            "intermediate_size": 28672,
            "num_attention_heads": 64,
            "num_hidden_layers": 80,
            "num_key_value_heads": 8,
            "max_position_embeddings": 4096,
        },
    ),
    "Llama-3.1-8B": (
        "llama",
        {
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_attention_heads": 32,
            "num_hidden_layers": 32,
            "num_key_value_heads": 8,
            "max_position_embeddings": 131072,
            "vocab_size": 128256,
            "rope_theta": 500000.0,
            "rope_scaling": {
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
                "rope_type": "llama3",
            },
        },
    ),
    "Mistral-7B-v0.1": ("mistral", {"max_position_embeddings": 32768, "sliding_window": 4096}),
    "Qwen2.5-0.5B": (
        "qwen2",
        {
            "hidden_size": 896,
            "intermediate_size": 4864,
            "num_attention_heads": 14,
            "num_hidden_layers": 24,
            "num_key_value_heads": 2,
            "rope_theta": 1000000.0,
            "tie_word_embeddings": True,
            "max_window_layers": 24,
        },
    ),
    "Qwen3-0.6B": (
        "qwen3",
        {
            "hidden_size": 1024,
            "intermediate_size": 3072,
            "num_attention_heads": 16,
            "num_hidden_layers": 28,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "rope_theta": 1000000,
            "tie_word_embeddings": True,
        },
    ),
    "gemma-2-2b": ("gemma2", {}),
    "gemma-3-1b": (
        "gemma3_text",
        {
            "hidden_size": 1152,
            "intermediate_size": 6912,
            "num_attention_heads": 4,
            "num_hidden_layers": 26,
            "num_key_value_heads": 1,
            "head_dim": 256,
            "sliding_window": 512,
            "max_position_embeddings": 32768,
            "rope_theta": 1000000,
        },
    ),
    "OLMo-2-1124-7B": ("olmo2", {"vocab_size": 100352, "rope_theta": 500000, "rms_norm_eps": 1e-6}),
    "Phi-3-mini-4k": ("phi3", {"sliding_window": 2047}),
    "Phi-3-mini-128k": (
        "phi3",
        {
            "max_position_embeddings": 131072,
            "original_max_position_embeddings": 4096,
            "sliding_window": 262144,
            "rope_scaling": {"type": "longrope", "short_factor": [1.05] * 48, "long_factor": [1.5] * 48},
        },
    ),
    "Mixtral-8x7B": ("mixtral", {}),
    "bert-base-uncased": ("bert", {}),
    "distilbert-base-uncased": ("distilbert", {}),
    "vit-base-patch16-224": ("vit", {}),
}
