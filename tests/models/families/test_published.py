"""Configs as they are published load, at their full size and with all that they hold."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from scrub.models import load
from scrub.models.families import FAMILIES
from tests.models.families import cases
from tests.models.families.published import PUBLISHED, UNREAD
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
