"""The hypotheses about parentheses, against the same computed by hand with torch from the same draws."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch

import scrub as rc
from scrub.hypothesis import Dataset, Experiment, FewRowsWarning
from scrub.models import ShippedModel
from scrub.tasks.parens.averaging import share_direction
from scrub.tasks.parens.data import parens_data
from scrub.tasks.parens.hypotheses import HYPOTHESES, Roles, parens_dataset, parens_experiment
from tests.tasks.parens.by_hand import ByHand
from zoo.parens_model import ParensConfig, ParensTransformer

N = 12


@pytest.fixture(scope="module")
def model() -> ShippedModel:
    return rc.load_shipped("parens", dtype=torch.float64)


@pytest.fixture(scope="module")
def roles(model: ShippedModel) -> Roles:
    return Roles.recorded(model.info)


@pytest.fixture(scope="module")
def data(model: ShippedModel, roles: Roles) -> Dataset:
    return parens_dataset(parens_data(300, 1), model, roles)


@pytest.fixture(scope="module")
def by_hand(model: ShippedModel, roles: Roles, data: Dataset) -> ByHand:
    module = ParensTransformer(ParensConfig()).double().requires_grad_(False)
    module.load_state_dict(model.state_dict)
    return ByHand(module, data, roles, share_direction(model, roles.averaging_head))


def rows_of(experiment: Experiment, draws: dict[str, torch.Tensor]) -> Callable[[str], torch.Tensor]:
    """Rows by label, also of draws that are by definition the same as another."""
    slots = experiment.scrubbed.slots

    def rows(label: str) -> torch.Tensor:
        if label in draws:
            return draws[label]
        if label.endswith("/other"):  # all share one
            return draws["logits/other"]
        return draws[slots.drawn(label).label]

    return rows


@pytest.mark.parametrize("handed_down", ["drawn", "original"])
@pytest.mark.parametrize("unimportant", ["node", "shared"])
@pytest.mark.parametrize("mask", ["conditioned", "unconditioned"])
@pytest.mark.parametrize("which", HYPOTHESES)
def test_every_hypothesis_equals_the_computation_by_hand(
    which, mask, unimportant, handed_down, model, roles, data, by_hand
) -> None:
    if which in ("3a", "3b", "4") and (unimportant, handed_down) != ("node", "drawn"):
        pytest.skip("slow, and the choices are tried on the others")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewRowsWarning)
        experiment = parens_experiment(
            which, model, data, roles, mask=mask, unimportant=unimportant, handed_down=handed_down
        )
    result = experiment.run(N, seed=3, keep_draws=True)
    rows = rows_of(experiment, dict(result.draws))
    logits = by_hand.logits(which, rows, is_mask_conditioned=mask == "conditioned")
    expected = torch.nn.functional.cross_entropy(logits, data["label"][result.references], reduction="none")
    torch.testing.assert_close(result.values["loss"], expected, rtol=1e-8, atol=1e-10)
    if which not in ("0a", "0b"):
        assert len({label for label in result.draws if label.endswith("/other")}) >= 1
