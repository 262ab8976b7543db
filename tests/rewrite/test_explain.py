"""SPEC 5.6: `explain` names the cause of realistic mistakes, on a model of GPT-2's shape (12 layers of 12 heads)."""

from __future__ import annotations

import pytest
import torch

import scrub as rc
from scrub import IterativeMatcher, Regex, head_input, restrict
from scrub.rewrite import Explanation, directly_below, explain, not_through
from scrub.rewrite.near_miss import near_misses

HEAD = IterativeMatcher("a1.h3")
LAYER_1 = Regex("^a1.h")


@pytest.fixture(scope="module")
def gpt2() -> rc.Expr:
    """Every head by itself, the residual stream flat; weights have no data."""
    norm = rc.models.Norm("ln")
    attention = rc.models.Attention(12, 12, 64, 0.125, shortformer=True)
    architecture = rc.Architecture(
        d_model=768,
        d_vocab=50257,
        n_ctx=1024,
        layers=(rc.models.Layer(attention, a_norm=norm),) * 12,
        embedding=rc.models.Embedding("shortformer", 1024),
        readout=rc.models.Readout(norm),
    )
    symbols = rc.models.weight_symbols(architecture)
    loaded = rc.LoadedModel(architecture, {str(s.name): torch.empty(s.shape, device="meta") for s in symbols})
    model = rc.configure_transformer(
        loaded.lower(seq_len=16)["t.bind_w"],
        split_by_head_config="full",
        use_pull_up_head_split=True,
        use_flatten_res=True,
    )
    tokens = rc.Array(torch.zeros(16, dtype=torch.int64, device="meta"), "tokens")
    return loaded.call(tokens, model=model)


def test_what_a_tired_researcher_reads(gpt2: rc.Expr) -> None:
    assert str(HEAD.chain("tokens").explain(gpt2)).splitlines() == [
        "IterativeMatcher('a1.h3').chain('tokens') finds nothing in 't.call' [16, 50257] Module",
        "    'a1.h3': matches 1 node, finds 1",
        "    'tokens': matches 1 node, finds none",
        "why: paths end at parameter 'a.q.input' of 'a1.h3', and 'tokens' lies beyond it",
        "try: see_through=True finds 1 node",
    ]


@pytest.mark.parametrize(
    ("matcher", "see_through", "kind", "why", "fix"),
    [
        (
            "a.1.h3",
            False,
            "name",
            "no node is named 'a.1.h3'; similar: 'a1.h3', ",
            "'a1.h3' instead of 'a.1.h3' finds 1",
        ),
        ("A1_H3", False, "name", "no node is named 'A1_H3'; similar: 'a1.h3', ", "'a1.h3' instead of 'A1_H3'"),
        ("a.head.q", False, "name", "similar: 'a.head'", "'a.head' instead of 'a.head.q' finds 1"),
        ("a12.h0", False, "name", "no node is named 'a12.h0'; similar: ", "instead of 'a12.h0'"),
        (
            HEAD.chain("tokns"),
            False,
            "name",
            "similar: 'tokens'",
            "'tokens' instead of 'tokns' and see_through=True finds",
        ),
        (Regex(r"^a1.h.$"), False, "condition", "where '.' is a literal dot", r"Regex('^a1\\.h\\.$')"),
        (Regex("zz"), False, "condition", "no name has a match of Regex('zz')", None),
        (rc.Cumulant, False, "condition", "there is no Cumulant in it", None),
        (
            rc.Scalar(7.0, name="tokens"),
            False,
            "condition",
            "but another node named 'tokens' is",
            "match the name, 'tokens'",
        ),
        (
            HEAD.chain("tokens"),
            False,
            "see_through",
            "paths end at parameter 'a.q.input' of 'a1.h3'",
            "see_through=True",
        ),
        (
            HEAD.chain("a.v.input", "a0.h2"),
            False,
            "see_through",
            "paths end at parameter 'a.v.input' of 'a1.h3', and 'a0.h2' lies beyond it",
            "see_through=True finds 1 node",
        ),
        (
            IterativeMatcher("a0.h2").chain("a1.h3"),
            True,
            "order",
            "'a1.h3' lies above 'a0.h2' on the paths, not below it",
            "IterativeMatcher('a1.h3').chain('a0.h2') finds 1 node",
        ),
        (
            restrict(head_input("a1.h3", "v").chain("tokens"), term_early_at=LAYER_1),
            True,
            "term_early_at",
            "term_early_at=Regex('^a1.h') around the whole chain ends paths at 'a1.h3', which the chain itself passes",
            ".chain(restrict('tokens', term_early_at=Regex('^a1.h')))",
        ),
        (
            HEAD.chain("tokens").not_through("a1.norm"),
            True,
            "not_through",
            "not_through('a1.norm') ends paths at 'a1.norm'",
            "without it, 'tokens' is found",
        ),
        (
            HEAD.chain(restrict("tokens", term_early_at=LAYER_1)),
            True,
            "term_early_at",
            "ends paths at 'a1.h3', which the chain itself passes",
            "start below it: IterativeMatcher('a1.h3').chain(restrict('tokens', term_early_at=Regex('^a1.h')), must",
        ),
        (
            HEAD.chain(restrict("a.attn_probs", end_depth=3)),
            False,
            "end_depth",
            "end_depth=3 ends paths too early: 'a.attn_probs' is at depth 3, and end_depth is exclusive",
            "end_depth=4 finds 1 node",
        ),
        (
            IterativeMatcher("a11.h3").chain(restrict("tokens", end_depth=12)),
            False,
            "end_depth",
            "'tokens' is at depth 13, and end_depth is exclusive; besides, modules are not seen through",
            "end_depth=14 finds 1 node, with see_through=True",
        ),
        (
            restrict("t.bind_w", start_depth=2),
            False,
            "start_depth",
            "start_depth=2 starts too deep: 't.bind_w' is at depth 1",
            "start_depth=1 finds 1 node",
        ),
        (
            IterativeMatcher("a.v").directly_below("a1.h3"),
            False,
            "directly_below",
            "directly_below('a1.h3') does not hold: what is above 'a.v' is 'a.comb_v'",
            "without it, 'a.v' is found",
        ),
        (
            HEAD.chain("a.v").filter_module_spec(),
            False,
            "filter_module_spec",
            "'a.v' stands in that of 't.call', 't.bind_w', 'a1.h3'",
            "without it, 'a.v' is found",
        ),
        (
            IterativeMatcher("tokens").chain("tokens", must_be_sub=True),
            False,
            "must_be_sub",
            "starts below the node: 'tokens' is that node itself",
            "without it, 'tokens' is found",
        ),
        (
            HEAD.module_arg_matcher("a.v"),
            False,
            "argument",
            "has no parameter 'a.v'; its parameters: a.q.input",
            "'a.v.input'",
        ),
        (IterativeMatcher("a.v").module_arg_matcher("x"), False, "argument", "'a.v' is no Module", None),
        (
            IterativeMatcher("a.v").children_matcher({2}),
            False,
            "child",
            "'a.v' has 2 children: the last index is 1",
            None,
        ),
        (HEAD.chain("final.norm"), True, "order", "'final.norm' lies above 'a1.h3'", ".chain('a1.h3') finds 1 node"),
        (
            HEAD.chain("a1.h4"),
            True,
            "elsewhere",
            "'a1.h4' is not at or below 'a1.h3', only on other paths: t.call > ",
            None,
        ),
        (HEAD & IterativeMatcher("a1.h4"), True, "all", "no node meets all conditions of Matcher.all(", None),
        (
            HEAD.chain("a.v") & IterativeMatcher("a1.h4").chain("a.v"),
            False,
            "all",
            "nothing is found by all of them at once",
            "without it, 'a.v' is found",
        ),
    ],
)
def test_it_names_the_real_cause(
    gpt2: rc.Expr, matcher: object, see_through: bool, kind: str, why: str, fix: str | None
) -> None:
    explanation = explain(gpt2, matcher, see_through=see_through)
    assert explanation.num_found == 0
    assert explanation.causes[0].kind == kind, explanation
    assert why in str(explanation)
    if fix is not None:
        assert explanation.fix is not None
        assert fix in explanation.fix
    assert len(explanation.lines()) <= 10


def test_errors_of_matchers_that_find_nothing_are_explanations(gpt2: rc.Expr) -> None:
    *lines, fix = explain(gpt2, HEAD.chain("tokens")).lines()
    expected = "\n".join([*lines, fix.replace("try: ", "hint: ")])
    with pytest.raises(rc.MatchError) as caught:
        gpt2.get_unique(HEAD.chain("tokens"))
    assert str(caught.value) == expected
    assert caught.value.hint == "see_through=True finds 1 node"
    with pytest.raises(rc.MatchError) as caught:
        gpt2.update(HEAD.chain("tokens"), lambda node: node)
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("matcher", "label"),
    [
        (restrict(HEAD.chain("tokens"), term_early_at=LAYER_1), "start below it: "),
        (HEAD.chain(restrict("tokens", term_early_at=LAYER_1)), "start below it: "),
        (HEAD.not_through("t.call").chain("tokens"), "without it, "),
        (restrict(HEAD.chain("a1.norm").chain("tokens"), term_early_at="a1.h3"), "limit the last link only: "),
        (HEAD.chain("a1.norm", "tokens").not_through("a1.h3"), "limit the last link only: "),
    ],
)
def test_the_limit_inside_and_outside_of_a_chain(gpt2: rc.Expr, matcher: IterativeMatcher, label: str) -> None:
    """The matcher that the explanation proposes finds something."""
    fix = explain(gpt2, matcher, see_through=True).fix
    assert fix is not None
    assert fix.startswith(label), fix
    if label != "without it, ":
        proposed = eval(fix.removeprefix(label), vars(rc) | {"not_through": not_through})
        assert [node.name for node in gpt2.get(proposed, see_through=True)] == ["tokens"]


def test_a_matcher_that_finds_something_shows_how_often_and_where_paths_end(gpt2: rc.Expr) -> None:
    found = explain(
        gpt2, IterativeMatcher("final.norm").chain(restrict("tokens", term_early_at="a1.norm")), see_through=True
    )
    assert (found.num_found, found.causes, found.fix) == (1, (), None)
    assert found.num_paths == gpt2.count_paths(found.matcher, see_through=True) > 10**6
    assert [(link.num_matching, link.num_found) for link in found.links] == [(1, 1), (1, 1)]
    assert [node.name for node in found.stops["term_early_at='a1.norm'"]] == ["a1.norm"]
    plain = explain(gpt2, "a1.h3")
    assert {"a.q.input", "a.mask"} <= {node.name for node in plain.stops["see_through=False"]}
    assert "paths end at " in str(plain)
    assert str(plain).splitlines()[-1].endswith("and 10 more: see_through=False")


def test_ten_lines_at_most_by_default(gpt2: rc.Expr) -> None:
    many = IterativeMatcher("final.norm").chain(*(f"a{layer}.h0" for layer in range(11, 5, -1)), "tokns")
    explanation = many.explain(gpt2, see_through=True)
    assert len(explanation.lines()) <= 10
    assert len(explanation.links) == 8
    assert "    ..." in explanation.lines()
    assert explanation.causes[0].kind == "name"
    assert len(many.explain(gpt2, see_through=True, max_lines=3).lines()) == 3
    union = IterativeMatcher(*(IterativeMatcher(f"b{i}").chain(f"c{i}") for i in range(30)))
    assert len(union.explain(gpt2).lines()) == 10


def test_each_alternative_of_a_union_has_its_own_cause(gpt2: rc.Expr) -> None:
    union = IterativeMatcher("a0.h2").chain("a1.h3") | HEAD.chain("tokens")
    assert [cause.kind for cause in explain(gpt2, union).causes] == ["order", "see_through"]


def test_names_that_only_display_so() -> None:
    x, y = rc.Scalar(1.0, name="x"), rc.Scalar(2.0, name="y")
    why = str(explain(rc.Add(rc.Add(x, y), name="top"), "x + y"))
    assert "no node is named 'x + y'; x + y [] Add is unnamed and only displays so" in why


def test_seen_through_an_argument_that_no_body_uses_is_not_there() -> None:
    s, t = (rc.Symbol.new_from_name((), name) for name in "st")
    x, y = rc.Scalar(1.0, name="x"), rc.Scalar(2.0, name="y")
    call = rc.Module(rc.ModuleSpec(rc.Add(s), [s, t], allow_unused=True), "call", s=x, t=y)
    explanation = explain(call, IterativeMatcher("call").module_arg_matcher("t"), see_through=True)
    assert "the body of 'call' does not use it" in str(explanation)
    assert "only on other paths: call > y" in str(explain(call, "y", see_through=True))


def test_limits_that_only_together_keep_it_out() -> None:
    x = rc.Scalar(1.0, name="x")
    expr = rc.Add(rc.Add(rc.Add(x, name="B"), name="A"), name="top")
    both = restrict(restrict("x", end_depth=2), term_early_at="B")
    explanation = explain(expr, both)
    assert explanation.causes[0].kind == "several"
    assert "each of these limits keeps it out: term_early_at='B', end_depth=2" in str(explanation)


def test_an_explanation_is_printed_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    expr = rc.Add(rc.Scalar(1.0, name="x"), name="top")
    explanation = expr.explain("y")
    assert isinstance(explanation, Explanation)
    print(explanation)
    assert capsys.readouterr().out.strip() == repr(explanation)
    assert explanation == explain(expr, "y")
    assert directly_below("top").explain(expr).num_found == 1
    assert not_through("top").explain(expr).num_paths == 1


def test_near_misses() -> None:
    names = ["a1.h3", "a11.h3", "a.head", "b1", "final.norm", "t.w.pos_embeds"]
    assert near_misses("a.1.h3", names)[0] == "a1.h3"
    assert near_misses("h3.a1", names)[0] == "a1.h3"
    assert near_misses("pos_embed", names) == ["t.w.pos_embeds"]
    assert near_misses("finalnorm", names) == ["final.norm"]
    assert near_misses("zzzzzz", names) == []
