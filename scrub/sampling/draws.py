"""Which row a random variable takes at each draw: a pure function of (seed, group, draw number) (SPEC 6.2).

Draw i of a group uses word i of the Philox stream keyed by seed and group digest, and the inverse distribution function
in float64 on the CPU. So it does not depend on batch size, device, order of evaluation or the number of workers.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from scrub.graph import SampleSpecError

_WORDS_PER_STEP = 4  # Philox makes four 64-bit words per value of its counter


def uniforms(key: str, start: int, stop: int) -> np.ndarray:
    """Numbers in [0, 1) of draws start to stop, float64.

    >>> bool((uniforms("k", 0, 10)[3:7] == uniforms("k", 3, 7)).all())
    True
    """
    words = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=16).digest(), "little")
    generator = np.random.Philox(key=words)
    first = start // _WORDS_PER_STEP
    if first:
        generator.advance(first)
    offset = start - first * _WORDS_PER_STEP
    raw = generator.random_raw(offset + stop - start)[offset:]
    return (raw >> np.uint64(11)) * 2.0**-53


def normalized(probs: torch.Tensor) -> torch.Tensor:
    """Probabilities [n] in float64 on the CPU with their rounding errors divided out, checked.

    Raises:
        SampleSpecError: one is negative, or the sum is not 1.
    """
    weights = probs.detach().to("cpu", torch.float64)
    total, least = float(weights.sum()), float(weights.min())
    if not (abs(total - 1.0) <= 1e-4 and least >= 0):
        raise SampleSpecError(
            f"probabilities must not be negative and must sum to 1; the least is {least:.6g}, their sum {total:.6g}",
            expected=1.0,
            found=total,
            hint="divide weights by their sum",
        )
    return weights / total


def draw_rows(probs: torch.Tensor, key: str, start: int, stop: int) -> torch.Tensor:
    """Row numbers of draws start to stop, int64, with replacement by probability.

    Args:
        probs: [n], not negative, sum 1 up to rounding.
        key: what tells this stream of draws from others.
    """
    weights = normalized(probs).numpy()
    cumulative = np.cumsum(weights)
    rows = np.searchsorted(cumulative, uniforms(key, start, stop), side="right")
    last = int(np.flatnonzero(weights)[-1])  # rounding may leave the last sum below 1
    return torch.from_numpy(np.minimum(rows, last).astype(np.int64))
