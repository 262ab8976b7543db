"""SPEC 2.1: Einsum, against torch.einsum and sums written out."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import scrub as rc
from tests.independent import assert_same

SQUARE = torch.arange(9.0).reshape(3, 3)


def test_2_1_from_string_and_the_spaced_form() -> None:
    x, y = torch.randn(2, 3), torch.randn(3, 4)
    product = rc.Einsum.from_string("ab,bc->ac", rc.Array(x), rc.Array(y))
    assert_same(product.evaluate(), x @ y, tolerance=1e-6)
    assert rc.Einsum.from_string("pos d, d e -> pos e", rc.Array(x), rc.Array(y)) is product
    assert rc.Einsum.from_string("pos d -> d pos", rc.Array(x)).shape == (3, 2)


def test_2_1_repeated_input_axes_take_the_diagonal_or_trace() -> None:
    square = rc.Array(SQUARE)
    assert rc.Einsum.from_string("aa->a", square).evaluate().tolist() == [0, 4, 8]
    assert rc.Einsum.from_string("aa->", square).evaluate().item() == 12
    cube = torch.arange(27.0).reshape(3, 3, 3)
    assert rc.Einsum.from_string("aaa->a", rc.Array(cube)).evaluate().tolist() == [0, 13, 26]
    assert_same(rc.Einsum.from_string("aba->ab", rc.Array(cube)).evaluate(), torch.einsum("aba->ab", cube))


def test_2_1_repeated_output_axes_embed_on_the_diagonal() -> None:
    v = torch.tensor([1.0, 2.0, 3.0])
    assert torch.equal(rc.Einsum((rc.Array(v), (0,)), out_axes=(0, 0)).evaluate(), torch.diag(v))
    assert torch.equal(rc.Einsum.from_string("aa->aa", rc.Array(SQUARE)).evaluate(), torch.diag(SQUARE.diag()))
    assert torch.equal(rc.Einsum.from_string("ab->bab", rc.Array(SQUARE[:2])).evaluate(), bab(SQUARE[:2]))


def bab(x: torch.Tensor) -> torch.Tensor:
    out = torch.zeros(x.shape[1], x.shape[0], x.shape[1])
    for a, b in itertools.product(range(x.shape[0]), range(x.shape[1])):
        out[b, a, b] = x[a, b]
    return out


def test_2_1_no_operands_is_one() -> None:
    one = rc.Einsum(out_axes=())
    assert (one.shape, one.evaluate().item()) == ((), 1)
    assert rc.Einsum.from_string("->") is one


def test_2_1_sizes_must_match_exactly() -> None:
    with pytest.raises(rc.ShapeError, match="1 does not broadcast"):
        rc.Einsum.from_string("a,a->a", rc.Scalar(1.0, (1,)), rc.Scalar(1.0, (3,)))
    with pytest.raises(rc.ShapeError, match="axis 'a'"):
        rc.Einsum.from_string("aa->a", rc.Scalar(1.0, (2, 3)))


def test_2_1_an_output_axis_in_no_input_is_an_error() -> None:
    with pytest.raises(
        rc.ConstructionError, match=r"(?s)Einsum 'e': output axis 5 is in no operand.*'x'.*hint: Rearrange"
    ):
        rc.Einsum((rc.Array(SQUARE, "x"), (0, 1)), out_axes=(5,), name="e")


@pytest.mark.parametrize("count", [53, 60])
def test_2_1_more_than_52_axes(count: int) -> None:
    x = torch.tensor([2.0]).reshape((1,) * count).expand((2,) + (1,) * (count - 1)).clone()
    y = torch.tensor([1.0, 10.0])
    axes = tuple(range(count))
    outer = rc.Einsum((rc.Array(x), axes), (rc.Array(y), (0,)), out_axes=axes[::-1])
    assert outer.shape == (*(1,) * (count - 1), 2)
    assert outer.evaluate().reshape(-1).tolist() == [2, 20]


def test_2_1_more_than_52_axes_over_many_operands() -> None:
    values = [torch.tensor([1.0, float(i % 3)], dtype=torch.float64) for i in range(60)]
    total = rc.Einsum(*((rc.Array(v), (i,)) for i, v in enumerate(values)), out_axes=())
    expected = 1.0
    for v in values:
        expected *= float(v.sum())
    assert total.evaluate().item() == expected


def test_2_1_bools_are_and_then_or_and_ints_are_exact() -> None:
    a = torch.tensor([[True, False], [False, False]])
    b = torch.tensor([[False, True], [True, True]])
    product = rc.Einsum.from_string("ab,bc->ac", rc.Array(a), rc.Array(b))
    assert product.dtype == torch.bool
    assert torch.equal(product.evaluate(), (a.int() @ b.int()) > 0)
    big = torch.tensor([2**60, 3])
    assert rc.Einsum.from_string("a->", rc.Array(big)).evaluate().item() == 2**60 + 3


@st.composite
def specs(draw: st.DrawFn) -> tuple[list[tuple[int, ...]], tuple[int, ...], dict[int, int]]:
    """Axes of one to four operands with repeats, distinct output axes, sizes."""
    axes = st.integers(0, 5)
    operands = draw(st.lists(st.lists(axes, max_size=4).map(tuple), min_size=1, max_size=4))
    used = sorted({a for operand in operands for a in operand})
    out = draw(st.lists(st.sampled_from(used), unique=True)) if used else []
    sizes = {a: draw(st.sampled_from([1, 2, 3, 0])) for a in used}
    return operands, tuple(out), sizes


@given(specs(), st.integers(0, 2**31))
def test_2_1_generated_specs_against_torch(
    spec: tuple[list[tuple[int, ...]], tuple[int, ...], dict[int, int]], seed: int
) -> None:
    operands, out, sizes = spec
    generator = torch.Generator().manual_seed(seed)
    tensors = [torch.randn([sizes[a] for a in axes], generator=generator, dtype=torch.float64) for axes in operands]
    made = rc.Einsum(*((rc.Array(t), axes) for t, axes in zip(tensors, operands, strict=True)), out_axes=out)
    arguments: list[object] = []
    for tensor, axes in zip(tensors, operands, strict=True):
        arguments += [tensor, list(axes)]
    expected = torch.einsum(*arguments, list(out))
    assert made.shape == tuple(expected.shape)
    assert_same(made.evaluate(), expected, tolerance=1e-9)


@given(specs(), st.data())
def test_2_1_generated_repeated_outputs_against_a_sum_written_out(
    spec: tuple[list[tuple[int, ...]], tuple[int, ...], dict[int, int]], data: st.DataObject
) -> None:
    operands, out, sizes = spec
    if not out:
        return
    out = (*out, data.draw(st.sampled_from(out)))
    order = sorted(sizes)
    tensors = [torch.arange(1.0, 1 + prod(sizes, axes)).reshape([sizes[a] for a in axes]).sin() for axes in operands]
    expected = torch.zeros([sizes[a] for a in out], dtype=torch.float64)
    for position in itertools.product(*(range(sizes[a]) for a in order)):
        at = dict(zip(order, position, strict=True))
        term = 1.0
        for tensor, axes in zip(tensors, operands, strict=True):
            term *= float(tensor[tuple(at[a] for a in axes)])
        expected[tuple(at[a] for a in out)] += term
    made = rc.Einsum(*((rc.Array(t), axes) for t, axes in zip(tensors, operands, strict=True)), out_axes=out)
    assert_same(made.evaluate(), expected, tolerance=1e-4)


def prod(sizes: dict[int, int], axes: tuple[int, ...]) -> int:
    total = 1
    for axis in axes:
        total *= sizes[axis]
    return total


def test_a_shape_mismatch_names_axis_sizes_and_the_transposed_spec() -> None:
    resid, w = rc.Array(torch.ones(8, 16), "a0.resid"), rc.Array(torch.ones(4, 16), "a0.W_V")
    with pytest.raises(rc.ShapeError) as caught:
        rc.Einsum.from_string("sd,de->se", resid, w, name="a0.h3.ov")
    assert str(caught.value).splitlines() == [
        "Einsum 'a0.h3.ov': axis 'b' of 'ab,bc->ac' is 16 in argument 0 ('a0.resid') but 4 in argument 1 ('a0.W_V')",
        f"    {resid!r}",
        f"    {w!r}",
        "hint: transposed, argument 1 fits: 'ab,cb->ac'",
    ]
    assert (caught.value.axis, caught.value.expected, caught.value.found) == ("b", 16, 4)


def test_a_shape_mismatch_that_no_transposition_mends_says_what_would_fit() -> None:
    with pytest.raises(rc.ShapeError, match=r"argument 1 would fit with shape \[3, 5\]"):
        rc.Einsum.from_string("ab,bc->ac", rc.Scalar(1.0, (2, 3)), rc.Scalar(1.0, (4, 5)))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ab,bc->ac", r"is for 2 operands, 1 were given"),
        ("ab", r"is for 1 operands|needs"),
        ("a?->a", r"malformed term 'a\?'"),
        ("abc->a", r"argument 0 has 2 axes, the spec 'abc->a' gives it 3"),
    ],
)
def test_malformed_specs(spec: str, message: str) -> None:
    with pytest.raises(rc.ScrubError, match=f"Einsum 'e': .*{message}"):
        rc.Einsum.from_string(spec, rc.Array(SQUARE), name="e")


def test_operands_are_pairs() -> None:
    with pytest.raises(rc.ConstructionError, match=r"(?s)each operand is a pair.*from_string"):
        rc.Einsum(rc.Array(SQUARE), out_axes=(0,))  # type: ignore[arg-type]


def test_sums_of_small_integers_keep_their_dtype() -> None:
    """torch sums int8 as int64."""
    x, y = torch.tensor([100, 3], dtype=torch.int8), torch.tensor([[1, 2], [3, 4]], dtype=torch.int8)
    whole = rc.Einsum((rc.Array(x), (0,)), out_axes=())
    assert whole.dtype == whole.evaluate().dtype == torch.int8
    product = rc.Einsum((rc.Array(x), (0,)), (rc.Array(y), (0, 1)), out_axes=())
    assert product.evaluate().dtype == torch.int8
    assert int(product.evaluate()) == (x.long() @ y.long()).sum().to(torch.int8)
