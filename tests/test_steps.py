"""The counting of steps itself."""

from __future__ import annotations

from tests.steps import num_steps


def test_num_steps_counts_passes() -> None:
    def square(n: int) -> int:
        return sum(1 for i in range(n) for j in range(n))

    def line(n: int) -> int:
        return len([i for i in range(n)])  # noqa: C416 - a comprehension is what is to be counted

    assert 90 < num_steps(lambda: square(1000)) / num_steps(lambda: square(100)) < 110
    assert 9 < num_steps(lambda: line(10_000)) / num_steps(lambda: line(1000)) < 11
