"""Data and features against a parser with a stack, over every short sequence."""

import itertools
from fractions import Fraction

import pytest
import torch

from scrub.tasks.parens import features
from scrub.tasks.parens.data import END, PAD, from_strings, to_string


def parses(string: str) -> bool:
    """Whether every parenthesis finds its partner, by a stack."""
    stack: list[str] = []
    for paren in string:
        if paren == "(":
            stack.append(paren)
        elif stack:
            stack.pop()
        else:
            return False
    return not stack


def suffixes(string: str) -> list[str]:
    return [string[i:] for i in range(len(string) + 1)]


EVERY = ["".join(parens) for n in range(1, 13) for parens in itertools.product("()", repeat=n)]
LONG = ["(" * 20 + ")" * 20, "()" * 20, ")(" * 20, "(" * 21 + ")" * 19, "(" * 40, ")" * 40, "(" * 3 + ")" * 37]


@pytest.fixture(scope="module")
def strings() -> list[str]:
    return EVERY + LONG


@pytest.fixture(scope="module")
def tokens(strings: list[str]) -> torch.Tensor:
    return from_strings(strings)


def test_strings_round_trip(strings: list[str], tokens: torch.Tensor) -> None:
    assert [to_string(row) for row in tokens] == strings


def test_yes_or_no_features(strings: list[str], tokens: torch.Tensor) -> None:
    expected = {
        features.count: [s.count("(") == s.count(")") for s in strings],
        features.start: [s[0] == "(" for s in strings],
        features.horizon: [all(t.count("(") <= t.count(")") for t in suffixes(s)) for s in strings],
        features.count_and_start: [s.count("(") == s.count(")") and s[0] == "(" for s in strings],
        features.balanced: [parses(s) for s in strings],
    }
    for feature, values in expected.items():
        found = feature(tokens)
        assert found.dtype == torch.int64
        assert found.tolist() == [int(value) for value in values], feature.__name__


def test_balanced_is_count_and_horizon(tokens: torch.Tensor) -> None:
    assert features.balanced(tokens).equal(features.count(tokens) * features.horizon(tokens))


def test_no_bad_position_is_horizon(tokens: torch.Tensor) -> None:
    assert features.no_bad_position(tokens).equal(features.horizon(tokens))


def test_length_and_counts(strings: list[str], tokens: torch.Tensor) -> None:
    assert features.length(tokens).tolist() == list(map(len, strings))
    assert features.n_open(tokens).tolist() == [s.count("(") for s in strings]
    assert features.n_close(tokens).tolist() == [s.count(")") for s in strings]


def test_p_is_the_reduced_share_or_one_class(strings: list[str], tokens: torch.Tensor) -> None:
    shares = [Fraction(s.count("("), len(s)) for s in strings]
    whole = [[share.numerator, share.denominator] for share in shares]
    assert features.share_of_open(tokens).tolist() == whole
    expected = [share if s[0] == "(" else [-1, -1] for s, share in zip(strings, whole, strict=True)]
    assert features.p(tokens).tolist() == expected


def position_class(string: str, i: int) -> int:
    """By the definition: 0 PAD, 1 END after "(", 2 END after ")", 3 mostly "(" from i on, 4 not."""
    end = len(string) + 1
    if i > end:
        return 0
    if i == end:
        return 1 if string[-1] == "(" else 2
    rest = string[max(i - 1, 0) :]
    return 3 if Fraction(rest.count("("), len(rest)) > Fraction(1, 2) else 4


def test_position_classes(strings: list[str], tokens: torch.Tensor) -> None:
    found = features.position_classes(tokens)
    expected = [[position_class(s, i) for i in range(42)] for s in strings]
    assert found.tolist() == expected
    for i in (0, 1, 7, 41):
        assert features.position_class(i)(tokens).equal(found[:, i])


def test_padding_after_end_only(tokens: torch.Tensor) -> None:
    at_end = (tokens == END).long().argmax(1)
    is_after = torch.arange(42) > at_end[:, None]
    assert (tokens == PAD).equal(is_after)
    assert ((tokens == END).sum(1) == 1).all()
