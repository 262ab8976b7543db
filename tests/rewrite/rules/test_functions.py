"""Rules of functions by hand: what comes out, what stays, and why."""

from __future__ import annotations

import math

import pytest
import torch

import scrub as rc
from scrub.graph import Expr, GeneralFunction
from scrub.graph.functions.power import Pow
from scrub.graph.functions.reduce import Max
from scrub.rewrite import NoMatch
from scrub.rewrite.rule import Rule
from scrub.rewrite.rules import (
    cancel_inverses,
    drop_cast,
    drop_redundant_function,
    drop_softmax_shift,
    fold_constants,
    function_of_scalar,
    fuse_functions,
    gather_to_index,
    power_to_function,
)
from scrub.rewrite.rules.functions.inverses import INVERSES
from scrub.rewrite.rules.functions.redundant import NON_NEGATIVE

X = rc.Array(torch.linspace(0.1, 0.9, 6, dtype=torch.float64).reshape(2, 3), "x")
TABLE = rc.Array(torch.arange(70.0).reshape(5, 2, 7), "table")


def f(name: str, x: Expr, own: str | None = None) -> GeneralFunction:
    return rc.elementwise(name, x, own)


def reason(rule: Rule[...], expr: Expr, **options: object) -> str:
    result = rule.attempt(expr, **options)
    assert isinstance(result, NoMatch), result
    return result.reason


# ---- folding ----------------------------------------------------------------------------------------------------


def test_folding_keeps_value_dtype_and_name() -> None:
    for dtype in (torch.float16, torch.float32, torch.float64, torch.int64, torch.bool):
        x = rc.Array(torch.tensor([1, 0, 1]).to(dtype), "x")
        total = rc.Add(x, rc.Scalar(1.0), name="s")
        folded = fold_constants(total, max_elements=3).cast(rc.Array)
        assert folded.name == "s"
        assert folded.dtype == dtype
        assert torch.equal(folded.value, total.evaluate())


def test_scalars_stay_scalars() -> None:
    a, b = rc.Scalar(2.0, (2, 1)), rc.Scalar(3.0, (4,))
    assert fold_constants(a.add(b), max_elements=8) is rc.Scalar(5.0, (2, 4))
    assert fold_constants(a.mul(b, name="six"), max_elements=8) is rc.Scalar(6.0, (2, 4), "six")
    assert fold_constants(rc.Add(name="nothing"), max_elements=1) is rc.Scalar(0.0, (), "nothing")
    assert "values that differ" in reason(
        fold_constants, rc.Concat(rc.Scalar(1.0, (1,)), rc.Scalar(2.0, (1,)), axis=0), max_elements=9
    )


def test_folding_says_why_not() -> None:
    s, dice = rc.Symbol.new_from_name((2,), "s"), rc.DiscreteVar(X)
    assert "more than 5 elements" in reason(fold_constants, f("exp", X), max_elements=5)
    big = rc.Rearrange(X, "a b -> a b 100").sum()
    assert "more than 5 elements" in reason(fold_constants, big, max_elements=5)
    assert "symbol or a random variable" in reason(fold_constants, f("exp", s), max_elements=5)
    assert "symbol or a random variable" in reason(fold_constants, rc.Cumulant(dice), max_elements=5)
    assert "no plain value" in reason(fold_constants, rc.Tag.new_from_name(X, "t").scale(1.0), max_elements=9)
    assert "no data" in reason(fold_constants, rc.Array(torch.empty(2, device="meta")).scale(2.0), max_elements=9)
    outside = GeneralFunction.gen_index(X, rc.Array(torch.tensor(7)), index_dim=0)
    assert "index 7 is out of range" in reason(fold_constants, outside, max_elements=9)
    assert "a value already" in reason(fold_constants, X, max_elements=9)


def test_a_folded_view_does_not_keep_the_large_tensor() -> None:
    big = rc.Array(torch.zeros(1000, 10))
    folded = fold_constants(rc.Index(big, (0,)), max_elements=10).cast(rc.Array)
    assert folded.value.untyped_storage().nbytes() == 40


# ---- functions ----------------------------------------------------------------------------------------------------


def test_functions_of_scalars() -> None:
    assert function_of_scalar(f("exp", rc.Scalar(1.0, (2,)), "e")) is rc.Scalar(math.e, (2,), "e")
    assert function_of_scalar(rc.softmax(rc.Scalar(7.0, (2, 4)))) is rc.Scalar(0.25, (2, 4))
    assert function_of_scalar(rc.log_softmax(rc.Scalar(7.0, (1,)))).cast(rc.Scalar).value == 0.0
    assert function_of_scalar(GeneralFunction(rc.Scalar(7.0, (2, 4)), spec=Max())) is rc.Scalar(7.0, (2,))
    power = GeneralFunction(rc.Scalar(2.0, (2, 1)), rc.Scalar(3.0, (4,)), spec=Pow())
    assert function_of_scalar(power) is rc.Scalar(8.0, (2, 4))
    assert reason(function_of_scalar, f("log", rc.Scalar(0.0))) == "log of [0.0] is -inf"
    assert "is no scalar" in reason(function_of_scalar, f("log", X))
    assert "not one number without a dtype" in reason(function_of_scalar, rc.cast_to(rc.Scalar(1.0), torch.float32))


@pytest.mark.parametrize(("outer", "inner"), sorted(INVERSES))
def test_inverses_cancel(outer: str, inner: str) -> None:
    expr = f(outer, f(inner, X))
    torch.testing.assert_close(expr.evaluate(), X.value)
    assert cancel_inverses(expr) is X
    assert "may not be taken apart" in reason(cancel_inverses, f(outer, f(inner, X, "kept")), dissolve="other")
    assert reason(cancel_inverses, f("sin", f(inner, X))) == f"sin is not the inverse of {inner}"


def test_the_result_takes_the_name_unless_it_is_a_leaf() -> None:
    """SPEC 1.4: leaves are never renamed."""
    inner = f("tanh", X, "inner")
    assert cancel_inverses(f("log", f("exp", inner), "outer")) is inner.rename("outer")
    assert cancel_inverses(f("log", f("exp", X), "outer")) is X


def test_signs_of_what_has_none_are_dropped() -> None:
    for name in NON_NEGATIVE:
        inner = f(name, X)
        assert bool((inner.evaluate() >= 0).all())
        assert drop_redundant_function(f("relu", inner)) is inner
        assert drop_redundant_function(f("abs", inner)) is inner
    assert drop_redundant_function(f("relu", rc.softmax(X))) is rc.softmax(X)
    assert drop_redundant_function(f("step", f("step", X))) is f("step", X)
    assert "may be negative" in reason(drop_redundant_function, f("relu", f("tanh", X)))
    assert "is not a step" in reason(drop_redundant_function, f("step", f("exp", X)))


def test_two_functions_that_are_one() -> None:
    assert fuse_functions(f("log", rc.softmax(X))) is rc.log_softmax(X)
    assert fuse_functions(f("exp", rc.log_softmax(X), "p")) is rc.softmax(X, "p")
    assert fuse_functions(f("reciprocal", f("sqrt", X))) is f("rsqrt", X)
    assert reason(fuse_functions, f("sqrt", f("reciprocal", X))) == "sqrt of reciprocal is no function of its own"


def test_casts() -> None:
    narrow = rc.cast_to(X, torch.float32)
    assert drop_cast(rc.cast_to(X, torch.float64)) is X
    assert drop_cast(rc.cast_to(rc.cast_to(narrow, torch.float64), torch.float16)) is rc.cast_to(narrow, torch.float16)
    assert "may lose digits" in reason(drop_cast, rc.cast_to(narrow, torch.float64))
    small = rc.cast_to(rc.Array(torch.tensor([300, -1])), torch.int8)
    assert "may lose digits" in reason(drop_cast, rc.cast_to(small, torch.int64))


def test_powers() -> None:
    def power(base: Expr, exponent: float, *shape: int) -> GeneralFunction:
        return GeneralFunction(base, rc.Scalar(exponent, shape), spec=Pow())

    assert power_to_function(power(X, 1)) is X
    assert power_to_function(power(X, -1.0)) is f("reciprocal", X)
    assert power_to_function(power(X, 0.5)) is f("sqrt", X)
    assert power_to_function(power(X, -0.5, 3)) is f("rsqrt", X)
    assert "no function for the exponent 0.0" in reason(power_to_function, power(X, 0.0))
    assert "repeats the base" in reason(power_to_function, power(X, 1.0, 4, 2, 3))
    assert "not for torch.int64" in reason(power_to_function, power(rc.Array(torch.tensor([2])), -1))


def test_softmax_does_not_see_shifts() -> None:
    column, row = (
        rc.Array(torch.ones(2, 1, dtype=torch.float64), "column"),
        rc.Array(torch.ones(3, dtype=torch.float64), "row"),
    )
    assert drop_softmax_shift(rc.softmax(rc.Add(column, X, rc.Scalar(3.0), X), "p")) is rc.softmax(rc.Add(X, X), "p")
    assert drop_softmax_shift(rc.log_softmax(rc.Add(X, column))) is rc.log_softmax(X)
    assert "no term is the same" in reason(drop_softmax_shift, rc.softmax(rc.Add(X, row)))
    assert "shape or dtype" in reason(drop_softmax_shift, rc.softmax(rc.Add(row, column)))
    assert "may not be taken apart" in reason(drop_softmax_shift, rc.softmax(rc.Add(X, column, name="s")), dissolve="t")


# ---- gathering ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index_dim", [0, 1, -1])
@pytest.mark.parametrize("batch_x", [True, False])
@pytest.mark.parametrize("batch_index", [True, False])
@pytest.mark.parametrize("positions", [1, [1], [0, 1], [1, 0], [[1, 0], [1, 1], [0, 0]], [[]], [[1], [1]]])
def test_gathering_at_known_positions(index_dim: int, batch_x: bool, batch_index: bool, positions: object) -> None:
    """SPEC 2.7, the four cases; what is picked is compared with torch, and no gather is left."""
    index = rc.Array(torch.tensor(positions, dtype=torch.int64), "at")
    x = TABLE
    if batch_x and batch_index:
        size = index.numel * 70
        x = rc.Array(torch.arange(float(size)).reshape(*index.shape, 5, 2, 7), "table")
    elif batch_x and index_dim >= 0:
        index_dim -= 3  # batch_x alone counts from the end
    gather = GeneralFunction.gen_index(x, index, index_dim, batch_x, batch_index, "picked")
    result = gather_to_index.attempt(gather)
    if batch_x and batch_index and index.ndim and (not index.numel or len(index.value.unique()) > 1):
        assert isinstance(result, NoMatch)
        assert result.reason == "the positions differ between batch entries"
        return
    assert not isinstance(result, NoMatch)
    assert result.name == "picked"
    assert not result.are_any_found(GeneralFunction)
    assert torch.equal(result.evaluate(), gather.evaluate())


@pytest.mark.parametrize(
    ("positions", "entry"), [([1, 2, 3], (1, 4)), ([0, 2], None), ([2, 1], None), ([1, 1], None), ([4], (4, 5))]
)
def test_positions_that_follow_each_other_are_a_slice(positions: list[int], entry: tuple[int, int] | None) -> None:
    gather = GeneralFunction.gen_index(TABLE, rc.Array(torch.tensor(positions)), 0)
    result = gather_to_index(gather).cast(rc.Index)
    assert result.entries[0] == entry or (entry is None and not isinstance(result.entries[0], tuple))
    assert torch.equal(result.evaluate(), TABLE.value[positions])


def test_gathering_says_why_not() -> None:
    symbol = rc.Symbol.new_from_name((2,), "tokens")
    assert "are not constant" in reason(gather_to_index, GeneralFunction.gen_index(TABLE, symbol, 0))
    outside = GeneralFunction.gen_index(TABLE, rc.Array(torch.tensor([0, 5])), 0)
    assert reason(gather_to_index, outside) == "position 5 is out of range for axis 0 of size 5"
    negative = GeneralFunction.gen_index(TABLE, rc.Array(torch.tensor([-1])), 0)
    assert reason(gather_to_index, negative) == "position -1 is out of range for axis 0 of size 5"
