"""Nothing is recursive in depth, and nothing counts paths: deep chains, deep modules, DAGs with 2^60 paths."""

from __future__ import annotations

import copy
import gc
import itertools
import pickle
import weakref

import pytest
import torch

import scrub as rc
from scrub import IterativeMatcher
from scrub.rewrite import count_paths, iter_paths
from scrub.rewrite.places import Places, visit
from tests.steps import num_steps

DEPTH = 10_000
ONE = rc.Scalar(1.0, name="one")


def chain(depth: int = DEPTH) -> rc.Expr:
    node: rc.Expr = rc.Array(torch.tensor(0.0, dtype=torch.float64), "start")
    for _ in range(depth):
        node = rc.Add(node, ONE)
    return node


def doubling(levels: int = 60) -> rc.Expr:
    """x + x, and so on: 2^60 paths to x, of which half pass "left" at every level."""
    node: rc.Expr = rc.Array(torch.tensor(1.0, dtype=torch.float64), "x")
    for _ in range(levels):
        node = rc.Add(rc.Add(node, name="left"), rc.Add(node, name="right"))
    return node


@pytest.fixture(scope="module")
def deep() -> rc.Expr:
    return chain()


def test_chain_evaluates(deep: rc.Expr) -> None:
    assert deep.evaluate().item() == DEPTH


def test_chain_is_found_in_and_updated(deep: rc.Expr) -> None:
    assert deep.get("start")[0].name == "start"
    assert len(deep.get_paths("start")[deep.get_unique("start")]) == DEPTH + 1
    changed = deep.update("start", lambda n: rc.Scalar(5.0))
    assert changed.evaluate().item() == DEPTH + 5
    assert deep.update(IterativeMatcher(rc.Add).chain("start"), lambda n: n) is deep


def test_chain_is_pickled_copied_and_printed(deep: rc.Expr) -> None:
    assert pickle.loads(pickle.dumps(deep)) is deep
    assert copy.deepcopy(deep) is deep
    assert len(rc.to_text(deep).splitlines()) == 2 * DEPTH + 1
    assert len(repr(deep)) < 200


def test_chain_is_substituted_and_expanded() -> None:
    s = rc.Symbol.new_from_name((), "s")
    body: rc.Expr = s
    for _ in range(DEPTH):
        body = rc.Add(body, ONE)
    call = rc.module_new_bind(body, (s, rc.Array(torch.tensor([0.0, 2.0], dtype=torch.float64), "x")))
    assert call.substitute().evaluate().tolist() == [DEPTH, DEPTH + 2]
    seen = call.update("x", lambda n: n.scale(2.0), see_through=True)
    assert seen.cast(rc.Module).body is body
    expanded = rc.Expander(("one", rc.Scalar(1.0, (3,)))).run(body)
    assert expanded.shape == (3,)


def test_chain_is_freed() -> None:
    node = rc.Add(chain(DEPTH), rc.Scalar(0.125))
    reference = weakref.ref(node)
    del node
    gc.collect()
    assert reference() is None


def nested_modules(depth: int) -> rc.Expr:
    """f_n(x) = f_{n-1}(x + 1) + x, each level a module in the body of the next."""
    symbols = [rc.Symbol.new_from_name((), f"s{i}") for i in range(depth)]
    body: rc.Expr = rc.Add(symbols[0], ONE, name="core")
    for inner, outer in itertools.pairwise(symbols):
        call = rc.Module(rc.ModuleSpec(body, [inner]), f"call {inner.name}", **{str(inner.name): rc.Add(outer, ONE)})
        body = rc.Add(call, outer)
    return rc.module_new_bind(body, (symbols[-1], rc.Array(torch.tensor(2.0, dtype=torch.float64), "x")))


def test_modules_nested_150_deep() -> None:
    depth = 150  # the reference evaluator takes time quadratic in this
    expr = nested_modules(depth)
    expected = sum(2.0 + i for i in range(depth)) + 1
    assert expr.evaluate().item() == expected
    assert rc.substitute_all_modules(expr).evaluate().item() == expected
    assert expr.get("x", see_through=True)[0].name == "x"
    seen = expr.update(IterativeMatcher("core").chain("x"), lambda n: n.scale(2.0), see_through=True)
    assert seen.evaluate().item() == expected + 2.0
    assert pickle.loads(pickle.dumps(expr)) is expr


def test_a_dag_with_2_to_the_60_paths() -> None:
    expr = doubling()
    assert expr.evaluate().item() == 2.0**60
    assert [n.name for n in expr.get("x")] == ["x"]
    assert len(rc.to_text(expr).splitlines()) < 400
    assert pickle.loads(pickle.dumps(expr)) is expr
    assert expr.update("x", lambda n: rc.Scalar(3.0)).evaluate().item() == 3 * 2.0**60


def test_a_path_matcher_on_2_to_the_60_paths() -> None:
    """Only the one path that passes no "right" at all keeps x."""
    expr = doubling()
    changed = expr.update(IterativeMatcher("right").chain("x"), lambda n: rc.Scalar(0.0))
    assert changed.evaluate().item() == 1.0
    assert {n.name for n in changed.get({"x"})} == {"x"}
    assert (
        expr.update(rc.restrict("x", term_early_at="right"), lambda n: rc.Scalar(0.0)).evaluate().item() == 2.0**60 - 1
    )
    assert len(expr.get(rc.restrict(True, end_depth=50))) == 75


def test_sharing_through_modules_is_linear_too() -> None:
    """f_n(x) = f_{n-1}(x) + f_{n-1}(x): 2^40 calls seen through."""
    node: rc.Expr = rc.Array(torch.tensor(1.0, dtype=torch.float64), "x")
    s = rc.Symbol.new_from_name((), "s")
    spec = rc.ModuleSpec(rc.Add(s, s), [s])
    for _ in range(40):
        node = rc.Module(spec, "call", s=node)
    assert node.evaluate().item() == 2.0**40
    changed = node.update("x", lambda n: n.scale(3.0), see_through=True)
    assert changed.evaluate().item() == 3 * 2.0**40
    assert len(changed.get(rc.Module)) == 40


def num_positions(expr: rc.Expr, matcher: object, *, see_through: bool = False) -> int:
    """Distinct pairs of a place and a state of the matcher that a search visits."""
    state = IterativeMatcher(matcher).state
    return sum(1 for _ in visit(Places(see_through=see_through), expr, state))


def num_nodes(expr: rc.Expr) -> int:
    return sum(1 for _ in rc.postorder([expr]))


def test_2_to_the_60_paths_are_counted_and_the_first_come_at_once() -> None:
    expr = doubling()
    assert count_paths(expr, "x") == 2**60
    assert count_paths(expr, IterativeMatcher("left").chain("x")) == 2**60 - 1
    assert count_paths(expr, IterativeMatcher("x").not_through("right")) == 1
    assert count_paths(expr, IterativeMatcher("x").directly_below("left")) == 2**59
    (first, second) = iter_paths(expr, "x", limit=2)
    assert {node.name for node in first} == {None, "left", "x"}
    assert [node.name for node in second[-2:]] == ["right", "x"]
    (only,) = iter_paths(expr, IterativeMatcher("x").not_through("left"))
    assert {node.name for node in only} == {None, "right", "x"}
    with pytest.raises(rc.MatchError, match=str(2**60)):
        expr.get_all_paths("x")
    assert "on 1.15e+18 paths" in str(IterativeMatcher("x").explain(expr))


def test_2_to_the_40_paths_through_modules_are_counted() -> None:
    node: rc.Expr = ONE
    s = rc.Symbol.new_from_name((), "s")
    spec = rc.ModuleSpec(rc.Add(s, s, name="s + s"), [s])
    for _ in range(40):
        node = rc.Module(spec, "call", s=node)
    assert count_paths(node, "one", see_through=True) == 2**40
    assert count_paths(node, IterativeMatcher("one").directly_below("s + s"), see_through=True) == 2**40
    assert count_paths(node, IterativeMatcher("one").filter_module_spec(), see_through=True) == 2**40
    assert num_positions(node, IterativeMatcher("call").module_arg_matcher("s"), see_through=True) < 400


@pytest.mark.parametrize(
    "matcher",
    [
        IterativeMatcher("left").chain(rc.restrict("x", end_depth=30)),
        IterativeMatcher("left").chain(rc.restrict("x", start_depth=40)),
        IterativeMatcher("left").chain("right").chain("left").chain("right").chain("x"),
        IterativeMatcher({"left", "right"}).chain(IterativeMatcher("left").chain("x") | rc.restrict("x", end_depth=9)),
        IterativeMatcher("left").chain(IterativeMatcher("right").chain(rc.restrict("x", end_depth=30))),
        IterativeMatcher("x").not_through(IterativeMatcher("left").chain("right").chain("left")),
        IterativeMatcher("x").directly_below(IterativeMatcher("left").chain("right")),
        IterativeMatcher("left").chain("x") & IterativeMatcher("right").chain("x"),
    ],
)
def test_states_stay_few_where_paths_are_many(matcher: IterativeMatcher) -> None:
    """A window of depth is needed once per depth at most, a chain once per link."""
    expr = doubling()
    assert num_positions(expr, matcher) <= 130 * num_nodes(expr)
    assert num_positions(doubling(120), matcher) <= 2.5 * num_positions(expr, matcher)
    assert expr.are_any_found(matcher)
    assert expr.update(matcher, lambda n: n) is expr


def test_a_chain_of_2000_links_is_one_state_a_node() -> None:
    node: rc.Expr = ONE
    for i in reversed(range(2000)):
        node = rc.Add(node, name=f"n{i}")
    matcher = IterativeMatcher("n0").chain(*(f"n{i}" for i in range(1, 2000)), "one")
    assert num_positions(node, matcher) == num_nodes(node)
    assert node.get(matcher) == (ONE,)
    assert not node.are_any_found(IterativeMatcher("n1").chain("n0", "one"))
    nested: IterativeMatcher = IterativeMatcher("one")
    for i in reversed(range(2000)):
        nested = IterativeMatcher(f"n{i}").chain(nested)
    assert nested == matcher
    union = IterativeMatcher(False)
    for i in range(2000):
        union = union | f"n{i}"
    assert num_positions(node, union) == num_nodes(node)
    assert len(node.get(union)) == 2000


def test_a_chain_of_30000_nodes_and_a_node_of_30000_children() -> None:
    deep = chain(30_000)
    wide = rc.Add(*(rc.Scalar(float(i), name=f"x{i}") for i in range(30_000)), name="wide")
    assert count_paths(deep, IterativeMatcher(rc.Add).chain("start")) == 1
    assert deep.update("start", lambda n: n) is deep
    assert len(next(iter(iter_paths(deep, "start")))) == 30_001
    assert len(deep.get(rc.restrict("one", term_early_at="start"))) == 1
    assert wide.get(IterativeMatcher("wide").children_matcher({29_999}))[0].name == "x29999"
    assert count_paths(wide, rc.Scalar) == 30_000
    changed = wide.update(rc.children_matcher({5}), lambda n: rc.Scalar(-1.0))
    assert len(changed.children) == 30_000
    assert "similar: 'x29999'" in str(IterativeMatcher("x.29999").explain(wide))


def test_a_search_costs_a_small_multiple_of_a_walk() -> None:
    """Counted in lines run, and growing with the number of nodes alone."""
    small, large = chain(1_000), chain(10_000)
    for run, multiple in [
        (lambda expr: expr.get("start"), 10),
        (lambda expr: expr.update("start", lambda n: n), 15),
        (lambda expr: expr.get("start", see_through=True), 15),
    ]:
        assert num_steps(lambda run=run: run(large)) < multiple * num_steps(lambda: num_nodes(large))
        assert num_steps(lambda run=run: run(large)) < 10.5 * num_steps(lambda run=run: run(small))
