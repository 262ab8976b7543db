"""Induction candidates: tokens after which hard induction ("A B ... A" predicts B) is particularly helpful.

The rule, over the training part only. Among the occurrences of token A, in windows of the model's context length, that
have an earlier occurrence of A in the window and a next token:

    r(A) = rate at which the next token is the one that followed A's most recent earlier occurrence
    m(A) = rate at which the most frequent follower of A, over the whole training part, follows A

A is a candidate where there are enough such occurrences, r(A) is high, and r(A) exceeds m(A) clearly: copying from the
context then says what a table of bigrams cannot. After Chan et al. 2022, "Causal scrubbing on a language model", who
restrict their induction hypotheses to tokens on which induction helps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.batches import Ids
from zoo.scores import induction_predicts


@dataclass(frozen=True, kw_only=True)
class CandidateRule:
    """The thresholds of the rule, and the window it counts in."""

    window: int = 256
    min_occurrences: int = 100
    min_repeat_rate: float = 0.6
    min_advantage: float = 0.3


@dataclass(frozen=True, kw_only=True)
class TokenRates:
    """By token [d_vocab]: how often it recurs in a window, r(A), and m(A); rates are 0 where nothing was counted."""

    occurrences: NDArray[np.int64]
    repeat_rate: NDArray[np.float64]
    bigram_rate: NDArray[np.float64]


def token_rates(documents: Sequence[Ids], *, d_vocab: int, window: int) -> TokenRates:
    """Count r and m over documents of token ids.

    >>> rates = token_rates([np.array([1, 2, 0, 1, 2, 3, 1, 3])], d_vocab=4, window=8)
    >>> rates.occurrences.tolist(), rates.repeat_rate.tolist()
    ([0, 2, 1, 0], [0.0, 0.5, 0.0, 0.0])
    """
    occurrences = np.zeros(d_vocab, dtype=np.int64)
    repeats = np.zeros(d_vocab, dtype=np.int64)
    for tokens in _windows(documents, window):
        current = tokens[:-1]
        occurrences += np.bincount(current[_seen_before(current)], minlength=d_vocab)
        predicted = induction_predicts(torch.from_numpy(tokens)[None])[0].numpy()
        repeats += np.bincount(current[predicted], minlength=d_vocab)
    followers = np.zeros((d_vocab, d_vocab), dtype=np.int64)
    for ids in documents:
        np.add.at(followers, (ids[:-1], ids[1:]), 1)
    return TokenRates(
        occurrences=occurrences,
        repeat_rate=repeats / np.maximum(occurrences, 1),
        bigram_rate=followers.max(axis=1) / np.maximum(followers.sum(axis=1), 1),
    )


def induction_candidates(rates: TokenRates, rule: CandidateRule) -> list[int]:
    """The candidates' token ids in ascending order."""
    chosen = (
        (rates.occurrences >= rule.min_occurrences)
        & (rates.repeat_rate >= rule.min_repeat_rate)
        & (rates.repeat_rate - rates.bigram_rate >= rule.min_advantage)
    )
    return np.flatnonzero(chosen).tolist()


def _windows(documents: Sequence[Ids], window: int) -> Iterator[Ids]:
    for ids in documents:
        for start in range(0, len(ids) - window + 1, window):
            yield ids[start : start + window]


def _seen_before(tokens: Ids) -> NDArray[np.bool_]:
    seen = np.ones(len(tokens), dtype=np.bool_)
    seen[np.unique(tokens, return_index=True)[1]] = False
    return seen
