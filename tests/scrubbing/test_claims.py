"""What is one place, what a place is, and who reads what: `scrub` and `treeify` on small models, checked by hand."""

from __future__ import annotations

import pytest
import torch

import scrub as rc
from scrub import IterativeMatcher, Symbol
from scrub.hypothesis import (
    Correspondence,
    Dataset,
    ExactSampler,
    Hypothesis,
    InterpNode,
    Scrubbed,
    UncondSampler,
    corr_root_matcher,
    scrub,
)
from scrub.hypothesis.slots import Slot
from scrub.hypothesis.treeify import treeify

X, Y = (Symbol.new_from_name((), name) for name in "xy")
DATA = Dataset({name: torch.arange(1, 5, dtype=torch.float64) ** (i + 1) for i, name in enumerate("xy")})
M = IterativeMatcher


def scrubbed(model: rc.Expr, *nodes: tuple[str, str, object], data: Dataset = DATA, **options: str) -> Scrubbed:
    made = {"root": InterpNode(ExactSampler(), "root")}
    corr = Correspondence()
    corr.add(made["root"], corr_root_matcher)
    for name, parent, matcher in nodes:
        made[name] = made[parent].make_descendant(UncondSampler(), name)
        corr.add(made[name], matcher)  # type: ignore[arg-type]
    return scrub(model, Hypothesis(corr, **options), data)  # type: ignore[arg-type]


def value(found: Scrubbed, data: Dataset = DATA, **rows: int) -> float:
    """The output where these draws (by label, "/" written as "__") came to these rows; by scrub and by treeify."""
    by_slot = {slot: torch.tensor([rows[slot.label.replace("/", "__")]]) for slot in found.read_slots}
    values = {symbol: data[read.name][by_slot[read.slot][0]] for symbol, read in found.reads.items()}
    (mine,) = rc.evaluate_many([found.expr], values)
    theirs = treeify(found).evaluate(by_slot, data)[0]
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=0)
    return float(mine)


def labels(found: Scrubbed) -> set[tuple[str, str]]:
    return {(read.name, read.slot.label) for read in found.reads.values()}


def test_an_input_itself_may_be_claimed() -> None:
    model = rc.Add(X.scale(10.0), Y, name="top")
    found = scrubbed(model, ("n", "root", "x"))
    assert labels(found) == {("x", "n"), ("y", "root/other")}
    assert value(found, n=2, root__other=1) == 10 * 3 + 4
    inner = scrubbed(model, ("n", "root", {"x", "y"}))
    assert value(inner, n=2) == 10 * 3 + 9


def test_a_parent_at_an_input_with_children_elsewhere() -> None:
    """'n' claims P and the leaf y; its child is below P; at y nothing is claimed, so its other draw is read."""
    model = rc.Add(rc.Add(X, X.scale(2.0, name="inner"), name="P"), Y, name="top")
    found = scrubbed(model, ("n", "root", {"P", "y"}), ("c", "n", "inner"))
    assert labels(found) == {("x", "c"), ("x", "n/other"), ("y", "n/other")}
    assert value(found, c=0, n__other=3) == 4 + 2 * 1 + 16
    terms = scrubbed(model, ("n", "root", {"P", "y"}), ("c", "n", "inner"), unimportant="term")
    assert labels(terms) == {("x", "c"), ("x", "n/other/1"), ("y", "n/other/2")}


def test_the_same_place_on_different_paths_is_another_place() -> None:
    a = rc.Add(X, Y, name="a")
    model = rc.Add(rc.Add(a, name="P"), rc.Add(a, name="Q").scale(100.0), name="top")
    found = scrubbed(model, ("p", "root", M("P").chain("a")), ("q", "root", M("Q").chain("x")))
    assert value(found, p=0, q=1, root__other=2) == (1 + 1) + 100 * (2 + 9)
    assert len(found.expr.get("a")) == 2


def test_one_child_position_of_two() -> None:
    model = rc.Add(X, X, Y, name="top")
    found = scrubbed(model, ("n", "root", rc.children_matcher({1})))
    assert labels(found) == {("x", "root/other"), ("x", "n"), ("y", "root/other")}
    assert value(found, n=0, root__other=3) == 1 + 4 + 16


def body(*, batched: bool = False) -> rc.Expr:
    """A call with 'left' and 'right' both reading its parameter s."""
    s = Symbol.new_from_name((), "s")
    spec = rc.ModuleSpec(rc.Add(rc.Add(s, name="left"), s.scale(10.0, name="right"), name="body"), [s])
    argument = rc.Concat.stack(X, Y, axis=0, name="arg") if batched else X.add(Y, name="arg")
    call = rc.Module(spec, "call", s=argument)
    return rc.Add(call.sum() if batched else call, X, name="top")


@pytest.mark.parametrize("what", ["call", "body", M("call") | "body"])
def test_a_module_its_body_or_both(what: object) -> None:
    found = scrubbed(body(), ("n", "root", what))
    assert found.claims.counts == [1, 1]
    assert value(found, n=1, root__other=0) == 11 * (2 + 4) + 1


@pytest.mark.parametrize("what", ["s", "arg", M("s") | "arg", rc.module_arg_matcher("s")])
def test_a_parameter_or_what_is_bound_to_it(what: object) -> None:
    matcher = M("call").chain(what)  # type: ignore[arg-type]
    one = scrubbed(body(), ("n", "root", matcher & rc.not_through("right")))
    assert value(one, n=1, root__other=0) == (2 + 4) + 10 * (1 + 1) + 1
    both = scrubbed(body(), ("n", "root", matcher))
    assert value(both, n=1, root__other=0) == 11 * (2 + 4) + 1


def test_batch_axes_of_calls_stay() -> None:
    found = scrubbed(body(batched=True), ("l", "root", M("left").chain("arg")), ("y", "root", M("right").chain("y")))
    rows = {"l": 1, "y": 2, "root__other": 3}
    assert value(found, **rows) == (2 + 4) + 10 * (4 + 9) + 4


def test_a_node_below_a_module_within_a_module() -> None:
    s, t = Symbol.new_from_name((), "s"), Symbol.new_from_name((), "t")
    inner = rc.ModuleSpec(rc.Add(t, t.scale(3.0, name="three"), name="inner body"), [t])
    outer = rc.Add(rc.Module(inner, "inner", t=s.scale(2.0, name="two")), s, name="outer body")
    model = rc.Module(rc.ModuleSpec(outer, [s]), "outer", s=rc.Add(X, Y, name="sum"))
    found = scrubbed(model, ("a", "root", M("three").chain("two")), ("b", "a", M("three").chain("y")))
    x, y = (lambda row: row + 1), (lambda row: (row + 1) ** 2)
    expected = 2 * (x(0) + y(0)) + 3 * 2 * (x(1) + y(2)) + x(0) + y(0)
    assert value(found, root__other=0, a__other=1, b=2) == expected


def test_several_leaves_of_one_name_are_one_input() -> None:
    twin = rc.Array(torch.tensor(5.0, dtype=torch.float64), "x")
    model = rc.Add(X, twin.scale(10.0, name="P"), name="top")
    data = Dataset({"x": DATA["x"]})
    assert value(scrubbed(model, data=data), data, reference=2) == 33
    found = scrubbed(model, ("n", "root", "P"), data=data)
    assert value(found, data, n=0, root__other=3) == 4 + 10


def test_an_array_that_is_no_input_is_a_weight() -> None:
    weight = rc.Array(torch.tensor(5.0, dtype=torch.float64), "w")
    model = rc.Add(X, weight, name="top")
    data = Dataset({"x": DATA["x"], "w": DATA["y"]}, inputs=["x"])
    assert value(scrubbed(model, data=data), data, reference=2) == 3 + 5
    both = Dataset({"x": DATA["x"], "w": DATA["y"]})
    assert value(scrubbed(model, data=both), both, reference=2) == 3 + 9


def test_the_tree_has_a_node_for_each_path() -> None:
    """Two paths to the claimed x below P, and P on two paths: four, with symbols of their own."""
    p = rc.Add(rc.Add(X, name="u"), X.scale(2.0, name="v"), name="P")
    model = rc.Add(p, p.scale(3.0, name="Q"), name="top")
    found = scrubbed(model, ("n", "root", "x"), data=Dataset({"x": DATA["x"]}))
    tree = treeify(found)
    assert len(tree.paths["n"]) == 4
    below = [("P", "u", "x"), ("P", "v", "x")]
    assert sorted(tree.paths["n"]) == sorted([*below, *(("Q", *path) for path in below)])
    assert len(tree.reads) == 4
    assert {read.slot for read in tree.reads.values()} == {Slot("n", "drawn")}
    assert len(tree.expr.get("P @ root")) == 2
    names = [node.name for node in tree.expr.get(rc.Add)]
    assert names == ["top @ root", "P @ root", "u @ root", "P @ root", "u @ root"]


def test_what_reads_one_draw_stays_shared_in_the_tree() -> None:
    node: rc.Expr = X
    for i in range(30):
        node = rc.Add(node, node, name=f"l{i}")
    found = scrubbed(rc.Add(node, Y, name="top"), ("n", "root", "l20"))
    with pytest.raises(rc.HypothesisError, match="the tree has more than 300 nodes"):
        treeify(found, limit=300)
    tree = treeify(found, limit=10_000)
    assert len(tree.paths["n"]) == 2**9
    assert len(treeify(scrubbed(rc.Add(node, Y, name="top"), ("n", "root", "l29"))).reads) == 2


def test_data_that_only_an_unused_argument_reads_is_read_nowhere() -> None:
    s = Symbol.new_from_name((), "s")
    model = rc.Add(X, rc.Module(rc.ModuleSpec(rc.Scalar(2.0).scale(3.0), [s], allow_unused=True), "call", s=Y))
    assert value(scrubbed(model), reference=3) == 4 + 6
