"""Models in TransformerLens' layout against TransformerLens itself: logits, padding, rewrites, fields of configs."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import Any

import pytest
import torch

import scrub as rc
from scrub.models import lens_config
from tests.models.lens_reference import SIZES, configured, error, hooked, logits_of, random_tokens, tolerance

transformer_lens = pytest.importorskip("transformer_lens")

LOCAL = {"use_local_attn": True, "window_size": 3, "attn_types": ["global", "local"]}
ROTARY = {"positional_embedding_type": "rotary"}
STRETCHED = {**ROTARY, "d_head": 8, "rotary_base": 50}
BY_PARTS = {**STRETCHED, "use_NTK_by_parts_rope": True, "NTK_original_ctx_len": 64}
YARN = {**STRETCHED, "use_yarn_rope": True, "yarn_factor": 3.0, "yarn_original_max_position_embeddings": 64}
CASES: dict[str, dict[str, Any]] = {
    "as GPT-2": {},
    "no norms": {"normalization_type": None},
    "LayerNorm folded": {"normalization_type": "LNPre"},
    "RMSNorm": {"normalization_type": "RMS"},
    "RMSNorm folded": {"normalization_type": "RMSPre"},
    "final RMSNorm": {"final_rms": True},
    "final RMSNorm folded": {"final_rms": True, "normalization_type": "LNPre"},
    "norms on both sides": {"normalization_type": "RMSPre", "use_normalization_before_and_after": True},
    "no norms on either side": {"normalization_type": None, "use_normalization_before_and_after": True},
    "shortformer": {"positional_embedding_type": "shortformer"},
    "alibi": {"positional_embedding_type": "alibi", "post_embedding_ln": True},
    "alibi, grouped queries": {"positional_embedding_type": "alibi", "n_key_value_heads": 2},
    "rotary": ROTARY,
    "rotary, partly": {**ROTARY, "rotary_dim": 2, "rotary_base": 100},
    "rotary, neighbours": {**ROTARY, "rotary_adjacent_pairs": True, "n_key_value_heads": 2},
    "rotary, by type of layer": {**ROTARY, **LOCAL, "rotary_base_local": 10, "rotary_scaling_factor": 3.0},
    "rotary, by parts": BY_PARTS,
    "rotary, yarn": {**YARN, "yarn_attention_factor": 1.2},
    "rotary, yarn in global layers": {**YARN, **LOCAL, "yarn_truncate": False, "yarn_global_attn_only": True},
    "attention only": {"attn_only": True},
    "bidirectional": {"attention_dir": "bidirectional"},
    "bidirectional, with windows that do nothing": {"attention_dir": "bidirectional", **LOCAL},
    "a classifier": {"attn_only": True, "attention_dir": "bidirectional", "d_vocab_out": 3},
    "gated": {"gated_mlp": True, "act_fn": "silu"},
    "gated by SoLU": {"gated_mlp": True, "act_fn": "solu"},
    "parallel": {"parallel_attn_mlp": True},
    "SoLU with LayerNorm": {"act_fn": "solu_ln"},
    "SoLU with LayerNorm folded": {"act_fn": "solu_ln", "normalization_type": "LNPre"},
    "scores not scaled": {"use_attn_scale": False},
    "scores scaled by layer": {"attn_scale": 3.0, "scale_attn_by_inverse_layer_idx": True},
    "grouped queries": {"n_key_value_heads": 2, "normalization_type": "RMS", "gated_mlp": True, "act_fn": "silu"},
    "one key-value head": {"n_key_value_heads": 1},
    "a key-value head per head": {"n_key_value_heads": 4},
    "norms of queries and keys": {"use_qk_norm": True, "n_key_value_heads": 2, **ROTARY},
    "soft caps": {"attn_scores_soft_cap": 1.5, "output_logits_soft_cap": 2.0},
    "windows": LOCAL,
}
_ACTIVATIONS = ("relu", "gelu", "gelu_fast", "gelu_pytorch_tanh", "silu", "solu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("fields", CASES.values(), ids=CASES.keys())
def test_logits_equal_hooked_transformer_s(fields: dict[str, Any], dtype: torch.dtype) -> None:
    model = hooked(fields, dtype=dtype)
    loaded = rc.from_transformer_lens(model)
    for tokens in (random_tokens(5, SIZES["n_ctx"]), random_tokens(1, 1)):
        assert error(loaded.call(tokens).evaluate(), logits_of(model, tokens)) < tolerance(dtype)


@pytest.mark.parametrize("act", _ACTIVATIONS)
def test_activations(act: str) -> None:
    model, tokens = hooked({"act_fn": act}, dtype=torch.float64), random_tokens(5, 6)
    assert error(rc.from_transformer_lens(model).call(tokens).evaluate(), logits_of(model, tokens)) < 1e-10


def test_alibi_of_heads_that_are_no_power_of_two() -> None:
    """There TransformerLens rounds the bias to single precision, whatever the dtype."""
    model, tokens = hooked({"positional_embedding_type": "alibi", "n_heads": 3}), random_tokens(5, 10)
    assert error(rc.from_transformer_lens(model).call(tokens).evaluate(), logits_of(model, tokens)) < 1e-5


@pytest.mark.parametrize(
    "name", ["as GPT-2", "shortformer", "alibi", "rotary", "windows", "norms of queries and keys", "gated"]
)
def test_padding_on_either_side(name: str) -> None:
    model = hooked(CASES[name], dtype=torch.float64)
    tokens, mask = random_tokens(4, 9), torch.ones(4, 9, dtype=torch.int64)
    mask[1, :3] = 0
    mask[2, 6:] = 0
    mask[3, :1] = 0
    got = rc.from_transformer_lens(model).call(tokens, attention_mask=mask).evaluate()
    want = logits_of(model, tokens, attention_mask=mask)
    assert error(got[mask.bool()], want[mask.bool()]) < 1e-10


def test_padding_of_bidirectional_models_is_masked() -> None:
    """Padded sequences give what the shorter ones give by themselves."""
    model, tokens = hooked(CASES["bidirectional"], dtype=torch.float64), random_tokens(2, 8)
    mask = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0, 0]])
    got = rc.from_transformer_lens(model).call(tokens, attention_mask=mask).evaluate()[mask.bool()]
    want = torch.cat([logits_of(model, tokens[:1, 3:])[0], logits_of(model, tokens[1:, :5])[0]])
    assert error(got, want) < 1e-10


@pytest.mark.parametrize(
    "name",
    ["shortformer", "a classifier", "norms on both sides", "SoLU with LayerNorm", "norms of queries and keys", "gated"],
)
def test_rewriting_keeps_the_logits(name: str) -> None:
    model, tokens = hooked(CASES[name]), random_tokens(3, 7)
    loaded, want = rc.from_transformer_lens(model), logits_of(model, tokens)
    for to, is_split in itertools.product(rc.To, (False, True)):
        rewritten = configured(loaded, 7, to, is_split=is_split)
        assert error(loaded.call(tokens, model=rewritten).evaluate(), want) < 1e-5, (to, is_split)


def test_compiled_and_for_any_length() -> None:
    model = hooked(CASES["rotary, neighbours"])
    loaded = rc.from_transformer_lens(model)
    bound = loaded.lower()["t.bind_w"]
    for seq in (3, 10):
        tokens = random_tokens(2, seq)
        (got,) = rc.compile([loaded.call(tokens, model=bound)]).run({})
        assert error(got, logits_of(model, tokens)) < 1e-5


def test_weights_that_transformer_lens_has_processed() -> None:
    """Folded and centred (in single precision), they give the original's logits up to a constant at each position."""
    model, tokens = hooked({"d_model": 12}, dtype=torch.float64), random_tokens(3, 8)
    before = logits_of(model, tokens)
    model.process_weights_()
    assert model.cfg.normalization_type == "LNPre"
    after = rc.from_transformer_lens(model).call(tokens).evaluate()
    assert error(after, logits_of(model, tokens)) < 1e-10
    assert error(after.log_softmax(-1), before.log_softmax(-1)) < 1e-5


def test_weights_are_shared() -> None:
    model = hooked(CASES["grouped queries"], seed=5)
    stored = {p.untyped_storage().data_ptr() for p in model.parameters()}
    loaded = rc.from_transformer_lens(model)
    assert {w.untyped_storage().data_ptr() for w in loaded.weights.values()} == stored


def test_a_state_dict_with_a_mapping_of_some_fields() -> None:
    model, tokens = hooked({"attn_only": True}), random_tokens(2, 5)
    fields = {key: SIZES[key] for key in ("n_layers", "d_model", "d_head", "n_ctx", "d_vocab", "n_heads")}
    loaded = rc.from_transformer_lens(model.state_dict(), {**fields, "attn_only": True, "dtype": "torch.float32"})
    assert error(loaded.call(tokens).evaluate(), logits_of(model, tokens)) < 1e-5


def test_biases_may_be_absent() -> None:
    model, tokens = hooked({}), random_tokens(2, 5)
    biases = [name for name, _ in model.named_parameters() if name.split(".")[-1].startswith("b_")]
    with torch.no_grad():
        for name in biases:
            model.get_parameter(name).zero_()
    weights = {name: weight for name, weight in model.state_dict().items() if name not in biases}
    assert len(biases) == 2 * 6 + 1
    loaded = rc.from_transformer_lens(weights, model.cfg)
    assert not [name for name in loaded.weights if ".b." in name]
    assert error(loaded.call(tokens).evaluate(), logits_of(model, tokens)) < 1e-5


BASES: dict[str, dict[str, Any]] = {
    "as GPT-2": {},
    "as Llama": {
        **ROTARY,
        **LOCAL,
        "normalization_type": "RMS",
        "gated_mlp": True,
        "n_key_value_heads": 2,
        "d_head": 8,
    },
    "by parts": BY_PARTS,
    "yarn": {**YARN, **LOCAL},
}
_ROTARY_FIELDS = ("rotary", "NTK", "yarn", "use_NTK", "use_yarn")


@functools.cache
def _base(name: str) -> tuple[Any, torch.Tensor]:
    model = hooked(BASES[name])
    return model, logits_of(model, random_tokens(2, 10))


FLIPS: dict[str, list[Any]] = {
    "d_model": [12],
    "d_head": [2, 6],
    "n_layers": [1, 0],
    "n_ctx": [12],
    "n_heads": [8, -1],
    "d_mlp": [20, None],
    "d_vocab": [13],
    "positional_embedding_type": ["shortformer", "alibi", "rotary", "standard", "relative_positional_bias"],
    "n_key_value_heads": [4, 1, 3, None],
    "attn_only": [True],
    "gated_mlp": [True, False],
    "eps": [0.1],
    "act_fn": ["relu", "solu_ln", "xielu", "relu2", None],
    "normalization_type": ["LNPre", "RMS", "RMSPre", None, "nothing"],
    "num_experts": [2],
    "experts_per_token": [1, 2],
    "norm_topk_prob": [True],
    "final_rms": [True],
    "dtype": [torch.float64],
    "use_attn_scale": [False],
    "attn_scale": [2.0, -2.0, 0.0],
    "use_qk_norm": [True],
    "clip_qkv": [0.1, 0.0],
    "use_logn_attn": [True],
    "train_seq_length": [4],
    "use_dynamic_ntk_rope": [True],
    "use_local_attn": [True, False],
    "window_size": [2, 0],
    "attn_types": [["local", "global"], ["local"], ["local", "sideways"]],
    "attention_dir": ["bidirectional", "backwards"],
    "scale_attn_by_inverse_layer_idx": [True],
    "d_vocab_out": [3],
    "parallel_attn_mlp": [True],
    "rotary_dim": [2, 3, 40],
    "rotary_base": [7],
    "rotary_base_local": [7],
    "rotary_scaling_factor": [4.0],
    "rotary_adjacent_pairs": [True],
    "load_in_4bit": [True],
    "post_embedding_ln": [True],
    "use_normalization_before_and_after": [True],
    "attn_scores_soft_cap": [0.5, 0.0, None],
    "output_logits_soft_cap": [0.5, 0.0],
    "use_NTK_by_parts_rope": [True, False],
    "NTK_by_parts_low_freq_factor": [2.0],
    "NTK_by_parts_high_freq_factor": [3.0],
    "NTK_by_parts_factor": [3.0],
    "NTK_original_ctx_len": [40],
    "use_yarn_rope": [True, False],
    "yarn_factor": [5.0],
    "yarn_attention_factor": [0.5],
    "yarn_beta_fast": [2.0],
    "yarn_beta_slow": [2.0],
    "yarn_original_max_position_embeddings": [40],
    "yarn_truncate": [False],
    "yarn_global_attn_only": [True],
    "use_attention_sinks": [True],
    "original_architecture": ["GPT2LMHeadModel", "Olmo2ForCausalLM", "OlmoeForCausalLM"],
    "use_attn_result": [True],
    "use_split_qkv_input": [True],
    "use_hook_mlp_in": [True],
    "use_attn_in": [True],
    "use_hook_tokens": [True],
    "ungroup_grouped_query_attention": [True],
    "default_prepend_bos": [False],
    "tokenizer_prepends_bos": [True],
    "uses_rms_norm": [True],
    "layer_norm_folding": [True],
    "model_name": ["another"],
    "from_checkpoint": [True],
    "checkpoint_index": [3],
    "checkpoint_label_type": ["step"],
    "checkpoint_value": [3],
    "init_mode": ["kaiming_normal"],
    "seed": [3],
    "initializer_range": [3.0],
    "init_weights": [True],
    "n_params": [3],
    "trust_remote_code": [True],
    "quantization_method": ["gptq"],
    "relative_attention_max_distance": [3],
    "relative_attention_num_buckets": [3],
    "decoder_start_token_id": [3],
    "tie_word_embeddings": [True],
}
NOT_FLIPPED = {"device", "n_devices", "tokenizer_name"}
"""These need another device, or a tokenizer from the hub."""


def test_every_field_of_the_config_is_flipped() -> None:
    fields = {field.name for field in dataclasses.fields(transformer_lens.HookedTransformerConfig)}
    assert set(FLIPS) | NOT_FLIPPED == fields
    classes = (set(lens_config.REQUIRED) | set(lens_config.DEFAULTS), set(lens_config.REFUSED), lens_config.HARMLESS)
    assert set().union(*classes) >= fields
    assert sum(len(names) for names in classes) == len(set().union(*classes))


@pytest.mark.parametrize("field", [field for field in FLIPS if field not in lens_config.HARMLESS])
def test_a_field_is_followed_or_refused_by_name(field: str) -> None:
    """Also what `HookedTransformer` itself cannot be made with is refused."""
    tokens = random_tokens(2, 10)
    changes = False
    for name in ("as Llama", "by parts", "yarn") if field.startswith(_ROTARY_FIELDS) else ("as GPT-2", "as Llama"):
        base, (unflipped, original) = BASES[name], _base(name)
        for value in FLIPS[field]:
            config = {**SIZES, "dtype": torch.float32, **base, field: value}
            try:
                model = hooked({**base, field: value})
                want = logits_of(model, tokens)
            except Exception:
                with pytest.raises(rc.CheckpointError):
                    rc.from_transformer_lens(unflipped.state_dict(), config)
                continue
            changes |= want.shape != original.shape or want.dtype != original.dtype or bool((want != original).any())
            try:
                loaded = rc.from_transformer_lens(model.state_dict(), config)
            except rc.CheckpointError as refused:
                assert f"config field {field!r} is {value!r}" in str(refused)  # noqa: PT017
            else:
                assert field not in lens_config.REFUSED
                assert error(loaded.call(tokens).evaluate(), want) < tolerance(want.dtype)
    assert changes or field in lens_config.REFUSED, "no flip changes anything: the test of this field says nothing"


@pytest.mark.parametrize("field", [field for field in FLIPS if field in lens_config.HARMLESS])
def test_a_harmless_field_leaves_the_logits_alone(field: str) -> None:
    tokens, name = random_tokens(2, 10), "as Llama" if field == "ungroup_grouped_query_attention" else "as GPT-2"
    unflipped, original = _base(name)
    fields = {**BASES[name], field: FLIPS[field][0]}
    assert error(logits_of(hooked(fields), tokens), original) < 1e-5
    loaded = rc.from_transformer_lens(unflipped.state_dict(), {**SIZES, "dtype": torch.float32, **fields})
    assert error(loaded.call(tokens).evaluate(), original) < 1e-5


def test_weights_of_another_dtype_than_the_config_s_are_refused() -> None:
    with pytest.raises(rc.CheckpointError, match=r"config field 'dtype' is torch\.float64"):
        rc.from_transformer_lens(hooked({}).state_dict(), {**SIZES, "dtype": torch.float64})


def test_a_newer_config_may_have_more_fields_at_their_defaults() -> None:
    @dataclasses.dataclass
    class Newer(transformer_lens.HookedTransformerConfig):
        reads_backwards: bool = False

    model = hooked({})
    assert rc.from_transformer_lens(model.state_dict(), Newer(**SIZES)).architecture.n_layers == 2
    with pytest.raises(rc.CheckpointError, match=r"has fields that are not supported: \['reads_backwards'\]"):
        rc.from_transformer_lens(model.state_dict(), Newer(**SIZES, reads_backwards=True))


def test_what_is_missing_or_unknown_is_named() -> None:
    model = hooked({})
    weights = model.state_dict()
    with pytest.raises(rc.CheckpointError, match=r"the config lacks \['d_head'\]"):
        rc.from_transformer_lens(weights, {key: value for key, value in SIZES.items() if key != "d_head"})
    with pytest.raises(rc.CheckpointError, match=r"has fields that are not supported: \['d_mpl'\]"):
        rc.from_transformer_lens(weights, {**SIZES, "d_mpl": 16})
    with pytest.raises(rc.CheckpointError, match="does not say what model it is of"):
        rc.from_transformer_lens(weights)
    del weights["blocks.1.mlp.W_in"]
    weights["blocks.1.mlp.W_out"] = torch.ones(3, 16)
    weights["blocks.1.mlp.W_gate"] = torch.ones(16, 16)
    with pytest.raises(rc.CheckpointError) as caught:
        rc.from_transformer_lens(weights, SIZES)
    assert "blocks.1.mlp.W_in is missing" in str(caught.value)
    assert "blocks.1.mlp.W_out has shape (3, 16), which does not fit m1.w.out [16, 16]" in str(caught.value)
    assert "blocks.1.mlp.W_gate is not a weight of this model" in str(caught.value)


@pytest.mark.parametrize(("tokens", "message"), [([[11]], "token 11"), ([[-1]], "token -1"), ([[0] * 11], "11 tokens")])
def test_tokens_that_the_model_does_not_have(tokens: list[list[int]], message: str) -> None:
    with pytest.raises(rc.CheckpointError, match=message):
        rc.from_transformer_lens(hooked({})).call(torch.tensor(tokens))
