"""Configs as they are published load, at their full size and with all that they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from scrub.models import load
from scrub.models.families import FAMILIES
from tests.models.families import cases
from tests.models.families.published import FILES, PUBLISHED, UNREAD
from tests.models.families.reference import hf_logits
from tests.models.families.suite import assert_equal, by_family, call
from tests.models.families.tiny import Variant, build


def test_every_family_has_published_configs() -> None:
    assert set(FAMILIES) == set(UNREAD) == {family for family, _ in PUBLISHED.values()}


@pytest.mark.parametrize("variant", by_family())
def test_fields_that_nothing_reads_do_not_keep_a_model_from_loading(variant: Variant) -> None:
    """One at a time, so that a failure says which; logits are those of Hugging Face, which ignores them."""
    wrong: list[str] = []
    for name, value in UNREAD[variant.family].items():
        config = Variant(variant.family, variant.name, {name: value}).config()
        model, given = build(config), cases.inputs(variant, "five")
        try:
            got = call(load(model), given).evaluate()
        except Exception as error:
            wrong.append(f"{name}={value}: {error}")
        else:
            assert_equal(got, hf_logits(model, given.first, **given.others), given)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("family", FILES)
def test_files_load_by_the_names_that_published_ones_have(family: str, tmp_path: Path) -> None:
    rename, further = FILES[family]
    variant = Variant(family, "base")
    model, given = build(variant.config(), seed=81), cases.inputs(variant, "five")
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    weights = {rename(name): weight for name, weight in load_file(file).items()}
    weights |= {name: torch.zeros(shape) for name, shape in further.items()}
    save_file(weights, file, {"format": "pt"})
    assert_equal(call(load(tmp_path), given).evaluate(), hf_logits(model, given.first, **given.others), given)


@pytest.mark.parametrize("variant", by_family())
def test_dropout_is_noted_and_left_out(variant: Variant) -> None:
    """Every rate of dropout that a config asks for is in the notes of what was loaded, also in training mode."""
    rates = [name for name in variant.config().to_dict() if name.endswith(("dropout", "pdrop", "layerdrop", "_prob"))]
    assert rates
    model = build(Variant(variant.family, variant.name, dict.fromkeys(rates, 0.25)).config(), seed=82).train()
    loaded, given = load(model), cases.inputs(variant, "five")
    for name in rates:
        assert any(name in note for note in loaded.notes), name
    wanted = hf_logits(model.eval(), given.first, **given.others)
    assert_equal(call(loaded, given).evaluate(), wanted, given)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_lower_without_weights(name: str) -> None:
    family, fields = PUBLISHED[name]
    config: Any = transformers.AutoConfig.for_model(family, **_copied(fields))
    loaded = load(config)
    first = torch.zeros(1, 3, 224, 224) if family == "vit" else torch.zeros(2, 40, dtype=torch.int64)
    n_logits = config.num_labels if family == "vit" else config.vocab_size
    expr = loaded.call(first.to("meta"))
    assert expr.shape == ((1, n_logits) if family == "vit" else (2, 40, n_logits))


def _copied(fields: Any) -> dict[str, Any]:
    """Hugging Face writes into dictionaries that it is given."""
    return {name: dict(value) if isinstance(value, dict) else value for name, value in fields.items()}
