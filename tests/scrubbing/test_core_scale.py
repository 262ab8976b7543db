"""SPEC 9.5: cost grows with distinct pairs of a subexpression and what it reads, not with paths. Counted, not timed."""

from __future__ import annotations

import pytest
import torch

import scrub as rc
from scrub import IterativeMatcher, Symbol
from scrub.hypothesis import (
    Correspondence,
    Dataset,
    ExactSampler,
    Experiment,
    Hypothesis,
    InterpNode,
    Scrubbed,
    UncondSampler,
    corr_root_matcher,
    scrub,
)
from scrub.hypothesis.evaluation.evaluator import Evaluator
from scrub.hypothesis.treeify import treeify
from tests.steps import num_steps

X = Symbol.new_from_name((), "x")
DATA = Dataset({"x": torch.linspace(-1, 1, 20, dtype=torch.float64)})


def doubling(depth: int) -> rc.Expr:
    """Level after level reads the one before twice: 2^depth paths from 'top' to x. Values stay small."""
    node: rc.Expr = X
    for i in range(depth):
        node = rc.Add(rc.elementwise("tanh", node, name=f"t{i}"), node.scale(0.5), name=f"l{i}")
    return rc.Add(node, X, name="top")


def nested(levels: list[int], sampler: type = UncondSampler) -> Hypothesis:
    """A node for each level, below the one for the level above it."""
    node, corr = InterpNode(ExactSampler(), "root"), Correspondence()
    corr.add(node, corr_root_matcher)
    matcher = IterativeMatcher("top")
    for level in levels:
        node = node.make_descendant(sampler(), f"n{level}")
        matcher = matcher.chain(f"t{level}")
        corr.add(node, matcher)
    return Hypothesis(corr)


def num_nodes(scrubbed: Scrubbed) -> int:
    return sum(1 for _ in rc.postorder([scrubbed.expr]))


def test_a_hypothesis_on_2_to_the_40_paths() -> None:
    model = doubling(40)
    hypothesis = nested([36, 32, 28, 24, 20, 16, 12, 8, 4])
    assert len(hypothesis.nodes) == 10
    assert model.count_paths("x") == 2**40 + 1
    found = Experiment(model, DATA, hypothesis)
    assert num_nodes(found.scrubbed) <= 10 * num_nodes_of(model)  # each of the ten draws may be read at each level
    assert len(found.scrubbed.claims.steps) <= 10 * num_nodes_of(model)
    rows = found.draw(torch.arange(20), seed=0)
    evaluator = Evaluator(found.scrubbed, found.source.data, rows, num_references=20)
    values = evaluator.run(rows)
    assert sum(evaluator.work.pairs.values()) <= 20 * 20  # stages: at most one for each set of draws on a suffix
    by_hand = {slot.label: DATA["x"][drawn] for slot, drawn in rows.items()}
    torch.testing.assert_close(values, expected_of_nested(by_hand), rtol=1e-12, atol=1e-15)


def num_nodes_of(model: rc.Expr) -> int:
    return sum(1 for _ in rc.postorder([model]))


def expected_of_nested(x: dict[str, torch.Tensor]) -> torch.Tensor:
    """The value by its recursion: below node k, t{4k} leads on to the next node, all else reads the node's own other.

    value(i, k) is level i as it is below node k: where i has no claim, tanh and half of level i-1 below k; the tanh of
    level 4k is node k's.
    """
    claims = [36, 32, 28, 24, 20, 16, 12, 8, 4]

    def reads(k: int) -> torch.Tensor:
        name = "root" if k == 0 else f"n{claims[k - 1]}"
        return x[name] if k == len(claims) else x[f"{name}/other"]

    memo: dict[tuple[int, int], torch.Tensor] = {}
    for k in range(len(claims), -1, -1):
        memo[-1, k] = reads(k)
        for i in range(40):
            is_claim = k < len(claims) and claims[k] == i
            below = memo[i - 1, k + 1] if is_claim else memo[i - 1, k]
            memo[i, k] = below.tanh() + 0.5 * memo[i - 1, k]
    return memo[39, 0] + reads(0)


def test_the_tree_says_that_it_is_too_large() -> None:
    with pytest.raises(rc.HypothesisError, match="the tree has more than 10000 nodes"):
        treeify(scrub(doubling(40), nested([4]), DATA))


def test_cost_is_linear_in_depth_and_in_nodes() -> None:
    def sizes(depth: int, num: int) -> tuple[int, int, int]:
        levels = [round((depth - 1) * (num - i) / (num + 1)) for i in range(num)]
        made: list[Scrubbed] = []
        model, hypothesis = doubling(depth), nested(levels, ExactSampler)
        steps = num_steps(lambda: made.append(scrub(model, hypothesis, DATA)))
        return num_nodes(made[0]), len(made[0].claims.steps), steps

    sizes(10, 2)  # what is made once for all
    base, deeper, more = sizes(40, 5), sizes(80, 5), sizes(40, 10)
    for old, new in zip(base, deeper, strict=True):
        assert new <= 2.3 * old
    for old, new in zip(base[:2], more[:2], strict=True):  # not the work of matchers: these get longer
        assert new <= 2.3 * old


def test_a_chain_that_is_10000_deep() -> None:
    node: rc.Expr = X
    for i in range(10_000):
        node = rc.Add(node, rc.Scalar(1e-4), name=f"c{i}")
    model = rc.Add(node, X, name="top")
    root, corr = InterpNode(ExactSampler(), "root"), Correspondence()
    corr.add(root, corr_root_matcher)
    corr.add(root.make_descendant(ExactSampler(), "deep"), "c50")
    found = Experiment(model, DATA, corr)
    rows = found.draw(torch.arange(20), seed=0)
    other = next(drawn for slot, drawn in rows.items() if slot.kind == "other")
    values = Evaluator(found.scrubbed, found.source.data, rows, num_references=20).run(rows)
    torch.testing.assert_close(values, DATA["x"] + 1.0 + DATA["x"][other])


def test_sixty_siblings() -> None:
    parts = [rc.elementwise("tanh", X.scale(1.0 + i), name=f"part{i}") for i in range(60)]
    model = rc.Add(*parts, name="top")
    root, corr = InterpNode(ExactSampler(), "root"), Correspondence()
    corr.add(root, corr_root_matcher)
    for i in range(60):
        corr.add(root.make_descendant(UncondSampler(), f"n{i}"), f"part{i}")
    found = Experiment(model, DATA, corr)
    assert num_nodes(found.scrubbed) == 4 * 60 + 1
    rows = found.draw(torch.arange(20).repeat(10), seed=0)
    evaluator = Evaluator(found.scrubbed, found.source.data, rows, num_references=200)
    drawn = {slot.label: DATA["x"][taken] for slot, taken in rows.items()}
    expected = sum(((1.0 + i) * drawn[f"n{i}"]).tanh() for i in range(60))
    torch.testing.assert_close(evaluator.run(rows), expected, rtol=1e-12, atol=1e-12)
    *single, last = evaluator.work.pairs.values()
    assert last == 200
    assert sum(single) <= 60 * 20


def test_states_that_find_nothing_more_do_not_tell_positions_apart() -> None:
    """Windows of depth have a state for each depth; where nothing is left to find they are dropped."""
    root, corr = InterpNode(ExactSampler(), "root"), Correspondence()
    corr.add(root, corr_root_matcher)
    for level, above in ((38, "nothing"), (37, "t38"), (36, {"t38", "t37"})):
        node = root.make_descendant(ExactSampler(), f"n{level}")
        window = rc.restrict(f"t{level}", end_depth=2 * (39 - level) + 3)
        corr.add(node, IterativeMatcher("top").chain(window).not_through(above))
    found = scrub(doubling(40), Hypothesis(corr), DATA)
    assert len(found.claims.steps) <= 12
    assert num_nodes(found) < 5 * num_nodes_of(doubling(40))
