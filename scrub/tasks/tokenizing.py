"""Prompts into rows of tokens: answers of one token in their context, marks as token positions, padding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from scrub.graph import TaskError
from scrub.tasks.checks import NONE
from scrub.tasks.encoding import Prefix, Tokenizer, character_spans, encode_all, prefix_ids, token_text, unknown_id
from scrub.tasks.prompts import Prompt
from scrub.tasks.rows import padded

OnLongAnswer = Literal["error", "drop", "first"]
OnUnequalLength = Literal["error", "drop"]

_SHOWN = 3
"""How many offenders an error names."""


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt as token ids, without padding.

    Attributes:
        prompt: its text.
        tokens, counterfactual: ids, equally many, each with the prefix.
        answers, wrong: one id for each.
        positions: mark -> position in `tokens`: the last token that the mark touches; "end" is the last of all.
    """

    prompt: Prompt
    tokens: list[int]
    counterfactual: list[int] | None
    answers: list[int]
    wrong: list[int]
    positions: Mapping[str, int]


def encode_prompts(
    prompts: Sequence[Prompt],
    tokenizer: Tokenizer,
    *,
    on_long_answer: OnLongAnswer = "error",
    on_unequal_length: OnUnequalLength = "error",
    prefix: Prefix = (),
) -> tuple[list[EncodedPrompt], dict[str, int]]:
    """Prompts as token ids, and how many were left out for which reason.

    An answer is what `encode(prompt + answer)` has after `encode(prompt)`.

    Args:
        prompts: at least one.
        tokenizer: see `scrub.tasks.encoding`.
        on_long_answer: for answers of several tokens. "error" refuses them; "drop" leaves them out, and those that
            change the prompt's tokens or are unknown to the tokenizer; "first" takes their first tokens, each once,
            without those that right and wrong answers share. A prompt that is left without right answers, or without
            wrong ones where it had some, is left out.
        on_unequal_length: for counterfactuals of another length than their prompt: "error" or "drop" the pair.
        prefix: an id, ids, or the text of a special token, put before each prompt and counterfactual.

    Raises:
        TaskError: an answer of several tokens, one that changes the prompt's tokens or is unknown, a counterfactual
            of another length, a mark that no token touches, or nothing is left.
    """
    _one_of("on_long_answer", on_long_answer, ("error", "drop", "first"))
    _one_of("on_unequal_length", on_unequal_length, ("error", "drop"))
    start = prefix_ids(tokenizer, prefix)
    encode = encode_all(tokenizer, _texts(prompts)).__getitem__
    dropped: Counter[str] = Counter()
    how = _How(encode, on_long_answer, unknown_id(tokenizer), dropped)
    unequal = _unequal(prompts, encode)
    if unequal and on_unequal_length == "error":
        raise _unequal_error(prompts, unequal)
    encoded: list[EncodedPrompt] = []
    for row, prompt in enumerate(prompts):
        if row in unequal:
            dropped["prompts left out: counterfactual of another length"] += 1
            continue
        found = _answers(prompt, row, how)
        if found is None:
            dropped["prompts left out: no answers of one token"] += 1
            continue
        encoded.append(_encoded(prompt, row, found, tokenizer, encode, start))
    notes = {what: count for what, count in dropped.items() if count}
    if not encoded:
        raise TaskError(
            f"none of the {len(prompts)} prompts is left: {notes}",
            expected="at least one prompt",
            found=notes,
            hint="look at how the tokenizer splits them: encode_text(tokenizer, prompt.clean)",
        )
    return encoded, notes


Encode = Callable[[str], list[int]]


@dataclass(frozen=True)
class _How:
    """How answers become tokens: by what, what to do with long ones, the id of unknown ones, and counts of all this."""

    encode: Encode
    on_long: OnLongAnswer
    unknown: int | None
    counts: Counter[str]


def _texts(prompts: Iterable[Prompt]) -> Iterable[str]:
    for prompt in prompts:
        yield prompt.clean
        if prompt.counterfactual is not None:
            yield prompt.counterfactual
        for answer in (*prompt.answers, *prompt.wrong):
            yield prompt.clean + answer


def _unequal(prompts: Sequence[Prompt], encode: Encode) -> dict[int, tuple[int, int]]:
    """Row -> numbers of tokens of prompt and counterfactual, where they differ."""
    lengths = {
        row: (len(encode(prompt.clean)), len(encode(prompt.counterfactual)))
        for row, prompt in enumerate(prompts)
        if prompt.counterfactual is not None
    }
    return {row: pair for row, pair in lengths.items() if pair[0] != pair[1]}


def _unequal_error(prompts: Sequence[Prompt], unequal: Mapping[int, tuple[int, int]]) -> TaskError:
    lines = [
        f"    row {row}: {prompts[row].clean!r} has {clean} tokens, {prompts[row].counterfactual!r} has {other}"
        for row, (clean, other) in list(unequal.items())[:_SHOWN]
    ]
    return TaskError(
        f"{len(unequal)} of {len(prompts)} counterfactuals have another number of tokens than their prompt\n"
        + "\n".join(lines),
        axis="tokens",
        expected="as many tokens in the counterfactual as in the prompt",
        found=dict(unequal),
        hint='use words of as many tokens, or on_unequal_length="drop" to leave these pairs out',
    )


def _answers(prompt: Prompt, row: int, how: _How) -> tuple[list[int], list[int]] | None:
    """Right and wrong token ids, or None where on_long leaves none of either."""
    right = _tokens_of(prompt, row, prompt.answers, how)
    wrong = _tokens_of(prompt, row, prompt.wrong, how)
    shared = set(right) & set(wrong)
    if shared and how.on_long != "first":
        raise TaskError(
            f"row {row}, {prompt.clean!r}: a right and a wrong answer are the same token {min(shared)}",
            expected="different tokens",
            found=sorted(shared),
            hint="the tokenizer does not tell these answers apart: use others",
        )
    how.counts["first tokens left out: of right and of wrong answers"] += len(shared)
    right, wrong = ([token for token in dict.fromkeys(ids) if token not in shared] for ids in (right, wrong))
    return (right, wrong) if right and bool(wrong) == bool(prompt.wrong) else None


def _tokens_of(prompt: Prompt, row: int, answers: Sequence[str], how: _How) -> list[int]:
    before, on_long = how.encode(prompt.clean), how.on_long
    found: list[int] = []
    for answer in answers:
        whole = how.encode(prompt.clean + answer)
        after = whole[len(before) :]
        if whole[: len(before)] != before or not after:
            if on_long != "drop":
                raise _merged_error(prompt, row, answer, before, whole)
            how.counts["answers left out: they change the tokens of their prompt"] += 1
        elif how.unknown in after:
            if on_long != "drop":
                raise _unknown_error(prompt, row, answer, after)
            how.counts["answers left out: unknown to the tokenizer"] += 1
        elif len(after) > 1 and on_long == "error":
            raise _long_error(prompt, row, answer, after)
        elif len(after) > 1 and on_long == "drop":
            how.counts["answers left out: several tokens"] += 1
        else:
            how.counts["answers shortened to their first token"] += len(after) > 1
            found.append(after[0])
    return found


def _unknown_error(prompt: Prompt, row: int, answer: str, tokens: Sequence[int]) -> TaskError:
    return TaskError(
        f"row {row}: the answer {answer!r} after {prompt.clean!r} is unknown to the tokenizer: {list(tokens)}",
        axis="answer",
        expected="a word of its vocabulary",
        found=list(tokens),
        hint='use words that it knows, or on_long_answer="drop" to leave such answers out',
    )


def _long_error(prompt: Prompt, row: int, answer: str, tokens: Sequence[int]) -> TaskError:
    return TaskError(
        f"row {row}: the answer {answer!r} after {prompt.clean!r} has {len(tokens)} tokens: {list(tokens)}",
        axis="answer",
        expected="one token",
        found=list(tokens),
        hint='use words of one token, on_long_answer="drop" to leave such answers out, or on_long_answer="first" to'
        " take their first tokens",
    )


def _merged_error(prompt: Prompt, row: int, answer: str, before: Sequence[int], whole: Sequence[int]) -> TaskError:
    return TaskError(
        f"row {row}: the answer {answer!r} changes the tokens of the prompt {prompt.clean!r}: alone it is"
        f" {list(before)}, with the answer {list(whole)}",
        axis="answer",
        expected="the prompt's tokens, then the answer's",
        found=list(whole),
        hint="end the prompt before a space and start the answer with it, or leave such answers out with"
        ' on_long_answer="drop"',
    )


def _encoded(
    prompt: Prompt,
    row: int,
    answers: tuple[list[int], list[int]],
    tokenizer: Tokenizer,
    encode: Encode,
    start: list[int],
) -> EncodedPrompt:
    tokens = encode(prompt.clean)
    if not tokens:
        raise TaskError(f"row {row}: the prompt {prompt.clean!r} has no tokens", expected="a token", found=tokens)
    marks = _mark_positions(prompt, row, tokenizer, tokens) if prompt.marks else {}
    positions = {"end": len(tokens) - 1, **marks}
    return EncodedPrompt(
        prompt,
        start + tokens,
        None if prompt.counterfactual is None else start + encode(prompt.counterfactual),
        *answers,
        {name: len(start) + position for name, position in positions.items()},
    )


def _mark_positions(prompt: Prompt, row: int, tokenizer: Tokenizer, tokens: Sequence[int]) -> dict[str, int]:
    spans = character_spans(tokenizer, prompt.clean, tokens)
    positions: dict[str, int] = {}
    for name, (start, end) in prompt.marks.items():
        touched = [i for i, (left, right) in enumerate(spans) if left < end and right > start]
        if not touched:
            raise TaskError(
                f"row {row}: no token touches the mark {name!r} of {prompt.clean!r}, {prompt.marked(name)!r}",
                expected="a mark on text that becomes tokens",
                found=(start, end),
                hint="mark a word rather than the space before it",
            )
        positions[name] = touched[-1]
    return positions


def _one_of(name: str, given: str, known: Sequence[str]) -> None:
    if given not in known:
        raise TaskError(f"{name}={given!r} is not known", expected=known, found=given)


def task_fields(
    rows: Sequence[EncodedPrompt], tokenizer: Tokenizer, *, from_left: bool, pad_token: int
) -> dict[str, Any]:
    """The fields of a `Task` that these prompts make, padded to the longest."""
    tokens = padded([row.tokens for row in rows], pad_token, from_left=from_left)
    mask = padded([[1] * len(row.tokens) for row in rows], 0, from_left=from_left)
    others = [row.counterfactual for row in rows if row.counterfactual is not None]
    before = mask.argmax(1)
    marks = dict.fromkeys(mark for row in rows for mark in row.positions)
    positions = {mark: torch.tensor([row.positions.get(mark, NONE) for row in rows]) for mark in marks}
    ids = {token for row in rows for token in (*row.tokens, *(row.counterfactual or ()), *row.answers, *row.wrong)}
    return {
        "tokens": tokens,
        "mask": mask,
        "positions": (mask.sum(1) - 1 + before)[:, None],
        "answers": padded([row.answers for row in rows], NONE)[:, None],
        "wrong": padded([row.wrong for row in rows], NONE)[:, None],
        "counterfactual": padded(others, pad_token, from_left=from_left) if others else None,
        "token_positions": {mark: torch.where(at == NONE, at, at + before) for mark, at in positions.items()},
        "prompts": tuple(row.prompt.clean for row in rows),
        "counterfactual_prompts": tuple(row.prompt.counterfactual or "" for row in rows) if others else (),
        "facts": tuple(dict(row.prompt.facts) for row in rows),
        "token_text": {token: token_text(tokenizer, token) for token in sorted(ids)},
    }
