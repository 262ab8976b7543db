"""What cannot be loaded or called is an error that names the weight, the field or the input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import scrub as rc
from scrub.models import load
from tests.models.families import cases
from tests.models.families.suite import by_family, pair
from tests.models.families.tiny import Variant, build

TEXTS = [row for row in by_family() if row.values[0].family != "vit"]
LIMITED = [row for row in TEXTS if row.values[0].family != "bloom"]


def _saved(variant: Variant, folder: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """The file of a model saved in a folder, and the weights in it."""
    build(variant.config()).save_pretrained(folder)
    file = folder / "model.safetensors"
    return file, load_file(file)


def _some(names: list[str]) -> list[str]:
    """The first, one of the middle, the last."""
    return [names[0], names[len(names) // 2], names[-1]]


@pytest.mark.parametrize("variant", by_family())
def test_weights_missing_from_a_file_are_named(variant: Variant, tmp_path: Path) -> None:
    file, weights = _saved(variant, tmp_path)
    gone = _some(sorted(weights))
    save_file({name: weight for name, weight in weights.items() if name not in gone}, file, {"format": "pt"})
    _assert_named(tmp_path, gone)


@pytest.mark.parametrize("variant", by_family())
def test_weights_that_do_not_belong_are_named(variant: Variant, tmp_path: Path) -> None:
    file, weights = _saved(variant, tmp_path)
    added = f"{max(weights)}.extra"
    save_file({**weights, added: torch.zeros(2), "nonsense": torch.zeros(3)}, file, {"format": "pt"})
    _assert_named(tmp_path, [added, "nonsense"])


@pytest.mark.parametrize("variant", by_family())
def test_weights_of_a_wrong_shape_are_named(variant: Variant, tmp_path: Path) -> None:
    file, weights = _saved(variant, tmp_path)
    for name in _some(sorted(weights)):
        longer = torch.cat([weights[name], weights[name]]).contiguous()
        save_file({**weights, name: longer}, file, {"format": "pt"})
        _assert_named(tmp_path, [name])
        transposed = weights[name].transpose(0, -1).contiguous()
        if transposed.shape != weights[name].shape:
            save_file({**weights, name: transposed}, file, {"format": "pt"})
            _assert_named(tmp_path, [name])


def _assert_named(source: Any, names: list[str]) -> None:
    """By the name in the file or by that in the module: for some families these differ."""
    with pytest.raises(rc.CheckpointError) as caught:
        load(source)
    for name in names:
        assert any(other in str(caught.value) for other in (name, _in_module(name))), (name, str(caught.value))


def _in_module(name: str) -> str:
    """What a weight of a saved GPT-NeoX or ViT is called in the module."""
    for old, new in (
        ("embed_out", "lm_head"),
        ("encoder.layer.", "layers."),
        ("attention.attention.query", "attention.q_proj"),
        ("attention.output.dense", "attention.o_proj"),
        ("intermediate.dense", "mlp.fc1"),
        ("output.dense", "mlp.fc2"),
    ):
        name = name.replace(old, new)
    return name


@pytest.mark.parametrize("variant", by_family())
def test_a_module_whose_weights_were_changed_is_refused(variant: Variant) -> None:
    """A layer too few for the config, one too many, and a weight that was replaced by a longer one."""
    for name in _some([name for name, _ in build(variant.config()).named_parameters()]):
        model = build(variant.config())
        owner, _, leaf = name.rpartition(".")
        weight = model.get_parameter(name)
        setattr(model.get_submodule(owner), leaf, torch.nn.Parameter(torch.cat([weight, weight])))
        _assert_named(model, [name])
    model = build(variant.config())
    model.register_parameter("extra", torch.nn.Parameter(torch.zeros(2)))
    _assert_named(model, ["extra"])


@pytest.mark.parametrize("variant", by_family())
def test_a_module_with_more_layers_than_its_config_says_is_refused(variant: Variant) -> None:
    model = build(variant.config())
    field = next(f for f in ("num_layers", "n_layer", "n_layers", "num_hidden_layers") if f in model.config.to_dict())
    n_layers = getattr(model.config, field)
    for name in ("layer_types", "attention_layers"):
        if hasattr(model.config, name):
            setattr(model.config, name, getattr(model.config, name)[: n_layers - 1])
    setattr(model.config, field, n_layers - 1)
    with pytest.raises(rc.CheckpointError, match=rf"\.{n_layers - 1}\."):
        load(model)


@pytest.mark.parametrize("variant", TEXTS)
@pytest.mark.parametrize("token", [-1, 23, 10**6])
def test_tokens_out_of_range_are_errors(variant: Variant, token: int) -> None:
    loaded = pair(variant, torch.float32)[1]
    tokens = torch.tensor([[1, token, 2]])
    with pytest.raises(rc.CheckpointError, match=str(token)):
        loaded.call(tokens)
    symbol = rc.Symbol.new_from_name((1, 3), "tokens")
    with pytest.raises(rc.ScrubError):
        rc.compile([loaded.call(symbol)]).run({symbol: tokens})


@pytest.mark.parametrize("variant", TEXTS)
def test_inputs_that_do_not_fit_are_errors(variant: Variant) -> None:
    loaded = pair(variant, torch.float32)[1]
    tokens = torch.ones(2, 5, dtype=torch.int64)
    for name, value in {
        "attention_mask": torch.ones(2, 4, dtype=torch.int64),
        "position_ids": torch.ones(2, 6, dtype=torch.int64),
        "token_type_ids": torch.ones(2, 4, dtype=torch.int64),
    }.items():
        with pytest.raises(rc.ScrubError, match=name):
            loaded.call(tokens, **{name: value})
    with pytest.raises(rc.ScrubError):
        loaded.call(torch.ones(2, 5))
    with pytest.raises(rc.ScrubError, match="attention_mask"):
        loaded.call(tokens, attention_mask=3 * torch.ones(2, 5, dtype=torch.int64))
    if variant.family != "bert":
        with pytest.raises(rc.CheckpointError, match="token_type_ids"):
            loaded.call(tokens, token_type_ids=torch.zeros_like(tokens))


@pytest.mark.parametrize("variant", LIMITED)
def test_sequences_longer_than_the_positions_are_errors(variant: Variant) -> None:
    loaded = pair(variant, torch.float32)[1]
    with pytest.raises(rc.CheckpointError, match=r"13.*12"):
        loaded.call(torch.ones(2, 13, dtype=torch.int64))
    with pytest.raises(rc.CheckpointError, match=r"13.*12"):
        loaded.lower(seq_len=13)
    assert loaded.lower(seq_len=12)["t.bind_w"].shape == (12, 23)


@pytest.mark.parametrize("variant", LIMITED)
@pytest.mark.parametrize("position", [-3, 12])  # OPT's positions begin at -2, which is padding's
def test_positions_out_of_range_are_errors(variant: Variant, position: int) -> None:
    loaded = pair(variant, torch.float32)[1]
    with pytest.raises(rc.CheckpointError, match=str(position)):
        loaded.call(torch.ones(1, 3, dtype=torch.int64), position_ids=torch.tensor([[0, position, 1]]))


@pytest.mark.parametrize("variant", by_family())
def test_another_class_of_the_family_is_refused_by_name(variant: Variant) -> None:
    """Its head computes something else: the base model without a head, say."""
    config = variant.config()
    with torch.random.fork_rng(devices=[]):
        model = transformers.AutoModel.from_config(config)
    with pytest.raises(rc.CheckpointError, match=type(model).__name__):
        load(model)


@pytest.mark.parametrize("name", ["ctrl", "t5"])
def test_unknown_families_are_named_with_the_general_route(name: str) -> None:
    with pytest.raises(rc.CheckpointError, match=rf"'{name}'(.|\n)*from_torch"):
        load(transformers.AutoConfig.for_model(name))


def test_what_is_no_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(rc.CheckpointError, match="Linear"):
        load(torch.nn.Linear(2, 2))
    with pytest.raises(rc.CheckpointError, match=r"config\.json"):
        load(tmp_path)
    for nonsense in (3, None, {"a": torch.ones(2)}):
        with pytest.raises(rc.CheckpointError):
            load(nonsense)


def test_pixels_must_have_the_size_of_the_config() -> None:
    loaded = pair(Variant("vit", "base"), torch.float32)[1]
    for shape in ((1, 3, 8, 7), (1, 3, 12, 12), (1, 1, 8, 8), (8, 8)):
        with pytest.raises(rc.CheckpointError):
            loaded.call(torch.ones(shape))


@pytest.mark.parametrize("variant", TEXTS)
def test_a_model_lowered_for_another_length_is_refused(variant: Variant) -> None:
    loaded = pair(variant, torch.float32)[1]
    model = loaded.lower(seq_len=6)["t.bind_w"]
    given = cases.inputs(variant, "five")
    with pytest.raises(rc.CheckpointError, match=r"\b6\b"):
        loaded.call(given.first, model=model)
