"""Files of Mixtral hold experts one by one: what is loaded from them, and when without a copy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import scrub as rc
from scrub.models import load
from scrub.models.families.mixtral import stacked
from tests.models.families.tiny import Variant, build

transformers.logging.disable_progress_bar()


def saved(folder: Path, **changes: Any) -> Any:
    model = build(Variant("mixtral", "base", changes).config())
    model.save_pretrained(folder)
    return model


def logits(model: Any) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.randint(23, (2, 7), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return tokens, model(tokens).logits


def storages(loaded: rc.LoadedModel) -> set[int]:
    weights = [weight for weight in loaded.weights.values() if isinstance(weight, torch.Tensor)]
    assert len(weights) == len(loaded.weights)
    return {weight.untyped_storage().data_ptr() for weight in weights}


@pytest.mark.parametrize("n_experts", [1, 4, 10])
def test_experts_of_one_file_are_views_of_it(n_experts: int, tmp_path: Path) -> None:
    changes = {"num_local_experts": n_experts, "num_experts_per_tok": min(n_experts, 2)}
    tokens, wanted = logits(saved(tmp_path, **changes))
    loaded = load(tmp_path)
    assert len(storages(loaded)) == 1
    torch.testing.assert_close(loaded.call(tokens).evaluate(), wanted, rtol=1e-5, atol=1e-5)


def test_experts_in_another_order_are_copied_and_right(tmp_path: Path) -> None:
    """As text, the tenth comes before the second."""
    tokens, wanted = logits(saved(tmp_path, num_local_experts=12))
    loaded = load(tmp_path)
    assert len(storages(loaded)) > 1
    torch.testing.assert_close(loaded.call(tokens).evaluate(), wanted, rtol=1e-5, atol=1e-5)


def test_files_with_fused_experts_load_too(tmp_path: Path) -> None:
    model = saved(tmp_path)
    tokens, wanted = logits(model)
    save_file(dict(model.state_dict()), tmp_path / "model.safetensors", {"format": "pt"})
    loaded = load(tmp_path)
    assert len(storages(loaded)) == 1
    torch.testing.assert_close(loaded.call(tokens).evaluate(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("gone", ["0.w1", "2.w3", "3.w2"])
def test_a_missing_weight_of_an_expert_is_named(gone: str, tmp_path: Path) -> None:
    saved(tmp_path)
    file = tmp_path / "model.safetensors"
    name = f"model.layers.1.block_sparse_moe.experts.{gone}.weight"
    save_file({n: weight for n, weight in load_file(file).items() if n != name}, file, {"format": "pt"})
    with pytest.raises(rc.CheckpointError, match=rf"layers\.1\.mlp\.experts\.{gone}\.weight is missing"):
        load(tmp_path)


def test_a_missing_expert_is_an_error(tmp_path: Path) -> None:
    saved(tmp_path)
    file = tmp_path / "model.safetensors"
    save_file({n: w for n, w in load_file(file).items() if "layers.0" not in n or "experts.3" not in n}, file)
    with pytest.raises(rc.CheckpointError, match=r"layers\.0\.mlp\.experts"):
        load(tmp_path)


def test_stacking_is_a_view_only_where_it_can_be() -> None:
    base = torch.arange(24.0).view(6, 4)
    even, backwards, uneven = [base[0], base[2], base[4]], [base[2], base[0]], [base[0], base[1], base[5]]
    for tensors, is_view in ((even, True), (backwards, False), (uneven, False), ([base[0], base[1].clone()], False)):
        out = stacked(tensors)
        assert torch.equal(out, torch.stack(tensors))
        assert (out.untyped_storage().data_ptr() == base.untyped_storage().data_ptr()) == is_view
    transposed = stacked([base[:2].T, base[2:4].T])
    assert torch.equal(transposed, torch.stack([base[:2].T, base[2:4].T]))


def test_configs_that_cannot_be_are_refused_by_name() -> None:
    for field, value in {"num_experts_per_tok": 5, "sliding_window": 0, "head_dim": 3, "hidden_act": "laplace"}.items():
        with pytest.raises(rc.CheckpointError, match=field):
            load(Variant("mixtral", "base", {field: value}).config())
