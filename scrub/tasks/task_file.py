"""Tasks in files: one JSON object with every tensor, text and fact, read back exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import torch

from scrub.graph import FileError
from scrub.tasks.records import as_json
from scrub.tasks.task import Task

FORMAT = "scrub task 1"
_TENSORS = ("tokens", "mask", "positions", "answers", "wrong", "counterfactual", "groups")
_TUPLES = ("prompts", "counterfactual_prompts", "facts")


def save_task(task: Task, path: str | Path) -> None:
    """Write a task to a JSON file.

    Raises:
        TaskError: facts or notes that JSON does not give back as they are, such as tuples.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "task.json")
    >>> task = Task.from_tokens("copy", [[5, 3, 5], [4, 2, 4]], answers=[3, 2])
    >>> save_task(task, path)
    >>> load_task(path).digest == task.digest
    True
    """
    tensors = {name: getattr(task, name) for name in _TENSORS}
    content: dict[str, Any] = {
        "format": FORMAT,
        "digest": task.digest,
        "name": task.name,
        **{name: None if value is None else value.tolist() for name, value in tensors.items()},
        "token_positions": {mark: at.tolist() for mark, at in task.token_positions.items()},
        **{name: list(getattr(task, name)) for name in _TUPLES},
        "notes": dict(task.notes),
        "token_text": {str(token): text for token, text in task.token_text.items()},
    }
    Path(path).write_text(as_json(content, f"task {task.name!r}") + "\n", encoding="utf-8")


def load_task(path: str | Path) -> Task:
    """The task that `save_task` wrote, its tensors in main memory.

    Raises:
        FileError: the file is not there, is no such file, or its tensors were changed since.
        TaskError: its tensors make no task.
    """
    try:
        content: Any = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"{path} cannot be read: {error}", expected="a file of save_task", found=path) from error
    if not isinstance(content, dict) or cast(dict[str, Any], content).get("format") != FORMAT:
        raise FileError(
            f"{path} holds no task of this version",
            expected=FORMAT,
            found=cast(dict[str, Any], content).get("format") if isinstance(content, dict) else type(content).__name__,
            hint="read_prompts reads files of prompts",
        )
    entries = cast(dict[str, Any], content)
    try:
        fields: dict[str, Any] = {
            **{name: _tensor(entries[name]) for name in _TENSORS},
            **{name: tuple(entries[name]) for name in _TUPLES},
            "token_positions": {mark: _tensor(at) for mark, at in entries["token_positions"].items()},
            "token_text": {int(token): text for token, text in entries["token_text"].items()},
        }
        task = Task(entries["name"], **fields, notes=entries["notes"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileError(f"{path} is damaged: {error!r}", expected="a file of save_task", found=repr(error)) from error
    if task.digest != entries.get("digest"):
        raise FileError(
            f"the tensors in {path} were changed since they were written",
            expected=entries.get("digest"),
            found=task.digest,
            hint="make the task again, or write it with save_task",
        )
    return task


def _tensor(values: Any) -> torch.Tensor | None:
    return None if values is None else torch.tensor(values, dtype=torch.int64)
