"""Datasets as values, sources as one numbering of rows, and streams of chance."""

from __future__ import annotations

import pytest
import torch

import scrub as rc
from scrub.hypothesis import Dataset, Source, Stream

DATA = Dataset({"x": torch.arange(6.0).reshape(3, 2), "y": torch.tensor([1, 2, 3])}, inputs=["x"])


def test_a_dataset_is_its_content() -> None:
    again = Dataset({"y": torch.tensor([1, 2, 3]), "x": torch.arange(6.0).reshape(3, 2)}, inputs=["x"], name="other")
    assert again == DATA
    assert len({again, DATA}) == 1
    different = [
        Dataset({"x": DATA["x"], "y": DATA["y"]}),
        Dataset({"x": DATA["x"] + 1, "y": DATA["y"]}, inputs=["x"]),
        Dataset({"x": DATA["x"], "z": DATA["y"]}, inputs=["x"]),
        Dataset({"x": DATA["x"], "y": DATA["y"].int()}, inputs=["x"]),
        DATA.take([0, 1]),
    ]
    assert len({DATA, *different}) == 6
    assert DATA != "data"


def test_rows_are_taken_in_order_and_arrays_added() -> None:
    taken = DATA.take([2, 0, 2])
    assert torch.equal(taken["x"], DATA["x"][[2, 0, 2]])
    assert taken.inputs == ("x",)
    assert torch.equal(DATA.take(torch.tensor([], dtype=torch.int64).new_tensor([1]))["y"], torch.tensor([2]))
    more = DATA.with_arrays({"z": torch.zeros(3), "y": torch.zeros(3)})
    assert more.names == ("x", "y", "z")
    assert more["y"].tolist() == [0.0, 0.0, 0.0]
    assert more.inputs == ("x",)
    assert ("z" in more, "z" in DATA, len(more)) == (True, False, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dataset({}), "at least one array"),
        (lambda: Dataset({"x": torch.zeros(0)}), "has no rows"),
        (lambda: Dataset({"x": torch.zeros(2), "y": torch.zeros(3)}), "different lengths"),
        (lambda: Dataset({"x": torch.zeros(())}), "'x' is no tensor with an axis of rows"),
        (lambda: Dataset({"x": [1, 2]}), "'x' is no tensor with an axis of rows"),  # type: ignore[dict-item]
        (lambda: Dataset({"x": torch.zeros(2)}, inputs=["y"]), "input 'y' is not among the arrays"),
        (lambda: DATA.take([3]), "row 3 is not in the dataset, which has 3"),
        (lambda: DATA.take([-1]), "row -1 is not in the dataset"),
        (lambda: DATA["z"], "the dataset has no array 'z'"),
    ],
)
def test_what_is_wrong_is_said(make: object, message: str) -> None:
    with pytest.raises(rc.DatasetError, match=message):
        make()  # type: ignore[operator]


def test_a_source_numbers_all_rows_once() -> None:
    references = Dataset({"x": torch.ones(2, 2), "w": torch.zeros(2)}, inputs=["x"])
    others = [references, Dataset({"x": torch.zeros(1, 2)}), DATA]
    source = Source(DATA, references=references, others=others)
    assert source.data.num_rows == 3 + 2 + 1
    assert source.size == 3
    assert source.reference_rows == range(3, 5)
    assert [source.offset(dataset) for dataset in others] == [3, 5, 0]
    assert source.data.names == ("x",)
    assert torch.equal(source.data["x"], torch.cat([DATA["x"], references["x"], others[1]["x"]]))
    assert Source(DATA).reference_rows == range(3)


def test_datasets_of_one_source_fit_together() -> None:
    with pytest.raises(rc.DatasetError, match="no array 'x'"):
        Source(DATA, references=Dataset({"y": torch.tensor([1, 2])}))
    with pytest.raises(rc.DatasetError, match="'x' has rows of shape"):
        Source(DATA, references=Dataset({"x": torch.zeros(2, 5)}))
    with pytest.raises(rc.DatasetError, match=r"torch\.float64 in another"):
        Source(DATA, references=Dataset({"x": torch.zeros(2, 2, dtype=torch.float64)}))


def test_streams_are_functions_of_seed_name_and_number() -> None:
    whole = Stream(1, "a", 0, 1000).uniform()
    for start, stop in ((0, 1), (1, 5), (3, 999), (999, 1000)):
        assert torch.equal(Stream(1, "a", start, stop).uniform(), whole[start:stop])
    assert float(whole.min()) >= 0
    assert float(whole.max()) < 1
    assert abs(float(whole.mean()) - 0.5) < 6 / 12**0.5 / 1000**0.5
    others = [Stream(2, "a", 0, 1000), Stream(1, "b", 0, 1000), Stream(1, "a shared", 0, 1000), Stream(1, "", 0, 1000)]
    for other in others:
        correlation = torch.corrcoef(torch.stack([whole, other.uniform()]))[0, 1]
        assert abs(float(correlation)) < 6 / 1000**0.5
    constants = Stream(1, "a", 5, 9)
    assert constants.shared(3) == Stream(1, "a", 0, 1).shared(3)
    assert constants.shared(1)[0] not in whole.tolist()
    assert constants.constants("pool", 2).tolist() != constants.shared(2)


def test_integers_below_a_count_are_uniform() -> None:
    stream = Stream(0, "a", 0, 30_000)
    counts = torch.tensor([1, 2, 3]).repeat(10_000)
    drawn = stream.below(counts)
    assert drawn.dtype == torch.int64
    for count in (1, 2, 3):
        found = torch.bincount(drawn[counts == count], minlength=count).double()
        assert len(found) == count
        assert float((found - 10_000 / count).abs().max()) < 6 * (10_000 * 0.25) ** 0.5
    assert int(stream.below(7).max()) == 6
