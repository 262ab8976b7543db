"""ROC and its kin: against all pairs, against a loop over thresholds, and where the answer is known."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scrub.discovery.statistics import average_precision, bootstrap, precision_recall, roc_auc, roc_curve
from scrub.graph import DiscoveryError

RANKINGS = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=12).filter(
    lambda pairs: len({is_true for _, is_true in pairs}) == 2
)
"""Scores, often equal, with whether they are of true members; some are and some are not."""


def tensors(pairs: list[tuple[int, bool]]) -> tuple[torch.Tensor, torch.Tensor]:
    scores, truth = zip(*pairs, strict=True)
    return torch.tensor(scores, dtype=torch.float32), torch.tensor(truth)


@given(RANKINGS)
def test_auc_is_the_share_of_pairs_in_order(pairs: list[tuple[int, bool]]):
    """Mann and Whitney's U over all pairs of a true and a false member, ties half."""
    true, false = ([score for score, is_true in pairs if is_true == wanted] for wanted in (True, False))
    wins = sum((a > b) + (a == b) / 2 for a, b in itertools.product(true, false))
    assert float(roc_auc(*tensors(pairs))) == pytest.approx(wins / (len(true) * len(false)))


@given(RANKINGS)
def test_area_of_the_curve_is_auc(pairs: list[tuple[int, bool]]):
    assert roc_curve(*tensors(pairs)).area == pytest.approx(float(roc_auc(*tensors(pairs))))


@given(RANKINGS)
def test_curve_is_the_rates_at_each_threshold(pairs: list[tuple[int, bool]]):
    curve = roc_curve(*tensors(pairs))
    thresholds = [math.inf, *sorted({score for score, _ in pairs}, reverse=True)]
    assert curve.thresholds.tolist() == thresholds
    for wanted, rates in ((True, curve.true_positive_rate), (False, curve.false_positive_rate)):
        scores = [score for score, is_true in pairs if is_true == wanted]
        expected = [sum(score >= threshold for score in scores) / len(scores) for threshold in thresholds]
        assert rates.tolist() == pytest.approx(expected)


@given(RANKINGS)
def test_average_precision_is_the_sum_over_thresholds(pairs: list[tuple[int, bool]]):
    scores, truth = tensors(pairs)
    total = recall = 0.0
    for threshold in sorted({score for score, _ in pairs}, reverse=True):
        found = precision_recall(scores >= threshold, truth)
        total += (found.recall - recall) * found.precision
        recall = found.recall
    assert average_precision(scores, truth) == pytest.approx(total)


@given(RANKINGS, st.randoms(use_true_random=False))
def test_order_does_not_matter(pairs: list[tuple[int, bool]], random):
    before = roc_auc(*tensors(pairs)), average_precision(*tensors(pairs))
    random.shuffle(pairs)
    assert (roc_auc(*tensors(pairs)), average_precision(*tensors(pairs))) == before


def test_perfect_worst_and_constant_scores():
    truth = torch.tensor([True, True, False, False, False])
    assert float(roc_auc(truth.float(), truth)) == 1.0
    assert float(roc_auc(-truth.float(), truth)) == 0.0
    assert float(roc_auc(torch.zeros(5), truth)) == 0.5
    assert average_precision(truth.float(), truth) == 1.0
    assert average_precision(torch.zeros(5), truth) == pytest.approx(0.4)


def test_infinite_scores_are_the_largest():
    assert float(roc_auc(torch.tensor([torch.inf, 1.0, -torch.inf]), torch.tensor([True, False, False]))) == 1.0


def test_matrices_where_edges_exist():
    """Of the cells without an edge neither scores (here NaN) nor truth count."""
    exists = torch.tensor([[True, False], [True, True]])
    truth = torch.tensor([[True, True], [False, False]])
    scores = torch.tensor([[1.0, torch.nan], [2.0, 0.0]])
    assert float(roc_auc(scores, truth, where=exists)) == 0.5
    assert roc_curve(scores, truth, where=exists).area == 0.5
    assert average_precision(scores, truth, where=exists) == 0.5
    found = precision_recall(torch.ones(2, 2, dtype=torch.bool), truth, where=exists)
    assert (found.true_positives, found.found, found.true) == (1, 3, 1)


def test_several_scorings_are_each_alone():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 4, (3, 2, 4, 5), generator=generator).double()
    truth = torch.rand(4, 5, generator=generator) < 0.4
    together = roc_auc(scores, truth)
    assert together.shape == (3, 2)
    for i, j in itertools.product(range(3), range(2)):
        torch.testing.assert_close(together[i, j], roc_auc(scores[i, j], truth))


@pytest.mark.parametrize(
    ("found", "truth", "precision", "recall", "f1"),
    [
        ([1, 1, 0, 0, 1], [1, 0, 1, 0, 1], 2 / 3, 2 / 3, 2 / 3),
        ([1, 1, 1, 1, 1], [1, 0, 0, 0, 0], 0.2, 1.0, 1 / 3),
        ([0, 0, 0, 0, 0], [1, 0, 0, 0, 0], math.nan, 0.0, 0.0),
        ([1, 0, 0, 0, 0], [0, 0, 0, 0, 0], 0.0, math.nan, 0.0),
        ([0, 0, 0, 0, 0], [0, 0, 0, 0, 0], math.nan, math.nan, math.nan),
    ],
)
def test_precision_and_recall(found: list[int], truth: list[int], precision: float, recall: float, f1: float):
    result = precision_recall(torch.tensor(found).bool(), torch.tensor(truth).bool())
    assert [result.precision, result.recall, result.f1] == pytest.approx([precision, recall, f1], nan_ok=True)


@pytest.mark.parametrize("function", [roc_auc, roc_curve, average_precision])
@pytest.mark.parametrize("truth", [[True, True], [False, False]])
def test_nothing_to_rank(function, truth: list[bool]):
    with pytest.raises(DiscoveryError, match=r"of 2 candidates are true\nhint: choose the truth") as error:
        function(torch.zeros(2), torch.tensor(truth))
    assert error.value.found == sum(truth)


@pytest.mark.parametrize("function", [roc_auc, roc_curve, average_precision])
def test_nan_scores(function):
    with pytest.raises(DiscoveryError, match=r"1 of 2 scores are NaN\nhint: "):
        function(torch.tensor([0.0, torch.nan]), torch.tensor([True, False]))


@pytest.mark.parametrize("function", [roc_auc, roc_curve, average_precision])
def test_shapes_that_do_not_fit(function):
    with pytest.raises(DiscoveryError, match=r"values \(3,\), truth \(2,\) and where \(2,\) do not fit") as error:
        function(torch.zeros(3), torch.tensor([True, False]))
    assert error.value.expected == (2,)


@pytest.mark.parametrize("function", [roc_curve, average_precision])
def test_only_auc_takes_several_scorings(function):
    with pytest.raises(DiscoveryError, match="only scores for roc_auc may have leading axes"):
        function(torch.zeros(3, 2), torch.tensor([True, False]))


def test_sets_are_bool():
    sets = torch.tensor([True, False])
    with pytest.raises(DiscoveryError, match=r"found is torch\.float32, not a set\nhint: found != 0"):
        precision_recall(sets.float(), sets)
    with pytest.raises(DiscoveryError, match=r"truth is torch\.int64, not a set"):
        roc_auc(torch.zeros(2), sets.long())
    with pytest.raises(DiscoveryError, match=r"where is torch\.int64, not a set"):
        roc_auc(torch.zeros(2), sets, where=sets.long())


def test_auc_with_an_interval_over_examples():
    """Scores that a few examples decide: each resample's AUC is that of its own mean scores."""
    generator = torch.Generator().manual_seed(2)
    truth = torch.arange(30) < 8
    scores = truth.double()[:, None] + 4 * torch.randn(30, 25, generator=generator, dtype=torch.float64)
    found = bootstrap({"scores": scores}, lambda columns: roc_auc(columns["scores"].mean(-1), truth), n_resamples=200)
    assert float(found) == float(roc_auc(scores.mean(-1), truth))
    for i, left_out in enumerate(found.left_out):
        others = torch.cat([scores[:, :i], scores[:, i + 1 :]], dim=1)
        assert float(left_out) == pytest.approx(float(roc_auc(others.mean(-1), truth)))
    low, high = found.interval()
    assert 0 < low < found.value < high <= 1
