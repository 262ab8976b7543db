"""Splits one after another, of random activations and of a model."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import scrub as rc
from scrub.models.splits import (
    components_per_reader,
    flatten_residual,
    split_axis,
    split_contraction,
    split_positions,
    split_subspace,
)
from scrub.rewrite.testing import Maker
from tests.models.attn_oracle import make, random_tokens
from tests.models.splits.cases import (
    MANY,
    activation,
    assert_equal_values,
    assert_same_in_batches,
    normal,
    random_partition,
)

Transform = Callable[[rc.Expr], rc.Expr]


def random_split(chance: random.Random, node: rc.Expr) -> tuple[Transform, str]:
    """A split of a node with two axes or more, and its name."""
    axis = chance.randrange(node.ndim)
    kinds = ["positions", "subspace", "axis"]
    if isinstance(node, rc.Einsum) and {a for axes in node.in_axes for a in axes} - set(node.out_axes):
        kinds += ["contraction"] * 3
    if isinstance(node, rc.Add):
        kinds.append("sum")
    kind = chance.choice(kinds)
    push = chance.random() < 0.5
    if kind == "contraction":
        einsum = node.cast(rc.Einsum)
        operand, at = next(
            (i, axes.index(a)) for i, axes in enumerate(einsum.in_axes) for a in axes if a not in einsum.out_axes
        )
        groups, _ = random_partition(chance, einsum.children[operand].shape[at])
        return split_contraction(groups, axis=(operand, at), push=push), kind
    if kind == "sum":
        return flatten_residual(gather_biases=push), kind
    if kind == "subspace":
        d_model = node.shape[axis]
        rows = normal(min(2, d_model), d_model, seed=chance.getrandbits(30))
        directions = {f"s{i}": row[None] for i, row in enumerate(rows)}
        return split_subspace(directions, axis=axis, sequential=True), kind
    if kind == "positions":
        groups, _ = random_partition(chance, node.shape[-2])
        return split_positions(groups, push=push), kind
    groups, _ = random_partition(chance, node.shape[axis])
    return split_axis(groups, axis=axis, push=push), kind


def split_repeatedly(chance: random.Random, expr: rc.Expr, start: str) -> tuple[rc.Expr, list[str]]:
    """A node of that name split, then a part of it, and so on."""
    names: list[str] = []
    for _ in range(4):
        found = [
            n for n in rc.postorder([expr]) if (n.name or "").startswith(start) and n.ndim >= 2 and 0 not in n.shape
        ]
        node = chance.choice(found)
        transform, name = random_split(chance, node)
        result = expr.update(node, transform)
        assert result is not expr or name == "sum"
        expr = result
        names.append(name)
    return expr, names


@given(st.integers(0, MANY))
def test_parts_can_be_split_again(seed: int) -> None:
    maker = Maker(seed)
    act = activation(maker, 3, 4, depth=2)
    w = maker.array((4, 4))
    above = rc.elementwise("sin", rc.Einsum.from_string("s d, d e -> s e", act, w, name="act.out"), name="above")
    split, _ = split_repeatedly(maker.random, above, "act")
    assert_equal_values(above, split)


@given(st.integers(0, MANY))
def test_splits_of_splits_take_batch_axes_as_before(seed: int) -> None:
    chance = random.Random(seed)
    x = rc.Symbol.new_from_name((3, 4), "x")
    act = rc.elementwise("tanh", x.add(rc.Array(normal(3, 4, seed=1))), name="act")

    def transform(node: rc.Expr) -> rc.Expr:
        return split_repeatedly(chance, node, "act")[0]

    assert_same_in_batches(rc.softmax(act), transform, seed)


def test_a_subspace_of_some_positions() -> None:
    """What a reader takes from one direction at one position, in a model: it alone changes."""
    tiny = make()
    model = rc.configure_transformer(tiny.model)
    final = rc.IterativeMatcher("final.norm")
    model = components_per_reader(model, "final.norm")
    model = model.update("final.norm.resid", split_positions({"last": -1, "rest": slice(0, -1)}))
    direction = normal(1, 12)
    model = model.update("final.norm.resid.last", split_subspace({"v": direction}))
    tokens, other = random_tokens(3, 6), random_tokens(6, seed=1)
    torch.testing.assert_close(tiny.call(tokens, model).evaluate(), tiny.logits(tokens), rtol=1e-10, atol=1e-10)
    coords = final.chain("final.norm.resid.last.v.coords")
    assert model.get_unique("final.norm.resid.last.v.coords", see_through=True).shape == (1, 1)
    call = tiny.call(tokens[0], model)
    scrubbed = call.update(coords.chain("tokens"), lambda _: rc.Array(other, "other"), see_through=True).evaluate()
    clean = tiny.logits(tokens[:1])[0]
    torch.testing.assert_close(scrubbed[:-1], clean[:-1], rtol=1e-10, atol=1e-10)
    assert float((scrubbed[-1] - clean[-1]).abs().max()) > 1e-3


@pytest.mark.parametrize("push", [False, True])
def test_any_activation_of_a_model(push: bool) -> None:
    """Every activation of every layer, by position, keeps the logits."""
    tiny = make()
    model = rc.configure_transformer(tiny.model, split_by_head_config="full", use_pull_up_head_split=True)
    tokens = random_tokens(3, 6)
    names = rc.Regex(r"^(a\d+\.norm|a\d+|b\d+|a\d\.h\d|a\.(q|k|v|comb_v|scores|attn_probs)|ln\.(out|centred|scaled))$")
    split = model.update(names, split_positions({"a": [4, 0], "b": slice(1, 4), "c": 5}, push=push))
    assert split.get({"b1.a", "a1.h2.b", "a.scores.c", "ln.out.a"})
    torch.testing.assert_close(tiny.call(tokens, split).evaluate(), tiny.logits(tokens), rtol=1e-10, atol=1e-10)
