"""SPEC 2.5: `Scatter`, against assignment into zeros in torch."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
import torch

import scrub as rc
from scrub.graph import AxisUse, I, Scatter, rebuild_batched
from tests.independent import assert_same


def by_assignment(value: torch.Tensor, idx: tuple[Any, ...], shape: tuple[int, ...]) -> torch.Tensor:
    """Zeros with each element of the value assigned by itself."""
    result = torch.zeros(shape, dtype=value.dtype)
    places = [list(range(size)) for size in shape]
    for axis, entry in enumerate(idx):
        size = shape[axis]
        if isinstance(entry, int):
            places[axis] = [entry % size]
        elif isinstance(entry, slice):
            places[axis] = list(range(size))[entry]
        else:
            places[axis] = [int(i) % size for i in entry]
    dropped = [axis for axis, entry in enumerate(idx) if isinstance(entry, int)]
    for choice in itertools.product(*(range(len(p)) for p in places)):
        at = tuple(p[i] for p, i in zip(places, choice, strict=True))
        result[at] = value[tuple(i for axis, i in enumerate(choice) if axis not in dropped)]
    return result


CASES: list[tuple[tuple[Any, ...], tuple[int, ...], tuple[int, ...]]] = [
    (I[1:3], (5,), (2,)),
    (I[-1], (5,), ()),
    (I[:, 2], (2, 4), (2,)),
    (I[1:2, :, 0], (3, 4, 2), (1, 4)),
    ((torch.tensor([3, 0]),), (4, 2), (2, 2)),
    ((torch.tensor([3, 0]), torch.tensor([1, 4, 2])), (4, 5), (2, 3)),
    ((torch.tensor([2, 0]), slice(1, 3), torch.tensor([-1])), (3, 4, 5), (2, 2, 1)),
    ((1, torch.tensor([2, 0]), 0, torch.tensor([1])), (2, 3, 2, 2), (2, 1)),
    (I[2:2], (3, 2), (0, 2)),
    ((torch.tensor([], dtype=torch.int64),), (3,), (0,)),
    ((), (2, 3), (2, 3)),
    ((), (), ()),
]


@pytest.mark.parametrize(("idx", "shape", "own"), CASES)
def test_2_5_values_are_those_of_assignment_and_index_takes_them_out_again(
    idx: tuple[Any, ...], shape: tuple[int, ...], own: tuple[int, ...]
) -> None:
    for value in (torch.randn(own, dtype=torch.float64), torch.randint(1, 9, own), torch.ones(own, dtype=torch.bool)):
        placed = Scatter(rc.Array(value, "x"), idx, shape)
        assert (placed.shape, placed.dtype) == (shape, value.dtype)
        assert placed.evaluate().dtype == value.dtype
        assert_same(placed.evaluate(), by_assignment(value, idx, shape), tolerance=0)
        assert_same(rc.Index(placed, idx).evaluate(), value, tolerance=0)
        assert Scatter(placed.children[0], placed.idx, shape) is placed


@pytest.mark.parametrize(("idx", "shape", "own"), CASES)
@pytest.mark.parametrize("batch", [(3,), (2, 1), (0,)])
def test_3_batch_axes_go_in_front(
    idx: tuple[Any, ...], shape: tuple[int, ...], own: tuple[int, ...], batch: tuple[int, ...]
) -> None:
    values = torch.randn((*batch, *own), dtype=torch.float64)
    node = Scatter(rc.Array(torch.zeros(own, dtype=torch.float64), "x"), idx, shape, name="placed")
    batched = rebuild_batched(node, [rc.Array(values)])
    assert (batched.shape, batched.name) == ((*batch, *shape), "placed")
    flat = values.reshape(-1, *own) if values.numel() else values.new_zeros((0, *own))
    entries = [by_assignment(value, idx, shape) for value in flat] if 0 not in batch else []
    expected = torch.stack(entries).reshape((*batch, *shape)) if entries else torch.zeros((*batch, *shape))
    assert_same(batched.evaluate(), expected, tolerance=0)


def test_an_axis_filled_whole_may_change_its_size_and_a_cut_one_may_not() -> None:
    node = Scatter(rc.Array(torch.ones(2, 3), "x"), I[1:3, :], (4, 3), name="s")
    assert node.axis_map() == ((AxisUse.FIXED, 1),)
    assert rebuild_batched(node, [rc.Scalar(1.0, (2, 7))]).shape == (4, 7)
    with pytest.raises(rc.BatchError, match=r"Scatter 's': the size of axis 0 of 'x' \[2, 3\] .* cannot change"):
        rebuild_batched(node, [rc.Scalar(1.0, (1, 3))])


def test_equal_ways_to_say_a_part_are_one_node() -> None:
    x = rc.Array(torch.ones(2, 3), "x")
    assert Scatter(x, I[1:3], (4, 3)) is Scatter(x, I[-3:-1, :], (4, 3)) is Scatter(x, I[1:3, 0:3], (4, 3))
    assert Scatter(x, I[1:3], (4, 3)) is not Scatter(x, I[1:3], (5, 3))


def test_a_scalar_keeps_having_no_dtype() -> None:
    placed = Scatter(rc.Scalar(2.0), I[1], (3,))
    assert placed.dtype is None
    assert rc.Add(placed, rc.Array(torch.ones(3))).evaluate().tolist() == [1, 3, 1]


def test_names_and_text() -> None:
    x = rc.Array(torch.ones(2), "x")
    node = Scatter(x, I[1:3, -1], (4, 2))
    assert repr(node) == "scatter(x at [1:3, 1]) [4, 2] Scatter [1:3, 1]"
    assert repr(node.rename("placed")) == "'placed' [4, 2] Scatter [1:3, 1]"


def test_errors_name_axis_and_what_to_do() -> None:
    x = rc.Array(torch.ones(2), "x")
    with pytest.raises(rc.ConstructionError, match=r"Scatter 's': position 1 is given twice on axis 0") as twice:
        Scatter(x, (torch.tensor([1, -2]),), (3,), name="s")
    assert (twice.value.axis, twice.value.found) == (0, 1)
    assert "hint: to add them up, multiply by a matrix of zeros and ones" in str(twice.value)
    with pytest.raises(rc.ShapeError, match=r"Scatter 's': \[0:3\] of shape \(4,\) has shape \(3,\), but 'x' \[2\]"):
        Scatter(x, I[0:3], (4,), name="s")
    with pytest.raises(rc.ShapeError, match=r"Scatter 's': slice 3:5 does not fit axis 0 of size 4") as outside:
        Scatter(x, I[3:5], (4,), name="s")
    assert outside.value.nodes == (x,)
    with pytest.raises(rc.ShapeError, match=r"Scatter 's': 4 is out of range for axis 1 of size 4"):
        Scatter(x, I[:, 4], (2, 4), name="s")
    with pytest.raises(rc.ShapeError, match=r"Scatter 's': 3 entries for 2 axes"):
        Scatter(x, I[0, 0, 0], (2, 4), name="s")
    with pytest.raises(rc.ConstructionError, match=r"Scatter 's': slices have no step"):
        Scatter(x, I[::2], (4,), name="s")
    with pytest.raises(rc.ShapeError, match="sizes cannot be negative"):
        Scatter(x, I[0:2], (-4,))


def test_generated_indices_against_assignment() -> None:
    choose = random.Random(0)
    for _ in range(200):
        shape = tuple(choose.choice([1, 2, 3, 4]) for _ in range(choose.randint(0, 4)))
        idx: list[Any] = []
        own: list[int] = []
        for size in shape[: choose.randint(0, len(shape))]:
            kind = choose.choice(["int", "slice", "positions"])
            if kind == "int":
                idx.append(choose.randrange(-size, size))
            elif kind == "slice":
                start = choose.randint(0, size)
                idx.append(slice(start, choose.randint(start, size)))
                own.append(idx[-1].stop - start)
            else:
                idx.append(torch.tensor(choose.sample(range(size), choose.randint(1, size))))
                own.append(len(idx[-1]))
        own += shape[len(idx) :]
        value = torch.randn(own, dtype=torch.float64)
        placed = Scatter(rc.Array(value), tuple(idx), shape)
        assert_same(placed.evaluate(), by_assignment(value, tuple(idx), shape), tolerance=0)
