"""Positions, projections and guesses as places of their own: values stay, and hypotheses on them by enumeration."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

import scrub as rc
from scrub import Symbol
from scrub.graph import Array, Einsum, elementwise
from scrub.hypothesis import Correspondence, Dataset, ExactSampler, Experiment, FuncSampler, Hypothesis, InterpNode
from scrub.hypothesis import corr_root_matcher as whole
from scrub.hypothesis.parts import replace_by, split_input_by_position, split_projection
from scrub.hypothesis.paths import at_position, input_of, straight
from tests.scrubbing.gpt2_by_hand import ByHand
from tests.scrubbing.outputs import outputs
from tests.scrubbing.tiny_models import SEQ, make, one_child, random_data, random_rows, unpadded

FAMILIES = ["gpt2", "gptj", "gemma2", "olmo2", "bert"]


def values(expr: rc.Expr, data: Dataset) -> torch.Tensor:
    corr = Correspondence()
    corr.add(InterpNode(ExactSampler(), "root"), whole)
    return outputs(expr, Hypothesis(corr), data, {"reference": torch.arange(len(data))})


@pytest.mark.parametrize("family", FAMILIES)
def test_splits_by_position_keep_values_and_other_heads(family: str) -> None:
    _, expr = make(family, is_flat=True)
    split = split_input_by_position(expr, "a1.h1", [1])
    for other in ("a0.h0", "a0.h1", "a1.h0"):
        assert split.get(other, see_through=True) == expr.get(other, see_through=True)
    split = split_input_by_position(split, "a1.h0", [5, -6, 2], part="q")
    split = split_input_by_position(split, "a0.h1", "full", push=True)
    groups = {"first": 0, "last": -1, "between": slice(1, -1)}
    split = split_input_by_position(split, "a0.h0", groups, part="v", push=True)
    for part in ("a1.h1.input.p1", "a1.h0.q.input.p0", "a0.h1.input.p4", "a0.h0.v.input.between"):
        assert split.are_any_found(part, see_through=True)
    data = random_data()
    torch.testing.assert_close(values(split, data), values(expr, data), atol=1e-10, rtol=0)


def test_every_position_is_one_part() -> None:
    _, expr = make("gpt2", is_flat=False)
    split = split_input_by_position(expr, "a1.h0", "full")
    every = split.count_paths(input_of("a1.h0"), see_through=True)
    for i in range(SEQ):
        (part,) = split.get(input_of("a1.h0").chain(at_position(i)), see_through=True)
        assert part.name == f"a1.h0.input.p{i}"
        assert split.count_paths(input_of("a1.h0").chain(at_position(i)), see_through=True) == every
    assert not split.are_any_found(input_of("a1.h0").chain(at_position(SEQ)), see_through=True)


def test_a_group_of_heads_has_one_input() -> None:
    bind_w = rc.load_shipped("attn_only_2l").lower(seq_len=4)["t.bind_w"]
    groups = {1: [(0, "first"), (slice(1, 8), "others")]}
    grouped = rc.configure_transformer(bind_w, split_by_head_config=groups, use_pull_up_head_split=True)
    split = split_input_by_position(grouped, "a1.others", [3])
    (part,) = split.get(input_of("a1.others", "k").chain(at_position(3)), see_through=True)
    assert part.name == "a1.others.input.p3"
    assert split.get("a1.first") == grouped.get("a1.first")
    rc.check_equal(grouped, split)


def test_lower_layers_parts_are_not_positions_of_an_input() -> None:
    _, expr = make("gpt2", is_flat=True)
    split = split_input_by_position(split_input_by_position(expr, "a0.h0", [1]), "a1.h0", [2])
    assert not split.are_any_found(input_of("a1.h0").chain(at_position(1)), see_through=True)
    assert split.are_any_found(input_of("a0.h0").chain(at_position(1)), see_through=True)


def test_what_cannot_be_split_by_position() -> None:
    _, expr = make("gpt2", is_flat=True)
    inlined = rc.substitute_all_modules(expr)
    with pytest.raises(rc.SplitError, match=r"'a1.h0' .* is no head with inputs of its own"):
        split_input_by_position(inlined, "a1.h0", [1])
    with pytest.raises(rc.SplitError, match="position 9, there are 6"):
        split_input_by_position(expr, "a1.h0", [9])
    with pytest.raises(rc.MatchError, match=r"a1\.h9"):
        split_input_by_position(expr, "a1.h9", [1])
    with pytest.raises(rc.ConstructionError, match="-1 is no name of a part"):
        at_position(-1)


def test_a_projection_and_the_rest_of_what_a_head_writes() -> None:
    module, expr = make("gpt2", is_flat=True)
    data, draws = unpadded(random_data()), random_rows("reference", "child")
    direction = torch.randn(16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    split = split_projection(expr, straight("a1.h1", into="final.norm"), direction)
    torch.testing.assert_close(values(split, data), values(expr, data), atol=1e-10, rtol=0)
    got = outputs(split, one_child(straight("a1.h1.proj", into="final.norm")), data, draws)
    hand = ByHand(module.state_dict(), 4)
    streams, others = (hand.streams(data["tokens"][draws[label]]) for label in ("reference", "child"))
    terms = [hand.heads(1, stream[1])[:, 1] for stream in (streams, others)]
    unit = direction / direction.norm()
    moved = ((terms[1] - terms[0]) @ unit)[..., None] * unit
    torch.testing.assert_close(got, hand.logits(streams[-1] + moved), atol=1e-8, rtol=0)


def guess_model() -> rc.Expr:
    """f(h), where h = tanh(a + 2 b) * w is guessed as v(2 p - 1), and p is an input."""
    a, b, p = (Symbol.new_from_name((), name) for name in "abp")
    w, v = (Array(torch.tensor(x, dtype=torch.float64), n) for x, n in (([1.0, -0.5], "w"), ([0.7, -0.3], "v")))
    h = Einsum((elementwise("tanh", a.add(b.scale(2.0))), ()), (w, (0,)), out_axes=(0,), name="h")
    out = Einsum((elementwise("sigmoid", h), (0,)), (a.add(rc.Scalar(1.0)), ()), out_axes=(), name="out")
    guess = Einsum((p.scale(2.0).add(rc.Scalar(-1.0)), ()), (v, (0,)), out_axes=(0,))
    split = replace_by(out, "h", guess)
    assert [part.name for part in split.get_unique(rc.restrict("h", term_if_matches=True)).children] == [
        "h.phi",
        "h.rest",
    ]
    return split


ROWS = [(float(a), float(b), float(a > b)) for a in range(3) for b in (-1, 0, 1)]


def by_hand(of_a: int, of_phi: int, of_rest: int) -> float:
    a, b, p = ROWS[of_rest]
    total = 0.0
    for w, v in ((1.0, 0.7), (-0.5, -0.3)):
        h = v * (2 * ROWS[of_phi][2] - 1) + (w * math.tanh(a + 2 * b) - v * (2 * p - 1))
        total += (ROWS[of_a][0] + 1) / (1 + math.exp(-h))
    return total


def guess_data() -> Dataset:
    columns = torch.tensor(ROWS, dtype=torch.float64).T
    return Dataset(dict(zip("abp", columns, strict=True)))


def test_a_guess_and_its_rest_add_up() -> None:
    got = values(guess_model(), guess_data())
    expected = [by_hand(i, i, i) for i in range(len(ROWS))]
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64), atol=1e-12, rtol=0)


def test_a_guess_matters_and_its_rest_does_not_by_enumeration() -> None:
    corr, root = Correspondence(), InterpNode(ExactSampler(), "root", other_inputs_sampler=ExactSampler())
    corr.add(root, whole)
    h = root.make_descendant(ExactSampler(), "h")
    top = rc.restrict("h", term_if_matches=True)
    corr.add(h, top)
    corr.add(h.make_descendant(FuncSampler("p", few=1), "guess"), top.chain("h.phi"))
    experiment = Experiment(guess_model(), guess_data(), corr)
    assert {slot.label for slot in experiment.slots} == {"guess", "h/other"}
    n = len(ROWS)
    triples = [(r, g, o) for r, g, o in itertools.product(range(n), repeat=3) if ROWS[g][2] == ROWS[r][2]]
    rows = torch.tensor(triples).T
    run = experiment.run(len(triples), draws=dict(zip(("reference", "guess", "h/other"), rows, strict=True)))
    expected = torch.tensor([by_hand(r, g, o) for r, g, o in triples], dtype=torch.float64)
    torch.testing.assert_close(run.values["loss"], expected, atol=1e-12, rtol=0)
    # the mean over all that may be drawn, against sampling
    sampled = experiment.run(20_000, seed=3).estimate()
    exact = sum(
        sum(by_hand(r, g, o) for _, g, o in same) / len(same)
        for r, same in ((r, [t for t in triples if t[0] == r]) for r in range(n))
    )
    assert abs(float(sampled) - exact / n) < 4 * float(sampled.stderr)


def test_a_guess_of_another_shape_is_an_error() -> None:
    x = Symbol.new_from_name((3,), "x")
    with pytest.raises(rc.SplitError, match="has another shape than 'h'"):
        replace_by(elementwise("tanh", x, name="h"), "h", Symbol.new_from_name((), "p"))
    with pytest.raises(rc.SplitError, match="needs another name"):
        replace_by(elementwise("tanh", x, name="h"), "h", x, name="rest")
