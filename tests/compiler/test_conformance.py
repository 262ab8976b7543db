"""Compiled programs against the exact value at every joint outcome, in combinations of passes.

Passes come from the registry: one that joins it is tried alone, left out, in pairs and in random sets, and must have
changed something often enough to be trusted.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter

import pytest
import torch

import scrub as rc
from scrub.compiler import compile as compile_expressions
from scrub.compiler.passes import ALL_PASSES, PASSES
from scrub.graph import postorder
from tests.compiler.cases import (
    Case,
    cases,
    check_case,
    corpus,
    depends_on_draws,
    generated,
    pattern_cases,
    some_passes,
    subsets,
    watched,
)

NUM_CASES = 160
LEAST_FIRED = 5
MOST_SUBSETS = 36

pytestmark = pytest.mark.filterwarnings("ignore:.*one by one")


@functools.cache
def cases_by_pass() -> dict[str, list[Case]]:
    """The cases that each pass changes, with all passes on; checks them on the way."""
    changed: dict[str, list[Case]] = {name: [] for name in PASSES}
    for case in [*cases(0, NUM_CASES), *pattern_cases(2)]:
        with watched() as fired:
            check_case(case, ALL_PASSES)
        for name, count in fired.items():
            if count:
                changed[name].append(case)
    return changed


def test_all_passes_are_on_unless_said_otherwise() -> None:
    assert set(PASSES) <= set(ALL_PASSES)
    assert tuple(compile_expressions(rc.Scalar(1.0)).passes) == tuple(ALL_PASSES)


def test_generated_cases_are_of_every_kind() -> None:
    counts: Counter[str] = Counter()
    for case in cases(0, NUM_CASES):
        drawn = [depends_on_draws(expr, case.batched) for expr in case.exprs]
        leaves = [not expr.children for expr in case.exprs]
        counts["several outputs"] += len(case.exprs) > 1
        counts["the same output twice"] += len(set(case.exprs)) < len(case.exprs)
        counts["a leaf as output"] += any(leaves)
        counts["a symbol as output"] += any(isinstance(expr, rc.Symbol) for expr in case.exprs)
        counts["outputs with and without draws"] += len(set(drawn)) == 2
        counts["nothing drawn"] += not any(drawn)
        counts["symbols bound draw by draw"] += bool(case.batched)
        counts["symbols bound once"] += any(
            isinstance(key, rc.Symbol) and key not in case.batched for key in case.bindings
        )
        counts["one draw"] += len(case.expected[0]) == 1 and any(drawn)
        counts["modules"] += any(isinstance(node, rc.Module) for node in postorder(case.exprs))
        counts["modules called with batch axes"] += any(
            isinstance(node, rc.Module) and node.num_batch > 0 for node in postorder(case.exprs)
        )
    assert {kind: count for kind, count in counts.items() if count < 7} == {}


def test_without_passes() -> None:
    for case in cases(0, NUM_CASES):
        check_case(case, ())


def test_with_all_passes() -> None:
    cases_by_pass()


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_changes_enough_cases(name: str) -> None:
    assert len(cases_by_pass()[name]) >= LEAST_FIRED


@pytest.mark.parametrize("name", ALL_PASSES)
def test_a_pass_alone(name: str) -> None:
    for case in cases_by_pass().get(name, cases(0, 25))[:25]:
        check_case(case, (name,))


@pytest.mark.parametrize("name", ALL_PASSES)
def test_all_passes_but_one(name: str) -> None:
    rest = tuple(other for other in ALL_PASSES if other != name)
    for case in cases_by_pass().get(name, cases(0, 25))[:25]:
        check_case(case, rest)


def test_pairs_of_passes() -> None:
    by_pass = cases_by_pass()
    for first, second in itertools.combinations(PASSES, 2):
        both = [case for case in by_pass[first] if case in by_pass[second]]
        for case in both[:3]:
            check_case(case, (first, second))


def test_random_sets_of_passes() -> None:
    for i, case in enumerate(cases(0, NUM_CASES)):
        check_case(case, some_passes(i))


def test_every_pattern_under_every_set_of_passes() -> None:
    """All of them while they are few; then those of few passes and of all but few, and random ones."""
    chosen = subsets()
    if len(chosen) > MOST_SUBSETS:
        some = [some_passes(f"subset {i}") for i in range(MOST_SUBSETS)]
        chosen = list(dict.fromkeys([*subsets(up_to=1), *some]))[:MOST_SUBSETS]
    for passes in chosen:
        for case in corpus():
            check_case(case, passes)


@pytest.mark.parametrize("passes", subsets(up_to=1), ids=lambda passes: " ".join(passes) or "none")
def test_siblings_of_which_one_has_the_same_argument_twice(passes: tuple[str, ...]) -> None:
    """a + a beside b + c, where b and c are put side by side and a is there once."""
    groups = [rc.Tag.new_from_name(rc.uniform(2), name) for name in ("first", "second")]
    tables = [torch.randn(2, 3, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in range(3)]
    drawn = [(tables[0], groups[0]), (tables[1], groups[0]), (tables[2], groups[1])]
    a, b, c = (rc.DiscreteVar(rc.Array(table), group) for table, group in drawn)
    rows = {groups[0]: torch.tensor([1, 0, 1]), groups[1]: torch.tensor([0, 1, 1])}
    x, y, z = (table[rows[group]] for table, group in drawn)
    program = compile_expressions([rc.Add(a, a), rc.Add(b, c), a.mul(a), b.mul(c)], passes=passes)
    for got, want in zip(program.run(rows), [x + x, y + z, x * x, y * z], strict=True):
        torch.testing.assert_close(got, want)


def test_the_order_in_which_passes_are_named_does_not_matter() -> None:
    case = corpus()[0]
    check_case(case, tuple(reversed(ALL_PASSES)))
    check_case(case, frozenset(ALL_PASSES))


def test_programs_agree_with_the_reference_evaluator() -> None:
    count = 0
    for case in cases(0, NUM_CASES):
        if not any(depends_on_draws(expr, case.batched) for expr in case.exprs):
            symbols = {key: tensor for key, tensor in case.bindings.items() if isinstance(key, rc.Symbol)}
            needed = {key: symbols[key] for expr in case.exprs for key in expr.free_symbols}
            try:
                expected = rc.evaluate_many(case.exprs, needed)
            except rc.BatchError:  # tables in bodies take no batch axes there
                continue
            for got, want in zip(compile_expressions(case.exprs).run(needed), expected, strict=True):
                torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10, equal_nan=True)
            count += 1
    assert count >= 30


def test_a_program_computes_for_other_inputs_of_the_same_kind() -> None:
    """What it was compiled for is their kind; rows in another order give results in that order."""
    count = 0
    for case in cases(0, 60):
        program = compile_expressions(case.exprs, batched=case.batched)
        needed = {*program.symbols, *program.groups}
        bound = {key: tensor for key, tensor in case.bindings.items() if key in needed}
        first = program.run(bound)
        turned = {
            key: tensor.flip(0) if key in case.batched or not isinstance(key, rc.Symbol) else tensor
            for key, tensor in bound.items()
        }
        for expr, before, after in zip(case.exprs, first, program.run(turned), strict=True):
            count += before.ndim > expr.ndim
            want = before.flip(0) if before.ndim > expr.ndim else before
            torch.testing.assert_close(after, want, rtol=1e-9, atol=1e-9, equal_nan=True)
    assert count >= 30


@pytest.mark.slow
def test_many_more_cases_under_random_sets_of_passes() -> None:
    with watched() as fired:
        for seed in range(10_000, 16_000):
            case = generated.__wrapped__(seed)
            if case is not None:
                check_case(case, ALL_PASSES)
                check_case(case, some_passes(seed))
    assert {name for name in PASSES if fired[name] < 100} == set()


@pytest.mark.slow
def test_every_pattern_under_really_every_set_of_passes() -> None:
    for passes in subsets():
        for case in corpus():
            check_case(case, passes)
