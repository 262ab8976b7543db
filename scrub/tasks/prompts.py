"""A prompt as text: what the generators of tasks make and the readers of files give, before any tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scrub.graph import TaskError


@dataclass(frozen=True)
class Prompt:
    """One prompt with its right and wrong continuations. Texts, spans in characters; no tokenizer yet.

    Attributes:
        clean: the prompt.
        answers: right continuations, with their leading space where there is one: (" Mary",).
        wrong: wrong continuations.
        counterfactual: the prompt that activations are taken from where this one is patched.
        marks: name -> (start, end) in characters of `clean`, `end` exclusive, such as "subject". They become token
            positions.
        facts: anything else that is known of it: the template, the case, the number.

    Raises:
        TaskError: no answers, an empty one, one that is right and wrong, or a mark outside the prompt.

    >>> prompt = Prompt("The uncle", (" has",), (" have",), "The uncles", marks={"subject": (4, 9)})
    >>> prompt.marked("subject")
    'uncle'
    """

    clean: str
    answers: tuple[str, ...]
    wrong: tuple[str, ...] = ()
    counterfactual: str | None = None
    marks: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        for name, given in (("answers", self.answers), ("wrong", self.wrong)):
            if isinstance(given, str):
                raise self._error(f"{name} is a text", "a tuple of texts", given, f"write {name}=({given!r},)")
            object.__setattr__(self, name, tuple(given))
        if not self.clean:
            raise self._error("it is empty", "a text", self.clean, "a prediction is read at its last token")
        if not self.answers:
            raise self._error("it has no answers", "at least one right continuation", self.answers, None)
        if "" in (*self.answers, *self.wrong):
            raise self._error("an answer is empty", "texts of at least one token", (*self.answers, *self.wrong), None)
        both = [answer for answer in self.answers if answer in self.wrong]
        if both:
            raise self._error("an answer is right and wrong", "answers and wrong apart", both, None)
        for name, (start, end) in self.marks.items():
            if not 0 <= start < end <= len(self.clean):
                raise self._error(
                    f"mark {name!r} is not inside it",
                    f"0 <= start < end <= {len(self.clean)}",
                    (start, end),
                    "spans are in characters of `clean`, their end exclusive",
                )

    def marked(self, name: str) -> str:
        """The text under a mark.

        Raises:
            TaskError: there is no such mark.
        """
        if name not in self.marks:
            raise self._error(f"there is no mark {name!r}", sorted(self.marks), name, None)
        start, end = self.marks[name]
        return self.clean[start:end]

    def _error(self, what: str, expected: object, found: object, hint: str | None) -> TaskError:
        return TaskError(f"prompt {self.clean!r}: {what}: {found!r}", expected=expected, found=found, hint=hint)
