"""SPEC 2.7: the four modes of gen_index, against lookups written out one entry at a time."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import scrub as rc
from scrub.graph import rebuild_batched
from tests.independent import assert_same

gen_index = rc.GeneralFunction.gen_index
TABLE = torch.arange(35.0).reshape(5, 7)
DEEP = torch.arange(280.0).reshape(1, 4, 2, 5, 7)
J = torch.tensor([[[0, 1], [2, 3], [4, 0], [1, 1]]])


def by_hand(x: torch.Tensor, index: torch.Tensor, dim: int, batch_x: bool, batch_index: bool) -> torch.Tensor:
    """Every entry of the index on its own."""
    if (batch_x and not batch_index) or (not batch_x and not batch_index):
        d = dim % x.ndim
        out = torch.zeros((*x.shape[:d], *index.shape, *x.shape[d + 1 :]))
        for at in itertools.product(*map(range, index.shape)):
            out[(slice(None),) * d + at] = x.select(d, int(index[at]))
        return out
    rows = []
    for at in itertools.product(*map(range, index.shape)):
        own = x[at] if batch_x else x
        rows.append(own.select(dim, int(index[at])))
    return torch.stack(rows).reshape((*index.shape, *rows[0].shape)) if rows else torch.zeros(())


@pytest.mark.parametrize(
    ("x", "dim", "batch_x", "batch_index", "shape"),
    [
        (TABLE, -1, False, True, (1, 4, 2, 5)),
        (TABLE, 0, False, True, (1, 4, 2, 7)),
        (DEEP, 0, True, True, (1, 4, 2, 7)),
        (DEEP, -1, True, True, (1, 4, 2, 5)),
        (TABLE, -2, True, False, (1, 4, 2, 7)),
        (TABLE, -1, True, False, (5, 1, 4, 2)),
        (TABLE, 0, False, False, (1, 4, 2, 7)),
        (TABLE, 1, False, False, (5, 1, 4, 2)),
    ],
)
def test_2_7_examples(x: torch.Tensor, dim: int, batch_x: bool, batch_index: bool, shape: tuple[int, ...]) -> None:
    made = gen_index(rc.Array(x), rc.Array(J), dim, batch_x, batch_index)
    assert made.shape == shape
    assert_same(made.evaluate(), by_hand(x, J, dim, batch_x, batch_index), tolerance=0)


def test_2_7_the_default_is_a_table() -> None:
    assert gen_index(rc.Array(TABLE), rc.Array(J), -1) is gen_index(rc.Array(TABLE), rc.Array(J), -1, False, True)


@pytest.mark.parametrize(("batch_x", "batch_index"), [(False, True), (True, False), (False, False), (True, True)])
def test_2_7_a_single_position_and_no_positions(batch_x: bool, batch_index: bool) -> None:
    one = gen_index(rc.Array(TABLE), rc.Array(torch.tensor(3)), -2, batch_x, batch_index)
    assert one.evaluate().tolist() == TABLE[3].tolist()
    x = torch.zeros(0, 5, 7) if batch_x and batch_index else TABLE
    none = gen_index(rc.Array(x), rc.Array(torch.zeros(0, dtype=torch.int64)), -2, batch_x, batch_index)
    assert none.evaluate().shape == none.shape == (0, 7)


@given(st.data())
def test_2_7_generated(data: st.DataObject) -> None:
    batch_x, batch_index = data.draw(st.booleans()), data.draw(st.booleans())
    sizes = st.integers(1, 3)
    index_shape = tuple(data.draw(st.lists(sizes, max_size=2)))
    own = tuple(data.draw(st.lists(sizes, min_size=1, max_size=3)))
    low = -len(own)
    dim = data.draw(st.integers(low, -1 if batch_x and not batch_index else len(own) - 1))
    x_shape = index_shape + own if batch_x and batch_index else own
    count = int(torch.tensor(x_shape).prod())
    x = torch.arange(float(count)).reshape(x_shape)
    total = int(torch.tensor(index_shape).prod()) if index_shape else 1
    values = data.draw(st.lists(st.integers(0, own[dim] - 1), min_size=total, max_size=total))
    index = torch.tensor(values).reshape(index_shape)
    made = gen_index(rc.Array(x), rc.Array(index), dim, batch_x, batch_index)
    expected = by_hand(x, index, dim, batch_x, batch_index)
    assert made.shape == tuple(expected.shape)
    assert_same(made.evaluate(), expected, tolerance=0)


@pytest.mark.parametrize("bad", [-1, 5])
@pytest.mark.parametrize(("batch_x", "batch_index"), [(False, True), (True, False), (False, False), (True, True)])
def test_2_7_values_out_of_range_are_an_error_at_evaluation(bad: int, batch_x: bool, batch_index: bool) -> None:
    index = torch.tensor([0, bad])
    x = torch.zeros(2, 5, 7) if batch_x and batch_index else TABLE
    made = gen_index(rc.Array(x), rc.Array(index), -2, batch_x, batch_index)
    with pytest.raises(
        rc.ShapeError, match=rf"(?s)gen_index.*index {bad} is out of range for an axis of size 5.*hint"
    ) as e:
        made.evaluate()
    assert (e.value.found, e.value.expected) == (bad, "0 to 4")


def test_2_7_errors() -> None:
    x, index = rc.Array(TABLE, "x"), rc.Array(J, "index")
    with pytest.raises(
        rc.DtypeError, match=r"(?s)GeneralFunction 'g'.*index must be int64, not torch.float32.*'x' \[5, 7\]"
    ):
        gen_index(x, rc.Array(TABLE), -1, name="g")
    with pytest.raises(rc.ShapeError, match=r"index_dim 2 is not an axis of 2"):
        gen_index(x, index, 2)
    with pytest.raises(rc.ShapeError, match=r"with batch_x alone, index_dim counts from the end: -2, not 0"):
        gen_index(x, index, 0, batch_x=True, batch_index=False)
    with pytest.raises(rc.ShapeError, match=r"index shape \(1, 4, 2\) must be a prefix of the shape \(5, 7\) of x"):
        gen_index(x, index, 0, batch_x=True)
    with pytest.raises(rc.DtypeError, match=r"must be int64, not torch\.float64"):
        gen_index(x, rc.Scalar(1), 0).evaluate()


def test_3_with_batch_x_only_the_index_batched_repeats_x() -> None:
    x, index = torch.arange(12.0).reshape(2, 2, 3), torch.tensor([[0, 1], [2, 2]])
    node = gen_index(rc.Array(x), rc.Array(index), 0, batch_x=True)
    more = torch.stack([index, 2 - index, index.flip(0)])
    batched = rebuild_batched(node, [node.children[0], rc.Array(more)])
    expected = torch.stack([by_hand(x, m, 0, True, True) for m in more])
    assert_same(batched.evaluate(), expected, tolerance=0)
