"""`configure_transformer`: every combination of options is an equality rewrite; names, groups, errors."""

import itertools
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch

import scrub as rc
from scrub.models import configure
from scrub.models.architecture import Architecture, Attention, Experts, Layer, Mlp, Norm, Readout, RotaryTable
from scrub.rewrite import IterativeMatcher
from tests.models import by_hand
from tests.models.architectures import frequencies, random_model, weights_of
from tests.models.attn_oracle import Tiny, make, random_tokens

_GROUPS = {
    0: [(0, "prev"), (rc.S[1:], "not_prev")],
    1: [(rc.S[1:3], "ind"), ([0, 3], "not_ind")],
}
_SPLITS = {"none": None, "full": "full", "layer": {1}, "groups": _GROUPS}


@pytest.fixture(scope="module", params=[torch.float32, torch.float64], ids=["f32", "f64"])
def tiny(request: pytest.FixtureRequest) -> Tiny:
    return make(dtype=request.param)


@pytest.mark.parametrize("split", _SPLITS)
@pytest.mark.parametrize("to", list(rc.To))
def test_every_rewrite_keeps_the_logits(tiny: Tiny, to: rc.To, split: str) -> None:
    tokens = random_tokens(3, 6)
    expected = tiny.logits(tokens)
    tolerance = (1e-5 if tiny.weights["embed.W_E"].dtype == torch.float32 else 1e-10) * max(
        1.0, float(expected.abs().max())
    )
    for pull_up, flatten in itertools.product((False, True), repeat=2):
        model = _configured(tiny, to=to, split=split, pull_up=pull_up, flatten=flatten)
        assert float((tiny.call(tokens, model).evaluate() - expected).abs().max()) <= tolerance, (pull_up, flatten)
        assert (model.name, model.shape) == ("t.bind_w", tiny.model.shape)


def _configured(
    tiny: Tiny,
    *,
    to: rc.To = rc.To.ATTN_HEAD_MLP_NORM,
    split: str = "groups",
    pull_up: bool = True,
    flatten: bool = True,
) -> rc.Expr:
    return rc.configure_transformer(
        tiny.model,
        to=to,
        split_by_head_config=_SPLITS[split],  # type: ignore[arg-type]
        use_pull_up_head_split=pull_up,
        use_flatten_res=flatten,
    )


@pytest.mark.parametrize(
    ("split", "heads"),
    [
        ("none", []),
        ("full", [f"a{layer}.h{head}" for layer in range(2) for head in range(4)]),
        ("layer", [f"a1.h{head}" for head in range(4)]),
        ("groups", ["a0.prev", "a0.not_prev", "a1.ind", "a1.not_ind"]),
    ],
)
def test_names_that_hypotheses_are_written_against(split: str, heads: list[str]) -> None:
    tiny = make()
    always = ["t.bind_w", "t.call", "t.input", "t.logits", "final.norm", "a.q.input", "a.k.input", "a.v.input"]
    for flatten in (False, True):  # which dissolves the sum over a layer's groups, too
        call = tiny.call(random_tokens(6), _configured(tiny, split=split, flatten=flatten))
        layers = [] if flatten and heads else ["a0", "a1"]
        for name in [*always, *layers, "a0.norm", "a1.norm", "idxed_embeds", "tokens", *heads]:
            assert call.are_any_found(name), name
        assert not call.are_any_found("a2")


def test_blocks_keep_their_names_where_the_residual_stream_is_not_flattened() -> None:
    tiny = make()
    for to in rc.To:
        model = _configured(tiny, to=to, split="none", flatten=False)
        kind = rc.Module if to == rc.To.BLOCK else rc.Add
        assert all(isinstance(model.get_unique(f"b{layer}"), kind) for layer in range(2))
        attention = rc.Einsum if to == rc.To.ATTN_HEAD_MLP_NORM else rc.Module
        if to > rc.To.BLOCK:
            assert all(isinstance(model.get_unique(f"a{layer}"), attention) for layer in range(2))


def test_a_flattened_residual_stream_is_one_sum_per_reader() -> None:
    """What every norm reads: the embedding and what each attention below wrote."""
    tiny = make()
    model = _configured(tiny)
    names = {
        reader: [term.name for term in model.get_unique(f"{reader}.resid").children]
        for reader in ("a0.norm", "a1.norm", "final.norm")
    }
    assert names == {
        "a0.norm": ["t.input"],
        "a1.norm": ["t.input", "a0.prev", "a0.not_prev"],
        "final.norm": ["t.input", "a0.prev", "a0.not_prev", "a1.ind", "a1.not_ind"],
    }


@pytest.mark.parametrize("head", ["a0.prev", "a0.not_prev", "a1.ind", "a1.not_ind"])
@pytest.mark.parametrize("part", ["q", "k", "v"])
def test_each_group_s_inputs_can_be_addressed(head: str, part: Any) -> None:
    tiny = make()
    call = tiny.call(random_tokens(6), _configured(tiny))
    found = call.get(rc.head_input(head, part), see_through=True)
    assert [node.name for node in found] == [f"{head[:2]}.norm" if part == "v" else "a.qk_input"]
    assert call.get(rc.head_input(head, part).chain("tokens"), see_through=True) == call.get("tokens")
    through_first = rc.head_input(head, part).chain("a0.prev").chain("tokens")
    assert call.are_any_found(through_first, see_through=True) == head.startswith("a1")


def test_positions_reach_queries_and_keys_and_never_values() -> None:
    tiny = make()
    call = tiny.call(random_tokens(6), _configured(tiny))
    for part in ("q", "k", "v"):
        positions = rc.restrict("t.w.pos_embeds_idxed", term_early_at={"a0.norm", "a1.norm"})
        below = rc.head_input("a1.ind", part).chain(positions)
        assert call.are_any_found(below, see_through=True) == (part != "v")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({2: [(rc.S[:], "all")]}, "layer 2 does not exist, the model has 2"),
        ({-1}, "layer -1 does not exist"),
        ({0: [(rc.S[:4], "a"), (4, "b")]}, "group 'b' takes head 4, there are 4"),
        ({0: [(rc.S[:5], "a")]}, "takes heads None:5, there are 4"),
        ({0: [([0, 1, 2, 7], "a")]}, "group 'a' takes head 7"),
        ({0: [(-1, "a")]}, "takes head -1"),
        ({0: [(rc.S[:3], "a"), (2, "b"), (3, "c")]}, "a0: head 2 is in group 'a' and in group 'b'"),
        ({0: [(0, "a"), ([3], "b")]}, r"a0: heads \[1, 2\] are in no group"),
        ({1: []}, r"a1: heads \[0, 1, 2, 3\] are in no group"),
        ({0: [(rc.S[:2], "a"), (rc.S[2:], "a")]}, "a0: two groups are named 'a'"),
        ("ful", "split_by_head_config is 'ful'"),
    ],
)
def test_splits_that_do_not_fit_are_errors(config: Any, message: str) -> None:
    with pytest.raises(rc.HeadSplitError, match=message):
        rc.configure_transformer(make().model, split_by_head_config=config)


def test_missing_heads_come_with_a_group_to_add() -> None:
    with pytest.raises(rc.HeadSplitError, match=r"hint: add a group, for example \(\[2, 3\], 'rest'\)"):
        rc.configure_transformer(make().model, split_by_head_config={0: [(rc.S[:2], "a")]})


def test_something_that_is_no_model_is_an_error() -> None:
    s = rc.Symbol.new_from_name((2,), "s")
    module = rc.Module(rc.ModuleSpec(s.scale(2.0), [s]), "m", s=rc.Array(torch.ones(2)))
    for expr in (module, _configured(make())):  # dissolved blocks cannot be dissolved again
        with pytest.raises(rc.CheckpointError, match="no lowered transformer"):
            rc.configure_transformer(expr)


def test_check_equal_accepts_what_is_equal_and_catches_what_is_not() -> None:
    model = make().model
    rc.check_equal(model, _configured(make()))
    attention_scaled = model.update("a", lambda a: a.scale(1.001))
    with pytest.raises(rc.ScrubError, match="changed the value by"):
        rc.check_equal(model, attention_scaled)
    with pytest.raises(rc.ScrubError, match="changed the shape") as caught:
        rc.check_equal(model, model.index(rc.I[:1]))
    assert caught.value.found == (1, 11)
    not_a_number = model.add(rc.Array(torch.tensor(float("nan"), dtype=torch.float64)))
    with pytest.raises(rc.ScrubError, match="changed the value by nan"):
        rc.check_equal(model, not_a_number)


@pytest.mark.parametrize("broken", ["a.scores", "a.k.input", "a.v"])
def test_check_valid_catches_a_wrong_split(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where only attention is wrong, which no random mask would show."""
    options: dict[str, Any] = {"split_by_head_config": _GROUPS, "check_valid": True}
    rc.configure_transformer(make().model, **options)
    original = configure.split_heads

    def wrong(attention: rc.Expr, *args: Any, **kwargs: Any) -> rc.Expr:
        return original(attention, *args, **kwargs).update(broken, lambda node: node.scale(1.05))

    monkeypatch.setattr(configure, "split_heads", wrong)
    with pytest.raises(rc.ScrubError, match="changed the value"):
        rc.configure_transformer(make().model, **options)


_PREVIOUS = torch.eye(6, dtype=torch.float64).roll(-1, dims=1).tril()


def _split_by_key(model: rc.Expr, masks: dict[str, torch.Tensor], head: str = "a1.ind") -> rc.Expr:
    return model.update(IterativeMatcher(head).chain("a.comb_v"), rc.split_keys(masks))


@pytest.mark.parametrize("head", ["a0.prev", "a1.ind"])
def test_splitting_by_key_keeps_the_logits_and_names_the_parts(head: str) -> None:
    tiny = make()
    third = torch.zeros(6, 6)
    third[:, 0] = 1
    masks = {"prev": _PREVIOUS, "first": third * (1 - _PREVIOUS), "rest": (1 - third) * (1 - _PREVIOUS)}
    model = _split_by_key(_configured(tiny), masks, head)
    tokens = random_tokens(3, 6)
    torch.testing.assert_close(tiny.call(tokens, model).evaluate(), tiny.logits(tokens), rtol=1e-10, atol=1e-10)
    for label in masks:
        assert model.are_any_found(IterativeMatcher(head).chain(f"a.comb_v.{label}"))
    assert model.get("a.attn_probs") == tiny.model.get("a.attn_probs")


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"a": torch.eye(6)}, "masks sum to 0.0 at query 0, key 1"),
        ({"a": torch.ones(6, 6), "b": torch.eye(6)}, "masks sum to 2.0 at query 0, key 0"),
        ({"a": torch.ones(5, 5)}, r"masks of shape \(5, 5\) for attention of shape \(6, 6\)"),
        ({"a": torch.ones(6, 6), "b": torch.zeros(5, 5)}, "one common shape"),
        ({}, "one common shape"),
    ],
)
def test_masks_that_do_not_fit_are_errors(masks: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(rc.HeadSplitError, match=message):
        _split_by_key(_configured(make()), masks)


LN = Norm("ln", 1e-3)
HEADS = Attention(6, 2, 4, 0.5, bias="qkvo", rotary=RotaryTable("rope", 4, frequencies(4)))
FULL = Layer(HEADS, Mlp(7, "gelu"), a_norm=LN, m_norm=LN)
WINDOW = replace(FULL, attention=replace(HEADS, window=2))
_OF_SIX: Any = {
    0: [(4, "one"), ([5, 0, 2], "some"), ([1, 3], "rest")],
    1: [([3, 0], "far"), (rc.S[4:], "last"), (1, "b"), (2, "c")],
}
"""Heads 0, 1, 2 share keys and values, and so do 3, 4, 5: groups within one, across both, and in any order."""


def model_of(*layers: Layer, **parts: Any) -> rc.LoadedModel:
    """Grouped heads, rotary positions, biases, MLPs; random weights."""
    return random_model(Architecture(8, 11, 9, layers, readout=Readout(LN), **parts))


def wanted_logits(model: rc.LoadedModel, tokens: torch.Tensor) -> torch.Tensor:
    rows = [[int(token) for token in row] for row in tokens]
    return torch.stack([by_hand.transformer(model.architecture, weights_of(model), row) for row in rows])


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
        "sequential": Layer(HEADS, mlp, a_norm=LN, m_norm=LN),
        "parallel": Layer(HEADS, mlp, a_norm=LN, m_norm=LN, is_parallel=True),
        "shared norm": Layer(HEADS, mlp, a_norm=LN, is_parallel=True, shares_norm=True),
        "adds to normed": Layer(HEADS, mlp, a_norm=LN, m_norm=LN, adds_to_normed=True),
        "norms on the stream": Layer(HEADS, mlp, mid_norm=LN, out_norm=LN),
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
