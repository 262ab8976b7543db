"""The most bytes that tensors hold at once during a call.

Every allocation and release that goes through torch's allocator is recorded by `torch.profiler` with its size, so the
temporaries inside kernels count, and so do tensors that Python never sees. The peak is the largest running sum. What a
library allocates past torch (packed copies of matrices inside a BLAS, say) is not seen, for us and for peers alike; nor
is the release of tensors that were there before.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile


def peak_bytes(run: Callable[[], object], *, device: str | torch.device = "cpu") -> int:
    """The largest number of bytes of tensors on `device` at one time during `run()`, beyond those there before.

    What `run` returns counts: it is held until the end of the measurement. The call is made once, so make it once
    before where the first call allocates what the later ones reuse.

    >>> peak_bytes(lambda: [torch.zeros(100), torch.zeros(200).sum()])
    1204
    """
    if torch.device(device).type != "cpu":
        return _peak_of_device(run, torch.device(device))
    gc.collect()  # what is garbage already is not released during the call
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        result = run()
    del result
    events: list[Any] = cast(Any, recorded.profiler).kineto_results.events()  # not among torch's typed names
    changes = [event for event in events if event.name() == "[memory]" and event.device_type() == DeviceType.CPU]
    return highest_sum([int(event.nbytes()) for event in sorted(changes, key=lambda event: event.start_ns())])


def highest_sum(changes: Iterable[int]) -> int:
    """The largest sum of a prefix, at least 0.

    >>> highest_sum([5, 3, -5, 4, -7])
    8
    """
    total = highest = 0
    for change in changes:
        total += change
        highest = max(highest, total)
    return highest


def _peak_of_device(run: Callable[[], object], device: torch.device) -> int:
    """The same by the counters of torch's caching allocator."""
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    result = run()
    torch.cuda.synchronize(device)
    del result
    return torch.cuda.max_memory_allocated(device) - before
