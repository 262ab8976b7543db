"""MLPs split by neuron: plain and gated, with and without biases, as an einsum, a sum or a call."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import scrub as rc
from scrub.graph.errors import SplitError
from scrub.models.splits import split_neurons
from tests.models.splits.cases import (
    MANY,
    array,
    assert_equal_values,
    assert_same_in_batches,
    normal,
    random_partition,
)

SEQ, D_MODEL, D_MLP = 3, 4, 6


def mlp(x: rc.Expr, *, is_gated: bool, has_bias: bool, is_fused: bool = False, name: str = "m.out") -> rc.Expr:
    """[seq, d_model]. If fused, the gate is an operand of the out-projection itself."""
    w_in, w_gate = (array(f"m.w.{part}", D_MODEL, D_MLP) for part in ("in", "gate"))
    w_out, b_in, b_out = array("m.w.out", D_MLP, D_MODEL), array("m.b.in", D_MLP), array("m.b.out", D_MODEL)
    pre = rc.Einsum.from_string("s d, d m -> s m", x, w_in, name="m.pre")
    if has_bias:
        pre = rc.Add(pre, b_in, name="m.pre.biased")
    post = rc.elementwise("gelu", pre, name="m.post")
    gate = rc.Einsum.from_string("s d, d m -> s m", x, w_gate, name="m.gate")
    factors = [post, gate] if is_gated else [post]
    if is_gated and not is_fused:
        factors = [post.mul(gate, name="m.gated")]
    spec = ", ".join(["s m"] * len(factors)) + ", m d -> s d"
    out = rc.Einsum.from_string(spec, *factors, w_out, name="m.proj" if has_bias else name)
    return rc.Add(out, b_out, name=name) if has_bias else out


def by_hand(x: torch.Tensor, neurons: list[int], *, is_gated: bool, has_bias: bool) -> torch.Tensor:
    """What these neurons write, in torch."""
    pre = x @ array("m.w.in", D_MODEL, D_MLP).value[:, neurons]
    if has_bias:
        pre = pre + array("m.b.in", D_MLP).value[neurons]
    post = torch.nn.functional.gelu(pre)
    if is_gated:
        post = post * (x @ array("m.w.gate", D_MODEL, D_MLP).value[:, neurons])
    return post @ array("m.w.out", D_MLP, D_MODEL).value[neurons]


@pytest.mark.parametrize("push", [False, True], ids=["plain", "pushed"])
@pytest.mark.parametrize("is_fused", [False, True], ids=["product", "fused"])
@pytest.mark.parametrize("is_gated", [False, True], ids=["ungated", "gated"])
@pytest.mark.parametrize("has_bias", [False, True], ids=["no bias", "bias"])
@given(seed=st.integers(0, MANY))
def test_every_group_writes_what_its_neurons_write(
    is_gated: bool, has_bias: bool, is_fused: bool, push: bool, seed: int
) -> None:
    options = {"is_gated": is_gated, "has_bias": has_bias}
    x = array("x", SEQ, D_MODEL, seed=seed)
    out = mlp(x, is_fused=is_fused, **options)
    groups, expected = random_partition(random.Random(seed), D_MLP)
    split = rc.softmax(out).update("m.out", split_neurons(groups, push=push))
    assert_equal_values(rc.softmax(out), split)
    for label, neurons in expected.items():
        written = split.get_unique(f"m.out.{label}").evaluate()
        torch.testing.assert_close(written, by_hand(x.value, neurons, **options), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("is_fused", [False, True])
def test_pushed_groups_compute_no_other_neurons(is_fused: bool) -> None:
    """Whatever has all neurons is a weight."""
    out = mlp(array("x", SEQ, D_MODEL), is_gated=True, has_bias=True, is_fused=is_fused)
    split = split_neurons({"a": [1, 4], "b": 0, "rest": [2, 3, 5]}, push=True)(out)
    full = [node for node in rc.postorder([split]) if D_MLP in node.shape]
    assert {node.name for node in full} == {"m.w.in", "m.w.gate", "m.w.out", "m.b.in"}
    assert split.get_unique("m.post.a").shape == (SEQ, 2)
    assert split.get_unique("m.post.b").shape == (SEQ,)
    plain = split_neurons({"a": [1, 4], "b": 0, "rest": [2, 3, 5]})(out)
    assert plain.get_unique("m.post").shape == (SEQ, D_MLP)
    before, after = out.cost().by_name, split.cost().by_name
    for name in ("m.pre", "m.gate", "m.post"):
        assert sum(after[f"{name}.{label}"].flops for label in ("a", "b", "rest")) == before[name].flops


def test_the_traversal_says_how_far_the_index_goes() -> None:
    out = mlp(array("x", SEQ, D_MODEL), is_gated=False, has_bias=False)
    split = split_neurons({"a": [1, 4], "rest": [0, 2, 3, 5]}, push="m.post")(out)
    names = {node.name for node in rc.postorder([split])}
    assert {"m.post.a", "m.pre"} <= names
    assert not {"m.pre.a", "m.post"} & names
    assert_equal_values(out, split)


def test_every_neuron_for_itself() -> None:
    out = mlp(array("x", SEQ, D_MODEL), is_gated=False, has_bias=True)
    split = split_neurons("full")(out)
    proj = split.get_unique("m.proj")
    assert [term.name for term in proj.children] == [f"m.out.n{i}" for i in range(D_MLP)]
    assert_equal_values(out, split)


@pytest.mark.parametrize("is_called_in_batches", [False, True])
def test_a_call_is_split_in_its_body(is_called_in_batches: bool) -> None:
    """And only in this call: two layers share the body, one is split."""
    x = rc.Symbol.new_from_name((SEQ, D_MODEL), "m.input")
    spec = rc.ModuleSpec(mlp(x, is_gated=True, has_bias=True), [x])
    batch = (5,) if is_called_in_batches else ()
    first = rc.Module(spec, "m0", **{"m.input": array("x", *batch, SEQ, D_MODEL)})
    second = rc.Module(spec, "m1", **{"m.input": first})
    split = second.update("m1", split_neurons({"a": [1, 4], "rest": [0, 2, 3, 5]}, push=True))
    assert_equal_values(second, split)
    assert split.get_unique("m1.a").shape == (SEQ, D_MODEL)
    assert split.get(rc.IterativeMatcher("m0").chain("m1.a")) == ()
    assert split.get_unique("m0") is first


@given(st.integers(0, MANY))
def test_a_split_mlp_takes_batch_axes_as_before(seed: int) -> None:
    x = rc.Symbol.new_from_name((SEQ, D_MODEL), "x")
    act = mlp(x, is_gated=True, has_bias=True, is_fused=bool(seed % 2), name="act")
    groups, _ = random_partition(random.Random(seed), D_MLP)
    assert_same_in_batches(rc.softmax(act), split_neurons(groups, push=bool(seed // 2 % 2)), seed)


def test_a_group_can_read_another_input() -> None:
    x, other = array("x", SEQ, D_MODEL), array("other", SEQ, D_MODEL)
    out = mlp(x, is_gated=True, has_bias=True)
    split = split_neurons({"a": [1, 4], "rest": [0, 2, 3, 5]}, push=True)(out)
    scrubbed = split.update(rc.IterativeMatcher("m.out.a").chain("x"), lambda _: other)
    options = {"is_gated": True, "has_bias": True}
    expected = by_hand(other.value, [1, 4], **options) + by_hand(x.value, [0, 2, 3, 5], **options)
    torch.testing.assert_close(scrubbed.evaluate(), expected + array("m.b.out", D_MODEL).value)


def test_other_terms_of_a_sum_stay_what_they_are() -> None:
    """A mean, which sums over the axis of one thing alone, is no out-projection."""
    proj, bias = _OUT.children
    mean = array("other", 2, SEQ, D_MODEL).mean(0, name="mean")
    split = split_neurons("full")(rc.Add(mean, proj, bias, name="sum"))
    assert split.children[0] is mean
    assert split.children[2] is bias
    assert [term.name for term in split.children[1].children] == [f"sum.n{i}" for i in range(D_MLP)]


def test_an_mlp_may_be_split_while_its_positions_have_no_number() -> None:
    (seq,) = rc.symbolic_sizes("seq")
    x = rc.Symbol.new_from_name((seq, D_MODEL), "x")
    options = {"is_gated": True, "has_bias": True}
    body = split_neurons({"a": [1, 4], "rest": [0, 2, 3, 5]}, push=True)(mlp(x, **options))
    for length in (2, 5):
        value = array("v", length, D_MODEL)
        call = rc.Module(rc.ModuleSpec(body, [x]), "call", x=value)
        torch.testing.assert_close(call.evaluate(), mlp(value, **options).evaluate())


def test_experts_are_an_axis_of_their_own() -> None:
    """Several axes are summed: which of them holds neurons has to be said."""
    post, w = array("m.post", 2, SEQ, D_MLP), array("m.w.out", 2, D_MLP, D_MODEL)
    out = rc.Einsum.from_string("e s m, e m d -> s d", post, w, name="m.proj")
    with pytest.raises(SplitError, match=r"it sums over 2 axes\n(.*\n)*hint: .* axis=\(0, 0\), \(0, 2\)"):
        split_neurons("full")(out)
    split = split_neurons("full", axis=(0, 2))(out)
    assert len(split.children) == D_MLP
    assert_equal_values(out, split)


_OUT = mlp(rc.Array(normal(SEQ, D_MODEL), "x"), is_gated=False, has_bias=True)


@pytest.mark.parametrize(
    ("expr", "groups", "message"),
    [
        (_OUT, {"a": slice(0, 5)}, r"split_neurons of 'm.proj': neurons \[5\] are in no group"),
        (_OUT, {"a": slice(0, 6), "b": 5}, "neuron 5 is in group 'a' and in group 'b'"),
        (_OUT, {"a": 6}, "group 'a' takes neuron 6, there are 6"),
        (rc.Add(_OUT, _OUT, name="sum"), "full", "0 terms of 'sum' are einsums over a hidden axis"),
        (rc.Add(*_OUT.children, *_OUT.children, name="sum"), "full", "2 terms of 'sum' are einsums over a hidden axis"),
        (_OUT.get_unique("m.post"), "full", "split_neurons: 'm.post' is a GeneralFunction, not an Einsum"),
    ],
)
def test_bad_neurons(expr: rc.Expr, groups: Any, message: str) -> None:
    with pytest.raises(SplitError, match=message):
        split_neurons(groups)(expr)
