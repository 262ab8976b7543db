"""The oracle that judges rules, against the package's samplers and closed forms."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

import scrub as rc
from scrub.graph import BatchError, RandomVariableError, StoredCumulantVar, UnboundSymbolError
from scrub.rewrite.testing import Maker, groups_of, value_of
from tests.sampling.cumulants_by_hand import joint_cumulant


def var(name: str, values: list[float], probs: list[float]) -> rc.DiscreteVar:
    group = rc.Tag.new_from_name(rc.Array(torch.tensor(probs, dtype=torch.float64)), f"group of {name}")
    return rc.DiscreteVar(rc.Array(torch.tensor(values, dtype=torch.float64)), group, name)


def test_it_agrees_with_enumeration_by_the_samplers() -> None:
    """`RunDiscreteVarAllSpec` is exact, and shares no code with the oracle."""
    random_ones = with_cumulants = 0
    nested = rc.IterativeMatcher(rc.Cumulant).chain(rc.Cumulant, must_be_sub=True)
    for number in range(200):
        maker = Maker(f"oracle {number}")
        shape = maker.shape(max_ndim=2)
        expr = maker.random_expr(shape, 4) if number % 2 else maker.cumulant(shape, 3).add(maker.random_expr(shape, 2))
        if expr.are_any_found(nested):
            continue
        everything = rc.RunDiscreteVarAllSpec.create_full_from_exprs(expr)
        try:
            estimated = rc.Sampler(everything).estimate(expr)
            sampled = rc.Sampler(rc.RunDiscreteVarAllSpec(groups_of([expr]))).sample(estimated).evaluate()
        except BatchError:  # such as a table to gather from that is itself random
            continue
        torch.testing.assert_close(value_of(expr), sampled.double(), rtol=1e-9, atol=1e-9)
        random_ones += bool(groups_of([expr]))
        with_cumulants += expr.are_any_found(rc.Cumulant)
    assert min(random_ones, with_cumulants) >= 30


def test_cumulants_are_those_of_plain_python() -> None:
    """SPEC 6.5, against exact sums over outcomes written without the package."""
    x, y = var("x", [0.0, 1.0, 4.0], [0.5, 0.25, 0.25]), var("y", [-1.0, 2.0], [0.75, 0.25])
    tied = rc.DiscreteVar(rc.Array(torch.tensor([2.0, 0.0, 1.0], dtype=torch.float64)), x.probs_and_group, "tied")
    outcomes = [
        (p * q, (a, t, b))
        for (p, a, t), (q, b) in itertools.product(
            [(0.5, 0.0, 2.0), (0.25, 1.0, 0.0), (0.25, 4.0, 1.0)], [(0.75, -1.0), (0.25, 2.0)]
        )
    ]
    functions = [lambda o: o[0], lambda o: o[1], lambda o: o[2] * o[0], lambda o: o[2]]
    exprs = [x, tied, x.mul(y), y]
    for order in range(5):
        for chosen in itertools.combinations_with_replacement(range(4), order):
            expected = joint_cumulant(outcomes, [functions[i] for i in chosen])
            actual = value_of(rc.Cumulant(*(exprs[i] for i in chosen)))
            assert float(actual) == pytest.approx(float(expected), abs=1e-12)


def test_what_is_under_a_cumulant_is_constant() -> None:
    x = var("x", [0.0, 1.0], [0.25, 0.75])
    assert float(value_of(rc.Cumulant(rc.Cumulant(x), x))) == 0.0
    assert float(value_of(rc.Cumulant(rc.Cumulant(x, x).mul(x)))) == pytest.approx(0.1875 * 0.75)
    torch.testing.assert_close(value_of(x.sub(rc.Cumulant(x))), torch.tensor([-0.75, 0.25], dtype=torch.float64))


def test_a_parameter_may_stand_for_something_random() -> None:
    x = var("x", [0.0, 1.0], [0.5, 0.5])
    s = rc.Symbol.new_from_name((), "s")
    call = rc.Module(rc.ModuleSpec(rc.Cumulant(s, s), [s]), "variance", s=x)
    assert value_of(call).tolist() == [0.25, 0.25]  # whichever row x takes
    assert value_of(call, groups=()).item() == 0.25


def test_groups_symbols_and_stored_cumulants() -> None:
    x, y = var("x", [0.0, 1.0], [0.5, 0.5]), var("y", [1.0, 2.0, 3.0], [0.5, 0.25, 0.25])
    both = value_of(y, groups=(x.probs_and_group, y.probs_and_group))
    assert both.tolist() == [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]
    with pytest.raises(RandomVariableError, match="depends on a group that is not listed"):
        value_of(y, groups=(x.probs_and_group,))
    s = rc.Symbol.new_from_name((2,), "s")
    assert value_of(s.sum(), symbols={s: torch.tensor([1.0, 2.0])}).item() == 3.0
    with pytest.raises(UnboundSymbolError, match="symbol 's' has no value"):
        value_of(s)
    stored = StoredCumulantVar.new_mv(rc.Scalar(1.0), rc.Scalar(math.pi))
    assert value_of(rc.Cumulant(stored, stored)).item() == math.pi
    with pytest.raises(RandomVariableError, match="known by its cumulants alone"):
        value_of(stored)
    many = [var(str(i), [0.0, 1.0], [0.5, 0.5]) for i in range(20)]
    with pytest.raises(RandomVariableError, match="too many to enumerate"):
        value_of(rc.Add(*many))
