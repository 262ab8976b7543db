"""What must hold of the tensors of a task. The first thing that does not is said with its row and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch

from scrub.graph import TaskError

NONE = -1
"""Stands for no position and no answer."""


def check_devices(name: str, tensors: Mapping[str, torch.Tensor]) -> None:
    """All tensors on one device.

    Raises:
        TaskError: otherwise.
    """
    found = {field: str(getattr(value, "device", None)) for field, value in tensors.items()}
    if len(set(found.values())) > 1:
        raise _error(name, f"its tensors are on several devices: {found}", "one device", found, "use task.to(device)")


def check_tokens(name: str, tokens: torch.Tensor, mask: torch.Tensor, counterfactual: torch.Tensor | None) -> None:
    """Tokens int64 [n, seq] of at least one row and token, mask of 0 and 1 without holes, counterfactual alike.

    Raises:
        TaskError: otherwise.
    """
    _kind(name, "tokens", tokens, 2)
    if not tokens.numel():
        raise _error(name, f"tokens are {list(tokens.shape)}", "at least one prompt of one token", tokens.shape, None)
    same = {"mask": mask} | ({} if counterfactual is None else {"counterfactual": counterfactual})
    for field, value in same.items():
        _kind(name, field, value, 2)
        if value.shape != tokens.shape:
            raise _error(
                name,
                f"{field} is {list(value.shape)}, tokens are {list(tokens.shape)}",
                tuple(tokens.shape),
                tuple(value.shape),
                f"{field} has one entry for each token",
            )
    for field, value in {"tokens": tokens, **same}.items():
        _refuse(name, value < 0, f"{field} are negative", ">= 0", value, "padding is an id too; the mask says where")
    _refuse(name, mask > 1, "the mask is neither 0 nor 1", "0 or 1", mask, "1 at tokens, 0 at padding")
    starts = torch.diff(mask, dim=1, prepend=torch.zeros_like(mask[:, :1])).eq(1).sum(1)
    _refuse(
        name,
        starts != 1,
        "the mask is not one run of tokens",
        "padding on one or both sides of at least one token",
        mask,
        "move the tokens together, padding to the right or to the left",
    )


def check_positions(
    name: str, mask: torch.Tensor, positions: torch.Tensor, token_positions: Mapping[str, torch.Tensor]
) -> None:
    """Positions int64 [n, k] at tokens, or -1; at least one in each row. Marks int64 [n], likewise, or -1.

    Raises:
        TaskError: otherwise.
    """
    _kind(name, "positions", positions, 2)
    _rows(name, "positions", positions, mask)
    for mark, value in token_positions.items():
        _kind(name, f"token_positions[{mark!r}]", value, 1)
        _rows(name, f"token_positions[{mark!r}]", value, mask)
    for field, value in {"positions": positions, **token_positions}.items():
        where = value if value.ndim == 2 else value[:, None]
        _refuse(
            name,
            (where < NONE) | (where >= mask.shape[1]),
            f"{field} is outside the prompt",
            f"0 to {mask.shape[1] - 1}, or {NONE} for none",
            value,
            "count from the first column of tokens, padding and prefix included",
        )
        at_padding = (mask.gather(1, where.clamp_min(0)) == 0) & (where != NONE)
        _refuse(name, at_padding, f"{field} is at padding", "a token's position", value, "see the mask of this row")
    _refuse(
        name,
        (positions == NONE).all(1),
        "there is no position at which a prediction is read",
        "at least one in each row",
        positions,
        "leave out such prompts",
    )


def check_answers(name: str, positions: torch.Tensor, answers: torch.Tensor, wrong: torch.Tensor) -> None:
    """Answers int64 [n, k, a] and wrong [n, k, w], padded with -1: some where a prediction is read, none elsewhere.

    No id twice, none right and wrong. `w` may be 0; otherwise every prediction has a wrong answer.

    Raises:
        TaskError: otherwise.
    """
    _check_ids(name, "answers", positions, answers)
    _check_ids(name, "wrong", positions, wrong)
    _refuse(
        name,
        (answers == NONE).all(-1) & (positions != NONE),
        "answers are missing where a prediction is read",
        "at least one id",
        answers,
        "leave out such prompts",
    )
    _refuse(
        name,
        (wrong == NONE).all(-1) & (positions != NONE) & (wrong.shape[-1] > 0),
        "wrong are missing where a prediction is read",
        "at least one id, or none for all prompts",
        wrong,
        "give every prediction wrong answers, or none at all",
    )
    both = _repeated(torch.cat((answers, wrong), -1))
    _refuse(name, both, "a wrong answer is right too", "answers and wrong apart", wrong, "use answers of other tokens")


def _check_ids(name: str, field: str, positions: torch.Tensor, ids: torch.Tensor) -> None:
    _kind(name, field, ids, 3)
    if ids.shape[:2] != positions.shape:
        raise _error(
            name,
            f"{field} is {list(ids.shape)}, positions are {list(positions.shape)}",
            f"[{positions.shape[0]}, {positions.shape[1]}, ids]",
            tuple(ids.shape),
            f"{field} has a row of ids for each position, padded with {NONE}",
        )
    _refuse(name, ids < NONE, f"{field} are negative", f"token ids, or {NONE} for none", ids, None)
    _refuse(name, _repeated(ids), f"{field} name a token twice", "each id once", ids, "leave out the repeated ids")
    _refuse(
        name,
        (ids != NONE).any(-1) & (positions == NONE),
        f"{field} are given where no prediction is read",
        f"{NONE} where positions is {NONE}",
        ids,
        f"put {NONE} there, or say where the prediction is read",
    )


def check_rows(name: str, n: int, texts: Mapping[str, Sequence[object]]) -> None:
    """As many entries as rows; none at all is all right too.

    Raises:
        TaskError: otherwise.
    """
    for field, value in texts.items():
        if value and len(value) != n:
            raise _error(
                name, f"{field} has {len(value)} entries for {n} prompts", n, len(value), "one for each prompt"
            )


def _repeated(ids: torch.Tensor) -> torch.Tensor:
    """Whether an id equals the one before it, of ids [..., m] in order: bool [..., m - 1]; padding apart."""
    ordered = ids.sort(-1).values
    return (ordered.diff(dim=-1) == 0) & (ordered[..., 1:] != NONE)


def _kind(name: str, field: str, value: Any, ndim: int) -> None:
    if not isinstance(value, torch.Tensor) or value.dtype != torch.int64 or value.ndim != ndim:
        found = f"{value.dtype} {list(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
        axes = {1: "[n]", 2: "[n, m]", 3: "[n, k, m]"}[ndim]
        raise _error(
            name, f"{field} is {found}", f"an int64 tensor {axes}", found, "torch.tensor(..., dtype=torch.int64)"
        )


def _rows(name: str, field: str, value: torch.Tensor, mask: torch.Tensor) -> None:
    if len(value) != len(mask):
        raise _error(name, f"{field} has {len(value)} rows for {len(mask)} prompts", len(mask), len(value), None)


def _refuse(name: str, bad: torch.Tensor, what: str, expected: object, values: torch.Tensor, hint: str | None) -> None:
    """Raise for the first row in which something is bad."""
    rows = bad.reshape(len(bad), -1).any(1)
    if rows.any():
        row = int(rows.nonzero()[0])
        found = cast(list[Any], values[row].tolist())
        raise _error(name, f"row {row}: {what}: {found}", expected, found, hint)


def _error(name: str, what: str, expected: object, found: object, hint: str | None) -> TaskError:
    return TaskError(f"task {name!r}: {what}", expected=expected, found=found, hint=hint)
