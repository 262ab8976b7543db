"""`configure_transformer` on models with MLPs, biases, windows and heads that share keys and values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest
import torch

import scrub as rc
from scrub.models import configure
from scrub.models.architecture import Experts, Layer, Mlp
from tests.models import by_hand
from tests.models.architectures import FULL, GROUPED, LN, WINDOW, model_of, wanted_logits, weights_of
from tests.models.attn_oracle import random_tokens

_OF_SIX: Any = {
    0: [(4, "one"), ([5, 0, 2], "some"), ([1, 3], "rest")],
    1: [([3, 0], "far"), (rc.S[4:], "last"), (1, "b"), (2, "c")],
}
"""Heads 0, 1, 2 share keys and values, and so do 3, 4, 5: groups within one, across both, and in any order."""


@pytest.mark.parametrize("split", [_OF_SIX, "full"], ids=["groups", "full"])
@pytest.mark.parametrize("to", list(rc.To))
def test_heads_that_share_keys_and_values_can_be_split(to: rc.To, split: Any) -> None:
    model, tokens = model_of(FULL, WINDOW), random_tokens(2, 6)
    wanted = wanted_logits(model, tokens)
    for pull_up, flatten in ((True, False), (split == "full", True)):
        configured = rc.configure_transformer(
            model.lower()["t.bind_w"],
            to=to,
            split_by_head_config=split,
            use_pull_up_head_split=pull_up,
            use_flatten_res=flatten,
        )
        got = model.call(tokens, model=configured).evaluate()
        torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)


def test_a_head_s_name_is_that_of_what_it_writes() -> None:
    """Zeroing `a0.h{i}` leaves what plain torch computes without that head's output weights, also in groups."""
    model, tokens = model_of(FULL, FULL), random_tokens(1, 6)
    chosen: Any = {0: [*((i, f"h{i}") for i in (0, 3, 4)), ([5, 1], "pair"), (2, "h2")]}
    cases: list[tuple[Any, dict[str, list[int]]]] = [
        ("full", {f"h{i}": [i] for i in (1, 3, 5)}),
        (chosen, {"pair": [5, 1], "h2": [2], "h4": [4]}),
    ]
    for split, heads in cases:
        configured = rc.configure_transformer(model.lower()["t.bind_w"], split_by_head_config=split)
        for name, taken in heads.items():
            without = dict(model.weights)
            w_o = weights_of(model)["a0.w.o"].clone()
            for head in taken:
                w_o[head % 3, head // 3] = 0  # query head g * 3 + i is number i of group g
            without["a0.w.o"] = w_o
            zeroed = configured.update(f"a0.{name}", lambda head: head.scale(0.0))
            got = model.call(tokens, model=zeroed).evaluate()
            wanted = wanted_logits(replace(model, weights=without), tokens)
            torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)
            assert not torch.allclose(got, wanted_logits(model, tokens))


@pytest.mark.parametrize("part", ["q", "k", "v"])
@pytest.mark.parametrize("head", ["a1.far", "a1.b"])
def test_inputs_of_heads_that_share_keys_and_values_can_be_addressed(head: str, part: Literal["q", "k", "v"]) -> None:
    """A head's keys and values can read something else than those of the heads with which it shares weights."""
    model, tokens = model_of(FULL, FULL), random_tokens(6)
    configured = rc.configure_transformer(
        model.lower()["t.bind_w"], split_by_head_config=_OF_SIX, use_pull_up_head_split=True, use_flatten_res=True
    )
    call = model.call(tokens, model=configured)
    found = call.get(rc.head_input(head, part), see_through=True)
    assert [node.name for node in found] == ["a1.norm"]
    changed = call.update(rc.head_input(head, part), lambda x: x.scale(0.0), see_through=True)
    got = changed.evaluate()
    of_heads = {"a1.far": [3, 0], "a1.b": [1]}[head]
    torch.testing.assert_close(got, _with_inputs_zeroed(model, tokens, of_heads, part), rtol=1e-10, atol=1e-10)


def _with_inputs_zeroed(model: rc.LoadedModel, tokens: torch.Tensor, heads: list[int], part: str) -> torch.Tensor:
    """Plain torch, on a model whose second layer has keys and values of its own for each head."""
    layer, weights = model.architecture.layers[1], weights_of(model)
    single = replace(layer, attention=replace(layer.attention, n_key_value_heads=6))
    w = dict(weights)
    for name in ("w.q", "b.q", "w.o"):
        w[f"a1.{name}"] = weights[f"a1.{name}"].transpose(0, 1).flatten(0, 1)
    for name in ("w.k", "b.k", "w.v", "b.v"):
        w[f"a1.{name}"] = weights[f"a1.{name}"].repeat_interleave(3, dim=0)
    for head in heads:
        w[f"a1.w.{part}"][head] = 0
    architecture = replace(model.architecture, layers=(model.architecture.layers[0], single))
    return by_hand.transformer(architecture, w, [int(token) for token in tokens])


def _names(model: rc.Expr) -> set[str | None]:
    return {node.name for node in rc.postorder([model])}


@pytest.mark.parametrize("to", list(rc.To)[1:])
def test_names_of_models_with_mlps_and_biases(to: rc.To) -> None:
    model = rc.configure_transformer(model_of(FULL, WINDOW).lower()["t.bind_w"], to=to)
    of_layer = ("a{}", "a{}.norm", "a{}.p_bias", "b{}", "b{}.mid", "m{}", "m{}.norm", "m{}.p_bias")
    named = [name.format(layer) for layer in range(2) for name in of_layer]
    for name in [*named, "t.bind_w", "t.input", "t.logits", "final.norm"]:
        assert model.get_unique(name).name == name
    assert _names(model).isdisjoint({"a", "m", "b.mid", "b.out", "a.norm", "a.p_bias", "m.norm", "m.p_bias", "b2"})
    reads = {"a1.norm": "b0", "m1.norm": "b1.mid", "final.norm": "b1", "m0.norm": "b0.mid", "a0.norm": "t.input"}
    for reader, read in reads.items():
        assert model.get_unique(reader).children[1].name == read
    sums = {"b1.mid": ["b0", "a1.p_bias"], "b1": ["b1.mid", "m1.p_bias"], "m1.p_bias": ["m1", "m1.b.out"]}
    for name, terms in sums.items():
        assert [term.name for term in model.get_unique(name).children] == terms


def test_names_of_norms_after_parts_and_on_the_stream() -> None:
    layer = replace(FULL, a_out_norm=LN, m_out_norm=LN, mid_norm=LN, out_norm=LN)
    model = rc.configure_transformer(model_of(layer, layer).lower()["t.bind_w"], to=rc.To.ATTN_MLP)
    of_layer = ("a{}.out_norm", "m{}.out_norm", "b{}.mid", "b{}.mid_norm", "b{}.out", "b{}")
    for name in [name.format(number) for number in range(2) for name in of_layer]:
        assert model.get_unique(name).name == name
    assert model.get_unique("b1").children[1].name == "b1.out"


def test_what_each_reader_reads_of_a_flat_stream_with_mlps_and_biases() -> None:
    model = rc.configure_transformer(model_of(FULL, FULL).lower()["t.bind_w"], to=rc.To.ATTN_MLP, use_flatten_res=True)
    written = ["t.input", "a0", "a0.b.o", "m0", "m0.b.out", "a1", "a1.b.o", "m1", "m1.b.out"]
    reads = {"a0.norm": 1, "m0.norm": 3, "a1.norm": 5, "m1.norm": 7, "final.norm": 9}
    for reader, n_written in reads.items():
        assert [term.name for term in model.get_unique(f"{reader}.resid").children] == written[:n_written]
        assert model.get_unique(reader).children[1].name == f"{reader}.resid"


@pytest.mark.parametrize(
    "mlp", [Mlp(7, "silu", is_gated=True), Experts(Mlp(5, "silu", True, False, False), 3, 2)], ids=type
)
@pytest.mark.parametrize("wiring", ["sequential", "parallel", "shared norm", "adds to normed", "norms on the stream"])
def test_any_wiring_can_be_flattened_and_split(wiring: str, mlp: Mlp | Experts) -> None:
    layer = {
        "sequential": Layer(GROUPED, mlp, a_norm=LN, m_norm=LN),
        "parallel": Layer(GROUPED, mlp, a_norm=LN, m_norm=LN, is_parallel=True),
        "shared norm": Layer(GROUPED, mlp, a_norm=LN, is_parallel=True, shares_norm=True),
        "adds to normed": Layer(GROUPED, mlp, a_norm=LN, m_norm=LN, adds_to_normed=True),
        "norms on the stream": Layer(GROUPED, mlp, mid_norm=LN, out_norm=LN),
    }[wiring]
    model, tokens = model_of(layer, layer), random_tokens(2, 5)
    configured = rc.configure_transformer(
        model.lower()["t.bind_w"],
        split_by_head_config=_OF_SIX,
        use_pull_up_head_split=True,
        use_flatten_res=True,
        check_valid=True,
    )
    for name in ("a0.one", "a1.far", "m0", "m1"):
        assert configured.are_any_found(name)
    got = model.call(tokens, model=configured).evaluate()
    torch.testing.assert_close(got, wanted_logits(model, tokens), rtol=1e-10, atol=1e-10)


def test_check_equal_on_models_for_any_length() -> None:
    bind_w = model_of(FULL, WINDOW).lower()["t.bind_w"]
    rc.check_equal(bind_w, rc.configure_transformer(bind_w, split_by_head_config="full"))
    for name in ("m", "a", "b.mid"):
        with pytest.raises(rc.ScrubError, match="changed the value by"):
            rc.check_equal(bind_w, bind_w.update(name, lambda node: node.scale(1.001)))
    with pytest.raises(rc.ScrubError, match="changed the shape"):
        rc.check_equal(bind_w, bind_w.index(rc.I[:, :3]))


@pytest.mark.parametrize("layer", [FULL, WINDOW], ids=["all keys", "window"])
@pytest.mark.parametrize("broken", ["a.scores", "a.rot_k", "a.v"])
def test_check_valid_catches_a_wrong_split_at_any_length(
    broken: str, layer: Layer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where only attention is wrong, and behind a mask of its own."""
    bind_w = model_of(layer).lower()["t.bind_w"]
    options: dict[str, Any] = {"split_by_head_config": "full", "check_valid": True}
    rc.configure_transformer(bind_w, **options)
    original = configure.split_heads

    def wrong(attention: rc.Expr, *args: Any, **kwargs: Any) -> rc.Expr:
        return original(attention, *args, **kwargs).update(broken, lambda node: node.scale(1.05))

    monkeypatch.setattr(configure, "split_heads", wrong)
    with pytest.raises(rc.ScrubError, match="changed the value"):
        rc.configure_transformer(bind_w, **options)


def test_groups_of_heads_that_share_keys_and_values_must_partition_them() -> None:
    bind_w = model_of(FULL).lower()["t.bind_w"]
    for groups, message in (
        ([(rc.S[:6], "a"), (6, "b")], "takes head 6, there are 6"),
        ([([0, 3], "a"), (rc.S[3:], "b")], "head 3 is in group 'a' and in group 'b'"),
        ([([0, 1, 2], "a"), ([3, 5], "b")], r"heads \[4\] are in no group"),
    ):
        with pytest.raises(rc.HeadSplitError, match=message):
            rc.configure_transformer(bind_w, split_by_head_config={0: groups})
