"""Causal scrubbing of a tiny random model, against torch over all pairs of inputs."""

import itertools

import pytest
import torch
from torch.nn import functional

import scrub as rc
from scrub.graph import Expr
from scrub.rewrite import IterativeMatcher
from tests.models.attn_oracle import logits_by_hand, make, random_tokens

_TINY = make(seq_len=5)
_DATA = random_tokens(6, 6, seed=3)
_INPUTS, _LABELS = _DATA[:, :-1], _DATA[:, 1:]
_GROUPS = {0: [(1, "prev"), ([0, 2, 3], "not_prev")], 1: [(rc.S[1:3], "ind"), ([0, 3], "not_ind")]}
_TRUE, _OTHER = (rc.Tag.new_from_name(rc.uniform(6), name) for name in ("true", "other"))
_TOKENS = rc.DiscreteVar(rc.Array(_INPUTS), _TRUE, "tokens")
_OTHER_TOKENS = rc.DiscreteVar(rc.Array(_INPUTS), _OTHER, "other tokens")
_EVERY_PAIR = rc.RunDiscreteVarAllSpec([_TRUE, _OTHER])


def _model() -> rc.Expr:
    return rc.configure_transformer(
        _TINY.model, split_by_head_config=_GROUPS, use_pull_up_head_split=True, use_flatten_res=True
    )


def _loss() -> Expr:
    """Mean loss of the model on random sequences of the dataset; the labels belong to its tokens."""
    labels = rc.DiscreteVar(rc.Array(_LABELS), _TRUE, "labels")
    return rc.negative_log_likelihood(_TINY.call(_TOKENS, _model()), labels, "losses").mean()


def _cross_entropy(logits: torch.Tensor, row: int) -> float:
    return float(functional.cross_entropy(logits, _LABELS[row]))


def _scrubbed_by_hand(scrubbed: set[tuple[int, str]]) -> float:
    pairs = list(itertools.product(range(6), repeat=2))
    losses = [_cross_entropy(logits_by_hand(_TINY, _INPUTS[i], _INPUTS[j], scrubbed), i) for i, j in pairs]
    return sum(losses) / len(losses)


def test_the_original_loss_is_torch_s() -> None:
    logits = _TINY.logits(_INPUTS)
    expected = sum(_cross_entropy(logits[i], i) for i in range(6)) / 6
    exact = rc.estimate(rc.Cumulant(_loss()), spec=rc.RunDiscreteVarAllSpec([_TRUE]))
    assert float(exact) == pytest.approx(expected, rel=1e-10)


def test_everything_scrubbed_by_an_independent_draw_is_the_loss_over_all_pairs() -> None:
    logits = _TINY.logits(_INPUTS)
    expected = sum(_cross_entropy(logits[j], i) for i in range(6) for j in range(6)) / 36
    scrubbed = _loss().update("tokens", lambda _: _OTHER_TOKENS)
    exact = rc.estimate(rc.Cumulant(scrubbed), spec=_EVERY_PAIR)
    assert float(exact) == pytest.approx(expected, rel=1e-10)
    sampled = rc.estimate(rc.Cumulant(scrubbed), n=1024, seed=0)
    assert abs(float(sampled) - expected) <= 3 * float(sampled.stderr)
    assert float(sampled.stderr) > 0


@pytest.mark.parametrize("see_through", [False, True])
def test_scrubbing_with_the_same_variable_changes_nothing(see_through: bool) -> None:
    loss = _loss()
    assert loss.update("tokens", lambda _: _TOKENS, see_through=see_through) is loss
    matcher = rc.head_input("a1.ind", "v").chain("tokens")
    assert loss.update(matcher, lambda _: _TOKENS, see_through=True) is loss


def test_scrubbing_with_a_variable_of_the_same_group_gives_the_same_value() -> None:
    """Another node, tied to the first: the same draws."""
    loss = _loss()
    tied = rc.DiscreteVar(rc.Array(_INPUTS), _TRUE, "tied tokens")
    scrubbed = loss.update(rc.head_input("a1.ind", "k").chain("tokens"), lambda _: tied, see_through=True)
    assert scrubbed.are_any_found("tied tokens")
    e = rc.estimate({"original": rc.Cumulant(loss), "scrubbed": rc.Cumulant(scrubbed)}, n=64, seed=0)
    assert float(e["scrubbed"]) == pytest.approx(float(e["original"]), rel=1e-12)


@pytest.mark.parametrize("part", ["q", "k", "v"])
def test_scrubbing_one_input_of_a_head_group_equals_torch_by_hand(part: str) -> None:
    matcher = rc.head_input("a1.ind", part).chain("tokens")  # type: ignore[arg-type]
    scrubbed = _loss().update(matcher, lambda _: _OTHER_TOKENS, see_through=True)
    exact = rc.estimate(rc.Cumulant(scrubbed), spec=_EVERY_PAIR)
    assert float(exact) == pytest.approx(_scrubbed_by_hand({(1, part), (2, part)}), rel=1e-10)


def test_scrubbing_several_inputs_of_several_groups_equals_torch_by_hand() -> None:
    loss = _loss()
    for head, part in (("a1.ind", "v"), ("a1.not_ind", "q"), ("a1.not_ind", "k")):
        matcher = rc.head_input(head, part).chain("tokens")  # type: ignore[arg-type]
        loss = loss.update(matcher, lambda _: _OTHER_TOKENS, see_through=True)
    by_hand = _scrubbed_by_hand({(1, "v"), (2, "v"), (0, "q"), (3, "q"), (0, "k"), (3, "k")})
    exact = rc.estimate(rc.Cumulant(loss), spec=_EVERY_PAIR)
    assert float(exact) == pytest.approx(by_hand, rel=1e-10)


def test_logits_of_one_pair_equal_torch_by_hand_also_without_sampling() -> None:
    """The same rewrite on arrays, at every position."""
    tokens, other = _INPUTS[0], rc.Array(_INPUTS[1], "other")
    call = _TINY.call(tokens, _model())
    scrubbed = call.update(rc.head_input("a1.ind", "v").chain("tokens"), lambda _: other, see_through=True)
    expected = logits_by_hand(_TINY, tokens, _INPUTS[1], {(1, "v"), (2, "v")})
    torch.testing.assert_close(scrubbed.evaluate(), expected, rtol=1e-10, atol=1e-10)


def test_scrubbing_a_split_by_key_only_reads_other_tokens_at_other_keys() -> None:
    """Values at every key but the previous come from the other sequence, at all others from the same."""
    tokens, other = _INPUTS[0], _INPUTS[1]
    previous = torch.eye(5, dtype=torch.float64).roll(-1, dims=1).tril()
    split = rc.split_keys({"prev": previous, "rest": 1 - previous})
    head = IterativeMatcher("a1.not_ind")  # its own attention only, not that of layer 0 below it
    model = _model().update(head.chain(rc.restrict("a.comb_v", term_early_at="a1.norm")), split)
    call, heads = _TINY.call(tokens, model), {(0, "v"), (3, "v")}
    for part, kept in (("rest", previous), ("prev", 1 - previous)):
        value = rc.restrict("a.v", end_depth=2)  # not the one below the probabilities, in layer 0
        matcher = head.chain(f"a.comb_v.{part}", value, "tokens")
        scrubbed = call.update(matcher, lambda _: rc.Array(other, "other"), see_through=True)
        expected = logits_by_hand(_TINY, tokens, other, heads, kept=kept)
        torch.testing.assert_close(scrubbed.evaluate(), expected, rtol=1e-10, atol=1e-10)
        assert not torch.allclose(expected, logits_by_hand(_TINY, tokens, other, heads))


def test_loss_recovered_of_the_ends() -> None:
    """Scrubbing nothing recovers all, scrubbing everything nothing."""
    loss = _loss()
    losses = {"original": loss, "baseline": loss.update("tokens", lambda _: _OTHER_TOKENS)}
    partly = loss.update(rc.head_input("a1.ind", "v").chain("tokens"), lambda _: _OTHER_TOKENS, see_through=True)
    e = rc.estimate({k: rc.Cumulant(v) for k, v in (losses | {"partly": partly}).items()}, spec=_EVERY_PAIR)
    options = {"original": e["original"], "baseline": e["baseline"]}
    assert float(rc.loss_recovered(e["original"], **options)) == 1
    assert float(rc.loss_recovered(e["baseline"], **options)) == 0
    o, b, p = (float(e[k]) for k in ("original", "baseline", "partly"))
    assert float(rc.loss_recovered(e["partly"], **options)) == pytest.approx((b - p) / (b - o))
