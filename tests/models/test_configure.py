"""`configure_transformer`: every combination of options is an equality rewrite; names, groups, errors."""

import itertools
from typing import Any

import pytest
import torch

import scrub as rc
from scrub.models import configure
from scrub.rewrite import IterativeMatcher
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
