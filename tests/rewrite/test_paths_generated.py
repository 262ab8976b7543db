"""Random matchers on random expressions, against all paths written out (SPEC 5.2 to 5.7)."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

import scrub as rc
from scrub import (
    IterativeMatcher,
    Matcher,
    Regex,
    children_matcher,
    module_arg_matcher,
    new_traversal,
    restrict,
    spec_matcher,
)
from scrub.rewrite import count_paths, directly_below, get_all_paths, iter_paths, not_through
from tests.rewrite.path_oracle import (
    Path,
    Spec,
    build,
    found_paths,
    iter_specs,
    nodes_of,
    paths_of,
    updated,
    updated_value,
)

NAMES = ["a", "b", "c", "x", "y", "p0", "p1"]
NUM_CASES = 1000
MAX_PATHS = 150


def expression(rng: random.Random, symbols: list[rc.Symbol], specs: list[rc.ModuleSpec], depth: int) -> rc.Expr:
    """Sums of scalars, with sharing, and calls in bodies and arguments; names occur often and twice."""
    pool: list[rc.Expr] = [*symbols, rc.Scalar(rng.choice([1.0, 2.0]), name="x"), rc.Scalar(5.0, name="y")]
    for _ in range(rng.randint(2, 4)):
        name = rng.choice([None, "a", "b", "c"])
        if depth < 3 and rng.random() < 0.45:
            closed = [s for s in specs if set(s.expr.free_symbols) <= {*s.symbols, *symbols}]
            if closed and rng.random() < 0.5:
                spec = rng.choice(closed)
            else:
                fresh = rng.random() < 0.5  # else a symbol that other specs bind too
                make = rc.Symbol.new_with_random_uuid if fresh else rc.Symbol.new_from_name
                own = [make((), f"p{i}") for i in range(rng.randint(1, 2))]
                outer = [s for s in symbols if rng.random() < 0.5 and s.name not in {o.name for o in own}]
                spec = rc.ModuleSpec(expression(rng, own + outer, specs, depth + 1), own, allow_unused=True)
                specs.append(spec)
            pool.append(rc.Module(spec, name, **{str(s.name): rng.choice(pool) for s in spec.symbols}))
        else:
            pool.append(rc.Add(*rng.choices(pool[-4:], k=rng.randint(1, 2)), name=name))
    return pool[-1]


def matcher(rng: random.Random, depth: int = 3) -> Spec:
    """A random matcher as nested tuples."""
    leaves = ["nodes"] * 4 + ["children", "argument", "body"]
    inner = (
        ["chain"] * 4
        + ["restrict"] * 3
        + ["any", "all", "no_spec", "not_through", "below", "limit", "windows", "windows"]
    )
    kind = rng.choice(leaves if depth == 0 or rng.random() < 0.2 else inner)
    few = tuple(rng.sample(NAMES, rng.randint(1, 4)))
    if kind == "nodes":
        return "nodes", few
    if kind == "children":
        return "children", set(rng.sample([0, 1, 2], rng.randint(1, 2)))
    if kind == "argument":
        return "argument", rng.choice(["p0", "p1"])
    if kind == "chain":
        return "chain", matcher(rng, depth - 1), matcher(rng, depth - 1), rng.random() < 0.3
    if kind == "restrict":
        options: dict[str, Any] = {"start_depth": rng.randint(0, 2)} if rng.random() < 0.3 else {}
        options |= {"end_depth": rng.randint(2, 7)} if rng.random() < 0.4 else {}
        options |= {"term_early_at": set(few[:2])} if rng.random() < 0.4 else {}
        options |= {"term_if_matches": True} if rng.random() < 0.3 else {}
        return "restrict", matcher(rng, depth - 1), options
    if kind == "windows":  # of depth, several of which are open at once
        window: dict[str, Any] = {"start_depth": rng.randint(0, 2), "end_depth": rng.choice([3, 4, 6, None])}
        if rng.random() < 0.4:
            window = {"start_depth": rng.randint(0, 1), "end_depth": None, "term_if_matches": True}
        return "chain", ("nodes", tuple(NAMES[:4])), ("restrict", ("nodes", few), window), rng.random() < 0.3
    if kind == "limit":  # of something, where alone it would find nearly everything
        return "all", matcher(rng, depth - 1), (rng.choice(["not_through", "below"]), matcher(rng, depth - 1))
    if kind in ("any", "all"):
        return kind, *(matcher(rng, depth - 1) for _ in range(rng.randint(1, 3)))
    return (kind,) if kind == "body" else (kind, matcher(rng, depth - 1))


def cases(seed: int) -> tuple[rc.Expr, Spec, bool, list[Path]]:
    rng = random.Random(seed)
    see_through = bool(seed % 2)
    while True:
        expr = expression(rng, [], [], 0)
        paths = paths_of(expr, see_through=see_through, limit=MAX_PATHS)
        if paths is not None and len(paths) > 4:
            return expr, matcher(rng), see_through, paths


def transform(node: rc.Expr) -> rc.Expr:
    return rc.Add(node.scale(3.0), rc.Scalar(1.0))


def test_every_combinator_agrees_with_all_paths_written_out() -> None:
    fired: Counter[str] = Counter()
    for seed in range(NUM_CASES):
        expr, spec, see_through, paths = cases(seed)
        m = build(spec)
        expected = found_paths(spec, paths)
        nodes = [nodes_of(path) for path in expected]
        assert list(iter_paths(expr, m, see_through=see_through)) == nodes, (seed, spec)
        assert count_paths(expr, m, see_through=see_through) == len(expected)
        found = list(dict.fromkeys(path[-1] for path in nodes))
        assert list(expr.get(m, see_through=see_through)) == found, (seed, spec)
        every = get_all_paths(expr, m, see_through=see_through)
        assert every == {node: [path for path in nodes if path[-1] is node] for node in found}
        one = expr.get_paths(m, see_through=see_through)
        assert set(one) == set(found)
        assert all(one[node] in every[node] for node in found)
        assert expr.are_any_found(m, see_through=see_through) == bool(found)
        changed = expr.update(m, transform, see_through=see_through, assert_any_found=False)
        if see_through:
            value = updated_value(paths, expected, lambda v: 3 * v + 1)
            assert float(changed.evaluate()) == pytest.approx(value, rel=1e-12), (seed, spec)
        else:
            assert changed is updated(paths, expected, transform), (seed, spec)
        if found and len(found) < len({path[-1].node for path in paths}):
            fired.update(set(iter_specs(spec)))
            fired[f"see_through={see_through}"] += 1
            has_modules = expr.are_any_found(rc.Module)
            fired["seen through modules"] += see_through and has_modules
            fired["on some paths only"] += len(expected) < sum(path[-1].node in found for path in paths)
    assert min(fired.values()) >= 15, fired
    assert fired["see_through=True"] >= 100, fired
    assert fired["see_through=False"] >= 100, fired
    assert fired["on some paths only"] >= 60, fired
    assert len(fired) == 15, fired


def test_matchers_print_as_what_makes_them() -> None:
    scope = {
        "IterativeMatcher": IterativeMatcher,
        "Matcher": Matcher,
        "Regex": Regex,
        "children_matcher": children_matcher,
        "directly_below": directly_below,
        "module_arg_matcher": module_arg_matcher,
        "new_traversal": new_traversal,
        "not_through": not_through,
        "restrict": restrict,
        "spec_matcher": spec_matcher,
    }
    texts: set[str] = set()
    for seed in range(500):
        m = build(matcher(random.Random(seed), 4))
        again = eval(repr(m), scope)
        assert again == m
        assert (hash(again), repr(again)) == (hash(m), repr(m))
        texts.add(repr(m))
    assert len(texts) > 400
