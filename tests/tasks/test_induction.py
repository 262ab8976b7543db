"""The induction study: its pieces against the model called directly."""

from __future__ import annotations

import pytest
import torch

import scrub as rc
from scrub.hypothesis import Experiment
from scrub.tasks.induction import MOST_TOKENS, InductionStudy, heads_under_study, induction_study
from zoo.export import load_model

SEQ_LEN = 12


@pytest.fixture(scope="module")
def model() -> rc.ShippedModel:
    return rc.load_shipped("attn_only_2l")


@pytest.fixture(scope="module")
def sequences(model: rc.ShippedModel) -> torch.Tensor:
    return rc.held_out_sequences(model.tokenizer, SEQ_LEN + 1)[:40]


@pytest.fixture(scope="module")
def study(model: rc.ShippedModel, sequences: torch.Tensor) -> InductionStudy:
    return induction_study(model, sequences)


def test_heads_are_those_that_the_scores_single_out(model: rc.ShippedModel) -> None:
    heads = heads_under_study(model)
    assert (0, heads.previous_token) == tuple(model.info["previous_token_head"])
    assert {(1, head) for head in heads.induction} <= {tuple(pair) for pair in model.info["induction_heads"]}


def test_the_loss_is_plain_torchs_on_candidates(model, sequences, study: InductionStudy) -> None:
    from scrub.models.shipped import _FOLDER

    plain = load_model(_FOLDER / "attn_only_2l")
    with torch.no_grad():
        logits = plain(sequences[:, :-1])
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), sequences[:, 1:], reduction="none")
    is_candidate = model.induction_candidates[sequences[:, :-1]]
    assert bool(is_candidate.any())
    rows = torch.arange(len(sequences))
    experiment = Experiment(study.model, study.data, study.hypotheses["original"])
    found = experiment.run(len(rows), draws={"reference": rows}).values["loss"]
    torch.testing.assert_close(found, (losses * is_candidate).mean(1).double(), atol=1e-5, rtol=0)


def test_reading_the_reference_as_the_other_text_changes_nothing(study: InductionStudy) -> None:
    rows = torch.arange(8)
    expected = Experiment(study.model, study.data, study.hypotheses["original"]).run(8, draws={"reference": rows})
    for name in ("baseline", "all three", "three-token match"):
        label = study.other[name]
        assert label is not None
        run = Experiment(study.model, study.data, study.hypotheses[name]).run(8, draws={"reference": rows, label: rows})
        torch.testing.assert_close(run.values["loss"], expected.values["loss"], atol=1e-5, rtol=0)


def test_what_layer_0_gathers_is_apart_only_for_queries_and_keys(study: InductionStudy) -> None:
    for n in range(MOST_TOKENS + 1):
        part = f"a.comb_v.lag{n}"
        for read, is_apart in (("q", True), ("k", True), ("v", False)):
            path = rc.head_input("a1.ind", read).chain(part)  # pyright: ignore[reportArgumentType]
            assert study.model.are_any_found(path, see_through=True) is is_apart
        assert not study.model.are_any_found(rc.IterativeMatcher("a1.not_ind").chain(part), see_through=True)
