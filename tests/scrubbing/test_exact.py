"""Exact results against all combinations of draws, enumerated by hand."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

import scrub as rc
from scrub.graph import HypothesisError
from scrub.hypothesis import (
    Correspondence,
    Dataset,
    ExactSampler,
    Experiment,
    FuncSampler,
    InterpNode,
    Source,
    UncondSampler,
    UncondTogetherSampler,
    corr_root_matcher,
)
from scrub.hypothesis.enumeration import outcomes, parts
from scrub.hypothesis.enumeration.exact_loss import exact, exact_law
from tests.models.attn_oracle import make, random_tokens
from tests.scrubbing.exact_oracle import BruteForce, Claim, Formula, Table, as_dataset, as_expr, as_hypothesis, generate

CHOICES = [(u, h) for u in ("node", "term", "shared") for h in ("drawn", "original")]


def squared_error(outputs: torch.Tensor, references: Dataset) -> torch.Tensor:
    return (outputs - references["label"]) ** 2


@pytest.mark.parametrize(("unimportant", "handed_down"), CHOICES)
def test_generated_hypotheses_have_the_results_of_all_combinations(unimportant: Any, handed_down: Any) -> None:
    first = 100 * CHOICES.index((unimportant, handed_down))
    num_draws = _compare(range(first, first + 45), unimportant, handed_down)
    assert num_draws.total() >= 9, num_draws
    assert sum(count for draws, count in num_draws.items() if draws >= 3) >= 5, num_draws


@pytest.mark.slow
@pytest.mark.parametrize(("unimportant", "handed_down"), CHOICES)
def test_many_generated_hypotheses_have_the_results_of_all_combinations(unimportant: Any, handed_down: Any) -> None:
    assert _compare(range(1000, 1300), unimportant, handed_down).total() >= 60


@pytest.mark.parametrize(("unimportant", "handed_down"), CHOICES)
def test_results_are_the_same_if_little_may_be_held(
    unimportant: Any, handed_down: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts that have too many outcomes to hold are gone through where they are read, in portions."""
    monkeypatch.setattr(outcomes, "MOST_KEPT", 6)
    monkeypatch.setattr(parts, "_MOST_AT_A_TIME", 3)
    first = 700 + 25 * CHOICES.index((unimportant, handed_down))
    assert _compare(range(first, first + 25), unimportant, handed_down).total() >= 3


def _compare(seeds: range, unimportant: Any, handed_down: Any) -> Counter[int]:
    """Of how many draws the hypotheses were that were compared."""
    num_draws: Counter[int] = Counter()
    for seed in seeds:
        formula, root, table, fixed = generate(seed)
        hypothesis = as_hypothesis(root, fixed, unimportant=unimportant, handed_down=handed_down)
        model, data = as_expr(formula), as_dataset(table)
        data = Dataset(data.arrays, inputs=[str(symbol.name) for symbol in model.free_symbols])
        try:
            experiment = Experiment(model, data, hypothesis, metrics={"loss": squared_error})
        except HypothesisError:  # claims that overlap
            continue
        brute = BruteForce(formula, root, table, fixed, unimportant=unimportant, handed_down=handed_down)
        values, weights = brute.outcomes()
        num_draws[values.ndim - 1] += 1
        labels = brute.rows["label"].reshape(-1, *[1] * (values.ndim - 1))
        expected = ((values - labels) ** 2 * weights).sum()
        assert float(exact(experiment)) == pytest.approx(expected, abs=1e-11), seed
        assert_same_law(exact_law(experiment), values, weights)
    return num_draws


def assert_same_law(law: Any, values: np.ndarray, weights: np.ndarray) -> None:
    """The same values, up to rounding, with the same probabilities."""
    found, expected = (_added_up(*pair) for pair in ((law.values.numpy(), law.weights.numpy()), (values, weights)))
    assert found.keys() == expected.keys()
    assert all(math.isclose(found[value], expected[value], abs_tol=1e-12) for value in found)


def _added_up(values: np.ndarray, weights: np.ndarray) -> dict[float, float]:
    distinct, number = np.unique(values[weights > 0].round(9) + 0.0, return_inverse=True)
    return dict(zip(distinct.tolist(), np.bincount(number, weights[weights > 0]).tolist(), strict=True))


def test_sixty_draws_in_a_chain_are_worked_up_one_by_one() -> None:
    """Products of signs: by hand, the mean of a product given the class of the row that the next draw is given."""
    table: Table = {"x0": np.array([1.0, 1.0, -1.0, 1.0, -1.0]), "g": np.array([0, 0, 0, 1, 1])}
    in_class = [table["x0"][table["g"] == g].mean() for g in (0, 1)]
    formula: Formula = ("n0", "tanh", ("x0",))
    claim = Claim("c0", "n0", "any")
    expected = [np.tanh(table["x0"]).mean()] * 2
    for i in range(1, 31):
        formula = (f"n{i}", "product", formula, ("x0",))
        claim = Claim(f"c{i}", f"n{i}", "g" if i % 3 else "any", "g", [claim])
        expected = [in_class[g] * expected[g] for g in (0, 1)]
        if i % 3 == 0:
            expected = [0.6 * expected[0] + 0.4 * expected[1]] * 2
    hypothesis = as_hypothesis(claim, table, unimportant="node", handed_down="drawn")
    experiment = Experiment(as_expr(formula), as_dataset(table), hypothesis)
    assert len(experiment.slots) > 50
    assert float(exact(experiment)) == pytest.approx(expected[0], rel=1e-9)


def _leaves_of_a_sum(num_leaves: int, n: int, sampler: Any) -> Experiment:
    """The sum of inputs that are drawn by themselves, squared."""
    symbols = [rc.Symbol.new_from_name((), f"x{i}") for i in range(num_leaves)]
    total = rc.Add(*symbols)
    root, corr = InterpNode(ExactSampler(), "loss"), Correspondence()
    corr.add(root, corr_root_matcher)
    for i in range(num_leaves):
        corr.add(root.make_descendant(sampler, f"leaf {i}"), f"x{i}")
    columns = {f"x{i}": torch.rand(n, generator=torch.Generator().manual_seed(i)).double() for i in range(num_leaves)}
    return Experiment(total.mul(total), Dataset(columns), corr)


def test_independent_inputs_of_a_square() -> None:
    """By hand: the square of the mean, and the sum of variances."""
    experiment = _leaves_of_a_sum(3, 20, UncondSampler())
    columns = torch.stack(list(experiment.dataset.arrays.values()))
    expected = columns.mean(1).sum() ** 2 + columns.var(1, correction=0).sum()
    estimate = exact(experiment)
    assert float(estimate) == pytest.approx(float(expected), rel=1e-12)
    assert estimate.joint.is_exact
    assert float(estimate.stderr) == 0
    assert estimate.n == 20**3
    sampled = experiment.run(4000).estimate()
    assert abs(float(sampled) - float(expected)) < 4 * float(sampled.stderr)


def test_too_many_outcomes_are_refused_with_the_draws_that_make_them() -> None:
    experiment = _leaves_of_a_sum(6, 50, UncondSampler())
    with pytest.raises(HypothesisError, match=r"15,625,000,000 outcomes .* 'leaf 0' 50 x 'leaf 1' 50") as caught:
        exact(experiment)
    assert caught.value.found == 50**6
    with pytest.raises(HypothesisError, match="8,000 outcomes"):
        exact(_leaves_of_a_sum(3, 20, UncondSampler()), max_outcomes=7_999)


def test_samplers_that_do_not_say_how_likely_rows_are_are_refused() -> None:
    for sampler, message in (
        (UncondTogetherSampler(), "does not say how likely"),
        (UncondSampler(pool=2), "pool"),
        (FuncSampler("x0", pool=2, few=1), "pool"),
    ):
        with pytest.raises(HypothesisError, match=message):
            exact(_leaves_of_a_sum(2, 4, sampler))


@dataclass(frozen=True)
class Unlikely(UncondSampler):
    """Chances that are none."""

    factor: float = 0.5

    def probabilities(self, given: torch.Tensor, source: Source) -> torch.Tensor:
        return super().probabilities(given, source) * self.factor


@pytest.mark.parametrize("factor", [0.5, -1.0])
def test_chances_that_are_no_distribution_are_refused(factor: float) -> None:
    with pytest.raises(HypothesisError, match=r"'leaf 0': the probabilities of .* are no distribution over rows"):
        exact(_leaves_of_a_sum(2, 4, Unlikely(factor=factor)))


@dataclass(frozen=True)
class Next(UncondSampler):
    """The row itself or the next one, with uneven chances: a law of its own for each row."""

    def probabilities(self, given: torch.Tensor, source: Source) -> torch.Tensor:
        chances = 0.25 * torch.nn.functional.one_hot(given, source.data.num_rows).double()
        chances += 0.75 * torch.nn.functional.one_hot((given + 1) % source.size, source.data.num_rows)
        return chances


def test_a_sampler_of_ones_own_with_a_law_for_every_row() -> None:
    experiment = _leaves_of_a_sum(2, 7, Next())
    a, b = (values.tolist() for values in experiment.dataset.arrays.values())
    expected = sum(
        p * q * (a[(i + j) % 7] + b[(i + k) % 7]) ** 2 / 7
        for i in range(7)
        for j, p in enumerate((0.25, 0.75))
        for k, q in enumerate((0.25, 0.75))
    )
    assert float(exact(experiment)) == pytest.approx(expected, rel=1e-12)


def test_references_of_another_dataset_and_values_that_are_not_numbers() -> None:
    """A vector output, read by a metric with a label, and references that are never drawn."""
    x, y = rc.Symbol.new_from_name((2,), "x"), rc.Symbol.new_from_name((), "y")
    root, corr = InterpNode(ExactSampler(), "out"), Correspondence()
    corr.add(root, corr_root_matcher)
    corr.add(root.make_descendant(ExactSampler(), "x"), "x")
    drawn = Dataset({"x": torch.zeros(3, 2), "y": torch.tensor([1.0, 2.0, 4.0]), "k": torch.tensor([0, 0, 0])})
    references = Dataset({"x": torch.tensor([[1.0, 2.0], [3.0, 5.0]]), "y": torch.zeros(2), "k": torch.tensor([0, 1])})

    def labelled(outputs: torch.Tensor, rows: Dataset) -> torch.Tensor:
        return outputs.gather(1, rows["k"][:, None])[:, 0]

    data = Dataset(drawn.arrays, inputs=["x", "y"])
    experiment = Experiment(x.mul(y), data, corr, references=references, metrics={"labelled": labelled})
    assert float(exact(experiment, metric="labelled")) == pytest.approx((1.0 + 5.0) / 2 * (7 / 3))
    law = exact_law(experiment)
    assert law.values.shape == (6, 2)
    assert law.weights.tolist() == pytest.approx([1 / 6] * 6)
    with pytest.raises(HypothesisError, match="no metric 'loss'"):
        exact(experiment)


def test_metrics_that_give_no_number_per_reference_are_refused() -> None:
    experiment = _leaves_of_a_sum(2, 4, UncondSampler())
    experiment.metrics["all"] = lambda outputs, _: outputs.sum()
    with pytest.raises(HypothesisError, match=r"values of shape \[\] for 16 outcomes"):
        exact(experiment, metric="all")


def test_exact_estimates_of_different_experiments_give_loss_recovered() -> None:
    scrubbed, original = _leaves_of_a_sum(2, 20, UncondSampler()), _leaves_of_a_sum(2, 20, ExactSampler())
    recovered = rc.loss_recovered(exact(scrubbed), original=exact(original), baseline=exact(scrubbed))
    assert (float(recovered), float(recovered.stderr)) == (0.0, 0.0)


def test_a_transformer_agrees_with_all_its_draws_supplied() -> None:
    """A head that reads its own draw, and heads before it another, over every combination of rows."""
    tiny = make(seq_len=4)
    tokens = random_tokens(4, 4, seed=1)
    split = rc.configure_transformer(
        tiny.model, split_by_head_config="full", use_pull_up_head_split=True, use_flatten_res=True
    )
    model = tiny.call(rc.Symbol.new_from_name((4,), "tokens"), split)
    root, corr = InterpNode(ExactSampler(), "logits"), Correspondence()
    corr.add(root, corr_root_matcher)
    head = root.make_descendant(FuncSampler("half", few=1), "head")
    corr.add(head, rc.IterativeMatcher("a1.h2"))
    corr.add(head.make_descendant(ExactSampler(), "early"), rc.IterativeMatcher("a1.h2").chain("a0.h1"))
    half, label = torch.tensor([0, 0, 1, 1]), torch.tensor([7, 1, 3, 2])
    data = Dataset({"tokens": tokens, "half": half, "label": label}, inputs=["tokens"])

    def loss(outputs: torch.Tensor, references: Dataset) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(outputs[:, -1], references["label"], reduction="none")

    experiment = Experiment(model, data, corr, metrics={"loss": loss})
    labels = ["reference", "logits/other", "head", "head/other"]
    assert sorted(slot.label for slot in experiment.slots) == sorted(labels[1:])
    rows = torch.cartesian_prod(*[torch.arange(4)] * 4)
    rows = rows[half[rows[:, 0]] == half[rows[:, 2]]]  # the head's draw agrees with the reference; all else is free
    values = experiment.run(len(rows), draws=dict(zip(labels, rows.T.contiguous(), strict=True))).values["loss"]
    assert values.std() > 0.1
    assert float(exact(experiment)) == pytest.approx(float(values.mean()), rel=1e-10)
