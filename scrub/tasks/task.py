"""A task: prompts with what should come next, as the tensors that runs, metrics and interventions take."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self, cast

import torch
import xxhash

from scrub.graph import TaskError
from scrub.graph.frozen_tensor import tensor_digest
from scrub.tasks.checks import NONE, check_answers, check_devices, check_positions, check_rows, check_tokens
from scrub.tasks.encoding import Prefix, Tokenizer
from scrub.tasks.prompts import Prompt
from scrub.tasks.rows import int_list, integers, interleaved, of_rank_3, widened
from scrub.tasks.task_text import summary, table, text_of
from scrub.tasks.tokenizing import OnLongAnswer, OnUnequalLength, encode_prompts, task_fields

Rows = int | slice | Sequence[int] | torch.Tensor


@dataclass(frozen=True, eq=False, repr=False)
class Task:
    """Prompts as tokens, with their counterfactuals, right and wrong answers. A slice of a task is a task.

    Attributes:
        name: what it is called in tables and files.
        tokens: int64 [n, seq], padded.
        mask: int64 [n, seq], 1 at tokens, 0 at padding.
        positions: int64 [n, k], where predictions are read: the logits there are of the next token. -1 for none.
        answers: int64 [n, k, a], ids of right answers, padded with -1.
        wrong: int64 [n, k, w], ids of wrong answers, padded with -1; w is 0 where there are none.
        counterfactual: int64 [n, seq], of the same lengths and padding as `tokens`.
        token_positions: name -> int64 [n], such as the position of the subject; -1 where a prompt has none.
        prompts, counterfactual_prompts: their texts; empty where the task is made of tokens.
        facts: anything else known of each prompt; empty, or one mapping each.
        groups: int64 [n]; prompts of one group stay together in a split, as the two of a symmetric pair do. Each by
            itself where none are given.
        notes: what was left out when the task was made, with counts.
        token_text: token id -> text, for the ids that occur, to print them.

    Raises:
        TaskError: tensors that do not fit, with the row, what was expected, and what to do.

    >>> task = Task.from_tokens("copy", [[5, 3, 5], [4, 2, 4]], answers=[3, 2])
    >>> task
    Task 'copy': 2 prompts of 3 tokens; 1 right answer
    >>> task[0].answers.tolist(), len(task[[1, 0, 1]])
    ([[[3]]], 3)
    """

    name: str
    tokens: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor
    answers: torch.Tensor
    wrong: torch.Tensor
    counterfactual: torch.Tensor | None = None
    token_positions: Mapping[str, torch.Tensor] = dataclasses.field(default_factory=dict[str, torch.Tensor])
    prompts: tuple[str, ...] = ()
    counterfactual_prompts: tuple[str, ...] = ()
    facts: tuple[Mapping[str, Any], ...] = ()
    groups: torch.Tensor = dataclasses.field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    token_text: Mapping[int, str] = dataclasses.field(default_factory=dict[int, str])

    def __post_init__(self) -> None:
        if not len(self.groups):
            object.__setattr__(self, "groups", torch.arange(len(self.tokens), device=self.tokens.device))
        check_devices(self.name, {**self._tensors(), **self.token_positions})
        check_tokens(self.name, self.tokens, self.mask, self.counterfactual)
        check_positions(self.name, self.mask, self.positions, self.token_positions)
        check_answers(self.name, self.positions, self.answers, self.wrong)
        texts = {"prompts": self.prompts, "counterfactual_prompts": self.counterfactual_prompts, "facts": self.facts}
        check_rows(self.name, len(self.tokens), {**texts, "groups": int_list(self.groups)})

    @classmethod
    def from_prompts(
        cls,
        name: str,
        prompts: Sequence[Prompt],
        tokenizer: Tokenizer,
        *,
        on_long_answer: OnLongAnswer = "error",
        on_unequal_length: OnUnequalLength = "error",
        padding: Literal["right", "left"] = "right",
        prefix: Prefix = (),
        pad_token: int = 0,
    ) -> Self:
        """The task of these prompts for a tokenizer: one prediction each, after the last token.

        Marks become `token_positions`, each the last token its span touches; "end" is the last token of the prompt.
        A counterfactual is marked where its prompt is.

        Args:
            name: of the task.
            prompts: at least one; counterfactuals and wrong answers for all of them or for none.
            tokenizer: anything with `encode`, see `scrub.tasks.encoding`. It adds no special tokens.
            on_long_answer: for answers of several tokens: "error", "drop" or "first" (see `encode_prompts`).
            on_unequal_length: for counterfactuals of another length than their prompt: "error" or "drop".
            padding: the side on which shorter prompts are padded.
            prefix: put before each prompt: an id, ids, or a special token's text such as "<|endoftext|>".
            pad_token: the id at padding, which the mask hides.

        Raises:
            TaskError: see `encode_prompts`; or some prompts have counterfactuals or wrong answers and others do not.

        >>> from scrub.models import load_shipped
        >>> tokenizer = load_shipped("attn_only_2l").tokenizer
        >>> prompt = Prompt("import sys, os; import", (" sys",), (" os",), "import os, sys; import", {"last": (12, 14)})
        >>> task = Task.from_prompts("modules", [prompt], tokenizer)
        >>> {name: at.tolist() for name, at in task.token_positions.items()}
        {'end': [5], 'last': [3]}
        """
        if padding not in ("right", "left"):
            raise TaskError(f"padding={padding!r} is not known", expected=("right", "left"), found=padding)
        _all_or_none(name, "counterfactual", [prompt.counterfactual is not None for prompt in prompts])
        _all_or_none(name, "wrong answer", [bool(prompt.wrong) for prompt in prompts])
        rows, notes = encode_prompts(
            prompts, tokenizer, on_long_answer=on_long_answer, on_unequal_length=on_unequal_length, prefix=prefix
        )
        fields = task_fields(rows, tokenizer, from_left=padding == "left", pad_token=pad_token)
        return cls(name, **fields, notes=notes)

    @classmethod
    def from_tokens(
        cls,
        name: str,
        tokens: torch.Tensor | Sequence[Sequence[int]],
        *,
        answers: torch.Tensor | Sequence[Any],
        wrong: torch.Tensor | Sequence[Any] | None = None,
        counterfactual: torch.Tensor | Sequence[Sequence[int]] | None = None,
        positions: torch.Tensor | Sequence[Any] | None = None,
        mask: torch.Tensor | Sequence[Sequence[int]] | None = None,
        token_positions: Mapping[str, torch.Tensor | Sequence[int]] | None = None,
        facts: Sequence[Mapping[str, Any]] = (),
        token_text: Mapping[int, str] | None = None,
    ) -> Self:
        """The task of these tokens.

        Args:
            name: of the task.
            tokens: [n, seq] ids.
            answers: [n] ids, one each; [n, k], one for each position; or [n, k, a], padded with -1.
            wrong: likewise; left out where there are none.
            counterfactual: [n, seq] ids.
            positions: [n] or [n, k], where predictions are read; the last token of each prompt if left out.
            mask: [n, seq], 1 at tokens, 0 at padding; all tokens if left out.
            token_positions: name -> [n] positions.
            facts: one mapping for each prompt.
            token_text: id -> text, to print prompts.

        Raises:
            TaskError: tensors that do not fit.

        >>> Task.from_tokens("two places", [[5, 3, 5, 3]], positions=[[2, 3]], answers=[[3, 5]]).answers.tolist()
        [[[3], [5]]]
        """
        ids = integers(name, "tokens", tokens)
        shown = torch.ones_like(ids) if mask is None else integers(name, "mask", mask)
        if positions is None:
            check_tokens(name, ids, shown, None)
            places = (shown * torch.arange(shown.shape[1], device=shown.device)).argmax(1)
        else:
            places = integers(name, "positions", positions)
        places = places[:, None] if places.ndim == 1 else places
        right = of_rank_3(integers(name, "answers", answers))
        return cls(
            name,
            ids,
            shown,
            places,
            right,
            right[:, :, :0] if wrong is None else of_rank_3(integers(name, "wrong", wrong)),
            counterfactual=None if counterfactual is None else integers(name, "counterfactual", counterfactual),
            token_positions={mark: integers(name, mark, at) for mark, at in (token_positions or {}).items()},
            facts=tuple(facts),
            token_text=token_text or {},
        )

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: Rows) -> Self:
        """The task of some of the prompts: a number, a slice, numbers, or an int64 or bool tensor [n].

        Raises:
            TaskError: there are no such rows, or none is asked for.
        """
        index = self._row_numbers(rows)
        numbers = int_list(index)
        chosen = object.__new__(type(self))  # rows of a task make a task: nothing to check again
        chosen.__dict__.update(
            {field.name: getattr(self, field.name) for field in dataclasses.fields(self)},
            **{name: value[index.to(value.device)] for name, value in self._tensors().items()},
            **{name: tuple(value[i] for i in numbers) if value else () for name, value in self._texts().items()},
            token_positions={mark: at[index.to(at.device)] for mark, at in self.token_positions.items()},
        )
        return chosen

    def __iter__(self) -> Iterator[Self]:
        return (self[row] for row in range(len(self)))

    def batches(self, size: int) -> Iterator[Self]:
        """The prompts in order, `size` at a time; the last may be fewer.

        Raises:
            TaskError: size is below 1.
        """
        if size < 1:
            raise TaskError(f"task {self.name!r}: batches of {size} prompts", expected="at least 1", found=size)
        return (self[start : start + size] for start in range(0, len(self), size))

    def split(self, fraction: float, seed: int | torch.Generator) -> tuple[Self, Self]:
        """Two tasks: about `fraction` of the groups, drawn at random, and the rest; both in the order they had.

        Args:
            fraction: above 0 and below 1; the number of groups is rounded.
            seed: equal seeds, equal splits.

        Raises:
            TaskError: one of the two would be empty.

        >>> train, test = Task.from_tokens("t", [[i] for i in range(10)], answers=list(range(10))).split(0.8, seed=0)
        >>> len(train), len(test)
        (8, 2)
        """
        groups = cast(torch.Tensor, torch.unique(self.groups.cpu()))
        n = round(fraction * len(groups))
        if not 0 < n < len(groups):
            raise TaskError(
                f"task {self.name!r}: split({fraction}) of {len(groups)} groups of prompts gives {n} and"
                f" {len(groups) - n}",
                expected="at least one group on each side",
                found=fraction,
                hint="a fraction between 0 and 1, and more prompts",
            )
        generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
        chosen = groups[torch.randperm(len(groups), generator=generator)[:n]]
        first = torch.isin(self.groups.cpu(), chosen)
        return self[first], self[~first]

    @property
    def is_aligned(self) -> bool:
        """Whether all prompts have the same length, without padding: what per-position results require."""
        return bool((self.mask == 1).all())

    def trimmed(self) -> Self:
        """Without the columns that are padding in every row; positions move along.

        >>> task = Task.from_tokens("t", [[0, 0, 7], [0, 6, 7]], mask=[[0, 0, 1], [0, 1, 1]], answers=[1, 2])
        >>> task.trimmed().tokens.tolist(), task.trimmed().positions.tolist()
        ([[0, 7], [6, 7]], [[1], [1]])
        """
        kept = self.mask.any(0)
        if kept.all():
            return self
        moved = torch.cat((kept.cumsum(0) - 1, torch.full_like(self.tokens[0, :1], NONE)))  # the last is that of NONE
        return dataclasses.replace(
            self,
            tokens=self.tokens[:, kept],
            mask=self.mask[:, kept],
            counterfactual=None if self.counterfactual is None else self.counterfactual[:, kept],
            positions=moved[self.positions],
            token_positions={mark: moved[at] for mark, at in self.token_positions.items()},
        )

    def symmetric(self) -> Self:
        """Each pair both ways: after each prompt its counterfactual, with the prompt as its counterfactual.

        Right and wrong answers change places in the second, so this is for tasks where what is wrong after the prompt
        is right after the counterfactual. The two stay together in a split; their facts are the prompt's, with
        "is_swapped" False and True.

        Raises:
            TaskError: no counterfactuals, or no wrong answers.

        >>> pair = Task.from_tokens("t", [[1, 2]], counterfactual=[[3, 2]], answers=[4], wrong=[5])
        >>> pair.symmetric().tokens.tolist(), pair.symmetric().answers.flatten().tolist()
        ([[1, 2], [3, 2]], [4, 5])
        """
        if self.counterfactual is None or not self.wrong.shape[2]:
            missing = "counterfactuals" if self.counterfactual is None else "wrong answers"
            raise TaskError(
                f"task {self.name!r}: symmetric() without {missing}",
                expected="counterfactuals, and wrong answers that are right after them",
                found=f"no {missing}",
                hint=f"make the task with {missing}",
            )
        width = max(self.answers.shape[2], self.wrong.shape[2])
        right, wrong = (widened(value, width) for value in (self.answers, self.wrong))
        twice = {name: interleaved(value, value) for name, value in self._tensors().items()}
        exchanged = {
            "tokens": interleaved(self.tokens, self.counterfactual),
            "counterfactual": interleaved(self.counterfactual, self.tokens),
            "answers": interleaved(right, wrong),
            "wrong": interleaved(wrong, right),
        }
        texts = list(zip(self.prompts, self.counterfactual_prompts, strict=False))
        facts = self.facts or tuple(dict[str, Any]() for _ in range(len(self)))
        return dataclasses.replace(
            self,
            **{**twice, **exchanged},
            token_positions={mark: interleaved(at, at) for mark, at in self.token_positions.items()},
            prompts=tuple(text for pair in texts for text in pair),
            counterfactual_prompts=tuple(text for pair in texts for text in reversed(pair)),
            facts=tuple({**known, "is_swapped": swapped} for known in facts for swapped in (False, True)),
        )

    def to(self, device: torch.device | str) -> Self:
        """The same task with its tensors on a device."""
        tensors = {name: value.to(device) for name, value in self._tensors().items()}
        marks = {mark: at.to(device) for mark, at in self.token_positions.items()}
        return dataclasses.replace(self, **tensors, token_positions=marks)

    @cached_property
    def digest(self) -> str:
        """128-bit hex digest of all that a run or a metric depends on: for caches.

        Names, texts, facts, groups and the ids at padding are left out.
        """
        shown = [self.mask, self.tokens * self.mask, self.positions, self.answers, self.wrong]
        if self.counterfactual is not None:
            shown.append(self.counterfactual * self.mask)
        marks = [f"{mark}:{tensor_digest(at)}" for mark, at in sorted(self.token_positions.items())]
        return xxhash.xxh3_128("\n".join([*map(tensor_digest, shown), *marks]).encode()).hexdigest()

    def token_strings(self, row: int = 0) -> list[str]:
        """The tokens of one prompt as text, padding left out: labels for a plot. Ids where the text is not known."""
        chosen = self[row]
        return [text_of(self, token) for token in int_list(chosen.tokens[chosen.mask == 1])]

    def table(self, n: int = 5) -> str:
        """The first prompts as text: prompt, counterfactual, right and wrong answers.

        >>> print(Task.from_tokens("t", [[1, 2]], answers=[4], token_text={1: "a", 2: " b", 4: " c"}).table())
        Task 't': 1 prompt of 2 tokens; 1 right answer
        a b
            right: ' c'
        """
        return table(self, n)

    def __repr__(self) -> str:
        return summary(self)

    def _tensors(self) -> dict[str, torch.Tensor]:
        """Fields with a row for each prompt, `token_positions` apart."""
        named = {
            "tokens": self.tokens,
            "mask": self.mask,
            "positions": self.positions,
            "answers": self.answers,
            "wrong": self.wrong,
            "groups": self.groups,
        }
        return named if self.counterfactual is None else {**named, "counterfactual": self.counterfactual}

    def _texts(self) -> dict[str, tuple[Any, ...]]:
        return {"prompts": self.prompts, "counterfactual_prompts": self.counterfactual_prompts, "facts": self.facts}

    def _row_numbers(self, rows: Rows) -> torch.Tensor:
        n = len(self)
        if isinstance(rows, slice):
            index = torch.arange(n)[rows]
        else:
            index = integers(self.name, "rows", [rows] if isinstance(rows, int) else rows).cpu()
            if index.dtype == torch.bool and index.shape == (n,):
                index = index.nonzero()[:, 0]
        is_index = index.ndim == 1 and index.dtype == torch.int64
        if not is_index or not len(index) or bool(((index < -n) | (index >= n)).any()):
            raise TaskError(
                f"task {self.name!r} of {n} prompts has no rows {rows!r}",
                expected=f"a number, a slice, numbers or a tensor of rows 0 to {n - 1}, at least one; or bool [{n}]",
                found=rows,
                hint="a task has at least one prompt",
            )
        return index


def _all_or_none(name: str, what: str, given: Sequence[bool]) -> None:
    if any(given) and not all(given):
        raise TaskError(
            f"task {name!r}: {given.count(False)} of {len(given)} prompts have no {what}, the first in row"
            f" {given.index(False)}",
            expected=f"a {what} for every prompt, or for none",
            found=given.count(False),
            hint="leave out these prompts, or make two tasks",
        )
