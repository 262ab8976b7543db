"""Rows of token ids as tensors, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch

from scrub.graph import TaskError
from scrub.tasks.checks import NONE


def int_list(ids: torch.Tensor) -> list[int]:
    """The ints of a tensor [n]."""
    return cast(list[int], ids.tolist())


def padded(rows: Sequence[Sequence[int]], value: int, *, from_left: bool = False) -> torch.Tensor:
    """Rows of ids as int64 [n, longest], with `value` after them, or before them."""
    width = max(len(row) for row in rows)
    fill = ([value] * (width - len(row)) for row in rows)
    return torch.tensor(
        [[*more, *row] if from_left else [*row, *more] for row, more in zip(rows, fill, strict=True)],
        dtype=torch.int64,
    ).reshape(len(rows), width)


def integers(name: str, field: str, given: torch.Tensor | Sequence[Any]) -> torch.Tensor:
    """A tensor as it is, nested lists of numbers as a tensor; whether they are ints is checked by the task.

    Raises:
        TaskError: rows of different length, or no numbers.
    """
    if isinstance(given, torch.Tensor):
        return given
    try:
        made = torch.tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TaskError(
            f"task {name!r}: {field} makes no tensor: {error}",
            expected="ints, rows of equal length",
            found=given,
            hint=f"pad the rows to equal length; {NONE} stands for no answer and no position",
        ) from error
    return made if made.numel() else made.to(torch.int64)  # torch takes no numbers for floats


def of_rank_3(answers: torch.Tensor) -> torch.Tensor:
    """[n] and [n, k] as [n, k, 1]."""
    if answers.ndim == 1:
        return answers[:, None, None]
    return answers[:, :, None] if answers.ndim == 2 else answers


def widened(answers: torch.Tensor, width: int) -> torch.Tensor:
    """[n, k, a] as [n, k, width]."""
    return torch.nn.functional.pad(answers, (0, width - answers.shape[2]), value=NONE)


def interleaved(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Row 0 of the first, row 0 of the second, row 1 of the first, ..."""
    return torch.stack((first, second), 1).flatten(0, 1)
