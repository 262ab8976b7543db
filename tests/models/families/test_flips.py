"""No field of a config is silently ignored: with any one changed, logits match or an error names it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from scrub.graph import CheckpointError
from scrub.models import load
from tests.models.families import cases
from tests.models.families.flips import FIXED, INERT, Flip, Report, flips, try_flip
from tests.models.families.reference import hf_logits
from tests.models.families.suite import by_family, registered
from tests.models.families.tiny import VARIANTS, Variant, build

REPORTS: dict[str, Report] = {}
"""What became of the flips, for the summary at the end of the run (see conftest.py)."""


def loaded_logits(model: Any, given: cases.Inputs) -> torch.Tensor:
    """Those of the loaded model."""
    return load(model).call(given.first, **given.others).evaluate()


def _run(chosen: list[Flip], label: str) -> Report:
    report = REPORTS[label] = Report()
    for flip in chosen:
        try_flip(flip, loaded_logits, report)
    if report.failures:
        pytest.fail(f"{len(report.failures)} of {report.tested}:\n" + "\n".join(report.failures), pytrace=False)
    return report


@pytest.mark.parametrize("variant", by_family())
def test_a_changed_field_is_followed_or_refused_by_name(variant: Variant) -> None:
    """One value of each field that may matter."""
    chosen = list(flips(variant, every=False))
    report = _run(chosen, f"{variant}, one value of each field")
    fields = set(variant.config().to_dict()) - set(FIXED) - INERT
    assert {flip.name for flip in chosen} == fields
    _assert_most_were_tried(report, fields)


@pytest.mark.slow
@pytest.mark.parametrize("variant", by_family())
def test_every_value_of_every_field_is_followed_or_refused_by_name(variant: Variant) -> None:
    """Of the base; fields that cannot matter too, and fields that Hugging Face reads without listing them."""
    chosen = list(flips(variant, every=True))
    report = _run(chosen, f"{variant}, every value of every field")
    fields = set(variant.config().to_dict()) - set(FIXED)
    assert fields <= {flip.name for flip in chosen}
    _assert_most_were_tried(report, fields)


@pytest.mark.slow
@pytest.mark.parametrize("variant", [pytest.param(v, id=str(v)) for v in registered() if v.name != "base"])
def test_changed_fields_of_other_configs_are_followed_or_refused_by_name(variant: Variant) -> None:
    """What a field does can depend on the others."""
    report = _run([flip for flip in flips(variant, every=True) if flip.name not in INERT], str(variant))
    assert report.tested > 2 * report.refused.total()


def _assert_most_were_tried(report: Report, fields: set[str]) -> None:
    """Hugging Face itself refuses some, but few; and half of what is tried changes the model."""
    tried = set(report.matched) | set(report.named)
    assert len(tried & fields) >= 0.8 * len(fields), sorted(fields - tried)
    changing = {name for name, count in report.changed.items() if count} | set(report.named)
    assert len(changing) >= 7


@pytest.mark.parametrize("family", [pytest.param(f, marks=() if f == "llama" else pytest.mark.slow) for f in VARIANTS])
def test_the_check_finds_every_field_that_is_ignored(family: str) -> None:
    """Hugging Face with one field put back: each that changes the logits must be reported, and no other."""
    variant = Variant(family, "base")
    found: set[str] = set()
    for flip in flips(variant, every=False):
        original = variant.config()

        def ignoring(model: Any, given: cases.Inputs, flip: Flip = flip, original: Any = original) -> torch.Tensor:
            config = type(original)(**{**flip.flipped().fields, flip.name: original.to_dict()[flip.name]})
            return _with_weights_of(model, config, given)

        report, right = Report(), Report()
        try_flip(flip, lambda model, given: hf_logits(model, given.first, **given.others), right)
        assert not right.failures
        try_flip(flip, ignoring, report)
        if report.failures:
            found.add(flip.name)
        elif flip.name != "tie_word_embeddings":  # the weights say it too
            assert not right.changed[flip.name], flip
    assert len(found) >= 3


def _with_weights_of(model: Any, config: Any, given: cases.Inputs) -> torch.Tensor:
    other = build(config, dtype=model.dtype)
    try:
        other.load_state_dict(model.state_dict())
    except RuntimeError as error:
        raise ValueError(error) from error
    return hf_logits(other, given.first, **given.others)


def test_an_error_must_name_the_field() -> None:
    flip = next(flip for flip in flips(Variant("llama", "base"), every=False) if flip.name == "mlp_bias")
    for message, n_failures in (("mlp_bias is not supported", 0), ("this is not supported", 1)):
        report = Report()
        try_flip(flip, _refusing(message), report)
        assert len(report.failures) == n_failures
        assert report.named["mlp_bias"] == 1 - n_failures


def test_refusing_a_field_that_changes_nothing_is_wrong() -> None:
    flip = next(flip for flip in flips(Variant("llama", "base"), every=True) if flip.name == "use_cache")
    report = Report()
    try_flip(flip, _refusing("use_cache is not supported"), report)
    assert "refused, and it changes nothing" in report.failures[0]


def _refusing(message: str) -> Any:
    def loader(model: Any, given: cases.Inputs) -> torch.Tensor:
        raise CheckpointError(message)

    return loader
