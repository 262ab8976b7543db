"""Tasks as text: one line, and a table of the first prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scrub.graph import TaskError
from scrub.tasks.rows import int_list

if TYPE_CHECKING:
    from scrub.tasks.task import Task

_MAX_ANSWERS = 6
"""Answers shown of each row."""


def summary(task: Task) -> str:
    """One line: how many prompts, how long, and what they come with."""
    lengths = task.mask.sum(1)
    shortest, longest = int(lengths.min()), int(lengths.max())
    parts = [
        f"{_count(len(task), 'prompt')} of "
        + (_count(longest, "token") if shortest == longest else f"{shortest} to {longest} tokens")
    ]
    if task.counterfactual is not None:
        parts.append("counterfactuals")
    if task.positions.shape[1] > 1:
        parts.append(f"up to {_count(task.positions.shape[1], 'prediction')} each")
    parts.append(_numbers(task))
    if task.token_positions:
        parts.append("positions " + ", ".join(task.token_positions))
    return f"Task {task.name!r}: {'; '.join(parts)}"


def table(task: Task, n: int) -> str:
    """The summary, then the first n prompts with counterfactual, right and wrong answers.

    Raises:
        TaskError: n is below 1.
    """
    if n < 1:
        raise TaskError(f"task {task.name!r}: a table of {n} prompts", expected="at least 1", found=n)
    lines = [summary(task)]
    for row in range(min(n, len(task))):
        lines.append(_shown(task, task.tokens[row], row, task.prompts[row] if task.prompts else ""))
        if task.counterfactual is not None:
            text = task.counterfactual_prompts[row] if task.counterfactual_prompts else ""
            lines.append(f"    counterfactual: {_shown(task, task.counterfactual[row], row, text)}")
        for place, position in enumerate(int_list(task.positions[row])):
            if position >= 0:
                at = f" at {position}" if task.positions.shape[1] > 1 else ""
                lines.append(f"    right{at}: {_answers(task, task.answers[row, place])}")
                if task.wrong.shape[2]:
                    lines.append(f"    wrong{at}: {_answers(task, task.wrong[row, place])}")
    if len(task) > n:
        lines.append(f"... and {len(task) - n} more")
    lines += [f"{what}: {count}" for what, count in task.notes.items()]
    return "\n".join(lines)


def text_of(task: Task, token: int) -> str:
    """A token's text where the task knows it, else its id."""
    return task.token_text.get(token, str(token))


def _shown(task: Task, tokens: torch.Tensor, row: int, text: str) -> str:
    """The tokens on one line; the text they were made of where some are parts of a character."""
    ids = int_list(tokens[task.mask[row] == 1])
    joined = ("" if task.token_text else " ").join(text_of(task, token) for token in ids)
    return (text if text and "\ufffd" in joined else joined).replace("\n", "\\n")


def _answers(task: Task, ids: torch.Tensor) -> str:
    found = [token for token in int_list(ids) if token >= 0]
    known = [repr(task.token_text[token]) if token in task.token_text else str(token) for token in found]
    more = f" and {len(found) - _MAX_ANSWERS} more" if len(found) > _MAX_ANSWERS else ""
    return ", ".join(known[:_MAX_ANSWERS]) + more


def _numbers(task: Task) -> str:
    """How many right and wrong answers predictions have, "up to" where it differs."""
    parts: list[str] = []
    most = 1
    for noun, answers in (("right", task.answers), ("wrong", task.wrong)):
        counts = (answers >= 0).sum(-1)[task.positions >= 0]
        if counts.any():
            most = int(counts.max())
            parts.append(f"{'' if most == int(counts.min()) else 'up to '}{most} {noun}")
    return f"{' and '.join(parts)} answer{'' if most == 1 else 's'}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
