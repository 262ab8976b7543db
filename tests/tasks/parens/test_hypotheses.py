"""The hypotheses about parentheses, against the same computed by hand with torch from the same draws."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

import scrub as rc
from scrub.hypothesis import Dataset, Experiment, FewRowsWarning, treeify
from scrub.models import ShippedModel
from scrub.models.shipped import shipped_model
from scrub.tasks.parens.averaging import averaging_weights, share_direction, weighted_position_classes
from scrub.tasks.parens.data import from_strings, parens_data
from scrub.tasks.parens.features import MOSTLY_OPEN, NOT_MOSTLY_OPEN
from scrub.tasks.parens.hypotheses import HYPOTHESES, Roles, parens_dataset, parens_experiment
from tests.tasks.parens.by_hand import ByHand
from zoo.parens_model import ParensConfig, ParensTransformer, Trace
from zoo.train_parens import lens_config

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


CHOICES = [
    {"mask": mask, "unimportant": unimportant, "handed_down": handed_down}
    for mask in ("conditioned", "unconditioned")
    for unimportant in ("node", "shared")
    for handed_down in ("drawn", "original")
]
QUICK = [("1b", choice) for choice in CHOICES] + [
    (which, CHOICES[0]) for which in HYPOTHESES if which not in ("1b", "3a", "3b")
]
"""Of 3a, 3b and 4, the last has it all."""
SLOW = [(which, choice) for which in HYPOTHESES for choice in CHOICES if (which, choice) not in QUICK]


def named(case: tuple[str, dict[str, str]]) -> str:
    return " ".join([case[0], *case[1].values()])


@pytest.mark.parametrize("case", [*QUICK, *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW)], ids=named)
def test_every_hypothesis_equals_the_computation_by_hand(
    case: tuple[str, dict[str, str]], model: ShippedModel, roles: Roles, data: Dataset, by_hand: ByHand
) -> None:
    which, choice = case
    experiment = quietly(which, model, data, roles, **choice)
    result = experiment.run(N, seed=3, keep_draws=True)
    rows = rows_of(experiment, dict(result.draws))
    logits = by_hand.logits(which, rows, is_mask_conditioned=choice["mask"] == "conditioned")
    expected = torch.nn.functional.cross_entropy(logits, data["label"][result.references], reduction="none")
    torch.testing.assert_close(result.values["loss"], expected, rtol=1e-8, atol=1e-10)


def quietly(which: str, model: ShippedModel, data: Dataset, roles: Roles, **choice: Any) -> Experiment:
    """The experiment, without warnings of conditions that few of the few rows meet."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewRowsWarning)
        return parens_experiment(which, model, data, roles, **choice)


@pytest.fixture(scope="module")
def small() -> tuple[ShippedModel, Roles, Dataset]:
    """A random model of two layers, of which trees are small enough."""
    config = ParensConfig(n_layers=2, n_heads=3, d_model=12, d_head=4, d_mlp=8)
    module = ParensTransformer(config, seed=3).double()
    info = {"transformer_lens": lens_config(config), "reads_first": True}
    model = shipped_model("small", info, dict(module.state_dict()))
    roles = Roles(((1, 0), (1, 1)), (1, 2), (0, 1))
    return model, roles, parens_dataset(parens_data(60, 1), model, roles)


IN_TREES = ("0a", "0b", "1a", "1b", "1c", "2-part", "3a", "3b")
"""Those with trees of less than a million nodes: the others lead by many routes to the embeddings."""


@pytest.mark.parametrize("unimportant", ["node", "term", "shared"])
@pytest.mark.parametrize("which", [w if w < "2" else pytest.param(w, marks=pytest.mark.slow) for w in IN_TREES])
def test_every_hypothesis_equals_its_tree(
    which: str, unimportant: str, small: tuple[ShippedModel, Roles, Dataset]
) -> None:
    model, roles, data = small
    experiment = quietly(which, model, data, roles, unimportant=unimportant)
    result = experiment.run(2, seed=1, step=2)
    rows = experiment.draw(result.references, seed=1)
    outputs = treeify(experiment, limit=200_000).evaluate(rows, experiment.source.data)
    expected = experiment.measure(outputs, result.references)
    torch.testing.assert_close(result.values["loss"], expected["loss"], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("which", [w if w < "3" else pytest.param(w, marks=pytest.mark.slow) for w in HYPOTHESES])
def test_with_all_draws_equal_it_is_the_original(which: str, model: ShippedModel, roles: Roles, data: Dataset) -> None:
    """Splitting by position, projection and guess changes nothing."""
    references = torch.arange(20)
    direct = model.call(data["tokens"][:20], attention_mask=data["mask"][:20]).evaluate()
    experiment = quietly(which, model, data, roles)
    exact = {slot.label: references for slot in experiment.slots}
    losses = experiment.run(20, draws={"reference": references, **exact}).values["loss"]
    expected = torch.nn.functional.cross_entropy(direct, data["label"][:20], reduction="none")
    torch.testing.assert_close(losses, expected, rtol=1e-6, atol=1e-8)


def test_roles_that_make_no_sense_are_errors() -> None:
    with pytest.raises(rc.HypothesisError, match="averaging head in layer 0"):
        Roles(((1, 0),), (2, 0), (1, 1))
    with pytest.raises(rc.HypothesisError, match="cannot be horizon head and count head"):
        Roles(((1, 0),), (1, 0), (0, 1))


def test_an_unknown_hypothesis_is_an_error(model: ShippedModel, roles: Roles, data: Dataset) -> None:
    with pytest.raises(rc.HypothesisError, match="no hypothesis '5'"):
        parens_experiment("5", model, data, roles)


def test_shares_of_one_half_are_decided_by_counts() -> None:
    """With weights of which sums are not exact, rounding flips ties; the counts do not."""
    tokens = from_strings(["(" * n + ")" * n for n in range(1, 21)])
    weights = torch.full((41, 42, 2), 0.1, dtype=torch.float64)  # all alike: the share is that of all parentheses
    exact = weighted_position_classes(tokens, weights)
    rounded = weighted_position_classes(tokens, weights, decided_in="float32")
    is_paren = tokens >= 3
    assert bool((exact[is_paren] == NOT_MOSTLY_OPEN).all())
    assert bool((rounded[is_paren] == MOSTLY_OPEN).any())


def test_the_averaging_direction_is_half_of_what_the_head_writes(model: ShippedModel, by_hand: ByHand) -> None:
    """On sequences of equal parentheses, what the averaging head adds at a position for each of them, by hand."""
    head = by_hand.roles.averaging_head
    block = by_hand.model.layers[0]
    position = by_hand.model.pos_embed.W_pos[1:41].mean(0)
    written = [
        block.ln1(by_hand.model.embed.W_E[token] + position) @ block.attn.W_V[head[1]] @ block.attn.W_O[head[1]]
        for token in (3, 4)
    ]
    torch.testing.assert_close(share_direction(model, head), (written[0] - written[1]) / 2)


def test_weights_of_positions_are_those_of_the_pattern(model: ShippedModel, by_hand: ByHand) -> None:
    head = by_hand.roles.averaging_head
    tokens = torch.cat([from_strings(["(((((("]), from_strings(["))))))"])])
    trace = Trace()
    by_hand.model(tokens, tokens != 1, trace=trace)
    pattern = trace.patterns[0][:, head[1]].mean(0)
    weights = averaging_weights(model, head)
    torch.testing.assert_close(weights[6, 4], torch.stack([pattern[4, 1:4].mean(), pattern[4, 4:7].mean()]))
    assert float(weights[6, 1, 0]) == 0.0
