"""The demo's rows against the scrubbed model written out in torch, and its report."""

from __future__ import annotations

import pytest
import torch

import scrub as rc
from scrub.demo import HYPOTHESES, Experiment, build_experiment, report_html, run_demo, scrub_input
from scrub.tasks.induction import heads_under_study
from tests.demo.by_hand import ByHand
from zoo.export import load_model

SEQ_LEN = 24


@pytest.fixture(scope="module")
def model() -> rc.ShippedModel:
    return rc.load_shipped("attn_only_2l")


@pytest.fixture(scope="module")
def sequences(model: rc.ShippedModel) -> torch.Tensor:
    return rc.held_out_sequences(model.tokenizer, SEQ_LEN + 1)


@pytest.fixture(scope="module")
def experiment(model: rc.ShippedModel, sequences: torch.Tensor) -> Experiment:
    return build_experiment(model, sequences, heads_under_study(model))


@pytest.fixture(scope="module")
def by_hand(model: rc.ShippedModel) -> ByHand:
    heads = heads_under_study(model)
    return ByHand(model.state_dict, model.induction_candidates.float(), heads.previous_token, heads.induction)


@pytest.mark.parametrize("hypothesis", HYPOTHESES, ids=lambda h: h.name)
def test_every_row_equals_the_model_scrubbed_by_hand(hypothesis, experiment, sequences, by_hand) -> None:
    spec = rc.RandomSampleSpec((6,), seed=5)
    per_draw = hypothesis.rewrite(experiment).update(rc.Cumulant, lambda node: node.children[0])
    rewritten = rc.substitute_all_modules(per_draw)
    losses = rc.Sampler(spec).sample(rewritten).evaluate()
    rows = [sequences[spec.rows(v.probs_and_group, 0, 6)] for v in (experiment.tokens, experiment.other)]
    assert not torch.equal(*rows)
    torch.testing.assert_close(losses, by_hand.hypothesis(hypothesis.name, *rows), atol=1e-5, rtol=1e-5)


def test_rows_differ(experiment) -> None:
    assert len({hypothesis.rewrite(experiment) for hypothesis in HYPOTHESES}) == len(HYPOTHESES)


def test_everything_scrubbed_equals_permuted_inputs(experiment, sequences, by_hand) -> None:
    scrubbed = scrub_input(experiment.loss, rc.IterativeMatcher("t.call"), experiment)
    estimated = rc.estimate(scrubbed, n=256, seed=1)
    generator = torch.Generator().manual_seed(9)
    ref, other = (torch.randint(len(sequences), (256,), generator=generator) for _ in range(2))
    direct = by_hand.hypothesis("all inputs scrubbed", sequences[ref], sequences[other]).double()
    error = (estimated.stderr**2 + direct.var() / len(direct)).sqrt()
    assert abs(float(estimated) - direct.mean()) < 3 * error
    assert error < 0.1


def test_scrubbing_with_the_same_variable_changes_nothing_exactly(experiment) -> None:
    for path in (rc.IterativeMatcher("a1.ind"), rc.head_input("a1.ind", "k"), rc.IterativeMatcher("t.call")):
        same = experiment.loss.update(path.chain("toks_int_var"), lambda _: experiment.tokens, see_through=True)
        assert same is experiment.loss


def test_logits_equal_plain_torch_before_and_after_the_rewrites(model, sequences, experiment) -> None:
    from scrub.models.shipped import _FOLDER

    tokens = sequences[7, :-1]
    expected = load_model(_FOLDER / "attn_only_2l")(tokens[None])[0]
    lowered = model.lower(seq_len=SEQ_LEN)
    for bind_w in (lowered["t.bind_w"], experiment.loss.get_unique("t.bind_w", see_through=True)):
        call = model.call(tokens, model=bind_w)
        torch.testing.assert_close(call.evaluate(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_numbers_do_not_depend_on_the_batch_size(batch_size: int, experiment) -> None:
    rows = {h.name: h.rewrite(experiment) for h in HYPOTHESES if h.name in ("original", "baseline", "keys")}
    estimates = rc.estimate(rows, n=64, seed=2, batch_size=batch_size)
    reference = rc.estimate(rows, n=64, seed=2, batch_size=64)
    for name in rows:
        assert abs(float(estimates[name]) - float(reference[name])) < 1e-6
        assert abs(estimates[name].stderr - reference[name].stderr) < 1e-6


def test_the_report_is_one_self_contained_file() -> None:
    result = run_demo(n=128, seq_len=32)
    html = report_html(result)
    assert "http" not in html.replace("http://www.w3.org", "")
    assert "src=" not in html
    assert "<link" not in html
    for hypothesis in HYPOTHESES:
        assert hypothesis.name in html
    assert html.count("<svg") == 3
    recovered = {row.hypothesis.name: float(row.recovered) for row in result.rows}
    assert recovered["original"] == 1.0
    assert recovered["baseline"] == 0.0
    assert recovered["values"] > recovered["all three"]
    assert recovered["two-token match"] > recovered["all three"]
    assert result.tokens_per_second > 0


def test_double_precision_agrees_to_rounding(sequences) -> None:
    from scrub.models.shipped import _FOLDER

    model = rc.load_shipped("attn_only_2l", dtype=torch.float64)
    split = build_experiment(model, sequences, heads_under_study(model)).loss.get_unique("t.bind_w", see_through=True)
    lowered = model.lower(seq_len=SEQ_LEN)
    oracle = load_model(_FOLDER / "attn_only_2l").double()
    for tokens in sequences[::200, :-1]:
        for bind_w in (lowered["t.bind_w"], split):
            logits = model.call(tokens, model=bind_w).evaluate()
            torch.testing.assert_close(logits, oracle(tokens[None])[0], atol=1e-10, rtol=0)
