"""Training batches: windows of text, and sequences in which a random segment comes twice.

A batch is tokens [batch, length + 1] and a mask [batch, length] of the positions whose next token counts in the loss.
In a text window every position counts; in a repeated-segment sequence only those that the first copy predicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Ids = NDArray[np.int64]
MIN_SEGMENT = 16


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Tokens [batch, length + 1], the loss mask [batch, length], and how many rows, the first ones, are text."""

    tokens: Tensor
    mask: Tensor
    n_text: int


class BatchSource:
    """Draws batches from encoded documents; the same seed gives the same batches.

    >>> source = BatchSource([np.arange(100)], n_ctx=64, d_vocab=100, seed=0)
    >>> source.draw(n_text=3, n_repeated=1).tokens.shape
    torch.Size([4, 65])
    """

    def __init__(self, documents: Sequence[Ids], *, n_ctx: int, d_vocab: int, seed: int) -> None:
        self.length = n_ctx + 1
        self.d_vocab = d_vocab
        self.generator = np.random.default_rng(seed)
        long_enough = [ids for ids in documents if len(ids) >= self.length]
        if not long_enough:
            raise ValueError(f"BatchSource: no document has {self.length} tokens")
        self.text = np.concatenate(long_enough)
        ends = np.cumsum([len(ids) for ids in long_enough])
        starts: list[Ids] = [
            np.arange(end - len(ids), end - self.length + 1) for ids, end in zip(long_enough, ends, strict=True)
        ]
        self.starts: Ids = np.concatenate(starts)

    def draw(self, *, n_text: int, n_repeated: int) -> Batch:
        """A batch of windows that start anywhere within a document, then of repeated-segment sequences."""
        starts = self.generator.choice(self.starts, size=n_text)
        rows = [self.text[start : start + self.length] for start in starts]
        masks = [np.ones(self.length - 1, dtype=np.bool_)] * n_text
        for _ in range(n_repeated):
            tokens, mask = repeated_segment(self.generator, length=self.length, d_vocab=self.d_vocab)
            rows.append(tokens)
            masks.append(mask)
        return Batch(tokens=torch.from_numpy(np.stack(rows)), mask=torch.from_numpy(np.stack(masks)), n_text=n_text)


def repeated_segment(generator: np.random.Generator, *, length: int, d_vocab: int) -> tuple[Ids, NDArray[np.bool_]]:
    """Uniform random tokens in which a segment, of random length and places, comes twice; and a mask [length - 1].

    The mask marks the positions within the second copy whose next token is in the second copy too.

    >>> tokens, mask = repeated_segment(np.random.default_rng(0), length=65, d_vocab=100)
    >>> tokens.shape, mask.shape
    ((65,), (64,))
    """
    tokens = generator.integers(d_vocab, size=length)
    segment = int(generator.integers(MIN_SEGMENT, length // 2, endpoint=True))
    first = int(generator.integers(0, length - 2 * segment, endpoint=True))
    second = int(generator.integers(first + segment, length - segment, endpoint=True))
    tokens[second : second + segment] = tokens[first : first + segment]
    mask = np.zeros(length - 1, dtype=np.bool_)
    mask[second : second + segment - 1] = True
    return tokens, mask
