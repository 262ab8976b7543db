"""Minimality: changes by hand, beside those of random members."""

import pytest
import torch

from scrub.discovery.statistics import bootstrap, minimality
from scrub.graph import DiscoveryError, UndefinedRatioError

CLEAN = torch.tensor([4.0, 6.0, 5.0])
CORRUPT = torch.tensor([0.0, 1.0, 2.0])
CIRCUIT = torch.tensor([4.0, 5.0, 3.0])  # mean 4, of a gap of 4
WITHOUT = torch.tensor([[2.0, 3.0, 1.0], [4.0, 5.0, 3.0], [5.0, 6.0, 7.0]])  # means 2, 4, 6


def of(**others):
    return minimality(WITHOUT, circuit=CIRCUIT, clean=CLEAN, corrupt=CORRUPT, members=["a", "b", "c"], **others)


def test_changes_by_hand():
    found = of()
    assert found.changes.value.tolist() == pytest.approx([0.5, 0.0, 0.5])
    assert found.smallest == ("b", 0.0)
    assert found.largest == ("a", 0.5)
    assert repr(found) == "3 members: 'a' changes 0.5 of the gap, 'b' 0"


def test_intervals_are_the_bootstrap_of_the_formula():
    found = of(n_resamples=300, seed=1).changes
    columns = {"d": CIRCUIT - WITHOUT[0], "g": CLEAN - CORRUPT}
    expected = bootstrap(columns, lambda c: (c["d"].mean(-1) / c["g"].mean(-1)).abs(), n_resamples=300, seed=1)
    torch.testing.assert_close(torch.stack(found.interval())[:, 0], torch.stack(expected.interval()))


def test_random_members_from_the_circuit():
    random = torch.tensor([[3.0, 4.0, 2.0], [4.0, 5.0, 0.0], [0.0, 1.0, -1.0]])  # means 3, 3, 0: changes 1/4, 1/4, 1
    found = of(random_without=random)
    assert found.random.tolist() == pytest.approx([0.25, 0.25, 1.0])
    assert found.p_values.tolist() == pytest.approx([2 / 4, 4 / 4, 2 / 4])


def test_random_members_from_larger_circuits():
    random_with = torch.tensor([[4.0, 6.0, 5.0], [4.0, 6.0, 5.0]])  # mean 5
    random_without = torch.tensor([[4.0, 4.0, 4.0], [5.0, 5.0, 5.0]])
    assert of(random_without=random_without, random_with=random_with).random.tolist() == pytest.approx([0.25, 0.0])


def test_without_random_members_nothing_is_unlikely():
    assert of().p_values.tolist() == [1.0, 1.0, 1.0]


def test_no_gap():
    with pytest.raises(UndefinedRatioError, match="minimality is undefined: clean and corrupted metric differ by 0"):
        minimality(WITHOUT, circuit=CIRCUIT, clean=CLEAN, corrupt=CLEAN, members=["a", "b", "c"])


@pytest.mark.parametrize(("without", "members"), [(WITHOUT, ["a"]), (WITHOUT[0], ["a", "b", "c"]), (WITHOUT[:0], [])])
def test_members_that_do_not_fit(without: torch.Tensor, members: list[str]):
    with pytest.raises(DiscoveryError, match=rf"there are {len(members)} members(.|\n)*hint: one row of metrics"):
        minimality(without, circuit=CIRCUIT, clean=CLEAN, corrupt=CORRUPT, members=members)


def test_examples_that_do_not_fit():
    with pytest.raises(DiscoveryError, match="not of the same examples"):
        minimality(WITHOUT[:, :2], circuit=CIRCUIT, clean=CLEAN, corrupt=CORRUPT, members=["a", "b", "c"])
