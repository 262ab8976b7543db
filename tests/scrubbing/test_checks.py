"""SPEC 9.4: what does not fit is said before any compute, with the paths in question."""

from __future__ import annotations

import pytest
import torch

import scrub as rc
from scrub import IterativeMatcher, Symbol, restrict
from scrub.hypothesis import (
    Correspondence,
    Dataset,
    ExactSampler,
    Hypothesis,
    InterpNode,
    UncondSampler,
    corr_root_matcher,
    scrub,
)

X, Y = (Symbol.new_from_name((), name) for name in "xy")
W = rc.Array(torch.tensor(2.0, dtype=torch.float64), "w")
A = rc.Add(X, Y, name="A")
B = rc.Add(X, W, name="B")
MODEL = rc.Add(rc.Add(A, B, name="D"), rc.Add(A, X, name="E"), name="top")
DATA = Dataset({name: torch.arange(4, dtype=torch.float64) for name in "xy"})


def hypothesis(*nodes: tuple[str, str | None, object], root: object = corr_root_matcher) -> Hypothesis:
    """Nodes as (name, parent, matcher); the root is "root"."""
    made = {"root": InterpNode(ExactSampler(), "root")}
    corr = Correspondence()
    corr.add(made["root"], root)  # type: ignore[arg-type]
    for name, parent, matcher in nodes:
        made[name] = made[parent or "root"].make_descendant(UncondSampler(), name)
        corr.add(made[name], matcher)  # type: ignore[arg-type]
    return Hypothesis(corr, name="tested")


def problems(found: Hypothesis, model: rc.Expr = MODEL, data: Dataset = DATA) -> list[str]:
    with pytest.raises(rc.HypothesisError, match="hypothesis 'tested' does not fit the model") as caught:
        scrub(model, found, data)
    assert caught.value.found is not None
    return list(caught.value.found)  # type: ignore[arg-type]


def test_what_fits_raises_nothing() -> None:
    found = hypothesis(("d", None, "D"), ("a", "d", IterativeMatcher("D").chain("A")), ("e", None, "E"))
    assert scrub(MODEL, found, DATA).claims.counts == [1, 1, 1, 1]


def test_the_root_is_the_model() -> None:
    (problem,) = problems(hypothesis(root="D"))
    assert problem == (
        "root node 'root': IterativeMatcher('D') does not find the whole model; it finds top > D; use corr_root_matcher"
    )


def test_the_root_is_nothing_but_the_model() -> None:
    first, *_ = problems(hypothesis(root={"top", "D", "E"}))
    assert "'root': IterativeMatcher('D', 'E', 'top') finds 3 places, it must find only the whole model" in first
    assert first.splitlines()[1:] == ["    'root': top", "    'root': top > D"]


def test_a_child_lies_below_its_parent() -> None:
    (problem,) = problems(hypothesis(("d", None, "D"), ("e", "d", "E")))
    assert problem.splitlines() == [
        "node 'e' claims a place whose path belongs to node 'root', not to its parent 'd':",
        "    'e': top > E",
        "    'root': top",
        "    'd': top > D",
    ]


def test_a_child_is_not_claimed_below_a_sibling() -> None:
    (problem,) = problems(hypothesis(("d", None, "D"), ("a", None, IterativeMatcher("D").chain("A"))))
    assert problem.splitlines() == [
        "node 'a' claims a place whose path belongs to node 'd', not to its parent 'root':",
        "    'a': top > D > A",
        "    'd': top > D",
        "    'root': top",
    ]


def test_one_path_of_several_is_enough_to_be_wrong() -> None:
    (problem,) = problems(hypothesis(("d", None, "D"), ("a", None, "A")))  # A below E alone would do
    assert "    'a': top > D > A" in problem
    assert scrub(MODEL, hypothesis(("d", None, "D"), ("a", None, IterativeMatcher("E").chain("A"))), DATA)


def test_two_nodes_do_not_claim_one_place() -> None:
    both = hypothesis(("a", None, IterativeMatcher("D").chain("A")), ("also", None, "A"))
    (problem,) = problems(both)
    assert problem.splitlines() == [
        "nodes 'a' and 'also' claim the same place:",
        "    'a': top > D > A",
        "    'also': top > D > A",
    ]
    apart = hypothesis(("a", None, IterativeMatcher("D").chain("A")), ("also", None, IterativeMatcher("E").chain("A")))
    assert scrub(MODEL, apart, DATA).claims.counts == [1, 1, 1]


def called() -> rc.Expr:
    """'call' has body 'body' = 'left' + 'right', both of parameter 's', to which A is bound."""
    s = Symbol.new_from_name((), "s")
    body = rc.Add(rc.Add(s, name="left"), rc.Add(s, name="right"), name="body")
    return rc.Add(rc.Module(rc.ModuleSpec(body, [s]), "call", s=A), X, name="top")


def test_a_module_and_its_body_are_one_place() -> None:
    (problem,) = problems(hypothesis(("m", None, "call"), ("b", None, "body")), called())
    assert problem.splitlines() == [
        "nodes 'm' and 'b' claim the same place:",
        "    'm': top > call",
        "    'b': top > call > body",
    ]
    both = hypothesis(("m", None, {"call", "body"}))
    assert scrub(called(), both, DATA).claims.counts == [1, 1]  # found twice, and one place


def test_a_bound_symbol_and_what_is_bound_are_one_place() -> None:
    left = IterativeMatcher("left")
    (problem,) = problems(hypothesis(("s", None, left.chain("s")), ("a", None, left.chain("A"))), called())
    assert problem.splitlines()[1:] == [
        "    's': top > call > body > left > s",
        "    'a': top > call > body > left > s > A",
    ]
    found = hypothesis(("s", None, left.chain("s")), ("x", "s", left.chain("x")))
    assert scrub(called(), found, DATA).claims.counts == [1, 1, 1]


def test_the_body_of_the_whole_model_is_the_root_s() -> None:
    s = Symbol.new_from_name((), "s")
    model = rc.Module(rc.ModuleSpec(rc.Add(s, s, name="body"), [s]), "call", s=A)
    (problem,) = problems(hypothesis(("b", None, "body")), model)
    assert problem.splitlines() == [
        "nodes 'root' and 'b' claim the same place:",
        "    'root': call",
        "    'b': call > body",
    ]


def test_a_node_does_not_claim_below_a_place_of_its_own() -> None:
    (problem, *_) = problems(hypothesis(("d", None, {"D", "A"})))
    assert problem.splitlines() == [
        "node 'd' claims a place below another of its own; restrict(..., term_if_matches=True) stops at the first:",
        "    'd': top > D",
        "    'd': top > D > A",
    ]
    assert scrub(MODEL, hypothesis(("d", None, restrict({"D", "A"}, term_if_matches=True))), DATA).claims.counts == [
        1,
        2,
    ]


def test_every_node_matches_something() -> None:
    (problem,) = problems(hypothesis(("n", None, "AA")))
    assert problem.startswith("node 'n' claims nothing: IterativeMatcher('AA') finds nothing in 'top'")
    assert "no node is named 'AA'; similar: 'A'" in problem
    (problem,) = problems(hypothesis(("n", None, IterativeMatcher("B").chain("y"))))
    assert "'y' is not at or below 'B', only on other paths" in problem


def test_what_reads_no_data_cannot_be_claimed() -> None:
    (problem,) = problems(hypothesis(("n", None, "w")))
    assert "node 'n' claims nothing: IterativeMatcher('w') finds 'w' [] Array" in problem
    assert problem.endswith("but no input ('x', 'y') is read there or below")
    assert scrub(MODEL, hypothesis(("n", None, {"w", "E"})), DATA).claims.counts == [1, 1]


def test_a_model_that_reads_no_input_has_no_root() -> None:
    s = Symbol.new_from_name((), "s")
    model = rc.Module(rc.ModuleSpec(W.scale(2.0), [s], allow_unused=True), "call", s=rc.Add(X, Y))
    (problem,) = problems(hypothesis(), model)
    assert problem == "root node 'root' claims nothing: the model reads no input ('x', 'y') on any path"


def test_all_that_is_wrong_is_said_at_once() -> None:
    found = problems(hypothesis(("z", None, "Z"), ("d", None, "D"), ("e", "d", "E")))
    assert [text.split(" claims")[0] for text in found] == ["node 'e'", "node 'z'"]
    many = hypothesis(*[(f"n{i}", None, f"nothing{i}") for i in range(12)])
    assert len(problems(many)) == 12
    with pytest.raises(rc.HypothesisError, match="and 4 more"):
        scrub(MODEL, many, DATA)


def test_a_long_path_is_shown_by_its_ends_and_its_claims() -> None:
    node: rc.Expr = X
    for i in range(60):
        node = rc.Add(node, name=f"n{i}")
    node = rc.Add(node, Y, name="top")
    (problem,) = problems(hypothesis(("mid", None, "n30"), ("low", None, "n5")), node)
    assert "'low': top > n59 > ... > n30 > ... > n9 > n8 > n7 > n6 > n5" in problem


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (MODEL, Dataset({"x": torch.zeros(2), "y": torch.zeros(2), "yy": torch.zeros(2)}), "similar names: .'y'"),
        (MODEL, Dataset({"x": torch.zeros(2)}), "nothing is bound to 'y'"),
        (MODEL, Dataset({"x": torch.zeros(2, 3), "y": torch.zeros(2)}), r"row of the dataset has shape \[3\]"),
        (
            rc.Add(rc.Array(torch.zeros(()), "x"), Y),
            Dataset({"x": torch.zeros(2, dtype=torch.float64), "y": torch.zeros(2)}),
            "input 'x' is torch.float64 in the dataset and torch.float32 in the model",
        ),
    ],
)
def test_every_input_is_there_and_fits(model: rc.Expr, data: Dataset, message: str) -> None:
    with pytest.raises(rc.DatasetError, match=message):
        scrub(model, hypothesis(), data)


def test_a_parameter_named_like_an_input_is_no_input() -> None:
    x = Symbol.new_with_random_uuid((2,), "x")
    pair = rc.Concat.stack(X, Y, axis=0)
    model = rc.Add(rc.Module(rc.ModuleSpec(x.sum(), [x]), "call", x=pair), X, name="top")
    assert {read.name for read in scrub(model, hypothesis(), DATA).reads.values()} == {"x", "y"}


def test_symbolic_sizes_are_to_be_decided_first() -> None:
    (n,) = rc.symbolic_sizes("n")
    x = Symbol.new_from_name((n,), "x")
    data = Dataset({"x": torch.zeros(2, 3, dtype=torch.float64)})
    with pytest.raises(rc.DatasetError, match=r"bind_sizes\(model, n=...\)"):
        scrub(x.sum(), hypothesis(), data)
    assert scrub(rc.bind_sizes(x.sum(), n=3), hypothesis(), data).expr.shape == ()


@pytest.mark.parametrize("name", ["reference", "a/other", "a/other/2"])
def test_a_node_is_not_named_like_another_draw(name: str) -> None:
    with pytest.raises(rc.HypothesisError, match=f"a node cannot be named '{name}'"):
        InterpNode(ExactSampler(), name)


def test_nodes_and_matchers_belong_together() -> None:
    root, other = InterpNode(ExactSampler(), "root"), InterpNode(ExactSampler(), "other")
    corr = Correspondence()
    with pytest.raises(
        rc.HypothesisError, match="a correspondence is about one interpretation, this one has nodes of 0"
    ):
        scrub(MODEL, Hypothesis(corr), DATA)
    corr.add(root, corr_root_matcher)
    with pytest.raises(rc.HypothesisError, match="node 'root' has a matcher already"):
        corr.add(root, "A")
    root.make_descendant(ExactSampler(), "child")
    with pytest.raises(rc.HypothesisError, match="there is a node 'child' already"):
        root.make_descendant(ExactSampler(), "child")
    with pytest.raises(rc.HypothesisError, match="node 'child' corresponds to nothing"):
        scrub(MODEL, Hypothesis(corr), DATA)
    corr.add(other, "A")
    with pytest.raises(rc.HypothesisError, match="this one has nodes of 2"):
        scrub(MODEL, Hypothesis(corr), DATA)
    with pytest.raises(rc.HypothesisError, match="unimportant='all' is no choice"):
        Hypothesis(corr, unimportant="all")  # type: ignore[arg-type]
    with pytest.raises(rc.HypothesisError, match="cond_sampler is no sampler but function"):
        InterpNode(lambda data: data, "n")  # type: ignore[arg-type]
