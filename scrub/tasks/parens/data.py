"""Sequences of parentheses, balanced or nearly so, for a classifier to tell apart.

A row is [START, parentheses, END, PAD, ...], `N_CTX` tokens long; the parentheses are an even number from 2 to 40, each
length equally likely. Rows are independent draws, and nothing is taken out that comes twice: short sequences are few,
and a model that is to know them has to see them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import xxhash

from scrub.graph import DatasetError

START, PAD, END, OPEN, CLOSE = range(5)
VOCABULARY = ("START", "PAD", "END", "(", ")")
MAX_PARENS = 40
N_CTX = MAX_PARENS + 2
SHARED_UP_TO = 10
"""Sequences of up to this many parentheses are in both splits: there are only 1,364 of them, some of them frequent."""

Split = Literal["train", "test", "all"]
_TEST_SHARE = 0.1


@dataclass(frozen=True)
class ParensData:
    """Rows of a data set; see `parens_data`.

    Attributes:
        tokens: [n, 42] int64.
        mask: [n, 42] bool, False at PAD.
        label: [n] int64, 1 if balanced.
        kind: [n] int64, index into `KINDS`: how the row was made.
    """

    tokens: torch.Tensor
    mask: torch.Tensor
    label: torch.Tensor
    kind: torch.Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: slice | torch.Tensor) -> ParensData:
        return ParensData(self.tokens[rows], self.mask[rows], self.label[rows], self.kind[rows])


def parens_data(n: int, seed: int | torch.Generator, *, split: Split = "all") -> ParensData:
    """Draw rows. About a quarter is balanced; the rest are near misses of several kinds (`KINDS`).

    Args:
        n: number of rows.
        seed: decides everything; a generator goes on from where it is.
        split: "train" or "test" keeps the sequences of that part. A hash of the sequence decides which part it is in,
            so that the two have none in common whatever their seeds, but for sequences of up to `SHARED_UP_TO`.

    Raises:
        DatasetError: a negative number of rows.

    >>> data = parens_data(1000, 0)
    >>> data.tokens.shape, data.tokens.dtype, 0.2 < data.label.double().mean() < 0.3
    (torch.Size([1000, 42]), torch.int64, tensor(True))
    >>> [to_string(row) for row in data.tokens[data.tokens[:, 7] == END][:3]]
    ['())())', '()())(', '(())()']
    """
    if n < 0:
        raise DatasetError(f"{n} rows cannot be drawn", expected="0 or more", found=n)
    generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    parts: list[ParensData] = []
    missing = n
    while missing > 0 or not parts:
        drawn = _draw(max(64, int(1.2 * missing / _share_of(split))), generator)
        parts.append(drawn if split == "all" else drawn[_is_in(split, drawn.tokens, generator)])
        missing -= len(parts[-1])
    fields = ("tokens", "mask", "label", "kind")
    return ParensData(*(torch.cat([getattr(part, field) for part in parts])[:n] for field in fields))


def from_strings(strings: list[str]) -> torch.Tensor:
    """Tokens [n, 42] of strings of parentheses.

    Raises:
        DatasetError: a string of other characters, an empty one, or one that is too long.

    >>> from_strings(["()"])[0, :5].tolist()
    [0, 3, 4, 2, 1]
    """
    tokens = torch.full((len(strings), N_CTX), PAD)
    for row, string in zip(tokens, strings, strict=True):
        if not 0 < len(string) <= MAX_PARENS or set(string) - {"(", ")"}:
            raise DatasetError(
                f"{string!r} is no sequence of 1 to {MAX_PARENS} parentheses", expected="( and ) only", found=string
            )
        row[0] = START
        row[1 : len(string) + 1] = torch.tensor([VOCABULARY.index(paren) for paren in string])
        row[len(string) + 1] = END
    return tokens


def to_string(tokens: torch.Tensor) -> str:
    """The parentheses of one row of tokens [42].

    >>> to_string(from_strings(["(())"])[0])
    '(())'
    """
    return "".join(VOCABULARY[int(token)] for token in tokens if int(token) >= OPEN)


def padding_mask(tokens: torch.Tensor) -> torch.Tensor:
    """Bool of the shape of tokens: False at PAD."""
    return tokens != PAD


def is_balanced(tokens: torch.Tensor) -> torch.Tensor:
    """[n] int64: 1 where the depth ends at 0 and was never below it, of tokens [n, 42]."""
    depth = ((tokens == OPEN).long() - (tokens == CLOSE).long()).cumsum(1)
    return ((depth[:, -1] == 0) & (depth >= 0).all(1)).long()


def _share_of(split: Split) -> float:
    return {"all": 1.0, "train": 1.0 - _TEST_SHARE, "test": _TEST_SHARE}[split]


def _is_in(split: Split, tokens: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """[n] bool: which rows belong to that part. Short ones are taken as often as others, by chance."""
    digests = [xxhash.xxh3_64_intdigest(row.tobytes()) for row in tokens.to(torch.int8).numpy()]
    is_test = torch.tensor([digest < _TEST_SHARE * 2**64 for digest in digests], dtype=torch.bool)
    is_short = (tokens >= OPEN).sum(1) <= SHARED_UP_TO
    is_test = torch.where(is_short, torch.rand(len(tokens), generator=generator) < _TEST_SHARE, is_test)
    return is_test if split == "test" else ~is_test


def _draw(n: int, generator: torch.Generator) -> ParensData:
    """Rows of all kinds, shuffled by construction: each row draws its kind and its length."""
    shares = torch.tensor([share for share, _ in KINDS.values()], dtype=torch.float64)
    bounds = (shares / shares.sum()).cumsum(0)[:-1]
    kind = torch.bucketize(torch.rand(n, generator=generator, dtype=torch.float64), bounds)
    half = torch.randint(1, MAX_PARENS // 2 + 1, (n,), generator=generator)
    tokens = torch.full((n, N_CTX), PAD)
    for number, (_, make) in enumerate(KINDS.values()):
        for m in range(1, MAX_PARENS // 2 + 1):
            rows = ((kind == number) & (half == m)).nonzero()[:, 0]
            if len(rows):
                tokens[rows, 1 : 2 * m + 1] = torch.where(make(len(rows), m, generator), OPEN, CLOSE)
    tokens[:, 0] = START
    tokens[torch.arange(n), 2 * half + 1] = END
    return ParensData(tokens, padding_mask(tokens), is_balanced(tokens), kind)


# Each makes [n, 2 m] bool, True for "(".


def _balanced(n: int, m: int, generator: torch.Generator) -> torch.Tensor:
    """Uniform over the balanced sequences, by the cycle lemma (Dvoretzky and Motzkin 1947).

    Of the rotations of m "(" and m + 1 ")" in a circle exactly one is a balanced sequence followed by ")": the one that
    starts right after the first point of least depth.
    """
    is_open = _shuffled(n, m, m + 1, generator)
    depth = torch.where(is_open, 1, -1).cumsum(1)
    start = depth.argmin(1) + 1
    steps = torch.arange(2 * m)
    return is_open.gather(1, (start[:, None] + steps) % (2 * m + 1))


def _random(n: int, m: int, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(n, 2 * m, generator=generator) < 0.5


def _biased(n: int, m: int, generator: torch.Generator) -> torch.Tensor:
    """Each row with a share of "(" of its own."""
    return torch.rand(n, 2 * m, generator=generator) < torch.rand(n, 1, generator=generator)


def _equal_count(n: int, m: int, generator: torch.Generator) -> torch.Tensor:
    """As many "(" as ")", in any order."""
    return _shuffled(n, m, m, generator)


def _flipped(n: int, m: int, generator: torch.Generator) -> torch.Tensor:
    """Balanced but for a parenthesis turned around, or two in one case of five: mostly a pair or two off in count."""
    is_open = _balanced(n, m, generator)
    is_twice = torch.rand(n, generator=generator) < 0.2
    for is_flipped in (torch.ones(n, dtype=torch.bool), is_twice):
        at = torch.randint(2 * m, (n,), generator=generator)
        is_open[torch.arange(n)[is_flipped], at[is_flipped]] ^= True
    return is_open


def _swapped(n: int, m: int, generator: torch.Generator) -> torch.Tensor:
    """Balanced but for a ")" that changed places with an earlier "(": the count is right, the order often not."""
    is_open = _balanced(n, m, generator)
    rows = torch.arange(n)
    close = torch.rand(n, 2 * m, generator=generator).masked_fill(is_open, -1.0).argmax(1)
    is_candidate = is_open & (torch.arange(2 * m) < close[:, None])
    opened = torch.rand(n, 2 * m, generator=generator).masked_fill(~is_candidate, -1.0).argmax(1)
    is_open[rows, close] = True
    is_open[rows, opened] = False
    return is_open


def _rotated(n: int, m: int, generator: torch.Generator) -> torch.Tensor:
    """A balanced sequence cut in two, the parts in the other order: the count is right, the start often ")"."""
    start = torch.randint(2 * m, (n, 1), generator=generator)
    return _balanced(n, m, generator).gather(1, (start + torch.arange(2 * m)) % (2 * m))


def _starts_closed(n: int, m: int, generator: torch.Generator) -> torch.Tensor:
    """Any order of the right count that starts with ")" and ends with "("."""
    middle = _shuffled(n, m - 1, m - 1, generator)
    ends = torch.zeros(n, 1, dtype=torch.bool)
    return torch.cat([ends, middle, ~ends], dim=1)


def _shuffled(n: int, n_open: int, n_close: int, generator: torch.Generator) -> torch.Tensor:
    """[n, n_open + n_close] bool: every order equally likely."""
    ranks = torch.rand(n, n_open + n_close, generator=generator, dtype=torch.float64).argsort(1)
    return ranks < n_open


Maker = Callable[[int, int, torch.Generator], torch.Tensor]
KINDS: dict[str, tuple[float, Maker]] = {
    "balanced": (0.13, _balanced),
    "random": (0.10, _random),
    "biased": (0.08, _biased),
    "equal_count": (0.16, _equal_count),
    "flipped": (0.20, _flipped),
    "swapped": (0.14, _swapped),
    "rotated": (0.10, _rotated),
    "starts_closed": (0.05, _starts_closed),
}
"""How rows are made: name -> (share, function)."""
