"""Configs with one field changed, and what became of each: Hugging Face refuses it, logits match, an error names it.

A flip is a field of `config.to_dict()`, or a key of its rope parameters, or a field that Hugging Face reads though its
configs need not have it, and another value of the same kind.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from scrub.graph import CheckpointError
from tests.models.families import cases
from tests.models.families.reference import hf_logits
from tests.models.families.tiny import DYNAMIC, LINEAR, LLAMA3, LONGROPE, YARN, YARN_MSCALE, Variant, build

Logits = Callable[[Any, cases.Inputs], torch.Tensor]
"""(Hugging Face module, inputs) -> logits, or a `CheckpointError`."""

ACTIVATIONS = ("relu", "gelu_new", "gelu", "silu", "gelu_pytorch_tanh", "tanh", "quick_gelu", "relu2", "sigmoid")
MORE_ACTIVATIONS = (
    "gelu_fast",
    "gelu_python",
    "gelu_10",
    "gelu_accurate",
    "swish",
    "linear",
    "mish",
    "relu6",
    "leaky_relu",
)
STRINGS: Mapping[str, tuple[Any, ...]] = {
    "rope_type": ("default", "linear", "dynamic", "yarn", "longrope", "llama3", "proportional"),
    "summary_type": ("last", "mean"),
    "problem_type": ("regression", "multi_label_classification"),
    "dtype": ("float16", "float64"),
    "_name_or_path": ("some/model",),
    "transformers_version": ("4.40.0",),
}
LISTS: Mapping[str, tuple[Any, ...]] = {
    "layer_types": (
        ["full_attention"] * 3,
        ["sliding_attention"] * 3,
        ["full_attention", "sliding_attention", "full_attention"],
        ["sliding_attention", "full_attention", "sliding_attention"],
        ["chunked_attention"] * 3,
    ),
    "attention_layers": (["global"] * 3, ["local"] * 3, ["local", "global", "local"]),
    "attention_types": ([[["global"], 2]], [[["local"], 2]], [[["local", "global"], 1]], [[["global"], 3]]),
    "architectures": (["SomeModel"],),
    "image_size": ((8, 12), (16, 8)),
    "patch_size": ((2, 4),),
    "eos_token_id": ([1, 2],),
}
ROPE_KEYS: Mapping[str, Any] = {
    "partial_rotary_factor": 0.5,
    "factor": 3.0,
    "original_max_position_embeddings": 5,
    "attention_factor": 1.7,
    "beta_fast": 3.0,
    "beta_slow": 0.2,
    "short_factor": [1.0, 2.0],
    "long_factor": [1.0, 3.0],
    "low_freq_factor": 2.0,
    "high_freq_factor": 5.0,
    "mscale": 1.5,
    "mscale_all_dim": 0.7,
    "truncate": False,
    "mrope_section": [1, 1],
    "type": "linear",
}
ROPES = (LINEAR, DYNAMIC, LLAMA3, YARN, YARN_MSCALE, LONGROPE)
UNLISTED: Mapping[str, tuple[Any, ...]] = {
    "is_causal": (False,),
    "head_dim": (8,),
    "rope_theta": (50.0,),
    "rope_scaling": (dict(LINEAR), {"type": "linear", "factor": 2.0}),
    "partial_rotary_factor": (0.5,),
    "rotary_pct": (0.5,),
    "rotary_emb_base": (50.0,),
    "rope_local_base_freq": (50.0,),
    "sliding_window": (2,),
    "sliding_window_pattern": (2,),
    "layer_types": (["full_attention", "sliding_attention"],),
    "use_bidirectional_attention": (True,),
    "attention_chunk_size": (2,),
    "position_embedding_type": ("relative_key",),
    "final_logit_softcapping": (2.0,),
    "attn_logit_softcapping": (2.0,),
    "embedding_multiplier": (2.0,),
    "residual_multiplier": (2.0,),
    "logit_scale": (2.0,),
    "clip_qkv": (0.5,),
    "qk_layernorm": (True,),
    "n_embed": (8,),
    "per_layer_config": ({1: {"num_key_value_heads": 1}}, {1: {"sliding_window": 2}}, {0: {"intermediate_size": 12}}),
}
RENAMED: Mapping[str, tuple[str, ...]] = dict.fromkeys(
    ("rope_scaling", "rope_theta", "partial_rotary_factor", "rotary_pct", "rotary_emb_base", "rope_local_base_freq"),
    ("rope_parameters",),
)
"""Fields that Hugging Face turns into others when a config is made, before anybody sees them."""
FIXED: Mapping[str, str] = {
    "model_type": "says which family it is",
    "label2id": "goes with id2label",
}
INERT = frozenset(
    [
        "transformers_version",
        "architectures",
        "output_hidden_states",
        "output_attentions",
        "return_dict",
        "dtype",
        "use_cache",
        "initializer_range",
        "init_std",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "resid_pdrop",
        "embd_pdrop",
        "attn_pdrop",
        "resid_dropout",
        "embed_dropout",
        "attention_dropout",
        "classifier_dropout",
        "hidden_dropout",
        "hidden_dropout_prob",
        "dropout",
        "layerdrop",
        "qa_dropout",
        "attention_probs_dropout_prob",
        "seq_classif_dropout",
        "summary_type",
        "summary_use_proj",
        "summary_activation",
        "problem_type",
        "summary_proj_to_labels",
        "summary_first_dropout",
        "pretraining_tp",
        "router_aux_loss_coef",
        "_name_or_path",
        "encoder_stride",
        "chunk_size_feed_forward",
        "output_router_logits",
        "pooler_act",
        "pooler_output_size",
        "router_jitter_noise",
    ]
)
"""Fields that change no logits at inference in any family: refusing them would be refusing every checkpoint."""


@dataclass(frozen=True)
class Flip:
    """One changed field: `path` is "field", or "field.key" of a nested one; `value` is what the whole field becomes."""

    variant: Variant
    path: str
    shown: str
    value: Any = field(hash=False, compare=False)

    def __str__(self) -> str:
        return f"{self.variant}: {self.path}={self.shown}"

    @property
    def name(self) -> str:
        return self.path.partition(".")[0]

    def flipped(self) -> Variant:
        return dataclasses.replace(self.variant, changes={self.name: copy.deepcopy(self.value)})


@dataclass
class Report:
    """What became of the flips of a family. `failures` holds a line for each that is wrong."""

    refused: Counter[str] = field(default_factory=Counter[str])
    matched: Counter[str] = field(default_factory=Counter[str])
    changed: Counter[str] = field(default_factory=Counter[str])
    named: Counter[str] = field(default_factory=Counter[str])
    needless: Counter[str] = field(default_factory=Counter[str])
    failures: list[str] = field(default_factory=list[str])

    @property
    def tested(self) -> int:
        return self.matched.total() + self.named.total() + len(self.failures)

    def __str__(self) -> str:
        followed = f"{self.matched.total()} match, of which {self.changed.total()} change the logits or weights"
        named = f"{self.named.total()} named in an error, {self.needless.total()} of them needlessly"
        rest = f"{self.refused.total()} refused by Hugging Face, {len(self.failures)} wrong"
        return f"{self.tested} tested ({followed}; {named}), {rest}"


def flips(variant: Variant, *, every: bool) -> Iterator[Flip]:
    """All of a config, or with `every=False` one value of each of its fields that may matter."""
    config = variant.config()
    values = config.to_dict()
    types = {f.name: str(f.type) for f in dataclasses.fields(config)}
    for name, value in values.items():
        if name in FIXED or (not every and name in INERT):
            continue
        if name == "rope_parameters":
            yield from _rope_flips(variant, value, every=every)
            continue
        others = list(_others(name, value, types.get(name, ""), variant))
        for other in others if every else others[:1]:
            yield Flip(variant, name, repr(other), other)
    for name in UNLISTED if every else ():
        if name not in values:
            for other in UNLISTED[name]:
                yield Flip(variant, name, repr(other), other)


def _others(name: str, value: Any, annotation: str, variant: Variant) -> Iterator[Any]:
    """Other values of a field, those that are likeliest to matter first."""
    candidates: list[Any] = []
    if name in LISTS:
        candidates += [_cut(other, variant) if "layer" in name else other for other in LISTS[name]]
    if name in STRINGS:
        candidates += STRINGS[name]
    elif isinstance(value, bool) or (value is None and "bool" in annotation):
        candidates += [not value]
    elif isinstance(value, int):
        candidates += [value * 2, value + 1, value // 2, 0] if value else [1, 3]
    elif isinstance(value, float):
        candidates += [value * 2 + 0.1, value / 2, 0.0]
    elif isinstance(value, str) or (value is None and "str" in annotation and "act" in name):
        candidates += [*ACTIVATIONS, *MORE_ACTIVATIONS] if "act" in name else []
    elif isinstance(value, dict):
        candidates += [{k: f"LABEL_{k}" for k in range(len(value) + 1)}]
    elif value is None:
        candidates += [2.5] if "float" in annotation else [3, 1] if "int" in annotation else []
    if "None" in annotation:
        candidates.append(None)
    for other in candidates:
        if other != value or type(other) is not type(value):
            yield other


def _cut(layers: list[str], variant: Variant) -> list[str]:
    return layers[: variant.config().num_hidden_layers]


def _rope_flips(variant: Variant, value: Mapping[str, Any], *, every: bool) -> Iterator[Flip]:
    """Each key of the rope parameters, keys that it might have, and all at once; one level down if nested by layer."""
    nested = [key for key, inner in value.items() if isinstance(inner, dict)]
    for outer in nested or [None]:
        inner = dict(value[outer]) if outer else dict(value)
        keys = {**(ROPE_KEYS if every else {}), **inner}
        for key in keys:
            for other in _rope_values(key, inner.get(key), every=every):
                changed = {**inner, key: other}
                whole = {**copy.deepcopy(dict(value)), outer: changed} if outer else changed
                yield Flip(variant, f"rope_parameters.{key}", f"{other!r} in {outer}" if outer else repr(other), whole)
        for rope in ROPES if every else ():
            fitting = _with_factors(rope, variant)
            if "partial_rotary_factor" in inner:
                fitting["partial_rotary_factor"] = inner["partial_rotary_factor"]
            whole = {**copy.deepcopy(dict(value)), outer: fitting} if outer else fitting
            yield Flip(variant, "rope_parameters", repr(whole), whole)
    yield Flip(variant, "rope_parameters", "None", None)


def _rope_values(key: str, value: Any, *, every: bool) -> list[Any]:
    if key in STRINGS:
        return [other for other in STRINGS[key] if other != value][: None if every else 1]
    if value is None:
        return [ROPE_KEYS[key]]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, list):
        return [[number * 1.5 for number in value]]  # type: ignore[misc]
    others: list[Any] = [value * 2, value / 2 if isinstance(value, float) else value + 1]
    return [*others, None] if every else others[:1]


def _with_factors(rope: Mapping[str, Any], variant: Variant) -> dict[str, Any]:
    """With as many factors as the config has frequencies, where the scheme has one for each."""
    config = variant.config()
    d_head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    fitting = dict(copy.deepcopy(rope))
    parameters = config.rope_parameters or {}
    share = parameters.get("partial_rotary_factor", 1.0) if isinstance(parameters, dict) else 1.0
    for key in ("short_factor", "long_factor"):
        if key in fitting:
            fitting[key] = [fitting[key][-1] * (1 + i) for i in range(int(d_head * share) // 2)]
    return fitting


def try_flip(flip: Flip, loader: Logits, report: Report) -> None:
    """Build the flipped model, compare, and say in `report` what became of it."""
    for dtype in (torch.float64, torch.float32):
        expected = _hugging_face(flip.flipped(), dtype)
        if expected is not None:
            break
    else:
        report.refused[flip.name] += 1
        return
    model, given, logits = expected
    shapes, before = _original(flip.variant, logits.dtype)
    is_same = _shapes(model) == shapes and _are_equal(logits, before)
    aliases = {flip.name, flip.path.rpartition(".")[2], *RENAMED.get(flip.name, ())}
    aliases |= {name for pair in model.config.attribute_map.items() if flip.name in pair for name in pair}
    try:
        got = loader(model, given)
    except CheckpointError as error:
        if not any(alias in str(error) for alias in aliases):
            report.failures.append(f"{flip}: the error does not name it: {str(error)[:300]}")
            return
        report.named[flip.name] += 1
        if is_same:
            report.needless[flip.name] += 1
            if flip.name in INERT:
                report.failures.append(f"{flip}: refused, and it changes nothing: {str(error)[:200]}")
        return
    except Exception as error:
        report.failures.append(f"{flip}: {type(error).__name__}: {str(error)[:300]}")
        return
    if got.shape != logits.shape or not _are_equal(given.kept(got), given.kept(logits)):
        is_off = got.shape == logits.shape
        error = given.kept(got - logits).abs().max().item() if is_off else f"{got.shape} for {logits.shape}"
        report.failures.append(f"{flip}: silently wrong by {error}")
        return
    report.matched[flip.name] += 1
    report.changed[flip.name] += not is_same


def _are_equal(got: torch.Tensor, expected: torch.Tensor) -> bool:
    relative, absolute = (1e-6, 1e-6) if expected.dtype == torch.float64 else (1e-4, 1e-5)
    return got.shape == expected.shape and torch.allclose(got, expected, rtol=relative, atol=absolute, equal_nan=True)


def _shapes(model: Any) -> dict[str, torch.Size]:
    return {name: weight.shape for name, weight in model.state_dict().items()}


@functools.cache
def _original(variant: Variant, dtype: torch.dtype) -> tuple[dict[str, torch.Size], torch.Tensor]:
    """Shapes of the weights, and logits, of a config as it is."""
    built = _hugging_face(variant, dtype)
    assert built is not None, f"{variant} does not run"
    return _shapes(built[0]), built[2]


def _hugging_face(variant: Variant, dtype: torch.dtype) -> tuple[Any, cases.Inputs, torch.Tensor] | None:
    """Model, inputs and logits, or None if Hugging Face will not have that config."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = build(variant.config(), dtype=dtype)
            given = cases.flip_inputs(variant, dtype=dtype)
            return model, given, hf_logits(model, given.first, **given.others)
        except Exception:  # whatever it says no with
            return None
