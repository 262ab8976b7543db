"""Path helpers: which paths they find, by enumeration, in every family of models."""

from __future__ import annotations

import pytest

import scrub as rc
from scrub import IterativeMatcher
from scrub.hypothesis.paths import by_any_route, input_of, mask_of, straight
from scrub.models.splits import split_neurons, split_positions
from scrub.rewrite.matcher_text import matcher_text, parse_matcher
from tests.models.families import tiny
from tests.scrubbing.tiny_models import SEQ, make

FAMILIES = [family for family in tiny.MODEL_CLASSES if family != "vit"]
COMPONENTS = {"a0.h0", "a0.h1", "a1.h0", "a1.h1", "m0", "m1"}
TWO_HEADS = {"gpt2": {"n_head": 2}, "gptj": {}, "llama": {"num_attention_heads": 2, "num_key_value_heads": 1}}


@pytest.mark.parametrize("is_flat", [False, True])
@pytest.mark.parametrize("family", TWO_HEADS)
def test_paths_are_those_that_pass_nothing_else(family: str, is_flat: bool) -> None:
    _, expr = make(family, is_flat=is_flat, **TWO_HEADS[family])

    def paths(matcher: IterativeMatcher) -> set[tuple[rc.Expr, ...]]:
        return set(rc.iter_paths(expr, matcher, see_through=True))

    for into, writer in [("final.norm", "a1.h0"), ("final.norm", "a0.h1"), ("m1", "m0"), ("a1.h0", "a0.h0")]:
        every = paths(IterativeMatcher(into).chain(writer))
        passed = {path: _between(path, into, writer) for path in every}
        assert paths(straight(writer, into=into)) == {p for p in every if not passed[p] & COMPONENTS}
        assert paths(by_any_route(writer, into=into)) == every
        around = paths(by_any_route(writer, into=into, not_through={"m0", "a1.h1"}))
        assert around == {p for p in every if not passed[p] & {"m0", "a1.h1"}}
        chained = IterativeMatcher(into).chain(straight(writer))
        assert paths(chained) == paths(straight(writer, into=into))


def _between(path: tuple[rc.Expr, ...], first: str, last: str) -> set[str | None]:
    names = [node.name for node in path]
    return set(names[names.index(first) + 1 : names.index(last)])


@pytest.mark.parametrize("is_flat", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_straight_paths_inputs_and_masks(family: str, is_flat: bool) -> None:
    _, expr = make(family, is_flat=is_flat)
    into = "b1.mid_norm" if "bert" in family else "final.norm"
    places = [
        straight("a1.h1", into=into),
        straight("a0.h0", into="a1.h1"),
        straight("m0", into=input_of("a1.h1", "k")),
        straight("a1.h1", into="m1") if family not in ("gpt_neox", "gptj") else straight("a0.h1", into="m1"),
        straight("m0", into=input_of("a1.h1", "q")),
        straight("m0", into=input_of("a1.h1", "v")),
        straight("a0.h1", into=input_of("m1")),
        straight("m0", into=input_of(into)),
        mask_of("a1.h1"),
    ]
    for place in places:
        assert expr.are_any_found(place, see_through=True), place
        assert parse_matcher(matcher_text(place)) == place
    (mask,) = expr.get(mask_of("a0.h1"), see_through=True)
    assert "causal_mask" in str(mask.name) or "bert" in family
    # without modules the parameters are gone
    inlined = rc.substitute_all_modules(expr)
    read = inlined.get(mask_of("a1.h1", named="mask"))
    assert [node.name for node in read] == ["mask"]
    assert inlined.are_any_found(input_of("a1.h1"))
    assert inlined.count_paths(straight("a0.h0", into="a1.h1")) == expr.count_paths(places[1], see_through=True)


def test_parts_of_what_a_component_writes_are_straight_too() -> None:
    _, expr = make("gpt2", is_flat=True)
    split = expr.update("m0", split_neurons({"facts": slice(0, 8), "rest": slice(8, None)}), see_through=True)
    heads = straight("a0.h1", into="final.norm")
    whole_mlp = expr.count_paths(straight("m0", into="final.norm"), see_through=True)
    for part in ("m0", "m0.facts", "m0.rest"):
        assert split.count_paths(straight(part, into="final.norm"), see_through=True) == whole_mlp
    assert split.count_paths(heads, see_through=True) == expr.count_paths(heads, see_through=True)
    parts = expr.update("a0.h1", split_positions({"p1": 1, "rest": [0, *range(2, SEQ)]}))
    for part in ("a0.h1", "a0.h1.p1"):
        found = parts.count_paths(straight(part, into="final.norm"), see_through=True)
        assert found == expr.count_paths(heads, see_through=True)


def test_layers_of_a_model_as_it_is_lowered() -> None:
    config = tiny.Variant("gpt2", "base", {"n_layer": 12, "n_embd": 8, "n_head": 2}).config()
    lowered = rc.models.load(config).lower(seq_len=SEQ)["t.bind_w"]
    split = rc.configure_transformer(lowered, to=rc.To.ATTN_MLP)
    into_final = straight({"a1", "m1"}, into="final.norm")
    assert split.get(into_final, see_through=True) == split.get({"a1", "m1"}, see_through=True)
    assert split.count_paths(into_final, see_through=True) == 2 * split.count_paths(
        straight("a11", into="final.norm"), see_through=True
    )
    # blocks are functions there, and what is in them has no layer in its name
    of_layer = IterativeMatcher("b1").chain(rc.restrict("a", term_early_at="b0"))
    for into in ("final.norm", IterativeMatcher("b2").chain("m.norm")):
        assert lowered.count_paths(straight(of_layer, into=into), see_through=True) > 0
    through = straight(of_layer, into="final.norm")
    assert lowered.count_paths(through, see_through=True) == split.count_paths(
        straight("a1", into="final.norm"), see_through=True
    )
