"""Loading copies no weights: arrays are views of the module's, or of the mapped file; or there is no data at all."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import scrub as rc
from scrub.models import load
from tests.models.families import cases
from tests.models.families.reference import hf_logits
from tests.models.families.suite import assert_equal, by_family, call, pair
from tests.models.families.test_rewrites import OPTIONS, configured
from tests.models.families.tiny import Variant, build

LARGE = 32
"""Elements: norms, biases and tables of cosines are smaller."""


def _storages(tensors: Any) -> set[int]:
    return {tensor.untyped_storage().data_ptr() for tensor in tensors}


def _weights(expr: rc.Expr) -> list[torch.Tensor]:
    """The floating-point arrays below an expression that are weights, not pixels, masks or tables."""
    arrays = [node for node in rc.postorder([expr]) if isinstance(node, rc.Array) and node.name != "tokens"]
    return [a.value for a in arrays if a.value.is_floating_point() and not (a.name or "").startswith("t.a.c.")]


@pytest.mark.parametrize("variant", by_family())
def test_arrays_share_the_module_s_storage(variant: Variant) -> None:
    model = build(variant.config(), seed=71)  # equal weights of another test would be its nodes, with its storage
    loaded, given = load(model), cases.inputs(variant, "five")
    expr = call(loaded, given)
    theirs = _storages(model.parameters())
    assert {value.untyped_storage().data_ptr() for value in _weights(expr) if value.numel() >= LARGE} <= theirs
    parameters = dict(model.named_parameters())
    missing = [name for name, p in parameters.items() if not _storages([p]) <= _storages(_weights(expr))]
    assert missing == []
    config = variant.config()
    lowered = loaded.lower() if variant.family == "vit" else loaded.lower(seq_len=given.first.shape[-1])
    choice = {"to": rc.To.ATTN_HEAD_MLP_NORM, "split": "full", **dict.fromkeys(OPTIONS, True)}
    rewritten = configured(lowered["t.bind_w"], choice, config.num_attention_heads, config.num_hidden_layers)
    large = [value for value in _weights(rewritten) if value.numel() >= LARGE]
    assert _storages(large) <= theirs


@pytest.mark.parametrize("variant", by_family())
def test_weights_changed_in_the_module_do_not_change_what_was_computed(variant: Variant) -> None:
    """And the module is left as it was found."""
    model = build(variant.config(), seed=72)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    given = cases.inputs(variant, "five")
    call(load(model), given).evaluate()
    assert {name: weight for name, weight in model.state_dict().items() if not torch.equal(weight, before[name])} == {}


@pytest.mark.parametrize("variant", by_family())
@pytest.mark.parametrize("shards", [1, 3])
def test_saved_models_are_mapped_and_give_the_same_logits(variant: Variant, shards: int, tmp_path: Path) -> None:
    model = build(variant.config(), seed=73 + shards)
    size = sum(p.numel() * 4 for p in model.parameters())
    model.save_pretrained(tmp_path, max_shard_size=max(size // shards, 1) if shards > 1 else "5GB")
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shards > 1)
    given = cases.inputs(variant, "five")
    for source in (tmp_path, str(tmp_path)):
        expr = call(load(source), given)
        assert_equal(expr.evaluate(), hf_logits(model, given.first, **given.others), given)
    if sys.platform == "linux":
        large = [value for value in _weights(expr) if value.numel() >= LARGE]
        if variant.family == "mixtral" and shards > 1:  # experts that lie in several files cannot be one view
            large = [value for value in large if value.shape[0] != variant.config().num_local_experts]
        assert [tuple(value.shape) for value in large if not _is_mapped(value, tmp_path)] == []


def _is_mapped(value: torch.Tensor, folder: Path) -> bool:
    """Whether a tensor's memory is that of a file in the folder."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if str(folder) in line:
            start, end = (int(part, 16) for part in line.split()[0].split("-"))
            if start <= value.data_ptr() < end:
                return True
    return False


@pytest.mark.parametrize("variant", by_family())
def test_saved_models_load_in_another_dtype(variant: Variant, tmp_path: Path) -> None:
    model = build(variant.config(), seed=75)
    model.save_pretrained(tmp_path)
    given = cases.inputs(variant, "five", dtype=torch.float64)
    wanted = hf_logits(model.double(), given.first, **given.others)
    assert_equal(call(load(tmp_path, dtype=torch.float64), given).evaluate(), wanted, given)


@pytest.mark.parametrize("variant", by_family())
def test_a_config_alone_gives_the_expression_without_weights(variant: Variant) -> None:
    config, given = variant.config(), cases.inputs(variant, "five")
    wanted = call(pair(variant, torch.float32)[1], given)
    for loaded in (load(config), load(config, device="meta"), load(build(config), device="meta")):
        assert loaded.device == torch.device("meta")
        expr = call(loaded, _on_meta(given))
        assert expr.shape == wanted.shape
        assert all(value.is_meta for value in _weights(expr))
        assert len(list(rc.postorder([expr]))) == len(list(rc.postorder([wanted])))
        lowered = loaded.lower() if variant.family == "vit" else loaded.lower(seq_len=7)
        choice = {"to": rc.To.ATTN_HEAD_MLP_NORM, "split": "full", **dict.fromkeys(OPTIONS, True)}
        rewritten = configured(lowered["t.bind_w"], choice, config.num_attention_heads, config.num_hidden_layers)
        assert rewritten.shape == lowered["t.bind_w"].shape


def _on_meta(given: cases.Inputs) -> cases.Inputs:
    return cases.Inputs(given.first.to("meta"), {name: value.to("meta") for name, value in given.others.items()})


def test_a_model_on_meta_allocates_nothing() -> None:
    """16 TB of weights."""
    config = Variant("llama", "base", {"hidden_size": 2**20, "vocab_size": 2**21, "intermediate_size": 2**20}).config()
    assert load(config).lower(seq_len=3)["t.bind_w"].shape == (3, 2**21)


@pytest.mark.parametrize("variant", [row for row in by_family() if row.values[0].family != "vit"])
def test_tied_weights_are_one_array(variant: Variant) -> None:
    """The unembedding is the embedding, seen the other way round, where the config ties them, and only there."""
    for is_tied in (True, False):
        config = Variant(variant.family, "base", {"tie_word_embeddings": is_tied}).config()
        model = build(config, seed=76)
        weights = load(model).weights
        shared = _storages([weights["t.w.tok_embeds"]]) == _storages([weights["t.w.unembed"]])
        assert shared == is_tied
