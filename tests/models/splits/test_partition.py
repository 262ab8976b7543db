"""Groups that partition an axis: what they come to, and every way in which they may not."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import scrub as rc
from scrub.graph.errors import SplitError
from scrub.models.splits import partition
from tests.models.splits.cases import MANY, random_partition


@given(st.integers(0, MANY), st.integers(1, 12))
def test_any_partition_is_read_as_it_is_written(seed: int, size: int) -> None:
    groups, expected = random_partition(random.Random(seed), size)
    found = partition(groups, size, where="x")
    assert {group.label: list(group.positions) for group in found} == expected
    values = torch.arange(size)
    for group in found:
        assert values[group.entry].reshape(-1).tolist() == expected[group.label]
        assert (values[group.entry].ndim == 0) == group.is_single


@given(st.integers(0, MANY), st.integers(1, 12))
def test_what_is_no_partition_is_an_error(seed: int, size: int) -> None:
    """One position left out, or in two groups."""
    chance = random.Random(seed)
    _, expected = random_partition(chance, size)
    pairs: list[tuple[Any, str]] = [(positions, label) for label, positions in expected.items()]
    victim = chance.randrange(size)
    less = [([p for p in positions if p != victim], label) for positions, label in pairs]
    less = [(positions, label) for positions, label in less if positions]
    with pytest.raises(SplitError, match=rf"^x: positions \[{victim}\] are in no group") as caught:
        partition(less, size, where="x")
    assert (caught.value.expected, caught.value.found) == (list(range(size)), sorted(set(range(size)) - {victim}))
    owner = next(label for label, positions in expected.items() if victim in positions)
    with pytest.raises(SplitError, match=f"^x: position {victim} is in group '{owner}' and in group 'more'"):
        partition([*pairs, (victim, "more")], size, where="x")


def test_ints_of_numpy_and_of_torch_are_single() -> None:
    entries = [np.int64(1), torch.tensor(0), np.array([3, 2])]
    found = partition(dict(zip("abc", entries, strict=True)), 4, where="x")
    assert [(group.positions, group.is_single) for group in found] == [((1,), True), ((0,), True), ((3, 2), False)]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"a": slice(0, 5)}, "group 'a' takes positions 0:5, there are 4"),
        ({"a": slice(-5, None)}, "group 'a' takes positions -5:None, there are 4"),
        ({"a": slice(None, None, -1)}, "group 'a' takes positions None:None:-1, there are 4"),
        ({"a": 4}, "group 'a' takes position 4, there are 4"),
        ({"a": [0, 1, 2, -5]}, "group 'a' takes position -5, there are 4"),
        ({"a": slice(0, 4), "b": []}, "group 'b' takes no position"),
        ({"a": slice(0, 4), "b": slice(2, 2)}, "group 'b' takes no position"),
        ({"a": [0, 1, 1, 2, 3]}, "position 1 is twice in group 'a'"),
        ({"a": [-1, 0, 1, 2, 3]}, "position 3 is twice in group 'a'"),
        ([(slice(0, 2), "a"), (slice(2, 4), "a")], "two groups are named 'a'"),
        ({1: slice(0, 4)}, "a group is named 1"),
        ({"": slice(0, 4)}, "a group is named ''"),
        ({"a": torch.tensor([True, True, True, True])}, r"(?s)group 'a' takes .*hint: mask.nonzero\(\)\[:, 0\]"),
        ({"a": True, "b": slice(1, 4)}, "group 'a' takes True"),
        ({"a": [0.0, 1.0, 2.0, 3.0]}, "group 'a' takes .0.0, 1.0"),
        ({"a": torch.arange(4.0)}, "group 'a' takes tensor"),
        ({"a": torch.arange(4).reshape(2, 2)}, "group 'a' takes tensor"),
        ({"a": "0123"}, "group 'a' takes '0123'"),
        ({"a": None}, "group 'a' takes None"),
        ("all", "'all' are no groups"),
        ([slice(0, 4)], "are no groups"),
        ({}, r"(?s)positions \[0, 1, 2, 3\] are in no group.*hint: .* \{'rest': \[0, 1, 2, 3\]\}"),
        ([(slice(0, 2), "a")], r"(?s)positions \[2, 3\] are in no group.*hint: .* \(\[2, 3\], 'rest'\)"),
    ],
)
def test_bad_groups(groups: Any, message: str) -> None:
    with pytest.raises(SplitError, match=message):
        partition(groups, 4, where="x")


def test_many_missing_positions_are_summed_up() -> None:
    with pytest.raises(SplitError, match=r"1, 2, 3, .* 10, \.\.\.\] \(99 of 100\)") as caught:
        partition({"first": 0}, 100, where="x", noun="neuron")
    assert caught.value.hint == "add a group, for example {'rest': slice(1, 100)}"
    with pytest.raises(SplitError, match="are in no group") as caught:
        partition({"even": slice(0, None, 2)}, 100, where="x")
    assert caught.value.hint == "add a group, for example {'rest': [...]}"


def test_an_axis_without_a_size_or_of_size_0_cannot_be_split() -> None:
    (seq,) = rc.symbolic_sizes("seq")
    with pytest.raises(SplitError, match="size seq, which is not known yet"):
        partition({"all": slice(None)}, seq, where="x")
    with pytest.raises(SplitError, match=r"(?s)takes no position.*hint: there is nothing to split"):
        partition({"all": slice(None)}, 0, where="x")


def test_errors_can_be_of_another_class_and_speak_of_other_things() -> None:
    """As for heads, which do not count from the end."""
    options: dict[str, Any] = {"where": "a0", "noun": "head", "from_end": False, "error": rc.HeadSplitError}
    with pytest.raises(rc.HeadSplitError, match=r"^a0: group 'a' takes head -1, there are 4"):
        partition([(-1, "a")], 4, **options)
    with pytest.raises(rc.HeadSplitError, match=r"^a0: group 'a' takes heads None:5, there are 4"):
        partition([(slice(None, 5), "a")], 4, **options)
    with pytest.raises(rc.HeadSplitError, match=r"hint: add a group, for example \(\[2, 3\], 'rest'\)"):
        partition([(slice(0, 2), "a")], 4, **options)
