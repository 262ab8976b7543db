"""Einsums split by groups of an axis that they sum over."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import scrub as rc
from scrub.graph.errors import SplitError
from scrub.models.splits import split_contraction
from scrub.rewrite.testing import Maker
from tests.models.splits.cases import (
    MANY,
    activation,
    array,
    assert_equal_values,
    assert_same_in_batches,
    random_partition,
)


def random_contraction(maker: Maker) -> tuple[rc.Einsum, int, tuple[int, int]]:
    """An einsum of one to three operands; one of its axes, which is summed; and where that is: (operand, axis)."""
    chance = maker.random
    sizes = [chance.randint(1, 4) for _ in range(4)]
    axes_of = [[a for a in range(4) if chance.random() < 0.5] for _ in range(chance.randint(1, 3))]
    for axes in axes_of:
        if axes and chance.random() < 0.2:
            axes.append(chance.choice(axes))  # a diagonal
        chance.shuffle(axes)
    if not any(axes_of):
        axes_of[0] = [0]
    present = sorted({a for axes in axes_of for a in axes})
    summed = chance.choice(present)
    out = [a for a in present if a != summed and chance.random() < 0.7]
    chance.shuffle(out)
    operands = [
        (activation(maker, *(sizes[a] for a in axes), depth=1).rename(f"op{i}"), axes) for i, axes in enumerate(axes_of)
    ]
    operand = chance.choice([i for i, axes in enumerate(axes_of) if summed in axes])
    return rc.Einsum(*operands, out_axes=out, name="act"), sizes[summed], (operand, axes_of[operand].index(summed))


@pytest.mark.parametrize("push", [False, True], ids=["plain", "pushed"])
@given(seed=st.integers(0, MANY))
def test_any_axis_that_is_summed_can_be_split(push: bool, seed: int) -> None:
    maker = Maker(seed)
    einsum, size, axis = random_contraction(maker)
    groups, expected = random_partition(maker.random, size)
    above = rc.elementwise("sin", einsum, name="above")
    split = above.update("act", split_contraction(groups, axis=axis, push=push))
    assert_equal_values(above, split)
    terms = split.children[0].cast(rc.Add).children
    assert [term.name for term in terms] == [f"act.{label}" for label in expected]
    inner = einsum.in_axes[axis[0]][axis[1]]
    for term, positions in zip(terms, expected.values(), strict=True):
        chosen = torch.zeros(size, dtype=torch.float64)
        chosen[positions] = 1
        masked = rc.Einsum(*einsum.operands, (rc.Array(chosen), (inner,)), out_axes=einsum.out_axes)
        assert_equal_values(masked, term)


@given(st.integers(0, MANY))
def test_a_split_contraction_takes_batch_axes_as_before(seed: int) -> None:
    maker = Maker(seed)
    x = rc.Symbol.new_from_name((4, 3), "x")
    other = maker.expr((4, 2), 2)
    act = rc.Einsum.from_string("s m, s d -> m d", rc.elementwise("tanh", x), other, name="act")
    groups, _ = random_partition(maker.random, 4)
    assert_same_in_batches(rc.softmax(act), split_contraction(groups, push=bool(seed % 2)), seed)


def test_an_int_drops_the_axis_from_every_operand() -> None:
    a, b = array("a", 4, 5), array("b", 4, 4, 3)
    act = rc.Einsum.from_string("m s, m m d -> s d", a, b, name="act")
    single, several = split_contraction({"one": 2, "rest": [0, 1, 3]})(act).children
    assert [(child.name, child.shape) for child in single.children] == [("a.one", (5,)), ("b.one", (3,))]
    assert [(child.name, child.shape) for child in several.children] == [("a.rest", (3, 5)), ("b.rest", (3, 3, 3))]


def test_booleans_and_small_integers_are_summed_as_before() -> None:
    generator = torch.Generator().manual_seed(0)
    for dtype in (torch.bool, torch.int8, torch.int64):
        value = torch.randint(0, 2 if dtype == torch.bool else 100, (6, 3), generator=generator).to(dtype)
        act = rc.Einsum.from_string("ms,ms->s", rc.Array(value, "a"), rc.Array(value.flip(0), "b"), name="act")
        split = split_contraction({"a": slice(0, 4), "b": 4, "c": 5})(act)
        assert torch.equal(split.evaluate(), act.evaluate())


def test_the_axis_may_be_given_by_name() -> None:
    a = array("a", 2, 3).with_axis_names(["head", "pos"])
    act = rc.Einsum.from_string("h s, s d -> d", a, array("b", 3, 4), name="act")
    split = split_contraction("full", axis="head", noun="head")(act)
    assert [term.name for term in split.children] == ["act.h0", "act.h1"]
    assert_equal_values(act, split)
    split = split_contraction("full", axis=(0, "pos"))(act)
    assert [term.name for term in split.children] == ["act.p0", "act.p1", "act.p2"]
    assert_equal_values(act, split)


def test_splitting_heads_is_splitting_a_contraction() -> None:
    """Pushed below the call of the head module, an index by heads is taken of its weights."""
    bind_w = rc.load_shipped("attn_only_2l").lower(seq_len=4)["t.bind_w"]
    heads = bind_w.get_unique(rc.IterativeMatcher("b0").chain("a.sum")).rename("a0")
    groups: list[Any] = [(3, "one"), ([0, 2], "two"), ([1, *range(4, 8)], "rest")]
    pushed = split_contraction(groups, noun="head", push=rc.new_traversal(end_depth=2))(heads)
    by_head = rc.split_heads(heads, groups, layer="a0")
    for ours, theirs in zip(pushed.children, by_head.children, strict=True):
        call, expected = (node if isinstance(node, rc.Module) else node.children[0] for node in (ours, theirs))
        assert (ours.name, ours.shape, type(ours)) == (theirs.name, theirs.shape, type(theirs))
        assert [arg.shape for arg in call.cast(rc.Module).args] == [arg.shape for arg in expected.cast(rc.Module).args]
        rc.check_equal(ours, theirs)
    rc.check_equal(heads, pushed)


_A, _B = array("a", 4, 3).with_axis_names(["pos", "d"]), array("b", 3, 4).with_axis_names(["d", "pos"])
_TRACE = rc.Einsum.from_string("sd,ds->", _A, _B, name="trace")
_PRODUCT = rc.Einsum.from_string("sd,dt->st", _A, _B, name="product")
_OUTER = rc.Einsum.from_string("s,t->st", array("v", 4), array("v", 4), name="outer")
_SAME = rc.Einsum.from_string("ab->", array("m", 2, 2).with_axis_names(["pos", "pos"]), name="same")


@pytest.mark.parametrize(
    ("expr", "options", "message"),
    [
        (rc.softmax(_A, name="probs"), {}, "split_contraction: 'probs' is a GeneralFunction, not an Einsum"),
        (
            _TRACE,
            {},
            r"'trace': it sums over 2 axes\n(.*\n)*hint: the axes that it sums over are axis=\(0, 0\), \(0, 1\)",
        ),
        (_OUTER, {}, r"(?s)'outer': it sums over no axis.*hint: split_axis splits an axis that stays"),
        (_PRODUCT, {"axis": (0, 0)}, r"(?s)axis 0 of operand 0 is not summed.*hint: .* axis=\(0, 1\)"),
        (_PRODUCT, {"axis": "pos"}, "it sums over no axis named 'pos'"),
        (_SAME, {"axis": "pos"}, "it sums over 2 axes named 'pos'"),
        (_PRODUCT, {"axis": (2, 0)}, r"\(2, 0\) is no pair \(operand, axis\) of its 2 operands"),
        (_PRODUCT, {"axis": (0, 5)}, "'a': there is no axis 5"),
        (_PRODUCT, {"axis": (0, "x")}, "no axis is named 'x'"),
        (_PRODUCT, {"axis": 1}, r"1 is no pair"),
        (_PRODUCT, {}, r"split_contraction of 'product': positions \[2\] are in no group"),
        (_PRODUCT, {"noun": "neuron"}, r"split_contraction of 'product': neurons \[2\] are in no group"),
    ],
)
def test_bad_contractions(expr: rc.Expr, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SplitError, match=message):
        split_contraction({"a": slice(0, 2)}, **options)(expr)


def test_an_axis_of_symbolic_size_has_to_be_settled_first() -> None:
    (d_mlp,) = rc.symbolic_sizes("d_mlp")
    x = rc.Symbol.new_from_name((d_mlp,), "x")
    with pytest.raises(SplitError, match="the axis has size d_mlp, which is not known yet"):
        split_contraction("full")(x.sum(0, name="total"))
