"""Activations split along an axis: values, names, where an index is pushed, batch axes, bad input."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import scrub as rc
from scrub.graph.errors import SplitError
from scrub.models.splits import split_axis, split_positions
from scrub.rewrite.testing import Maker, value_of
from tests.models.splits.cases import (
    MANY,
    activation,
    array,
    assert_equal_values,
    assert_same_in_batches,
    random_partition,
)


@pytest.mark.parametrize("push", [False, True, rc.new_traversal(end_depth=3)], ids=["plain", "pushed", "two levels"])
@given(seed=st.integers(0, MANY))
def test_any_activation_can_be_split_along_any_axis(push: Any, seed: int) -> None:
    maker = Maker(seed)
    shape = [maker.random.randint(1, 4) for _ in range(maker.random.randint(1, 3))]
    act = activation(maker, *shape)
    axis = maker.random.randrange(len(shape))
    groups, expected = random_partition(maker.random, shape[axis])
    above = rc.elementwise("sin", act, name="above")
    split = above.update("act", split_axis(groups, axis=axis - len(shape) * maker.random.randint(0, 1), push=push))
    assert_equal_values(above, split)
    node = split.children[0]
    assert node.name == "act"
    joined = node if isinstance(node, rc.Concat) else node.children[0].cast(rc.Concat)
    assert [part.name for part in joined.children] == [f"act.{label}" for label in expected]
    for part, positions in zip(joined.children, expected.values(), strict=True):
        taken = rc.Index(act, [slice(None)] * axis + [torch.tensor(positions)])
        assert_equal_values(taken, part)


@given(st.integers(0, MANY))
def test_a_split_activation_takes_batch_axes_as_before(seed: int) -> None:
    maker = Maker(seed)
    x = rc.Symbol.new_from_name((4, 3), "x")
    act = rc.elementwise("tanh", rc.Add(x, maker.expr((4, 3), 2)), name="act")
    groups, _ = random_partition(maker.random, 4)
    assert_same_in_batches(rc.softmax(act), split_positions(groups, push=bool(seed % 2)), seed)


def test_positions_are_the_axis_before_the_last_also_behind_batch_axes() -> None:
    act = rc.elementwise("tanh", array("x", 2, 5, 3), name="act")
    split = split_positions({"bos": 0, "rest": slice(1, None)})(act)
    assert [part.shape for part in split.children] == [(2, 1, 3), (2, 4, 3)]
    assert torch.equal(split.children[1].evaluate(), act.evaluate()[:, 1:])


def test_an_axis_may_be_given_by_name() -> None:
    x = array("x", 5, 3).with_axis_names(["pos", None])
    split = split_positions("full", axis="pos")(rc.elementwise("tanh", x, name="act"))
    assert [part.name for part in split.children] == [f"act.p{i}" for i in range(5)]
    assert split.axis_names == ("pos", None)


def test_a_part_is_what_a_reader_takes_from_these_positions() -> None:
    """A hypothesis about a part: at these positions, and no others, the reader reads another input."""
    x, other = array("x", 5, 3), array("other", 5, 3)
    act = rc.elementwise("tanh", x, name="act")
    reader = rc.softmax(act, name="reader").update("act", split_positions({"a": [1, 4], "b": [0, 2, 3]}))
    scrubbed = reader.update(rc.IterativeMatcher("act.a").chain("x"), lambda _: other)
    mixed = x.value.clone()
    mixed[[1, 4]] = other.value[[1, 4]]
    torch.testing.assert_close(scrubbed.evaluate(), mixed.tanh().softmax(-1))


def test_pushed_parts_compute_only_their_own_positions() -> None:
    """Attention: queries are cut, keys and values are not, since a query attends to all of them."""
    x = array("x", 6, 4)
    q, k, v = (
        rc.Einsum.from_string("s d, d e -> s e", rc.elementwise("tanh", x, name="norm"), array(f"w_{p}", 4, 3), name=p)
        for p in "qkv"
    )
    probs = rc.softmax(rc.Einsum.from_string("q e, k e -> q k", q, k, name="scores"), name="probs")
    act = rc.Einsum.from_string("q k, k e -> q e", probs, v, name="act")
    split = split_positions({"a": slice(0, 2), "b": slice(2, 6)}, push=True)(act)
    assert_equal_values(act, split)
    part = split.children[0]
    shapes = {node.name: node.shape for node in rc.postorder([part]) if node.name}
    assert {name: shape for name, shape in shapes.items() if name.endswith(".a")} == {
        "act.a": (2, 3),
        "probs.a": (2, 6),
        "scores.a": (2, 6),
        "q.a": (2, 3),
        "norm.a": (2, 4),
    }
    assert not {"act", "probs", "scores", "q"} & set(shapes)
    assert {"k", "v", "norm"} <= set(shapes)
    stopped = split_positions({"a": slice(0, 2), "b": slice(2, 6)}, push=rc.new_traversal(term_early_at="probs"))(act)
    names = {node.name for node in rc.postorder([stopped])}
    assert {"act.a", "probs.a", "scores", "q"} <= names
    assert not {"scores.a", "q.a", "act", "probs"} & (names - {stopped.name})
    assert_equal_values(act, stopped)


def test_parts_of_a_scalar_have_names_of_their_own_though_leaves_keep_theirs() -> None:
    split = split_positions({"a": 0, "b": slice(1, 3)}, push=True)(rc.Scalar(2.0, (3, 2), "x"))
    assert [(part.name, part.shape) for part in split.children] == [("x.a", (1, 2)), ("x.b", (2, 2))]
    assert torch.equal(split.evaluate(), torch.full((3, 2), 2.0, dtype=torch.float64))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"axis": 2}, r"split_positions of 'act': there is no axis 2\n.*\nhint: it has 2 axes: -2 to 1"),
        ({"axis": -3}, "there is no axis -3"),
        ({"axis": "seq"}, r"(?s)no axis is named 'seq'.*hint: its axes are named \['pos'\]"),
        ({"axis": 1.0}, "1.0 is no axis"),
        ({"axis": True}, "True is no axis"),
        ({"axis": 1}, r"split_positions of 'act', axis 1: positions \[2\] are in no group"),
    ],
)
def test_bad_axes(options: dict[str, Any], message: str) -> None:
    act = rc.elementwise("tanh", array("x", 2, 3).with_axis_names(["pos", None]), name="act")
    with pytest.raises(SplitError, match=message) as caught:
        split_positions({"a": slice(0, 2)}, **options)(act)
    assert caught.value.nodes == (act,)


def test_an_axis_name_that_two_axes_have_is_an_error() -> None:
    x = array("x", 2, 2).with_axis_names(["pos", "pos"])
    with pytest.raises(SplitError, match=r"axes \[0, 1\] are all named 'pos'"):
        split_positions("full", axis="pos")(x)
    with pytest.raises(SplitError, match="its axes have no names; give the axis by number"):
        split_positions("full", axis="pos")(array("x", 2, 2))
    with pytest.raises(SplitError, match="hint: it has no axes"):
        split_axis("full", axis=0)(rc.Scalar(1.0))


def test_symbolic_sizes_have_to_be_settled_first() -> None:
    (seq,) = rc.symbolic_sizes("seq")
    x = rc.Symbol.new_from_name((seq, 3), "x")
    act = rc.elementwise("tanh", x, name="act")
    with pytest.raises(SplitError, match="the axis has size seq, which is not known yet"):
        split_positions("full")(act)
    spec = rc.ModuleSpec(act, [x])
    calls = rc.Concat(*(rc.Module(spec, None, x=array("v", length, 3)) for length in (4, 6)), axis=0)
    transform = split_positions({"a": 0, "b": slice(1, None)}, push=True)
    for split in (
        calls.update("act", transform, see_through=True),
        rc.conform_all_modules(calls).update("act", transform),
        calls.update("act", split_axis({"a": slice(0, 1), "b": [2, 1]}, axis=1, push=True)),
    ):
        torch.testing.assert_close(split.evaluate(), value_of(calls))
    parts = calls.update("act", transform, see_through=True).get("act.b")
    assert {part.shape for part in parts} == {(3, 3), (5, 3)}
