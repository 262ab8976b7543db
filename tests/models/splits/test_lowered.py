"""Splits of lowered models of every family: logits stay Hugging Face's, also where the length of sequences is open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import scrub as rc
from scrub.models.splits import (
    components_per_reader,
    split_axis,
    split_contraction,
    split_neurons,
    split_positions,
    split_subspace,
)
from tests.models.families.suite import assert_equal, by_family, call, expected, pair, registered
from tests.models.families.tiny import Variant
from tests.models.splits.cases import normal

Rewrite = Callable[[rc.Expr], rc.Expr]


def by_neuron(model: rc.Expr) -> rc.Expr:
    """Every MLP, also those of experts."""
    d_mlp = model.get("m.proj")[0].cast(rc.Einsum).children[1].shape[0]
    groups = {"one": 2, "odd": [*range(1, d_mlp, 2)], "rest": [i for i in range(0, d_mlp, 2) if i != 2]}
    split = model.update("m.proj", split_neurons(groups, push=True))
    assert split.are_any_found("m.pre.odd")
    assert not split.are_any_found("m.pre")
    return split


def by_subspace(model: rc.Expr) -> rc.Expr:
    """What every block reads and writes."""
    d_model = model.get("b.out")[0].shape[-1]
    directions = {"line": normal(1, d_model), "plane": normal(2, d_model, seed=1)}
    split = model.update({"b.mid", "b.out"}, split_subspace(directions, sequential=True))
    assert split.are_any_found("b.out.plane.coords")
    return split


def by_head(model: rc.Expr) -> rc.Expr:
    """The sum over the heads, or groups of heads, of every layer."""
    split = model.update("a.sum", split_contraction({"one": 0, "rest": slice(1, None)}, axis=(0, 0), push=True))
    assert split.are_any_found("a.sum.rest")
    return split


def by_position(model: rc.Expr) -> rc.Expr:
    """Activations of all kinds, in calls whose lengths are known; some by key position, some pushed down."""
    some = {"last": -1, "first": slice(0, 2), "rest": slice(2, -1)}
    split = model.update({"b.out", "m.post", "a.q"}, split_positions(some), see_through=True)
    split = split.update({"ln.scaled", "a.scores"}, split_positions(some, push=True), see_through=True)
    split = split.update("a.comb_v", split_contraction(some, axis=(0, 1)), see_through=True)
    split = split.update("a.attn_probs", split_axis(some, axis=-1), see_through=True)
    assert all(split.are_any_found(f"{name}.last") for name in ("b.out", "a.q", "a.comb_v", "a.attn_probs"))
    return split


def by_component(model: rc.Expr) -> rc.Expr:
    """What every norm reads, as a sum."""
    dissolved = rc.configure_transformer(model)
    readers = [node for node in dissolved.get(rc.Regex(r"norm$")) if isinstance(node, rc.Module)]
    assert readers
    split = components_per_reader(dissolved, set(readers), gather_biases=True)
    assert split.are_any_found(rc.Regex(r"norm\.resid$"))
    return split


def some_quick() -> list[Any]:
    """All families; those that differ most from each other in the quick tier."""
    quick = {"gpt2", "gpt_neox", "mixtral", "bert"}
    return [
        pytest.param(v, id=str(v), marks=() if v.family in quick else pytest.mark.slow)
        for v in registered(first_only=True)
    ]


@pytest.mark.parametrize("variant", some_quick())
@pytest.mark.parametrize("rewrite", [by_neuron, by_subspace, by_head, by_component])
def test_models_for_sequences_of_any_length(rewrite: Rewrite, variant: Variant) -> None:
    case = "five" if variant.family == "vit" else "five-left-positions"
    given, wanted = expected(variant, case, torch.float64)
    loaded = pair(variant, torch.float64)[1]
    split = rewrite(loaded.lower()["t.bind_w"])
    assert_equal(call(loaded, given, split).evaluate(), wanted, given, is_exact=variant.is_exact)


@pytest.mark.parametrize("variant", by_family())
def test_calls_on_tokens(variant: Variant) -> None:
    case = "five" if variant.family == "vit" else "five-left-positions"
    given, wanted = expected(variant, case, torch.float64)
    loaded = pair(variant, torch.float64)[1]
    split = by_position(by_neuron(call(loaded, given, loaded.lower()["t.bind_w"])))
    assert_equal(split.evaluate(), wanted, given, is_exact=variant.is_exact)
