"""The generator: layout, labels, kinds, splits, seeds."""

from collections import Counter

import pytest
import torch

from scrub.graph import ScrubError
from scrub.tasks.parens.data import KINDS, SHARED_UP_TO, Split, _balanced, from_strings, parens_data, to_string
from tests.tasks.parens.test_features import parses


@pytest.fixture(scope="module")
def rows() -> list[str]:
    return [to_string(row) for row in parens_data(4000, 0).tokens]


def test_rows_are_sequences_of_the_layout(rows: list[str]) -> None:
    data = parens_data(4000, 0)
    assert from_strings(rows).equal(data.tokens)  # START, parentheses, END, PAD
    assert data.mask.equal(data.tokens != 1)
    assert data.label.tolist() == [int(parses(row)) for row in rows]
    assert {len(row) for row in rows} == set(range(2, 41, 2))


def test_a_quarter_is_balanced_and_every_length_has_some(rows: list[str]) -> None:
    is_balanced = parens_data(40_000, 1).label.double()
    assert abs(float(is_balanced.mean()) - 0.25) < 0.02
    assert {len(row) for row in rows if parses(row)} == set(range(2, 41, 2))


def test_near_misses_of_every_kind() -> None:
    data = parens_data(20_000, 2)
    strings = [to_string(row) for row in data.tokens]
    failures = Counter(
        (list(KINDS)[kind], s.count("(") - s.count(")")) for s, kind in zip(strings, data.kind.tolist(), strict=True)
    )
    for kind in ("equal_count", "swapped", "rotated", "starts_closed"):
        assert {surplus for name, surplus in failures if name == kind} == {0}
        assert not all(parses(s) for s, k in zip(strings, data.kind.tolist(), strict=True) if list(KINDS)[k] == kind)
    assert {surplus for name, surplus in failures if name == "flipped"} == {-4, -2, 0, 2, 4}
    closed = [s for s, k in zip(strings, data.kind.tolist(), strict=True) if list(KINDS)[k] == "starts_closed"]
    assert all(s[0] == ")" and s[-1] == "(" for s in closed)


def test_balanced_sequences_are_uniform() -> None:
    """There are 14 balanced sequences of 8; the chi-square statistic of 13 degrees of freedom is below 34.5."""
    drawn = _balanced(14_000, 4, torch.Generator().manual_seed(0))
    counts = Counter("".join("(" if is_open else ")" for is_open in row) for row in drawn.tolist())
    assert len(counts) == 14
    assert all(parses(string) for string in counts)
    assert sum((n - 1000) ** 2 / 1000 for n in counts.values()) < 34.5  # 99.9%


def test_the_splits_have_no_long_sequence_in_common() -> None:
    parts = [parens_data(5000, seed, split=split) for seed, split in ((0, "train"), (0, "test"), (7, "test"))]
    train, *tests = ({to_string(row) for row in part.tokens} for part in parts)
    for test in tests:
        assert all(len(sequence) <= SHARED_UP_TO for sequence in train & test)
        assert len(test) > 3000


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_has_the_lengths_and_labels_of_the_whole(split: Split) -> None:
    part, whole = parens_data(10_000, 5, split=split), parens_data(10_000, 6)
    for n in range(2, 41, 2):
        shares = [float((data.mask.sum(1) == n + 2).double().mean()) for data in (part, whole)]
        assert abs(shares[0] - 0.05) < 0.01  # 4.6 standard errors
        assert abs(shares[1] - 0.05) < 0.01
    assert abs(float(part.label.double().mean()) - float(whole.label.double().mean())) < 0.03


def test_seeds_decide_everything() -> None:
    first, again, other = (parens_data(500, seed, split="test") for seed in (3, 3, 4))
    assert first.tokens.equal(again.tokens)
    assert not first.tokens.equal(other.tokens)
    generator = torch.Generator().manual_seed(3)
    assert parens_data(500, generator, split="test").tokens.equal(first.tokens)
    assert not parens_data(500, generator, split="test").tokens.equal(first.tokens)


def test_what_is_no_data_is_an_error() -> None:
    assert len(parens_data(0, 0)) == 0
    with pytest.raises(ScrubError, match="-1 rows"):
        parens_data(-1, 0)
    with pytest.raises(ScrubError, match="'\\(x' is no sequence"):
        from_strings(["(x"])
    with pytest.raises(ScrubError, match="no sequence of 1 to 40 parentheses"):
        from_strings(["(" * 41])
