"""The measure of peak memory against patterns of allocation whose peak is known."""

from __future__ import annotations

import torch
from torch.nn import functional

from benchmarks.memory import highest_sum, peak_bytes

MEGA = 1_000_000  # bytes, a multiple of every dtype's size


def floats(num_bytes: int) -> torch.Tensor:
    return torch.zeros(num_bytes // 4)


def test_the_highest_of_overlapping_lifetimes() -> None:
    def run() -> None:
        a, b = floats(4 * MEGA), floats(8 * MEGA)  # 12 at once
        del a
        c = floats(2 * MEGA)  # 10
        del b
        d = floats(9 * MEGA)  # 11
        del c, d

    assert peak_bytes(run) == 12 * MEGA


def test_what_is_returned_counts() -> None:
    assert peak_bytes(lambda: (floats(MEGA), floats(3 * MEGA))) == 4 * MEGA


def test_what_was_there_before_does_not_count() -> None:
    kept = floats(5 * MEGA)
    assert peak_bytes(lambda: kept[: MEGA // 4].view(10, -1)) == 0
    assert peak_bytes(lambda: kept.mul_(kept)) == 0


def test_releasing_what_was_there_before_makes_no_room() -> None:
    held = [floats(5 * MEGA)]

    def run() -> torch.Tensor:
        held.clear()
        return floats(7 * MEGA)

    assert peak_bytes(run) == 7 * MEGA


def test_other_dtypes_and_gradients() -> None:
    assert peak_bytes(lambda: torch.zeros(MEGA, dtype=torch.float64)) == 8 * MEGA
    assert peak_bytes(lambda: torch.zeros(MEGA, dtype=torch.bfloat16)) == 2 * MEGA
    x = floats(4 * MEGA).requires_grad_()

    def run() -> None:
        y = x.sin().sin()  # sin keeps what it read: x, and one copy of our own
        torch.autograd.grad(y.sum(), x)

    assert peak_bytes(run) >= 3 * 4 * MEGA  # both sines and a gradient


def test_temporaries_inside_kernels_count() -> None:
    """A convolution by `unfold` holds the unfolded input, which Python never names."""
    x, weight = torch.zeros(1, 8, 100, 100, dtype=torch.float64), torch.zeros(16, 8, 3, 3, dtype=torch.float64)
    result_bytes = functional.conv2d(x, weight, padding=1).numel() * 8
    assert peak_bytes(lambda: functional.conv2d(x, weight, padding=1)) > result_bytes


def test_the_same_again() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.GELU(), torch.nn.Linear(256, 64)).requires_grad_(
        False
    )
    x = torch.zeros(128, 64)
    first = peak_bytes(lambda: model(x))
    assert first == peak_bytes(lambda: model(x)) == 128 * (256 + 256) * 4


def test_highest_sum_of_nothing_and_of_releases() -> None:
    assert highest_sum([]) == 0
    assert highest_sum([-3, 2]) == 0
