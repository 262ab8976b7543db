"""Folding and centring keep the logits, and do what they say to the weights."""

from __future__ import annotations

import pytest
import torch

import scrub as rc
from scrub.models.folding import center_weights, fold_layer_norm, fold_value_biases
from tests.models.families import cases
from tests.models.families.tiny import Variant, build

REWRITES = {rewrite.__name__: rewrite for rewrite in (fold_layer_norm, fold_value_biases, center_weights)}
QUICK = ("gpt2", "gptj", "gemma2", "bert", "mixtral")
FAMILIES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in sorted(rc.models.FAMILIES)]
REFUSED = {
    "center_weights": {
        *("bloom", "bert", "distilbert", "llama", "mistral", "qwen2", "qwen3"),
        *("gemma2", "gemma3_text", "olmo2", "phi3", "mixtral"),
    },
}


def load(family: str) -> rc.LoadedModel:
    return rc.models.load(build(Variant(family, "base").config(), dtype=torch.float64))


def logits(model: rc.LoadedModel, family: str) -> torch.Tensor:
    given = cases.inputs(Variant(family, "base"), "five", dtype=torch.float64)
    return rc.compile([model.call(given.first)]).run({})[0]


@pytest.mark.parametrize("name", REWRITES)
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_stay(family: str, name: str) -> None:
    model = load(family)
    if family in REFUSED.get(name, ()):
        with pytest.raises(rc.CheckpointError, match=name):
            REWRITES[name](model)
        return
    torch.testing.assert_close(logits(REWRITES[name](model), family), logits(model, family), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "family", ["gpt2", pytest.param("gpt_neox", marks=pytest.mark.slow), pytest.param("vit", marks=pytest.mark.slow)]
)
def test_all_of_them_together_and_split_by_head(family: str) -> None:
    model = load(family)
    changed = center_weights(fold_value_biases(fold_layer_norm(model)))
    torch.testing.assert_close(logits(changed, family), logits(model, family), rtol=1e-9, atol=1e-9)
    before, after = (m.lower(seq_len=5)["t.bind_w"] for m in (model, changed))
    split = rc.configure_transformer(after, split_by_head_config="full", use_flatten_res=True)
    rc.check_equal(before, after, tolerance=1e-9)
    rc.check_equal(after, split, tolerance=1e-9)


def test_norms_are_bare_value_biases_gone_and_writers_centred() -> None:
    model = load("gpt2")
    folded = fold_layer_norm(model)
    assert not [name for name in folded.weights if ".norm." in name]
    w, q = (model.weights[name] for name in ("a1.norm.w", "a1.w.q"))
    assert isinstance(w, torch.Tensor)
    assert isinstance(q, torch.Tensor)
    torch.testing.assert_close(value(folded, "a1.w.q"), w[:, None] * q)
    assert "a0.b.v" not in fold_value_biases(model).weights
    centred = center_weights(model)
    for name in ("t.w.tok_embeds", "t.w.pos_embeds", "a0.w.o", "a0.b.o", "m1.w.out", "m1.b.out"):
        assert float(value(model, name).mean(-1).abs().max()) > 1e-3
        assert float(value(centred, name).mean(-1).abs().max()) < 1e-12


def test_folding_moves_the_bias_of_a_norm_into_biases_that_were_not_there() -> None:
    """BLOOM and GPT-J have no biases of queries, keys and values (GPT-J), but norms with biases."""
    model = load("gptj")
    assert model.architecture.layers[0].attention.bias == ""
    assert fold_layer_norm(model).architecture.layers[0].attention.bias == "qkv"


def test_positions_behind_the_norm_are_refused() -> None:
    with pytest.raises(rc.CheckpointError, match=r"layer 0 adds positions .* \(shortformer\)"):
        fold_layer_norm(rc.load_shipped("attn_only_2l"))


def value(model: rc.LoadedModel, name: str) -> torch.Tensor:
    return model.weight_expressions()[name].evaluate()
