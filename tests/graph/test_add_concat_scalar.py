"""SPEC 2.2, 2.5 and 2.8: Add, Scalar, Concat, and the mixing of dtypes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import scrub as rc
from tests.independent import assert_same

X = torch.arange(6.0).reshape(2, 3)
SIZES = st.lists(st.sampled_from([1, 2, 3]), max_size=4).map(tuple)


def test_2_2_add_broadcasts_like_numpy() -> None:
    terms = [X, torch.ones(2, 1), torch.tensor([10.0, 20.0, 30.0])]
    total = rc.Add(*map(rc.Array, terms), rc.Scalar(0.5))
    assert_same(total.evaluate(), terms[0] + terms[1] + terms[2] + 0.5)
    assert (rc.Add().shape, rc.Add().evaluate().item()) == ((), 0)


@given(st.lists(SIZES, min_size=1, max_size=4))
def test_2_2_generated_shapes_against_torch(shapes: list[tuple[int, ...]]) -> None:
    tensors = [torch.arange(1.0, 1 + math.prod(s)).reshape(s) for s in shapes]
    try:
        expected = torch.broadcast_tensors(*tensors)
    except RuntimeError:
        with pytest.raises(rc.ShapeError, match=r"(?s)Add 'sum': axis -\d is \d in .* but \d in .*hint:"):
            rc.Add(*map(rc.Array, tensors), name="sum")
        return
    total = rc.Add(*map(rc.Array, tensors), name="sum")
    assert total.shape == tuple(expected[0].shape)
    assert_same(total.evaluate(), torch.stack(expected).sum(0), tolerance=1e-5)


def test_2_2_add_errors_name_both_terms_and_the_axis() -> None:
    with pytest.raises(rc.ShapeError) as caught:
        rc.Add(rc.Array(X, "x"), rc.Array(torch.ones(2), "y"), name="sum")
    message = str(caught.value)
    assert message.startswith("Add 'sum': axis -1 is 3 in 'x' [2, 3] Array ")
    assert "but 2 in 'y' [2] Array " in message
    assert "hint: only axes of size 1 broadcast" in message
    assert (caught.value.axis, caught.value.expected, caught.value.found) == (-1, 3, 2)


def test_2_2_scalars_take_the_dtype_of_their_neighbours() -> None:
    for dtype in (torch.float16, torch.float32, torch.float64, torch.bfloat16):
        total = rc.Add(rc.Array(X.to(dtype)), rc.Scalar(0.5, (2, 3)))
        assert total.dtype == total.evaluate().dtype == dtype
        scaled = rc.Array(X.to(dtype)).scale(2.0)
        assert scaled.dtype == scaled.evaluate().dtype == dtype
    assert rc.Scalar(2.0).evaluate().dtype == torch.float64
    assert rc.Scalar(0.1).evaluate().item() == 0.1
    assert rc.Scalar(0.5, (2, 0)).evaluate().shape == (2, 0)
    ints = rc.Add(rc.Array(torch.tensor([1, 2])), rc.Scalar(3))
    assert ints.dtype == ints.evaluate().dtype == torch.int64
    with pytest.raises(rc.DtypeError, match=r"(?s)a scalar that is not a torch.int64.*cast_to"):
        rc.Add(rc.Array(torch.tensor([1, 2])), rc.Scalar(0.5)).evaluate()
    with pytest.raises(rc.ConstructionError, match=r"(?s)Scalar 's': expected an int or a float, found Tensor.*Array"):
        rc.Scalar(torch.tensor(1.0), name="s")  # type: ignore[arg-type]
    with pytest.raises(rc.ShapeError, match="sizes cannot be negative"):
        rc.Scalar(1.0, (2, -1))


@pytest.mark.parametrize("combine", [rc.Add, lambda a, b: a.mul(b), lambda a, b: rc.Concat(a, b, axis=0)])
def test_2_8_two_float_dtypes_meeting_is_an_error_that_names_both(combine) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(rc.DtypeError) as caught:
        combine(rc.Array(X, "single"), rc.Array(X.double(), "double"))
    message = str(caught.value)
    assert "torch.float32 in 'single' [2, 3] Array" in message
    assert "meets torch.float64 in 'double' [2, 3] Array" in message
    assert "hint: convert one with rc.cast(expr, dtype=...)" in message
    assert (caught.value.expected, caught.value.found) == (torch.float32, torch.float64)


def test_2_8_ints_masks_and_floats_mix() -> None:
    x, tokens, mask = rc.Array(X), rc.Array(torch.tensor([1, 2, 3])), rc.Array(X > 2)
    assert rc.Add(tokens, x, mask).dtype == torch.float32
    assert_same(rc.Add(tokens, x, mask).evaluate(), X + torch.tensor([1, 2, 3]) + (X > 2))
    assert_same(mask.mul(x).evaluate(), torch.where(X > 2, X, 0.0))
    assert rc.Add(mask, tokens).dtype == torch.int64
    both = rc.Add(mask, rc.Array(X < 1))
    assert torch.equal(both.evaluate(), (X > 2) | (X < 1))


def test_2_8_functions_say_which_dtypes_they_take() -> None:
    with pytest.raises(rc.DtypeError, match=r"(?s)GeneralFunction 'f': exp needs a floating dtype.*'t' \[2\].*cast_to"):
        rc.elementwise("exp", rc.Array(torch.tensor([1, 2]), "t"), name="f")
    with pytest.raises(rc.DtypeError, match="softmax needs a floating dtype"):
        rc.softmax(rc.Array(torch.tensor([1, 2])))
    with pytest.raises(rc.ConstructionError, match=r"(?s)'expp' is not an elementwise function.*one of abs"):
        rc.elementwise("expp", rc.Array(X))
    with pytest.raises(rc.DtypeError, match="torch has no dtype 'float31'"):
        rc.GeneralFunction(rc.Array(X), spec=rc.graph.FUNCTIONS["cast"]("float31"))


def test_2_8_cast_touches_floating_leaves_only() -> None:
    expr = rc.Add(rc.Array(X, "x"), rc.Array(torch.tensor([1, 2, 3]), "tokens"), rc.Array(X > 1, "mask"), name="sum")
    cast = rc.cast(expr, dtype=torch.float64)
    assert {n.name: n.dtype for n in cast.get(rc.Array)} == {
        "x": torch.float64,
        "tokens": torch.int64,
        "mask": torch.bool,
    }
    assert (cast.name, cast.dtype) == ("sum", torch.float64)
    assert rc.cast(expr) is expr
    assert rc.cast_to(rc.Array(torch.tensor([1, 2])), torch.float32).evaluate().dtype == torch.float32


def test_2_5_concat_and_stack_against_torch() -> None:
    y = torch.ones(2, 2)
    assert_same(rc.Concat(rc.Array(X), rc.Array(y), axis=1).evaluate(), torch.cat([X, y], 1))
    assert rc.Concat(rc.Array(X), rc.Array(y), axis=-1) is rc.Concat(rc.Array(X), rc.Array(y), axis=1)
    for axis in range(-3, 3):
        stacked = rc.Concat.stack(rc.Array(X), rc.Array(X + 1), axis=axis)
        assert_same(stacked.evaluate(), torch.stack([X, X + 1], axis))


def test_2_5_concat_errors() -> None:
    x, y = rc.Array(X, "x"), rc.Array(torch.ones(3, 3, 1), "y")
    with pytest.raises(
        rc.ShapeError, match=r"(?s)Concat 'c': shapes must agree except along axis 1.*'x'.*'z' \[3, 3\].*hint"
    ):
        rc.Concat(x, rc.Array(torch.ones(3, 3), "z"), axis=1, name="c")
    with pytest.raises(rc.ShapeError, match="shapes must agree"):
        rc.Concat(x, y, axis=0)
    with pytest.raises(rc.ShapeError, match=r"(?s)Concat 'c': axis 2 does not exist in 2 axes.*stack"):
        rc.Concat(x, x, axis=2, name="c")
    with pytest.raises(rc.ShapeError, match="stacking gives 3 axes, axis 3 is not one of them"):
        rc.Concat.stack(x, x, axis=3)
    for make in (rc.Concat, rc.Concat.stack):
        with pytest.raises(rc.ConstructionError, match="needs at least one expression"):
            make(axis=0)


@given(SIZES, SIZES)
def test_mul_sum_and_mean_against_torch(one: tuple[int, ...], two: tuple[int, ...]) -> None:
    a = torch.arange(1.0, 1 + math.prod(one)).reshape(one)
    b = torch.arange(1.0, 1 + math.prod(two)).reshape(two).sin()
    try:
        expected = a * b
    except RuntimeError:
        with pytest.raises(rc.ShapeError, match="product 'p'"):
            rc.Array(a).mul(rc.Array(b), name="p")
        return
    assert_same(rc.Array(a).mul(rc.Array(b)).evaluate(), expected, tolerance=1e-6)
    assert_same(rc.Array(a).sub(rc.Array(b)).evaluate(), a - b, tolerance=1e-6)
    for axis in range(-a.ndim, a.ndim):
        assert_same(rc.Array(a).sum(axis).evaluate(), a.sum(axis), tolerance=1e-6)
        assert_same(rc.Array(a).mean(axis).evaluate(), a.mean(axis), tolerance=1e-6)
    assert_same(rc.Array(a).mean().evaluate(), a.mean(), tolerance=1e-6)


@pytest.mark.parametrize("axis", [2, -3, [0, 5]])
def test_sum_over_an_axis_that_does_not_exist_is_an_error(axis: int | list[int]) -> None:
    with pytest.raises(rc.ShapeError, match=r"axis -?\d does not exist in 'x' \[2, 3\] Array"):
        rc.Array(X, "x").sum(axis)
    with pytest.raises(rc.ShapeError):
        rc.Scalar(1.0).mean(0)
