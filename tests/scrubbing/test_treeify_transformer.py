"""A transformer with modules in modules, evaluated the fast way and as a tree of its paths."""

from __future__ import annotations

import pytest
import torch

from scrub import IterativeMatcher, restrict
from scrub.hypothesis import Correspondence, ExactSampler, Experiment, Hypothesis, InterpNode, UncondSampler
from scrub.hypothesis import corr_root_matcher as whole
from scrub.hypothesis.treeify import treeify
from tests.scrubbing.tiny_models import make, random_data

M = IterativeMatcher


@pytest.mark.parametrize(("is_flat", "unimportant"), [(False, "term"), (True, "node")])
def test_heads_and_their_inputs_in_a_tiny_gpt2(is_flat: bool, unimportant: str) -> None:
    _, model = make("gpt2", is_flat=is_flat)
    data = random_data()
    root, corr = InterpNode(ExactSampler(), "root"), Correspondence()
    corr.add(root, whole)
    head = root.make_descendant(UncondSampler(), "head")
    direct = restrict("a1.h0", term_if_matches=True, term_early_at="m1")
    corr.add(head, direct)
    corr.add(head.make_descendant(UncondSampler(), "earlier"), direct.chain(restrict("a0.h1", term_if_matches=True)))
    corr.add(root.make_descendant(UncondSampler(), "other head"), restrict("a1.h1", term_early_at={"m1", "a1.h0"}))
    hypothesis = Hypothesis(corr, unimportant=unimportant)  # type: ignore[arg-type]
    found = Experiment(model, data, hypothesis, metrics={"first": lambda out, _: out.flatten(1)[:, 0]})
    tree = treeify(found, limit=100_000)
    assert len(tree.paths["earlier"]) > len(tree.paths["head"]) >= 1
    rows = found.draw(torch.tensor([0, 2]), seed=0)
    values = found.run(2, draws={slot.label: drawn for slot, drawn in rows.items()}).values["first"]
    expected = tree.evaluate(rows, found.source.data).flatten(1)[:, 0]
    torch.testing.assert_close(values, expected, rtol=1e-9, atol=1e-9)
