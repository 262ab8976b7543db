"""The functions that exported models need, against their definitions number by number."""

from __future__ import annotations

import math
from itertools import accumulate

import pytest
import torch

import scrub as rc
from scrub.graph import FUNCTIONS, Array, Expr, GeneralFunction
from scrub.graph.functions.binary import BINARY, Binary

ROWS = [[3.0, -1.0, 2.5], [0.5, 2.0, -7.0]]


def apply(name: str, *values: object, **parameters: object) -> list[object]:
    args = [Array(torch.tensor(value)) for value in values]
    return GeneralFunction(*args, spec=FUNCTIONS[name](**parameters)).evaluate().tolist()


def test_along_the_last_axis() -> None:
    assert apply("cumsum", ROWS) == [list(accumulate(row)) for row in ROWS]
    assert apply("cumprod", ROWS) == [list(accumulate(row, lambda x, y: x * y)) for row in ROWS]
    assert apply("prod", ROWS) == [math.prod(row) for row in ROWS]
    assert apply("sort", ROWS) == [sorted(row) for row in ROWS]
    assert apply("sort", ROWS, descending=True) == [sorted(row, reverse=True) for row in ROWS]
    assert apply("argsort", ROWS) == [sorted(range(3), key=row.__getitem__) for row in ROWS]
    assert apply("argmax", ROWS) == [row.index(max(row)) for row in ROWS]
    assert apply("argmax", [2, 5, 5]) == 1  # type: ignore[comparison-overlap]
    assert apply("cumsum", [True, True, False]) == [1, 2, 2]


def test_where() -> None:
    assert apply("where", [True, False], [1.0, 2.0], [3.0, 4.0]) == [1, 4]
    with pytest.raises(rc.ShapeError, match="all arguments need the same shape"):
        apply("where", [True], [1.0, 2.0], [3.0, 4.0])
    with pytest.raises(rc.DtypeError, match=r"the condition must be bool, not torch\.int64"):
        apply("where", [1], [1.0], [2.0])


@pytest.mark.parametrize(
    ("name", "of"),
    {
        "lt": lambda x, y: x < y,
        "le": lambda x, y: x <= y,
        "gt": lambda x, y: x > y,
        "ge": lambda x, y: x >= y,
        "eq": lambda x, y: x == y,
        "ne": lambda x, y: x != y,
        "minimum": min,
        "maximum": max,
        "divide": lambda x, y: x / y,
        "divide_floor": lambda x, y: x // y,
        "divide_trunc": lambda x, y: math.trunc(x / y),
        "remainder": lambda x, y: x % y,
        "fmod": math.fmod,
        "atan2": math.atan2,
    }.items(),
)
def test_functions_of_two_numbers(name: str, of: object) -> None:
    pairs = [(3.0, 2.0), (-3.0, 2.0), (7.5, -2.0), (2.0, 2.0)]
    xs, ys = zip(*pairs, strict=True)
    got = apply("binary", list(xs), list(ys), function=name)
    assert got == pytest.approx([of(x, y) for x, y in pairs])  # type: ignore[operator]


def test_bits_and_dtypes() -> None:
    assert apply("binary", [6, 5], [3, 4], function="bitwise_and") == [6 & 3, 5 & 4]
    assert apply("binary", [6, 5], [3, 4], function="bitwise_or") == [6 | 3, 5 | 4]
    assert apply("binary", [True, False], [True, True], function="bitwise_xor") == [False, True]
    assert {"bitwise_and", "bitwise_or", "bitwise_xor"} <= BINARY.keys()
    with pytest.raises(rc.DtypeError, match=r"needs integers or booleans, not torch\.float32"):
        apply("binary", [1.0], [2.0], function="bitwise_and")
    with pytest.raises(rc.DtypeError, match="the arguments have different dtypes"):
        apply("binary", [1.0], [2], function="lt")
    with pytest.raises(rc.ConstructionError, match="'less' is not a function of two numbers"):
        Binary("less")


def test_more_functions_of_one_number() -> None:
    x = [0.3, 0.8]
    for name in (
        "erf",
        "erfc",
        "expm1",
        "log1p",
        "log2",
        "log10",
        "tan",
        "asin",
        "acos",
        "atan",
        "sinh",
        "cosh",
        "asinh",
        "atanh",
    ):
        value: Expr = rc.elementwise(name, Array(torch.tensor(x, dtype=torch.float64)))
        assert value.evaluate().tolist() == pytest.approx([getattr(math, name)(number) for number in x], abs=1e-14)
    halves = Array(torch.tensor([-1.5, -0.2, 0.5, 2.5]))
    assert rc.elementwise("floor", halves).evaluate().tolist() == [-2, -1, 0, 2]
    assert rc.elementwise("ceil", halves).evaluate().tolist() == [-1, 0, 1, 3]
    assert rc.elementwise("round", halves).evaluate().tolist() == [-2, 0, 0, 2]
    assert rc.elementwise("trunc", halves).evaluate().tolist() == [-1, 0, 0, 2]
    assert rc.elementwise("sign", halves).evaluate().tolist() == [-1, -1, 1, 1]
