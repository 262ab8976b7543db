"""`checked`: it passes what keeps its promises, and finds what does not, wherever the difference shows."""

from __future__ import annotations

import re

import pytest
import torch

import scrub as rc
from scrub.graph import ConstructionError, Expr, RewriteError
from scrub.rewrite import checked
from scrub.rewrite.rule import REWRITES
from scrub.rewrite.rules import flatten_sum
from scrub.rewrite.testing import Maker

X = rc.Array(torch.arange(6.0, dtype=torch.float64).reshape(2, 3), "x")
Y = rc.Array(torch.ones(2, 3, dtype=torch.float64), "y")


def test_inline_on_a_rule_with_options() -> None:
    nested = rc.Add(rc.Add(X, Y, name="inner"), Y, name="s")
    assert checked(flatten_sum)(nested) is flatten_sum(nested)
    with pytest.raises(RewriteError, match="no term is a sum that may be taken apart"):
        checked(flatten_sum)(nested, dissolve="other")


def test_as_a_decorator_with_and_without_options() -> None:
    @checked
    def doubled(expr: Expr) -> Expr:
        """Its own words."""
        return rc.Add(expr, expr.scale(0.0), name=expr.name)

    @checked(seed=3, tolerance=10.0)
    def shifted(expr: Expr, by: float) -> Expr:
        return rc.Add(expr, rc.Scalar(by), name=expr.name)

    assert doubled(X.scale(2.0)).shape == (2, 3)
    assert doubled.__doc__ == "Its own words."
    assert shifted(Y.scale(1.0), 9.0).shape == (2, 3)
    with pytest.raises(RewriteError, match="shifted does not keep the value"):
        shifted(Y.scale(1.0), by=11.0)


def test_where_the_values_differ_most_is_shown_with_both_values_and_both_texts() -> None:
    delta = torch.zeros(2, 3, dtype=torch.float64)
    delta[0, 1], delta[1, 2] = 1.0, -5.0
    with pytest.raises(RewriteError) as caught:
        checked(lambda expr: rc.Add(expr, rc.Array(delta, "delta"), name=expr.name))(rc.Add(X, name="s"))
    message = str(caught.value)
    assert "changed at 2 of 6 positions, most at [1, 2]: it was 5, is 0 (difference 5)" in message
    assert re.search(r"^\+.*'delta' \[2, 3\] Array", message, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda s: rc.Index(s, (0,), name="s"), r"the shape was \(2, 3\), is \(3,\)"),
        (lambda s: rc.cast_to(s, torch.float32, name="s"), "the dtype was torch.float64, is torch.float32"),
        (lambda s: s.rename("other"), "the name 's' became 'other'"),
        (lambda s: rc.Add(X.rename("z"), name="s"), "the leaf 'x' was renamed to 'z'"),
        (lambda s: rc.Add(X, rc.Scalar(float("nan")), name="s"), "it was 0, is nan"),
        (lambda s: rc.Add(X, rc.Scalar(1e-8), name="s"), "the value changed at 6 of 6"),
    ],
)
def test_each_kind_of_broken_promise_is_named(change: object, problem: str) -> None:
    with pytest.raises(RewriteError, match=problem):
        checked(change)(rc.Add(X, name="s"))  # type: ignore[arg-type]


def test_a_function_that_returns_no_expression() -> None:
    with pytest.raises(ConstructionError, match="returned int, not an Expr"):
        checked(lambda expr: 3)(X)  # type: ignore[arg-type, return-value]


def test_free_symbols_are_bound_to_the_same_random_values() -> None:
    s, t = rc.Symbol.new_from_name((2, 3), "s"), rc.Symbol.new_from_name((2, 3), "t")
    difference = s.sub(t)
    assert checked(lambda expr: rc.Add(t.scale(-1.0), s))(difference).shape == (2, 3)
    with pytest.raises(RewriteError, match="value changed"):
        checked(lambda expr: t.sub(s))(difference)


def test_a_difference_that_random_values_do_not_show_is_found_with_given_ones() -> None:
    s = rc.Symbol.new_from_name((), "s")
    expr = rc.elementwise("step", rc.Add(s, rc.Scalar(-50.0)))

    def constant(_: Expr) -> Expr:
        return s.scale(0.0)

    assert checked(constant)(expr) is constant(expr)
    with pytest.raises(RewriteError, match=r"it was 1, is 0"):
        checked(constant, values={"s": torch.tensor(60.0, dtype=torch.float64)})(expr)


def test_symbols_that_are_positions_are_bound_to_positions() -> None:
    table = rc.Array(torch.arange(8.0).reshape(4, 2), "table")
    tokens = rc.Symbol.new_from_name((5,), "tokens")
    picked = rc.GeneralFunction.gen_index(table, tokens, index_dim=0)
    doubled = rc.GeneralFunction.gen_index(table.scale(2.0), tokens, index_dim=0)
    assert checked(lambda expr: doubled)(picked.scale(2.0)) is doubled
    with pytest.raises(RewriteError, match="value changed"):
        checked(lambda expr: doubled)(picked)


def test_random_variables_are_compared_at_every_joint_outcome() -> None:
    """Equal in distribution is not equal: two independent variables differ at some outcomes, a tied one does not."""
    values = rc.Array(torch.tensor([0.0, 1.0], dtype=torch.float64))
    x, y = rc.DiscreteVar(values, name="x"), rc.DiscreteVar(values, name="y")
    tied = rc.DiscreteVar(rc.Array(torch.tensor([1.0, 0.0], dtype=torch.float64)), x.probs_and_group)
    with pytest.raises(RewriteError, match="value changed at 2 of 4 positions"):
        checked(lambda expr: y.scale(1.0))(x.scale(1.0))
    assert checked(lambda expr: rc.Scalar(1.0).sub(tied))(x.scale(1.0)).shape == ()
    with pytest.raises(RewriteError, match=r"it was 0\.25, is 0 "):
        checked(lambda expr: rc.Cumulant(x, y))(rc.Cumulant(x, x))


def test_many_outcomes_are_drawn() -> None:
    n = 3000
    x = rc.DiscreteVar(rc.Array(torch.arange(n, dtype=torch.float64)), name="x")
    y = rc.DiscreteVar(rc.Array(torch.arange(n, dtype=torch.float64)), name="y")
    assert checked(lambda expr: x.add(y, x))(x.scale(2.0).add(y)).shape == ()
    with pytest.raises(RewriteError, match="value changed"):
        checked(lambda expr: x.add(y))(x.scale(2.0).add(y))


def test_what_stays_the_same_object_costs_nothing() -> None:
    endless = rc.DiscreteVar(rc.Scalar(1.0, (10**9,)), name="endless")
    assert checked(lambda expr: expr)(endless) is endless


def test_modules_and_single_precision() -> None:
    s = rc.Symbol.new_from_name((3,), "s")
    w = rc.Array(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)), "w")
    body = rc.Einsum.from_string("ab,b->a", w, s, name="body")
    call = rc.Module(rc.ModuleSpec(body, [s]), "call", s=rc.Array(torch.ones(4, 3), "batch"))
    assert checked(rc.substitute)(call).shape == (4, 3)
    doubled = rc.Module(rc.ModuleSpec(body.scale(2.0, name="body"), [s]), "call", **{"s": call.args[0]})
    with pytest.raises(RewriteError, match="value changed at 12 of 12"):
        checked(lambda expr: doubled)(call)


def test_every_registered_rule_passes_on_generated_expressions() -> None:
    tried = 0
    for name, rule in REWRITES.items():
        for number in range(3):
            maker = Maker(f"checked {name} {number}")
            node = rule.cases(maker) if rule.cases is not None else maker.pattern(*rule.pattern)
            options = next(iter(rule.choices(node)), {}) if rule.choices is not None else {}
            if all(key in options for key in rule.required) and rule.attempt(node, **options):
                checked(rule)(node, **options)
                tried += 1
    assert tried >= len(REWRITES)
