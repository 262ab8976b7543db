"""The toy's hypotheses, enumerated in numpy: who reads which draw is worked out by hand, without the package."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import scrub as rc
from scrub.hypothesis import Experiment, Unimportant, treeify
from scrub.hypothesis.enumeration.exact_loss import exact
from scrub.sampling import Estimate
from scrub.tasks.toy import toy_data, toy_expression, toy_hypotheses

DIGITS = np.arange(10.0)
LARGE, SMALL = DIGITS[DIGITS > 3], DIGITS[DIGITS <= 3]
X0, X1, X2 = (axis.ravel() for axis in np.meshgrid(DIGITS, DIGITS, DIGITS, indexing="ij"))
BITS = [(l0, l1) for l0 in (0, 1) for l1 in (0, 1)]
"""Whether x0 and x1 are large."""


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def a_of(x0: np.ndarray, x1: np.ndarray, x2: np.ndarray) -> np.ndarray:
    return logistic(x0 + 0.1 * x1 - 0.05 * x2 - 3)


def b_of(x0: np.ndarray, x1: np.ndarray, x2: np.ndarray) -> np.ndarray:
    return logistic(-0.01 * x0 + x1 + 0.2 * x2 - 3)


A, B, C = a_of(X0, X1, X2), b_of(X0, X1, X2), X0 + X1 + X2
Y = ((X0 > 3) | (X1 > 3)).astype(float)
COUNT_OF_C = np.bincount(C.astype(int), minlength=28) / 1000
"""How likely each sum of three digits is."""


def share(l0: int, l1: int) -> float:
    """How many triples have these bits: 6 of 10 digits are large."""
    return (0.6 if l0 else 0.4) * (0.6 if l1 else 0.4)


def digits(is_large: int) -> np.ndarray:
    return LARGE if is_large else SMALL


def mean_over_independent_parts(a: np.ndarray, b: np.ndarray, y: float) -> float:
    """The mean loss if A, B and C are drawn by themselves: A and B uniformly from these, C from all triples."""
    total = 0.0
    for c, likely in enumerate(COUNT_OF_C):
        total += likely * ((a.ravel()[:, None] + b.ravel()[None, :] + 0.1 * c - y) ** 2).mean()
    return total


def a_reading_only(x0: np.ndarray) -> np.ndarray:
    """A for each of these x0 with each other x1 and x2."""
    return a_of(x0[:, None, None], DIGITS[None, :, None], DIGITS[None, None, :])


def b_reading_only(x1: np.ndarray) -> np.ndarray:
    return b_of(DIGITS[None, :, None], x1[:, None, None], DIGITS[None, None, :])


def unscrubbed() -> float:
    return ((A + B + 0.1 * C - Y) ** 2).mean()


def labels_independent() -> float:
    return (((A + B + 0.1 * C)[:, None] - Y[None, :]) ** 2).mean()


def full() -> float:
    """The root's datum: any, since "or" always agrees. D's: with the same "or". A's x0 and B's x1: as large as D's."""
    total = 0.0
    for y in (0, 1):
        possible = [(l0, l1) for l0, l1 in BITS if (l0 or l1) == y]
        in_all = sum(share(*bits) for bits in possible)
        for l0, l1 in possible:  # P(y) = in_all, and P(bits | y) = share / in_all
            likely = in_all * share(l0, l1) / in_all
            total += likely * mean_over_independent_parts(a_reading_only(digits(l0)), b_reading_only(digits(l1)), y)
    return total


def full_with_and() -> float:
    """The root's datum: agrees in the same way, which leaves it uniform on the whole. D's: with the same "and"."""
    total = 0.0
    of_bits = {
        (bits, y): mean_over_independent_parts(a_reading_only(digits(bits[0])), b_reading_only(digits(bits[1])), y)
        for bits, y in itertools.product(BITS, (0, 1))
    }
    for reference, root, d in itertools.product(BITS, BITS, BITS):
        agree = [(l0 and l1) == (l0 or l1) for l0, l1 in (reference, root)]
        if agree[0] != agree[1] or (root[0] and root[1]) != (d[0] and d[1]):
            continue
        in_root = sum(share(*bits) for bits in BITS if ((bits[0] and bits[1]) == (bits[0] or bits[1])) == agree[0])
        in_d = sum(share(*bits) for bits in BITS if (bits[0] and bits[1]) == (root[0] and root[1]))
        likely = share(*reference) * share(*root) / in_root * share(*d) / in_d
        total += likely * of_bits[d, int(root[0] or root[1])]
    return total


def x0_and_x1() -> float:
    """x2 is that of another datum, the same one everywhere."""
    losses = [
        (a_of(x0, x1, x2) + b_of(x0, x1, x2) + 0.1 * (x0 + x1 + x2) - float(x0 > 3 or x1 > 3)) ** 2
        for x0, x1, _, x2 in itertools.product(DIGITS, DIGITS, DIGITS, DIGITS)
    ]
    return float(np.mean(losses))


def a_with_x0_random() -> float:
    """A reads x0 of one datum and x1 and x2 of another; B and C read a third, the label the reference."""
    a = a_reading_only(DIGITS).ravel()
    return float(np.mean([((a[:, None] + (B + 0.1 * C)[None, :] - y) ** 2).mean() for y in Y]))


def a_with_x0_exact() -> float:
    losses: list[float] = []
    for x0, x1 in itertools.product(DIGITS, DIGITS):
        a = a_reading_only(np.array([x0])).ravel()
        losses.append(((a[:, None] + (B + 0.1 * C)[None, :] - float(x0 > 3 or x1 > 3)) ** 2).mean())
    return float(np.mean(losses))


def exact_flow() -> float:
    losses = [
        mean_over_independent_parts(
            a_reading_only(np.array([x0])), b_reading_only(np.array([x1])), float(x0 > 3 or x1 > 3)
        )
        for x0, x1 in itertools.product(DIGITS, DIGITS)
    ]
    return float(np.mean(losses))


BY_HAND = {
    "unscrubbed": unscrubbed,
    "labels independent": labels_independent,
    "full": full,
    "full, with and": full_with_and,
    "x0 and x1": x0_and_x1,
    "A, x0 random": a_with_x0_random,
    "A, x0 exact": a_with_x0_exact,
    "exact flow": exact_flow,
}


@pytest.fixture(scope="module")
def by_hand() -> dict[str, float]:
    return {name: function() for name, function in BY_HAND.items()}


@pytest.fixture(scope="module")
def experiments() -> dict[str, Experiment]:
    return {name: Experiment(toy_expression(), toy_data(), toy) for name, toy in toy_hypotheses().items()}


@pytest.fixture(scope="module")
def by_library(experiments: dict[str, Experiment]) -> dict[str, Estimate]:
    return {name: exact(experiment) for name, experiment in experiments.items()}


def test_every_hypothesis_is_enumerated() -> None:
    assert list(toy_hypotheses()) == list(BY_HAND)


def test_data_are_all_triples_with_their_labels() -> None:
    columns = toy_data().arrays
    assert [columns[name].tolist() for name in ("x0", "x1", "x2")] == [X0.tolist(), X1.tolist(), X2.tolist()]
    assert columns["y"].tolist() == Y.tolist()


@pytest.mark.parametrize("name", BY_HAND)
def test_exact_losses_are_those_enumerated_by_hand(
    name: str, by_hand: dict[str, float], by_library: dict[str, Estimate]
) -> None:
    assert float(by_library[name]) == pytest.approx(by_hand[name], abs=1e-10)
    assert float(by_library[name].stderr) == 0


@pytest.mark.parametrize("name", BY_HAND)
def test_sampled_losses_are_within_their_error(
    name: str, by_hand: dict[str, float], experiments: dict[str, Experiment]
) -> None:
    sampled = experiments[name].run(8000, seed=1).estimate()
    assert 0.005 < float(sampled.stderr) < 0.1
    assert abs(float(sampled) - by_hand[name]) < 4 * float(sampled.stderr)


def test_loss_recovered(by_hand: dict[str, float], by_library: dict[str, Estimate]) -> None:
    original, baseline = "unscrubbed", "labels independent"
    shares: dict[str, float] = {}
    for name, estimate in by_library.items():
        recovered = rc.loss_recovered(estimate, original=by_library[original], baseline=by_library[baseline])
        expected = (by_hand[baseline] - by_hand[name]) / (by_hand[baseline] - by_hand[original])
        assert float(recovered) == pytest.approx(expected, abs=1e-9)
        assert float(recovered.stderr) == 0
        shares[name] = float(recovered)
    assert [name for name, value in shares.items() if value > 1.01] == ["full", "full, with and", "exact flow"]
    assert shares["x0 and x1"] == pytest.approx(1, abs=1e-9)


def test_inputs_read_the_draws_that_the_page_says(experiments: dict[str, Experiment]) -> None:
    read = {(symbol.name, read.slot.label) for symbol, read in experiments["full"].scrubbed.reads.items()}
    assert read == {
        ("y", "output"), ("x0", "A"), ("x1", "A/other"), ("x2", "A/other"), ("x0", "B/other"), ("x1", "B"),
        ("x2", "B/other"), ("x0", "D/other"), ("x1", "D/other"), ("x2", "D/other"),
    }  # fmt: skip
    read = {(symbol.name, read.slot.label) for symbol, read in experiments["A, x0 random"].scrubbed.reads.items()}
    assert read == {
        ("y", "reference"), ("x0", "A.x0"), ("x1", "A/other"), ("x2", "A/other"), ("x0", "output/other"),
        ("x1", "output/other"), ("x2", "output/other"),
    }  # fmt: skip


@pytest.mark.parametrize("unimportant", ["node", "term", "shared"])
@pytest.mark.parametrize("name", toy_hypotheses())
def test_each_hypothesis_equals_its_tree(name: str, unimportant: Unimportant) -> None:
    hypothesis = toy_hypotheses()[name].replace(unimportant=unimportant)
    experiment = Experiment(toy_expression(), toy_data(), hypothesis)
    result = experiment.run(12, seed=5, step=12)
    rows = experiment.draw(result.references, seed=5)
    tree = treeify(experiment).evaluate(rows, experiment.source.data)
    torch.testing.assert_close(result.values["loss"], tree.double(), rtol=1e-12, atol=1e-12)
