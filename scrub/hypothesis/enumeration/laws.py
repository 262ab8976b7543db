"""`Laws`: many distributions over few outcomes each, and the laws of draws given each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import numpy as np
import torch
import xxhash

from scrub.graph import HypothesisError
from scrub.hypothesis.evaluation.distinct import Distinct, distinct, distinct_tuples
from scrub.hypothesis.slots import Draw, Slot
from scrub.hypothesis.source import Source

_SAME_TO = 2.0**46
"""Laws whose weights differ by rounding alone count as one: equal to one part in this many."""
_CHANCES_AT_A_TIME = 2**22
_MOST_WORDS = 8


@dataclass(frozen=True, eq=False)
class Laws:
    """Distributions over numbered outcomes, numbered themselves: law i has the entries starts[i] to starts[i + 1].

    Attributes:
        starts: int64 [laws + 1].
        outcomes, weights: int64 and float64 [entries]; outcomes that cannot be are left out.

    >>> coins = Laws.of(torch.tensor([0, 1, 1, 1]), torch.tensor([0, 1, 0, 1]), torch.tensor([1, 0.25, 0.5, 0.25]), 2)
    >>> coins.lengths, coins.weights
    (tensor([1, 2]), tensor([1.0000, 0.5000, 0.5000], dtype=torch.float64))
    """

    starts: torch.Tensor
    outcomes: torch.Tensor
    weights: torch.Tensor

    @classmethod
    def of(cls, law: torch.Tensor, outcome: torch.Tensor, weight: torch.Tensor, num_laws: int) -> Laws:
        """From entries in any order; those of one law and outcome are added up."""
        some = weight > 0
        law, outcome, weight = law[some], outcome[some], weight[some]
        num_outcomes = int(outcome.max()) + 1 if len(outcome) else 1
        pairs = distinct(law * num_outcomes + outcome)
        weights = torch.zeros(len(pairs.values), dtype=torch.float64)
        weights.index_add_(0, pairs.inverse, weight.to(torch.float64))
        counts = torch.bincount(pairs.values // num_outcomes, minlength=num_laws)
        return cls(_starts(counts), pairs.values % num_outcomes, weights)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> torch.Tensor:
        """How many outcomes each law has."""
        return self.starts.diff()

    @property
    def of_entry(self) -> torch.Tensor:
        """Which law each entry belongs to."""
        return torch.repeat_interleave(torch.arange(len(self)), self.lengths)

    def sums(self, values: torch.Tensor) -> torch.Tensor:
        """For each law the sum of a value of its outcomes, whatever their weights; float64."""
        found = torch.zeros(len(self), dtype=torch.float64)
        return found.index_add_(0, self.of_entry, values[self.outcomes].to(torch.float64))

    def mapped(self, outcome: torch.Tensor) -> Laws:
        """The laws of a function of the outcome."""
        return Laws.of(self.of_entry, outcome[self.outcomes], self.weights, len(self))

    def then(self, following: Laws) -> Laws:
        """The laws of what is drawn by `following` given an outcome of these."""
        at, entry = following.expand(self.outcomes, 0, int(following.lengths[self.outcomes].sum()))
        weight = self.weights[at] * following.weights[entry]
        return Laws.of(self.of_entry[at], following.outcomes[entry], weight, len(self))

    def expand(self, laws: torch.Tensor, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Of all entries of these laws, one law after another, the start-th to the stop-th: position in `laws`, entry.

        >>> coins = Laws.of(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), torch.tensor([1, 0.5, 0.5]), 2)
        >>> coins.expand(torch.tensor([1, 0, 1]), 1, 4)
        (tensor([0, 1, 2]), tensor([2, 0, 1]))
        """
        begins = _starts(self.lengths[laws])
        number = torch.arange(start, min(stop, int(begins[-1])))
        at = torch.searchsorted(begins, number, right=True) - 1
        return at, self.starts[laws[at]] + number - begins[at]

    def merged(self) -> tuple[Laws, torch.Tensor]:
        """The different ones among the laws, and which of them each is."""
        rounded = (self.weights * _SAME_TO).round().to(torch.int64)
        keys = torch.stack([self.outcomes, rounded], 1).numpy()
        numbers: dict[bytes, int] = {}
        starts = cast(list[int], self.starts.tolist())
        number = [numbers.setdefault(keys[a:b].tobytes(), len(numbers)) for a, b in pairwise(starts)]
        of_law = torch.tensor(number, dtype=torch.int64)
        kept = distinct(of_law).first
        at, entry = self.expand(kept, 0, int(self.lengths[kept].sum()))
        return Laws.of(at, self.outcomes[entry], self.weights[entry], len(kept)), of_law


def _starts(lengths: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])


def conditional(slot: Slot, draw: Draw, given: torch.Tensor, source: Source, *, most: int) -> tuple[Laws, torch.Tensor]:
    """The laws of a draw over rows of the source, and which of them belongs to each row that is given.

    Args:
        slot: for messages.
        draw: its sampler.
        given: rows that may be given; the answer is -1 for others.
        source: what the sampler draws from.
        most: chances that may be kept.
    """
    numbers: dict[bytes, int] = {}
    parts: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    of_row = torch.full((source.data.num_rows,), -1, dtype=torch.int64)
    kept = 0
    at_a_time = max(1, _CHANCES_AT_A_TIME // source.data.num_rows)
    for start in range(0, len(given), at_a_time):
        rows = given[start : start + at_a_time]
        chances = _checked(draw.sampler.probabilities(rows, source), rows, slot, draw, source)
        for i, mine in enumerate(chances):
            key = xxhash.xxh3_128(mine.numpy().tobytes()).digest()
            if key not in numbers:
                (possible,) = mine.nonzero(as_tuple=True)
                kept += len(possible)
                parts.append((torch.full_like(possible, len(numbers)), possible, mine[possible]))
                numbers[key] = len(numbers)
            of_row[rows[i]] = numbers[key]
        if kept > most:
            raise HypothesisError(
                f"{slot.label!r}: {draw.sampler!r} has more than {most:,} chances: {len(numbers):,} laws so far",
                expected=f"at most max_outcomes = {most:,}",
                found=kept,
                hint="a smaller dataset, a coarser condition, or run it with n=... draws",
            )
    law, outcome, weight = (torch.cat(column) for column in zip(*parts, strict=True))
    return Laws.of(law, outcome, weight, len(numbers)), of_row


def _checked(chances: torch.Tensor, given: torch.Tensor, slot: Slot, draw: Draw, source: Source) -> torch.Tensor:
    """Chances as a sampler of anybody's gave them, if they are distributions; those in float32 made to add up to 1."""
    shape = (len(given), source.data.num_rows)
    is_fine = tuple(chances.shape) == shape
    found: list[object] = [tuple(chances.shape)]
    chances = chances.detach().to("cpu", torch.float64).contiguous()
    totals = chances.sum(-1, keepdim=True)
    wrong = (totals[:, 0] - 1).abs() > 1e-5 if is_fine else torch.ones(1, dtype=torch.bool)
    if is_fine and not bool(wrong.any()) and bool((chances >= 0).all()):
        return chances / totals
    row = int(given[int(wrong.to(torch.int64).argmax())])
    if is_fine:
        found = [float(total) for total in totals[:, 0][wrong][:5]]
    raise HypothesisError(
        f"{slot.label!r}: the probabilities of {draw.sampler!r} are no distribution over rows, given row {row}",
        expected=f"float64 {list(shape)}, at least 0, adding up to 1",
        found=found,
        hint="if no row can be drawn for this one, draw references and rows from one dataset, or choose a coarser "
        "condition",
    )


def distinct_values(tensors: Sequence[torch.Tensor]) -> Distinct:
    """Rows of several tensors [n, ...] that agree to the bit in all; `values` numbers them.

    >>> distinct_values([torch.tensor([0.5, 0.5, 1.0]), torch.tensor([[1, 2], [1, 2], [1, 2]])]).inverse
    tensor([0, 0, 1])
    """
    words = [word for tensor in tensors for word in _words(tensor)]
    found = distinct(_numbered(words[0]))
    for word in words[1:]:
        found = distinct_tuples([found.inverse, _numbered(word)])
        if len(found.first) == len(word):
            break
    return found


def _numbered(word: torch.Tensor) -> torch.Tensor:
    """Any integers as numbers from 0 on."""
    return torch.from_numpy(np.unique(word.numpy(), return_inverse=True)[1])


def _words(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The bits of each row as int64 [n] each, less words that are the same in all rows."""
    n = len(tensor)
    flat = tensor.detach().cpu().contiguous().reshape(n, -1)
    if not flat.shape[1]:
        return [torch.zeros(n, dtype=torch.int64)]
    in_bytes = flat.view(torch.uint8)
    missing = -in_bytes.shape[1] % 8
    padded = torch.nn.functional.pad(in_bytes, (0, missing)).contiguous().view(torch.int64)
    padded = padded[:, (padded != padded[:1]).any(0)]
    if padded.shape[1] > _MOST_WORDS:  # 128 bits stand for all
        digests = b"".join(xxhash.xxh3_128(row.tobytes()).digest() for row in padded.contiguous().numpy())
        padded = torch.frombuffer(bytearray(digests), dtype=torch.int64).reshape(n, 2)
    return [*padded.T] or [torch.zeros(n, dtype=torch.int64)]
