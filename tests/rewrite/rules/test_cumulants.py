"""Rules of cumulants by hand: closed forms, the samplers' exact enumeration, and what must not be touched."""

from __future__ import annotations

import itertools

import pytest
import torch

import scrub as rc
from scrub.graph import Expr, StoredCumulantVar
from scrub.rewrite import NoMatch, simplify
from scrub.rewrite.rule import Rule
from scrub.rewrite.rules import (
    cumulant_of_constants,
    cumulant_to_expectations,
    drop_independent_cumulant,
    pull_factors_out_of_cumulant,
    split_cumulant_of_products,
    split_cumulant_of_sum,
    use_stored_cumulant,
)
from scrub.rewrite.rules.cumulants.common import is_connected, partitions
from scrub.rewrite.testing import value_of


def var(name: str, n: int, *shape: int, like: rc.DiscreteVar | None = None) -> rc.DiscreteVar:
    """A variable with its own weighted group, or in that of another."""
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    values = torch.randn(n, *shape, dtype=torch.float64, generator=generator)
    weights = torch.arange(1.0, n + 1, dtype=torch.float64)
    group = rc.Tag.new_from_name(rc.Array(weights / weights.sum()), f"group {name}")
    return rc.DiscreteVar(rc.Array(values), group if like is None else like.probs_and_group, name)


X, Y, Z = var("x", 3, 2), var("y", 2, 2), var("z", 3)
TIED = var("tied", 3, 2, like=X)
C = rc.Array(torch.tensor([2.0, -1.0], dtype=torch.float64), "c")


def exact(expr: Expr) -> torch.Tensor:
    """By the samplers' enumeration, which shares nothing with the rules or their oracle."""
    spec = rc.RunDiscreteVarAllSpec.create_full_from_exprs(expr)
    return rc.Sampler(spec).estimate(expr).evaluate() if spec.groups else expr.evaluate()


def applied(rule: Rule[...], expr: Expr, **options: object) -> Expr:
    """The result, after comparing it in both ways."""
    result = rule(expr, **options)
    torch.testing.assert_close(value_of(result), value_of(expr), rtol=1e-10, atol=1e-12)
    nested = rc.IterativeMatcher(rc.Cumulant).chain(rc.Cumulant, must_be_sub=True)
    if not any(each.are_any_found(nested) for each in (expr, result)):  # which the samplers do not do
        torch.testing.assert_close(exact(result), exact(expr), rtol=1e-10, atol=1e-12)
    return result


def reason(rule: Rule[...], expr: Expr, **options: object) -> str:
    result = rule.attempt(expr, **options)
    assert isinstance(result, NoMatch), result
    return result.reason


def test_constants() -> None:
    """SPEC 6.5: of constants, order 0 is 1, order 1 the constant, and order 2 and more 0."""
    assert cumulant_of_constants(rc.Cumulant(name="one")) is rc.Scalar(1.0, (), "one")
    assert cumulant_of_constants(rc.Cumulant(C, name="mean")) is C
    mean = rc.Cumulant(X, name="E x")
    assert cumulant_of_constants(rc.Cumulant(mean, name="k")) is mean.rename("k")
    zeros = applied(cumulant_of_constants, rc.Cumulant(X, mean, name="k"))
    assert zeros.name == "k"
    assert not zeros.are_any_found(rc.DiscreteVar)
    assert zeros.dtype == torch.float64
    assert reason(cumulant_of_constants, rc.Cumulant(X, Y)) == "no argument is constant"


def test_a_symbol_may_be_bound_to_something_random() -> None:
    s = rc.Symbol.new_from_name((2,), "s")
    for rule, expr in [
        (cumulant_of_constants, rc.Cumulant(s)),
        (drop_independent_cumulant, rc.Cumulant(s, X)),
        (pull_factors_out_of_cumulant, rc.Cumulant(s.mul(X))),
    ]:
        assert isinstance(rule.attempt(expr), NoMatch)
    call = rc.Module(rc.ModuleSpec(rc.Cumulant(s, s), [s]), "variance", s=X)
    kept = simplify(call)
    torch.testing.assert_close(value_of(kept), value_of(call))


def test_independent_arguments() -> None:
    assert applied(drop_independent_cumulant, rc.Cumulant(X, Y)).dtype == torch.float64
    applied(drop_independent_cumulant, rc.Cumulant(X, Z, Y.mul(Z)).rename("k"))  # x is apart from y and z
    connected = "its arguments are connected by the random variables that they share"
    assert reason(drop_independent_cumulant, rc.Cumulant(X, TIED)) == connected
    assert reason(drop_independent_cumulant, rc.Cumulant(X, X.mul(Y), Y)) == connected
    assert float(value_of(rc.Cumulant(X, TIED)).abs().max()) > 0.01
    assert reason(drop_independent_cumulant, rc.Cumulant(X)) == "it has no two arguments"


def test_what_is_under_a_cumulant_connects_nothing() -> None:
    centred = X.sub(rc.Cumulant(Y.mul(X)))
    assert isinstance(drop_independent_cumulant.attempt(rc.Cumulant(centred, Y)), Expr)
    torch.testing.assert_close(value_of(rc.Cumulant(centred, Y)), torch.zeros(2, 2, dtype=torch.float64))


def test_sums_are_taken_apart_with_their_broadcasts() -> None:
    total = rc.Add(X, Z, C, name="s")
    result = applied(split_cumulant_of_sum, rc.Cumulant(Y, total, name="k"))
    repeated = rc.Rearrange(Z, "-> 2")
    assert result is rc.Add(rc.Cumulant(Y, X), rc.Cumulant(Y, repeated), rc.Cumulant(Y, C), name="k")
    applied(split_cumulant_of_sum, rc.Cumulant(total, total, X), argument=1)
    assert "is a sum that may be taken apart" in reason(split_cumulant_of_sum, rc.Cumulant(total), dissolve="other")
    assert "is a sum" in reason(split_cumulant_of_sum, rc.Cumulant(X, total), argument=0)
    integers = rc.DiscreteVar(rc.Array(torch.tensor([1, 2])), name="i")
    assert "no expectation in the same dtype" in reason(split_cumulant_of_sum, rc.Cumulant(integers.add(integers)))


def test_constant_factors_and_matrices_are_pulled_out() -> None:
    w = rc.Array(torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)), "w")
    image = rc.Einsum.from_string("ab,b->a", w, X, name="wx")
    result = applied(pull_factors_out_of_cumulant, rc.Cumulant(Y, image, name="k"))
    assert result is rc.Einsum.from_string("yb,ab->ya", rc.Cumulant(Y, X), w, name="k")
    covariance = rc.Cumulant(image, image)
    twice = applied(pull_factors_out_of_cumulant, covariance, argument=1)
    torch.testing.assert_close(value_of(twice), w.value @ value_of(rc.Cumulant(X, X)) @ w.value.T)
    applied(pull_factors_out_of_cumulant, rc.Cumulant(rc.Einsum.from_string("a,a,b,->ba", X, Y, C, rc.Scalar(3.0))))
    applied(pull_factors_out_of_cumulant, rc.Cumulant(rc.Einsum.from_string("a,a->aa", X, C), Z))
    assert "product of constant and random" in reason(pull_factors_out_of_cumulant, rc.Cumulant(X.mul(Y)))


@pytest.mark.parametrize("sizes", [(2,), (3,), (1, 2), (2, 2), (1, 1, 2), (2, 1, 2), (1, 1, 1, 2), (2, 1, 1, 2)])
def test_products_by_leonov_and_shiryaev(sizes: tuple[int, ...]) -> None:
    """Orders 1 to 4, with ties between the factors."""
    factors = itertools.cycle([X, Y, TIED, X])
    args: list[Expr] = []
    for size in sizes:
        own = [next(factors) for _ in range(size)]
        args.append(rc.Einsum(*((factor, (0,)) for factor in own), out_axes=()))
    applied(split_cumulant_of_products, rc.Cumulant(*args, name="k"))


def test_known_expansions_of_products() -> None:
    def k(*exprs: Expr) -> Expr:
        return rc.Cumulant(*exprs)

    a, b, c = var("a", 2), var("b", 2), Z
    two = applied(split_cumulant_of_products, k(a.mul(b)).rename("k"))
    assert set(two.children) == {k(a, b), rc.Einsum((k(a), ()), (k(b), ()), out_axes=())}
    three = applied(split_cumulant_of_products, k(a.mul(b), c).rename("k"))
    expected = {
        k(a, b, c),
        rc.Einsum((k(a, c), ()), (k(b), ()), out_axes=()),
        rc.Einsum((k(a), ()), (k(b, c), ()), out_axes=()),
    }
    assert set(three.children) == expected
    assert "7 random factors, more than 6" in reason(
        split_cumulant_of_products, k(rc.Einsum(*[(a, ())] * 7, out_axes=()))
    )
    assert reason(split_cumulant_of_products, k(a.mul(b), C)) == "an argument is constant"
    applied(split_cumulant_of_products, k(X.mul(C), Y.mul(X)))


def test_connected_partitions_are_as_many_as_the_moments_say() -> None:
    """k(a b, c d) has 11 terms: of the 15 partitions of 4, those that join the two pairs (Brillinger 1975, 2.3)."""
    joined = [p for p in partitions(4) if is_connected(p, [0, 0, 1, 1])]
    assert len(list(partitions(4))) == 15
    assert len(joined) == 11


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("order", [2, 3, 4])
def test_expectations_of_products(order: int, centred: bool) -> None:
    """SPEC 6.5: order 3 is the third central moment; order 4 the fourth less the three pairings."""
    args = [X, TIED, X.mul(Y), Z][:order]
    applied(cumulant_to_expectations, rc.Cumulant(*args, name="k"), centred=centred)
    result = cumulant_to_expectations(rc.Cumulant(*[Z] * order), centred=centred)
    values, probs = Z.values.evaluate(), value_of(Z.probs_and_group)
    mean = (probs * values).sum()
    moments = [(probs * (values - mean) ** k).sum() for k in range(5)]
    expected = {2: moments[2], 3: moments[3], 4: moments[4] - 3 * moments[2] ** 2}[order]
    torch.testing.assert_close(value_of(result), expected)


def test_expectations_have_reasons_and_limits() -> None:
    assert reason(cumulant_to_expectations, rc.Cumulant(X)) == "its order is 1"
    assert reason(cumulant_to_expectations, rc.Cumulant(*[Z] * 7)) == "its order is 7, above 6"


def test_stored_cumulants() -> None:
    covariance = rc.Array(torch.eye(2, dtype=torch.float64), "covariance")
    noise = StoredCumulantVar.new_mv(C, covariance, {3: rc.Scalar(0.0, (2, 2, 2))}, name="noise")
    assert use_stored_cumulant(rc.Cumulant(noise, name="k")) is C
    assert use_stored_cumulant(rc.Cumulant(noise, noise, name="k")) is covariance
    third = use_stored_cumulant(rc.Cumulant(noise, noise, noise, name="k"))
    assert third.dtype == torch.float64
    assert third.name == "k"
    assert torch.equal(third.evaluate(), torch.zeros(2, 2, 2, dtype=torch.float64))
    assert reason(use_stored_cumulant, rc.Cumulant(*[noise] * 4)).endswith("has no cumulant of order 4")
    other = StoredCumulantVar.new_mv(C, covariance, name="noise")
    assert "not all arguments are 'noise'" in reason(use_stored_cumulant, rc.Cumulant(noise, other))
    assert isinstance(drop_independent_cumulant.attempt(rc.Cumulant(noise, other)), Expr)
    assert isinstance(drop_independent_cumulant.attempt(rc.Cumulant(noise, noise)), NoMatch)


def test_a_sum_of_many_terms_is_split_in_time_linear_in_them() -> None:
    total = rc.Add(*(Z.scale(float(i)) for i in range(10_000)))
    result = split_cumulant_of_sum(rc.Cumulant(total))
    assert len(result.children) == 10_000
