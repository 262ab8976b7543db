"""Substitution, update, search, batching and files on generated expressions. Each counts what it was tried on."""

from __future__ import annotations

import itertools
import pickle
from collections import Counter

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import scrub as rc
from tests.independent import assert_same, value_of
from tests.strategies import LEAF_NAMES, NODE_NAMES, expressions, leaf, num_modules

NAMES = st.sampled_from([*NODE_NAMES, *LEAF_NAMES])
SOME_NAMES = st.one_of(
    st.lists(st.sets(NAMES, min_size=1, max_size=5), min_size=1, max_size=2),
    st.tuples(st.sets(st.sampled_from(NODE_NAMES), min_size=1, max_size=3), st.just(set(LEAF_NAMES))).map(list),
)


def shifted(node: rc.Expr) -> rc.Expr:
    """A change of every element by itself, which batching leaves alone."""
    return node.scale(-1.5).add(rc.Scalar(0.25))


def chained(names: list[set[str]]) -> rc.IterativeMatcher:
    return rc.IterativeMatcher(names[0]).chain(*names[1:])


def test_substituting_all_modules_keeps_the_value() -> None:
    counts: Counter[str] = Counter()

    @settings(max_examples=50)
    @given(expressions())
    def check(expr: rc.Expr) -> None:
        inlined = rc.substitute_all_modules(expr)
        assert num_modules(inlined) == 0
        assert inlined.shape == expr.shape
        assert_same(inlined.evaluate(), value_of(expr))
        assert_same(expr.evaluate(), value_of(expr))
        counts["with modules"] += num_modules(expr) > 0
        counts["nested"] += num_modules(expr) > 2
        counts["batched"] += any(n.num_batch for n in rc.postorder([expr]) if isinstance(n, rc.Module))
        if not num_modules(expr):
            assert inlined is expr

    check()
    assert min(counts["with modules"], 2 * counts["nested"], 2 * counts["batched"]) >= 30, counts


def test_substituting_one_at_a_time_in_any_order_keeps_the_value() -> None:
    counts: Counter[str] = Counter()

    @settings(max_examples=50)
    @given(expressions(), st.data())
    def check(expr: rc.Expr, data: st.DataObject) -> None:
        expected = value_of(expr)
        for _ in range(20):
            modules = expr.get(rc.Module)
            if not modules:
                break
            expr = expr.update(data.draw(st.sampled_from(modules)), rc.substitute)
            counts["substituted"] += 1
            assert expr.shape == tuple(expected.shape)
            assert_same(expr.evaluate(), expected)

    check()
    assert counts["substituted"] >= 50, counts


def test_substituting_some_parameters_keeps_the_value() -> None:
    counts: Counter[str] = Counter()

    @settings(max_examples=100)
    @given(expressions(), st.data())
    def check(expr: rc.Expr, data: st.DataObject) -> None:
        modules = [m for m in expr.get(rc.Module) if isinstance(m, rc.Module)]
        if not modules:
            return
        module = data.draw(st.sampled_from(modules))
        names = [str(s.name) for s in module.bindings]
        chosen = data.draw(st.sets(st.sampled_from(names)))
        partly = expr.update(module, lambda m: rc.partially_substitute(m.cast(rc.Module), chosen))
        assert partly.shape == expr.shape
        assert_same(partly.evaluate(), value_of(expr))
        counts["some"] += 0 < len(chosen) < len(names)
        counts["batched"] += bool(chosen) and module.num_batch > 0

    check()
    assert counts["some"] >= 5, counts
    assert counts["batched"] >= 10, counts


def test_a_see_through_update_equals_the_update_of_the_inlined_expression() -> None:
    counts: Counter[str] = Counter()

    @settings(max_examples=200)
    @given(expressions(), SOME_NAMES)
    def check(expr: rc.Expr, names: list[set[str]]) -> None:
        matcher = chained(names)
        inlined = rc.substitute_all_modules(expr)
        expected = inlined.update(matcher, shifted, assert_any_found=False)
        actual = expr.update(matcher, shifted, see_through=True, assert_any_found=False)
        assert actual.shape == expected.shape
        assert_same(actual.evaluate(), value_of(expected))
        assert (actual is expr) == (expected is inlined)
        if actual is not expr and num_modules(expr):
            counts["matched"] += 1
            counts["kept modules"] += num_modules(actual) > 0
            counts["inlined some"] += num_modules(actual) < num_modules(expr)

    check()
    assert counts["matched"] >= 40, counts
    assert counts["kept modules"] >= 20, counts
    assert counts["inlined some"] >= 1, counts


def test_see_through_search_finds_the_names_of_the_inlined_expression() -> None:
    counts: Counter[str] = Counter()

    @settings(max_examples=120)
    @given(expressions(), SOME_NAMES)
    def check(expr: rc.Expr, names: list[set[str]]) -> None:
        matcher = chained(names)
        inlined = rc.substitute_all_modules(expr)
        found = {node.name for node in inlined.get(matcher)}
        assert {node.name for node in expr.get(matcher, see_through=True)} == found
        assert expr.are_any_found(matcher, see_through=True) == bool(found)
        for node, path in expr.get_paths(matcher, see_through=True).items():
            assert (path[0], path[-1]) == (expr, node)
        if found and num_modules(expr):
            counts["found"] += 1
            counts["only by seeing through"] += not expr.are_any_found(matcher)

    check()
    assert counts["found"] >= 40, counts
    assert counts["only by seeing through"] >= 2, counts


def test_get_agrees_with_all_paths_written_out() -> None:
    counts: Counter[str] = Counter()

    def below(node: rc.Expr, path: tuple[rc.Expr, ...]) -> list[tuple[rc.Expr, ...]]:
        here = (*path, node)
        return [here, *itertools.chain.from_iterable(below(child, here) for child in node.children)]

    @given(expressions(num_steps=4), NAMES, NAMES)
    def check(expr: rc.Expr, first: str, second: str) -> None:
        paths = below(expr, ())
        plain = {p[-1] for p in paths if p[-1].name == second}
        assert set(expr.get(second)) == plain
        chain = {p[-1] for p in paths if p[-1].name == second and any(n.name == first for n in p)}
        assert set(expr.get(rc.IterativeMatcher(first).chain(second))) == chain
        strictly = {p[-1] for p in paths if p[-1].name == second and any(n.name == first for n in p[:-1])}
        assert set(expr.get(rc.IterativeMatcher(first).chain(second, must_be_sub=True))) == strictly
        window = {p[-1] for p in paths if 1 <= len(p) - 1 < 3}
        assert set(expr.get(rc.new_traversal(start_depth=1, end_depth=3))) == window
        early = {p[-1] for p in paths if p[-1].name == second and not any(n.name == first for n in p[:-1])}
        assert set(expr.get(rc.restrict(second, term_early_at=first))) == early
        no_bodies = {
            p[-1]
            for p in paths
            if p[-1].name == second
            and not any(isinstance(a, rc.Module) and a.body is b and b not in a.args for a, b in itertools.pairwise(p))
        }
        found = set(expr.get(rc.IterativeMatcher(second).filter_module_spec()))
        assert found == no_bodies
        counts["plain"] += bool(plain)
        counts["chain"] += bool(chain)

    check()
    assert counts["plain"] >= 10, counts
    assert counts["chain"] >= 3, counts


def test_the_expander_equals_a_loop_over_the_batch() -> None:
    counts: Counter[str] = Counter()

    @settings(max_examples=120)
    @given(expressions(), st.sampled_from([(4,), (3,), (2,), (2, 3)]), st.sets(st.sampled_from(LEAF_NAMES), min_size=1))
    def check(expr: rc.Expr, batch: tuple[int, ...], names: set[str]) -> None:
        if not expr.are_any_found(names):
            return

        def many(node: rc.Expr) -> rc.Expr:
            return rc.Array(torch.stack([entry(node, i) for i in range(count)]).reshape((*batch, *node.shape)))

        def entry(node: rc.Expr, i: int) -> torch.Tensor:
            return leaf(f"{node.name}{i}", node.shape).value

        count = int(torch.tensor(batch).prod())
        expanded = rc.Expander((names, many)).run(expr)
        one_by_one = [value_of(expr.update(names, lambda n, i=i: rc.Array(entry(n, i)))) for i in range(count)]
        expected = torch.stack(one_by_one).reshape((*batch, *one_by_one[0].shape))
        assert_same(expanded.evaluate(), expected)
        counts["in modules"] += num_modules(expr) > 0
        counts["in bodies"] += any(m.children[0].are_any_found(names) for m in expr.get(rc.Module))

    check()
    assert counts["in modules"] >= 40, counts
    assert counts["in bodies"] >= 20, counts


@given(expressions())
def test_files_give_the_same_object(expr: rc.Expr) -> None:
    assert pickle.loads(pickle.dumps(expr)) is expr


@given(expressions(), NAMES)
def test_an_update_that_changes_nothing_gives_the_same_object(expr: rc.Expr, name: str) -> None:
    for see_through in (False, True):
        assert expr.update(name, lambda n: n, see_through=see_through, assert_any_found=False) is expr
        assert expr.update(rc.Add, lambda n: n, see_through=see_through, assert_any_found=False) is expr
        assert expr.update(True, lambda n: n, see_through=see_through) is expr


@given(expressions(), NAMES)
def test_the_transform_runs_once_per_distinct_rebuilt_node(expr: rc.Expr, name: str) -> None:
    seen: list[rc.Expr] = []
    expr.update(name, lambda n: seen.append(n) or rc.Tag.new_with_random_uuid(n), assert_any_found=False)
    assert len(seen) == len(set(seen))


@given(expressions())
def test_printing_is_one_line_a_place(expr: rc.Expr) -> None:
    edges = 1 + sum(len(node.children) for node in rc.postorder([expr]))
    assert len(rc.to_text(expr).splitlines()) <= edges
