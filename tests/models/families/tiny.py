"""Tiny Hugging Face models of every family: their configs, and weights that are random throughout.

Defaults of Hugging Face's initialisation (biases of 0, norms of 1) would hide mistakes, so every parameter is drawn.
Sizes differ from one another wherever the family lets them, so that no transposed weight fits by chance.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from torch import nn

Fields = Mapping[str, Any]

MODEL_CLASSES: dict[str, str] = {
    "gpt2": "GPT2LMHeadModel",
    "gpt_neo": "GPTNeoForCausalLM",
    "gpt_neox": "GPTNeoXForCausalLM",
    "gptj": "GPTJForCausalLM",
    "opt": "OPTForCausalLM",
    "bloom": "BloomForCausalLM",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
    "olmo2": "Olmo2ForCausalLM",
    "phi3": "Phi3ForCausalLM",
    "mixtral": "MixtralForCausalLM",
    "bert": "BertForMaskedLM",
    "distilbert": "DistilBertForMaskedLM",
    "vit": "ViTForImageClassification",
}

_TOKENS: Fields = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_GPT: Fields = {"vocab_size": 23, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 12, **_TOKENS}
_LLAMA: Fields = {
    "vocab_size": 23,
    "hidden_size": 16,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 12,
    **_TOKENS,
}

BASES: dict[str, Fields] = {
    "gpt2": _GPT,
    "gptj": {**_GPT, "n_head": 2, "rotary_dim": 4},
    "gpt_neo": {
        "vocab_size": 23,
        "hidden_size": 16,
        "num_layers": 2,
        "num_heads": 4,
        "max_position_embeddings": 12,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 3,
        **_TOKENS,
    },
    "gpt_neox": {
        "vocab_size": 23,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 20,
        "max_position_embeddings": 12,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.25},
        **_TOKENS,
    },
    "opt": {
        "vocab_size": 23,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "ffn_dim": 20,
        "max_position_embeddings": 12,
        **_TOKENS,
    },
    "bloom": {"vocab_size": 23, "hidden_size": 16, "n_layer": 2, "n_head": 4, **_TOKENS},
    "llama": _LLAMA,
    "mistral": {**_LLAMA, "sliding_window": 4},
    "qwen2": _LLAMA,
    "qwen3": {**_LLAMA, "head_dim": 6},
    "gemma2": {
        **_LLAMA,
        "head_dim": 6,
        "query_pre_attn_scalar": 5,
        "sliding_window": 3,
        "attn_logit_softcapping": 1.5,
        "final_logit_softcapping": 3.0,
    },
    "gemma3_text": {
        **_LLAMA,
        "num_hidden_layers": 3,
        "head_dim": 6,
        "query_pre_attn_scalar": 5,
        "sliding_window": 3,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
    "olmo2": _LLAMA,
    "phi3": {**_LLAMA, "original_max_position_embeddings": 12},
    "mixtral": {**_LLAMA, "num_local_experts": 4, "num_experts_per_tok": 2},
    "bert": {
        "vocab_size": 23,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 20,
        "max_position_embeddings": 12,
        "layer_norm_eps": 1e-5,
        **_TOKENS,
    },
    "distilbert": {
        "vocab_size": 23,
        "dim": 16,
        "n_layers": 2,
        "n_heads": 4,
        "hidden_dim": 20,
        "max_position_embeddings": 12,
        **_TOKENS,
    },
    "vit": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 20,
        "image_size": 8,
        "patch_size": 4,
        "id2label": {i: f"LABEL_{i}" for i in range(5)},
        "layer_norm_eps": 1e-5,
    },
}

# Frequencies on both sides of each scheme's thresholds, for heads of 4, 6 or 8 dimensions and 12 positions.
LINEAR: Fields = {"rope_type": "linear", "rope_theta": 100.0, "factor": 2.5}
DYNAMIC: Fields = {"rope_type": "dynamic", "rope_theta": 100.0, "factor": 2.0}
LLAMA3: Fields = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN: Fields = {
    "rope_type": "yarn",
    "rope_theta": 100.0,
    "factor": 4.0,
    "original_max_position_embeddings": 16,
    "beta_fast": 2.0,
    "beta_slow": 0.1,
}
YARN_MSCALE: Fields = {**YARN, "mscale": 1.5, "mscale_all_dim": 0.5, "truncate": False}
LONGROPE: Fields = {
    "rope_type": "longrope",
    "rope_theta": 100.0,
    "factor": 2.0,
    "original_max_position_embeddings": 6,
    "short_factor": [1.0, 1.3],
    "long_factor": [1.5, 4.0],
}

# family -> variant -> fields that differ from the family's base; the first of each is the base itself.
VARIANTS: dict[str, dict[str, Fields]] = {
    "gpt2": {
        "base": {},
        "untied-inverse-layer": {
            "tie_word_embeddings": False,
            "scale_attn_by_inverse_layer_idx": True,
            "n_layer": 3,
            "n_inner": 20,
            "activation_function": "relu",
        },
        "unscaled": {"scale_attn_weights": False, "activation_function": "gelu", "layer_norm_epsilon": 0.1},
    },
    "gptj": {
        "base": {},
        "all-rotary-tied": {"rotary_dim": 8, "tie_word_embeddings": True, "n_inner": 20},
        "relu": {"activation_function": "relu", "n_head": 1, "rotary_dim": 6},
    },
    "gpt_neo": {
        "base": {},
        "untied-local-first": {
            "num_layers": 3,
            "attention_types": [[["local"], 2], [["global"], 1]],
            "window_size": 2,
            "intermediate_size": 20,
            "tie_word_embeddings": False,
            "activation_function": "relu",
        },
    },
    "gpt_neox": {
        "base": {},
        "sequential": {"use_parallel_residual": False, "tie_word_embeddings": True, "hidden_act": "gelu_new"},
        "no-bias-linear": {"attention_bias": False, "rope_parameters": {**LINEAR, "partial_rotary_factor": 1.0}},
        "yarn": {"rope_parameters": {**YARN, "partial_rotary_factor": 0.5}},
    },
    "opt": {
        "base": {},
        "post-norm-projected": {"do_layer_norm_before": False, "word_embed_proj_dim": 10},
        "no-bias-no-affine": {"enable_bias": False, "layer_norm_elementwise_affine": False},
        "untied-no-final-norm": {
            "tie_word_embeddings": False,
            "_remove_final_layer_norm": True,
            "activation_function": "gelu",
            "word_embed_proj_dim": 10,
        },
    },
    "bloom": {
        "base": {},
        "six-heads-untied": {"hidden_size": 24, "n_head": 6, "tie_word_embeddings": False},
        "norm-in-residual": {"apply_residual_connection_post_layernorm": True, "layer_norm_epsilon": 0.1},
    },
    "llama": {
        "base": {},
        "biases-tied": {
            "attention_bias": True,
            "mlp_bias": True,
            "tie_word_embeddings": True,
            "num_key_value_heads": 4,
            "hidden_act": "gelu",
        },
        "one-group-wide-heads": {"num_key_value_heads": 1, "head_dim": 6, "rms_norm_eps": 0.1},
        "linear": {"rope_parameters": LINEAR},
        "dynamic": {"rope_parameters": DYNAMIC},
        "llama3": {"rope_parameters": LLAMA3, "head_dim": 8},
        "yarn": {"rope_parameters": YARN, "head_dim": 8},
        "yarn-mscale": {"rope_parameters": YARN_MSCALE, "head_dim": 8},
        "longrope": {"rope_parameters": LONGROPE},
    },
    "mistral": {
        "base": {},
        "no-window-tied": {"sliding_window": None, "tie_word_embeddings": True, "head_dim": 6},
        "llama3": {"rope_parameters": LLAMA3, "num_key_value_heads": 1, "hidden_act": "gelu_new"},
    },
    "qwen2": {
        "base": {},
        "window-tied": {
            "use_sliding_window": True,
            "sliding_window": 3,
            "max_window_layers": 1,
            "tie_word_embeddings": True,
        },
        "layer-types-yarn": {
            "num_hidden_layers": 3,
            "use_sliding_window": True,
            "sliding_window": 4,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "rope_parameters": YARN,
        },
    },
    "qwen3": {
        "base": {},
        "biases-tied": {"attention_bias": True, "tie_word_embeddings": True, "num_key_value_heads": 4},
        "window-linear": {
            "use_sliding_window": True,
            "sliding_window": 3,
            "max_window_layers": 1,
            "rope_parameters": LINEAR,
            "rms_norm_eps": 0.1,
        },
    },
    "gemma2": {
        "base": {},
        "no-caps-untied": {
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
            "tie_word_embeddings": False,
            "num_key_value_heads": 1,
        },
        "biases-all-full": {
            "attention_bias": True,
            "layer_types": ["full_attention", "full_attention"],
            "hidden_activation": "silu",
            "rope_parameters": LINEAR,
        },
        "wide": {"hidden_size": 24, "rms_norm_eps": 0.1},
    },
    "gemma3_text": {
        "base": {},
        "capped-untied-linear": {
            "final_logit_softcapping": 3.0,
            "tie_word_embeddings": False,
            "rope_parameters": {
                "full_attention": LINEAR,
                "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
            },
        },
        "bidirectional": {"use_bidirectional_attention": True, "sliding_window": 4, "attention_bias": True},
        "wide": {"hidden_size": 24, "num_key_value_heads": 1, "rms_norm_eps": 0.1},
    },
    "olmo2": {
        "base": {},
        "biases-tied": {"attention_bias": True, "tie_word_embeddings": True, "num_key_value_heads": 4},
        "yarn": {"rope_parameters": YARN, "num_key_value_heads": 1, "rms_norm_eps": 0.1},
    },
    "phi3": {
        "base": {},
        "window-tied": {"sliding_window": 4, "tie_word_embeddings": True, "num_key_value_heads": 4},
        "partial-rotary": {
            "num_attention_heads": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.5},
        },
        "longrope": {
            "original_max_position_embeddings": 6,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 100.0,
                "short_factor": [1.0, 1.3],
                "long_factor": [1.5, 4.0],
            },
        },
    },
    "mixtral": {
        "base": {},
        "one-expert-tied": {"num_experts_per_tok": 1, "tie_word_embeddings": True, "head_dim": 6},
        "all-experts-window": {"num_experts_per_tok": 3, "num_local_experts": 3, "sliding_window": 4},
    },
    "bert": {
        "base": {},
        "untied-one-type": {"tie_word_embeddings": False, "type_vocab_size": 1, "hidden_act": "gelu_new"},
        "three-types": {"type_vocab_size": 3, "num_attention_heads": 2, "hidden_act": "relu"},
    },
    "distilbert": {
        "base": {},
        "untied-relu": {"tie_word_embeddings": False, "activation": "relu", "n_heads": 2},
        "sinusoidal": {"sinusoidal_pos_embds": True},
    },
    "vit": {
        "base": {},
        "oblong-no-bias": {"image_size": (8, 6), "patch_size": (4, 3), "qkv_bias": False, "num_channels": 1},
        "many-patches": {"patch_size": 2, "id2label": {0: "a", 1: "b", 2: "c"}, "hidden_act": "relu"},
    },
}

# sqrt(hidden_size) is a float32 buffer there, so that Hugging Face's float64 model is float32's in this one number.
ROUNDED = {("gemma2", "wide"), ("gemma3_text", "wide")}


@dataclass(frozen=True)
class Variant:
    """One tiny config of one family; `str` of it is the test's id."""

    family: str
    name: str
    changes: Fields = field(default_factory=dict[str, Any], hash=False, compare=False)

    def __str__(self) -> str:
        return f"{self.family}-{self.name}"

    @property
    def fields(self) -> dict[str, Any]:
        """What the config is made from. A copy: Hugging Face writes into the dictionaries that it is given."""
        named = {**BASES[self.family], **VARIANTS[self.family][self.name], **self.changes}
        return copy.deepcopy(named)

    @property
    def is_exact(self) -> bool:
        return (self.family, self.name) not in ROUNDED

    def config(self) -> Any:
        return transformers.AutoConfig.for_model(self.family, **self.fields)


def variants(*families: str, first_only: bool = False) -> Iterator[Variant]:
    """Those of the families given, or of all."""
    for family in families or VARIANTS:
        for name in list(VARIANTS[family])[: 1 if first_only else None]:
            yield Variant(family, name)


def build(config: Any, *, dtype: torch.dtype = torch.float32, seed: int = 0) -> Any:
    """The Hugging Face model of a config, every parameter drawn, in evaluation mode, with eager attention.

    A parameter's values depend on the family, its name, its shape and `seed`, so that models of two configs have equal
    weights wherever they have the same ones. They are drawn in float32, so that models of two dtypes have them too.
    """
    config = copy.deepcopy(config)
    config._attn_implementation = config._experts_implementation = "eager"
    with torch.random.fork_rng(devices=[]):
        model = getattr(transformers, MODEL_CLASSES[config.model_type])(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            owner, _, leaf = name.rpartition(".")
            generator = torch.Generator().manual_seed(zlib.crc32(f"{config.model_type} {name} {seed}".encode()))
            values = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(_scaled(values, model.get_submodule(owner), leaf, config.model_type))
    return model.to(dtype).eval()


def _scaled(values: torch.Tensor, owner: nn.Module, leaf: str, family: str) -> torch.Tensor:
    """Of the size that keeps activations near 1."""
    if values.ndim == 1:
        centre = 1.0 if leaf == "weight" and not family.startswith("gemma") else 0.0
        return centre + 0.3 * values
    if isinstance(owner, nn.Embedding) or leaf in ("cls_token", "position_embeddings"):
        return 0.6 * values
    is_transposed = type(owner).__name__ == "Conv1D"
    fan_in = values.shape[0] if is_transposed else values[0].numel() if values.ndim == 4 else values.shape[-1]
    return values / fan_in**0.5
