"""The loop of `estimate`: batch after batch, smaller ones where memory does not suffice."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from scrub.graph import MemoryLimitError
from scrub.sampling.estimation import Estimation
from scrub.sampling.stopping import BatchSizeWarning, is_out_of_memory

_CHECK_EVERY = 256  # draws between looks at the target, so that where it stops does not depend on the batch size


def take_draws(
    work: Estimation,
    *,
    batch_size: int,
    target_stderr: float | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Take in the draws from `work.n` on, to the last one or to the target.

    Whatever is raised on the way, `work` holds the draws 0 to `work.n`, and another call goes on from there.
    """
    total, size = work.spec.num_draws, batch_size
    while work.n < total:
        stop = min(work.n + size, total)
        if target_stderr is not None:
            stop = min(stop, (work.n // _CHECK_EVERY + 1) * _CHECK_EVERY)
        asked = stop - work.n
        taken = _add_what_fits(work, asked)
        if taken < asked:
            warnings.warn(BatchSizeWarning(asked, taken), stacklevel=3)  # at the caller of `estimate`
            size = taken
        if progress is not None:
            progress(work.n, total)
        if target_stderr is not None and work.n % _CHECK_EVERY == 0 and work.largest_stderr() <= target_stderr:
            break


def _add_what_fits(work: Estimation, size: int) -> int:
    """Take in the next draws: that many, or half of them, or half of these, as memory allows; returns how many."""
    while not _fits(work, size):
        size //= 2  # the failed batch's tensors are gone by now, with the error's traceback
    return size


def _fits(work: Estimation, size: int) -> bool:
    try:
        work.add(work.n + size)
    except (MemoryError, RuntimeError, MemoryLimitError) as error:
        if size == 1 or not is_out_of_memory(error):
            raise
        return False
    return True
