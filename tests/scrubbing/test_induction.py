"""The demo's hypotheses as interpretations equal its rewrites of the loss, text by text."""

from __future__ import annotations

import pytest
import torch

import scrub as rc
from scrub.demo import HYPOTHESES, Experiment, build_experiment
from scrub.hypothesis import Experiment as Scrubbing
from scrub.tasks.induction import InductionStudy, heads_under_study, induction_study

SEQ_LEN, N = 24, 6


@pytest.fixture(scope="module")
def model() -> rc.ShippedModel:
    return rc.load_shipped("attn_only_2l")


@pytest.fixture(scope="module")
def sequences(model: rc.ShippedModel) -> torch.Tensor:
    return rc.held_out_sequences(model.tokenizer, SEQ_LEN + 1)[:500]


@pytest.fixture(scope="module")
def rewrites(model: rc.ShippedModel, sequences: torch.Tensor) -> Experiment:
    return build_experiment(model, sequences, heads_under_study(model))


@pytest.fixture(scope="module")
def study(model: rc.ShippedModel, sequences: torch.Tensor) -> InductionStudy:
    return induction_study(model, sequences)


def test_the_study_has_the_demos_hypotheses(study: InductionStudy) -> None:
    assert list(study.hypotheses) == [hypothesis.name for hypothesis in HYPOTHESES]


@pytest.mark.parametrize("row", HYPOTHESES, ids=lambda h: h.name)
def test_a_hypothesis_equals_its_rewrite_for_each_text(row, rewrites: Experiment, study: InductionStudy) -> None:
    spec = rc.RandomSampleSpec((N,), seed=5)
    per_draw = row.rewrite(rewrites).update(rc.Cumulant, lambda node: node.children[0])
    expected = rc.Sampler(spec).sample(rc.substitute_all_modules(per_draw)).evaluate()
    rows, other = (torch.as_tensor(spec.rows(v.probs_and_group, 0, N)) for v in (rewrites.tokens, rewrites.other))
    assert not torch.equal(rows, other)
    label = study.other[row.name]
    experiment = Scrubbing(study.model, study.data, study.hypotheses[row.name])
    assert [slot.label for slot in experiment.slots] == ([] if label is None else [label])
    draws = {"reference": rows} if label is None else {"reference": rows, label: other}
    found = experiment.run(N, draws=draws).values["loss"]
    torch.testing.assert_close(found, expected.double(), atol=1e-5, rtol=0)
