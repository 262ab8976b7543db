"""Two identities of causal scrubbing: all samplers exact is the model itself; an unconditioned root permutes labels."""

from __future__ import annotations

import itertools
import random
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import transformers
from torch.nn import functional

import scrub as rc
from scrub.graph import HypothesisError
from scrub.hypothesis import (
    CondSampler,
    Correspondence,
    Dataset,
    ExactSampler,
    Experiment,
    Hypothesis,
    InterpNode,
    UncondSampler,
    corr_root_matcher,
)
from scrub.hypothesis.enumeration.exact_loss import exact
from tests.scrubbing.exact_oracle import OPERATIONS, Formula, Table, as_dataset, as_expr, as_hypothesis, generate

_CHOICES = list(itertools.product(("node", "term", "shared"), ("drawn", "original")))


def _value(formula: Formula, table: Table) -> np.ndarray:
    """The formula for every row."""
    if len(formula) == 1:
        return table[formula[0]]
    return OPERATIONS[formula[1]](*(_value(argument, table) for argument in formula[2:]))


def _squared_error(outputs: torch.Tensor, references: Dataset) -> torch.Tensor:
    return (outputs - references["label"]) ** 2


def _generated(seed: int, condition: str, *, of_root: str) -> tuple[Experiment, Formula, Table] | None:
    """A generated hypothesis with one condition but for its root; None if its claims overlap."""
    formula, root, table, fixed = generate(seed)
    waiting = [root]
    while waiting:
        claim = waiting.pop()
        claim.condition = claim.other = condition
        waiting += claim.children
    root.condition = of_root
    unimportant, handed_down = random.Random(seed).choice(_CHOICES)
    if of_root == "any":
        handed_down = "drawn"  # given the original, children undo what the root drew
    hypothesis = as_hypothesis(root, fixed, unimportant=unimportant, handed_down=handed_down)
    model, data = as_expr(formula), as_dataset(table)
    data = Dataset(data.arrays, inputs=[str(symbol.name) for symbol in model.free_symbols])
    try:
        return Experiment(model, data, hypothesis, metrics={"loss": _squared_error}), formula, table
    except HypothesisError:
        return None


@pytest.mark.parametrize("condition", ["exact", "row"])
def test_generated_hypotheses_that_sample_exactly_give_the_original(condition: str) -> None:
    """With exact samplers, and with a condition that only the given row meets, so that draws are really made."""
    num_compared = 0
    for seed in range(60):
        made = _generated(seed, condition, of_root=condition)
        if made is None:
            continue
        experiment, formula, table = made
        assert not experiment.slots if condition == "exact" else experiment.slots
        expected = (_value(formula, table) - table["label"]) ** 2
        result = experiment.run(40, seed=seed)
        assert result.values["loss"].numpy() == pytest.approx(expected[result.references.numpy()], abs=1e-12)
        assert float(exact(experiment)) == pytest.approx(expected.mean(), abs=1e-12)
        num_compared += 1
    assert num_compared >= 12


def test_generated_hypotheses_with_an_unconditioned_root_permute_labels() -> None:
    num_compared = 0
    for seed in range(100, 160):
        made = _generated(seed, random.Random(seed).choice(["exact", "row"]), of_root="any")
        if made is None:
            continue
        experiment, formula, table = made
        values, labels = _value(formula, table), table["label"]
        permuted = [((values[list(p)] - labels) ** 2).mean() for p in itertools.permutations(range(len(labels)))]
        assert float(exact(experiment)) == pytest.approx(np.mean(permuted), abs=1e-12)
        num_compared += 1
    assert num_compared >= 12


class Tiny(NamedTuple):
    """A transformer with random weights, its logits by Hugging Face, and the dataset."""

    model: rc.Expr
    logits: torch.Tensor
    data: Dataset


@pytest.fixture(scope="module")
def tiny() -> Tiny:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        vocab_size=7, max_position_embeddings=8, bos_token_id=1, eos_token_id=2, initializer_range=0.5,
    )  # fmt: skip
    module = transformers.LlamaForCausalLM(config).double().eval()
    loaded = rc.models.load(module)
    tokens, labels = torch.randint(7, (5, 4)), torch.tensor([3, 1, 4, 1, 5])
    split = rc.configure_transformer(
        loaded.lower()["t.bind_w"], split_by_head_config="full", use_pull_up_head_split=True, use_flatten_res=True
    )
    with torch.no_grad():
        logits = module(tokens).logits[:, -1]
    model = loaded.call(rc.Symbol.new_from_name((4,), "tokens"), model=split)
    return Tiny(model, logits, Dataset({"tokens": tokens, "label": labels}, inputs=["tokens"]))


def _last_cross_entropy(outputs: torch.Tensor, references: Dataset) -> torch.Tensor:
    return functional.cross_entropy(outputs[:, -1], references["label"], reduction="none")


def _of_heads(root_sampler: CondSampler, unimportant: Any, handed_down: Any) -> Hypothesis:
    """Heads of layer 1, and heads of layer 0 as one of them reads them; all but the root sample exactly."""
    exactly = ExactSampler()
    root, corr = InterpNode(root_sampler, "logits", other_inputs_sampler=exactly), Correspondence()
    corr.add(root, corr_root_matcher)
    late = root.make_descendant(exactly, "late", other_inputs_sampler=exactly)
    corr.add(late, rc.IterativeMatcher("a1.h0"))
    corr.add(late.make_descendant(exactly, "early"), rc.IterativeMatcher("a1.h0").chain("a0.h1"))
    corr.add(root.make_descendant(exactly, "other head"), rc.IterativeMatcher("a1.h1"))
    return Hypothesis(corr, unimportant=unimportant, handed_down=handed_down)


def _experiment(tiny: Tiny, hypothesis: Hypothesis) -> Experiment:
    metrics = {"loss": _last_cross_entropy, "logit": lambda outputs, _: outputs[:, -1, 0]}
    return Experiment(tiny.model, tiny.data, hypothesis, metrics=metrics)


@pytest.mark.parametrize(("unimportant", "handed_down"), _CHOICES)
def test_a_transformer_sampled_exactly_is_the_original(tiny: Tiny, unimportant: Any, handed_down: Any) -> None:
    experiment = _experiment(tiny, _of_heads(ExactSampler(), unimportant, handed_down))
    result = experiment.run(20)
    losses = functional.cross_entropy(tiny.logits, tiny.data["label"], reduction="none")
    assert losses.std() > 0.1
    assert torch.allclose(result.values["loss"], losses[result.references], atol=1e-6, rtol=0)
    assert torch.allclose(result.values["logit"], tiny.logits[result.references, 0], atol=1e-6, rtol=0)
    assert float(exact(experiment)) == pytest.approx(float(losses.mean()), abs=1e-6)


@pytest.mark.parametrize("unimportant", ["node", "term", "shared"])
def test_a_transformer_with_an_unconditioned_root_has_permuted_labels(tiny: Tiny, unimportant: Any) -> None:
    experiment = _experiment(tiny, _of_heads(UncondSampler(), unimportant, "drawn"))
    labels = tiny.data["label"]
    permutations = torch.tensor(list(itertools.permutations(range(5))))
    losses = torch.stack([functional.cross_entropy(tiny.logits, labels[p]) for p in permutations])
    assert losses.std() > 0.05
    assert float(exact(experiment)) == pytest.approx(float(losses.mean()), abs=1e-6)


def test_draws_of_the_root_that_are_a_permutation_permute_labels(tiny: Tiny) -> None:
    experiment = _experiment(tiny, _of_heads(UncondSampler(), "node", "drawn"))
    order = torch.tensor([2, 0, 4, 1, 3])
    result = experiment.run(5, draws={"reference": torch.arange(5), "logits": order})
    expected = functional.cross_entropy(tiny.logits[order], tiny.data["label"], reduction="none")
    assert torch.allclose(result.values["loss"], expected, atol=1e-6, rtol=0)
    assert not torch.allclose(expected, functional.cross_entropy(tiny.logits, tiny.data["label"], reduction="none"))
