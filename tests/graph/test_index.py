"""SPEC 2.4: Index, against torch indexing one axis at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import scrub as rc
from scrub import I, S
from tests.independent import assert_same

X = torch.arange(120).reshape(4, 5, 6)


def test_2_4_tensors_on_several_axes_are_independent() -> None:
    x = rc.Array(X[:, :, 0].contiguous())
    outer = x.index((torch.tensor([0, 2]), torch.tensor([1, 3, 4])))
    assert outer.shape == (2, 3)
    assert torch.equal(outer.evaluate(), X[:, :, 0][torch.tensor([[0], [2]]), torch.tensor([1, 3, 4])])
    assert x.index([[0, 2], [1, 3, 4]]) is outer


def test_2_4_slices_do_not_saturate() -> None:
    x = rc.Array(X[0, :, 0].contiguous(), "x")
    with pytest.raises(
        rc.ShapeError, match=r"(?s)Index 'i': slice 1:10 does not fit axis 0 of size 5.*'x' \[5\].*saturate"
    ):
        x.index(I[1:10], name="i")
    for bad in (I[6:], I[:-6], I[3:2], I[-1:-2]):
        with pytest.raises(rc.ShapeError, match="does not fit axis 0 of size 5"):
            x.index(bad)
    for good in (I[1:5], I[:-1], I[-2:], I[5:], I[2:2], I[:], I[0:5]):
        assert torch.equal(x.index(good).evaluate(), X[0, :, 0][good[0]])


def test_2_4_whole_slices_are_one_node() -> None:
    x = rc.Array(X)
    assert x.index(I[:, 0:5]) is x.index(()) is x.index(I[0:4, :, -6:])
    assert x.index(I[-1]) is x.index(I[3])


def test_2_4_i_makes_tuples_and_s_one_slice() -> None:
    assert I[5] == (5,)
    assert I[5:6, 7] == (slice(5, 6), 7)
    assert S[1:] == slice(1, None)
    for idx in (2, (slice(1, 2), slice(3, 4))):
        with pytest.raises(rc.ConstructionError, match=r"(?s)S\[\.\.\.\] makes one slice.*I\[\.\.\.\]"):
            S[idx]  # type: ignore[index]


entries = st.one_of(st.just("whole"), st.just("int"), st.just("slice"), st.just("list"))


@given(st.lists(entries, max_size=3), st.data())
def test_2_4_generated_indices_against_torch(kinds: list[str], data: st.DataObject) -> None:
    idx: list[object] = []
    expected, axis = X, 0
    for kind, size in zip(kinds, X.shape, strict=False):
        position = st.integers(-size, size - 1)
        if kind == "int":
            at = data.draw(position)
            idx.append(at)
            expected = expected.select(axis, at)
            continue
        if kind == "slice":
            start = data.draw(st.integers(0, size))
            stop = data.draw(st.integers(start, size))
            idx.append(slice(start, stop))
            expected = expected.narrow(axis, start, stop - start)
        elif kind == "list":
            chosen = torch.tensor(data.draw(st.lists(position, max_size=4)), dtype=torch.int64)
            idx.append(chosen)
            expected = expected.index_select(axis, chosen % size)
        else:
            idx.append(slice(None))
        axis += 1
    made = rc.Array(X).index(idx)
    assert_same(made.evaluate(), expected, tolerance=0)


@pytest.mark.parametrize(
    ("idx", "message"),
    [
        (I[4], r"4 is out of range for axis 0 of size 4.*hint: positions on axis 0 go from 0 to 3"),
        (I[-5], r"-5 is out of range for axis 0"),
        (I[:, torch.tensor([0, 5])], r"5 is out of range for axis 1 of size 5"),
        (I[:, torch.tensor([0, -6])], r"-6 is out of range for axis 1 of size 5"),
        (I[0, 0, 0, 0], r"4 entries for 3 axes"),
        (I[True], r"a bool is not a position"),
        (I[::2], r"slices have no step"),
        (I[torch.tensor([True, False, True, True]),], r"positions on axis 0 are a 1-d int64 tensor"),
        (I[torch.tensor([[1]]),], r"positions on axis 0 are a 1-d int64 tensor"),
    ],
)
def test_2_4_errors(idx: tuple[object, ...], message: str) -> None:
    with pytest.raises(rc.ScrubError, match=rf"(?s)Index 'i': {message}") as caught:
        rc.Array(X, "x").index(idx, name="i")
    assert "'x' [4, 5, 6] Array" in str(caught.value)


def test_2_4_the_index_is_a_tuple() -> None:
    with pytest.raises(rc.ConstructionError, match=r"(?s)the index is a tuple, not 3.*I\[\.\.\.\]"):
        rc.Array(X).index(3)  # type: ignore[arg-type]


def test_weights_are_not_copied() -> None:
    weights = torch.randn(4, 5, 6)
    array = rc.Array(weights, "w")
    assert array.value.data_ptr() == weights.data_ptr()
    assert array.evaluate().data_ptr() == weights.data_ptr()
    assert array.index(I[2]).evaluate().data_ptr() == weights[2].data_ptr()
    assert array.index(I[1:3, :, 0]).evaluate().data_ptr() == weights[1:3, :, 0].data_ptr()
    assert array.rename("v").cast(rc.Array).value.data_ptr() == weights.data_ptr()
    transposed = rc.Rearrange(array, "a b c -> c a b")
    assert transposed.evaluate().data_ptr() == weights.data_ptr()
    call = rc.module_new_bind(rc.Symbol.new_from_name((5, 6), "s").index(I[0]), ("s", array))
    assert call.evaluate().untyped_storage().data_ptr() == weights.untyped_storage().data_ptr()
