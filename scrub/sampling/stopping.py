"""What makes an estimation stop before its last draw, and the warnings that say so."""

from __future__ import annotations

import torch

from scrub.graph import MemoryLimitError

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "_STATUS_ALLOC_FAILED")


class PartialEstimateWarning(UserWarning):
    """`estimate` was stopped and returned what the draws so far tell.

    Attributes:
        n, num_draws: draws that the estimates are from, and draws asked for.
    """

    def __init__(self, n: int, num_draws: int, *, is_out_of_memory: bool) -> None:
        self.n, self.num_draws = n, num_draws
        reason, hint = "interrupted", "the same call again makes the same draws from the first one on"
        if is_out_of_memory:
            reason = "out of memory with one draw at a time"
            hint = "max_memory= makes a plan that fits, if there is one; nothing of the failed draw is kept"
        super().__init__(f"{reason}: these are estimates from the first {n} of {num_draws} draws\nhint: {hint}")


class BatchSizeWarning(UserWarning):
    """`estimate` evaluates fewer draws at a time than it was asked to, because memory does not suffice.

    Attributes:
        asked, fits: draws evaluated at a time, before and from now on.
    """

    def __init__(self, asked: int, fits: int) -> None:
        self.asked, self.fits = asked, fits
        super().__init__(
            f"memory does not suffice for {asked} draws at a time: going on with {fits}, which changes no number "
            f"beyond rounding\nhint: batch_size={fits} says so from the start"
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, or what `max_memory` leaves of it, does not suffice.

    Torch's allocators raise several kinds.

    >>> try:
    ...     torch.empty(2**58)
    ... except RuntimeError as error:
    ...     is_out_of_memory(error)
    True
    >>> is_out_of_memory(RuntimeError("sizes do not fit"))
    False
    """
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError | MemoryLimitError):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in _OUT_OF_MEMORY)
