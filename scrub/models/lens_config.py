"""Configs of TransformerLens' `HookedTransformer`: which fields are read, and which leave logits alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch

from scrub.graph import CheckpointError

REQUIRED = ("n_layers", "d_model", "d_head", "d_vocab", "n_ctx")
DEFAULTS: dict[str, Any] = {
    "n_heads": -1,
    "d_mlp": None,
    "act_fn": "relu",
    "eps": 1e-5,
    "attn_only": False,
    "normalization_type": "LN",
    "positional_embedding_type": "standard",
    "attention_dir": "causal",
    "d_vocab_out": -1,
    "use_attn_scale": True,
    "attn_scale": -1.0,
    "scale_attn_by_inverse_layer_idx": False,
    "use_qk_norm": False,
    "use_local_attn": False,
    "window_size": None,
    "attn_types": None,
    "gated_mlp": False,
    "parallel_attn_mlp": False,
    "use_normalization_before_and_after": False,
    "final_rms": False,
    "post_embedding_ln": False,
    "rotary_dim": None,
    "rotary_base": 10000,
    "rotary_base_local": None,
    "rotary_scaling_factor": 1.0,
    "rotary_adjacent_pairs": False,
    "use_NTK_by_parts_rope": False,
    "NTK_by_parts_low_freq_factor": 1.0,
    "NTK_by_parts_high_freq_factor": 4.0,
    "NTK_by_parts_factor": 8.0,
    "NTK_original_ctx_len": 8192,
    "use_yarn_rope": False,
    "yarn_factor": 1.0,
    "yarn_attention_factor": 1.0,
    "yarn_beta_fast": 32.0,
    "yarn_beta_slow": 1.0,
    "yarn_original_max_position_embeddings": 4096,
    "yarn_truncate": True,
    "yarn_global_attn_only": False,
    "n_key_value_heads": None,
    "output_logits_soft_cap": -1.0,
    "attn_scores_soft_cap": -1.0,
    "original_architecture": None,
    "dtype": None,
}
"""Fields that are read, with the defaults of `HookedTransformerConfig`."""

REFUSED: dict[str, Any] = {
    "num_experts": None,
    "experts_per_token": None,
    "clip_qkv": None,
    "use_logn_attn": False,
    "use_dynamic_ntk_rope": False,
    "use_attention_sinks": False,
    "load_in_4bit": False,
}
"""Fields that change logits and are not supported, with the value that they must have."""

_HARMLESS = """
    device n_devices use_attn_result use_split_qkv_input use_hook_mlp_in use_attn_in use_hook_tokens
    ungroup_grouped_query_attention default_prepend_bos tokenizer_prepends_bos tokenizer_name model_name
    from_checkpoint checkpoint_index checkpoint_label_type checkpoint_value init_mode seed initializer_range
    init_weights n_params trust_remote_code quantization_method uses_rms_norm layer_norm_folding tie_word_embeddings
    relative_attention_max_distance relative_attention_num_buckets decoder_start_token_id train_seq_length
    norm_topk_prob
"""
HARMLESS = frozenset(_HARMLESS.split())
"""Fields that leave logits alone: bookkeeping, tokenizers, hooks, initialization, and options of refused fields.

`quantization_method` says how a checkpoint was stored that TransformerLens has unpacked; embeddings are tied or not in
the weights themselves; relative positions are those of encoder-decoder models.
"""

_NORMS_OVER_ALL_HEADS = ("OlmoeForCausalLM", "Olmo2ForCausalLM", "Olmo3ForCausalLM")


def read_lens_config(config: Any) -> tuple[SimpleNamespace, dict[str, Any]]:
    """The fields that are read, with defaults filled in, and all fields as they are.

    Args:
        config: a mapping, or an object with fields as attributes such as `HookedTransformerConfig`.

    Raises:
        CheckpointError: a field is missing, is not known, or has a value that is not supported.
    """
    given: dict[str, Any] = dict(config) if hasattr(config, "keys") else _set_fields(config)
    known = (*REQUIRED, *DEFAULTS, *REFUSED)
    missing = [name for name in REQUIRED if name not in given]
    unknown = [name for name in given if name not in known and name not in HARMLESS]
    if missing or unknown:
        problem = f"lacks {missing}" if missing else f"has fields that are not supported: {unknown}"
        raise CheckpointError(f"the config {problem}", expected=[*REQUIRED, *DEFAULTS], found=list(given))
    for name, only in REFUSED.items():
        if given.get(name) is not None and given[name] is not only:
            refuse(given, name, expected=only)
    fields = SimpleNamespace(**{name: given.get(name, DEFAULTS.get(name)) for name in (*REQUIRED, *DEFAULTS)})
    _fill_in(fields)
    _check(fields)
    return fields, given


def refuse(config: SimpleNamespace | Mapping[str, Any], name: str, *, expected: object, given: str = "") -> None:
    """Raise a `CheckpointError` that says that the value of this field is not supported.

    Args:
        config: a mapping, or the fields as attributes.
        name: of the field.
        expected: values that are supported.
        given: what else in the config makes it so.
    """
    value = getattr(config, name) if isinstance(config, SimpleNamespace) else config[name]
    raise CheckpointError(
        f"config field {name!r} is {value!r}, which is not supported{given and ' with ' + given}",
        expected=expected,
        found=value,
        hint="scrub.models.load takes Hugging Face models, and scrub.models.from_torch any module that exports",
    )


def _set_fields(config: object) -> dict[str, Any]:
    """The fields of an object, but for those we do not know that have their default."""
    defaults = vars(type(config))
    return {
        name: value
        for name, value in vars(config).items()
        if name in REQUIRED or name in DEFAULTS or name not in defaults or value != defaults[name]
    }


def _fill_in(c: SimpleNamespace) -> None:
    """Values that other fields give, as `HookedTransformerConfig` fills them in."""
    if c.n_heads == -1:
        c.n_heads = c.d_model // c.d_head
        if c.d_model % c.d_head:
            refuse(c, "d_head", expected="a divisor of d_model, where n_heads is not given")
    c.d_mlp = 4 * c.d_model if c.d_mlp is None else c.d_mlp
    c.d_vocab_out = c.d_vocab if c.d_vocab_out == -1 else c.d_vocab_out
    c.attn_scale = math.sqrt(c.d_head) if c.attn_scale == -1 else c.attn_scale
    c.rotary_dim = c.d_head if c.rotary_dim is None else c.rotary_dim
    c.dtype = None if c.dtype is None else getattr(torch, str(c.dtype).removeprefix("torch."), c.dtype)


def _check(c: SimpleNamespace) -> None:
    """Values that `HookedTransformer` does not run with, or computes otherwise than our parts do."""
    for name in ("n_layers", "n_heads", "d_model", "d_head", "d_mlp", "d_vocab", "d_vocab_out", "n_ctx"):
        if not isinstance(getattr(c, name), int) or getattr(c, name) < 1:
            refuse(c, name, expected="a positive integer")
    if c.use_attn_scale and not c.attn_scale:
        refuse(c, "attn_scale", expected="not 0")
    if c.original_architecture in _NORMS_OVER_ALL_HEADS:
        refuse(c, "original_architecture", expected=f"none of {_NORMS_OVER_ALL_HEADS}")
    if c.attn_only and c.parallel_attn_mlp:
        refuse(c, "parallel_attn_mlp", expected=False, given="attn_only")
    if c.use_normalization_before_and_after and c.normalization_type in ("LN", "LNPre"):
        refuse(c, "use_normalization_before_and_after", expected=False, given="LayerNorm")
    if c.post_embedding_ln and c.positional_embedding_type == "standard":
        refuse(c, "post_embedding_ln", expected=False, given="positions that are added to the normed embeddings")
    if c.positional_embedding_type == "alibi" and c.attention_dir == "bidirectional":
        refuse(c, "attention_dir", expected="causal", given="ALiBi")
    if c.positional_embedding_type == "rotary" and (c.rotary_dim % 2 or not 2 <= c.rotary_dim <= c.d_head):
        refuse(c, "rotary_dim", expected=f"an even number up to d_head={c.d_head}")
    if c.use_local_attn:
        if not isinstance(c.window_size, int) or c.window_size < 1:
            refuse(c, "window_size", expected="a positive integer", given="use_local_attn")
        if len(c.attn_types or ()) < c.n_layers or not set(c.attn_types) <= {"global", "local"}:
            refuse(c, "attn_types", expected=f"{c.n_layers} of 'global' and 'local'")
