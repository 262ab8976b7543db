"""Text about indirect objects: what the model of indirect objects is trained on, and the prompts that test it.

A sentence names two, says that one of them gives something, and ends with the other: "When turtle and parser went to
the store, parser gave a book to turtle." In training text some of the givers are a third name, and then either of the
first two may get it; and there are sentences of other kinds. The task is that of Wang et al. 2022, "Interpretability in
the Wild"; names are words that are one token of the shipped tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from scrub.tasks.generators.indirect_object import TEMPLATES as IOI_TEMPLATES
from scrub.tasks.generators.word_lists import OBJECTS, PLACES
from scrub.tasks.prompts import Prompt

_NAMES = (
    "turtle widget parser server handler parent child user master thread module package token buffer socket window"
    " process frame protocol message method function command tuple object string list dictionary directory callback"
    " file index"
)
NAMES = tuple(_NAMES.split())
_OWN_TEMPLATES = (
    "When {first} and {second} went to the {place}, {subject} gave a {object} to",
    "Then, {first} and {second} went to the {place}. Later {subject} gave a {object} to",
    "After {first} and {second} had been at the {place}, {subject} gave the {object} to",
    "While {first} and {second} were at the {place}, {subject} gave a {object} to",
    "Yesterday {first} met {second} at the {place}, and {subject} handed a {object} to",
    "Because {first} and {second} were friends, {subject} sent a {object} to",
    "At the {place}, {first} and {second} talked until {subject} showed a {object} to",
    "Once {first} and {second} had found the {object}, {subject} passed it to",
    "In the end {first} saw {second} near the {place}; there {subject} offered a {object} to",
    "Friends of {first} and {second} say that {subject} sold a {object} to",
    "Today {first} and {second} walked to the {place}, where {subject} lent a {object} to",
    "Between {first} and {second} there was a {object}, so {subject} pushed it to",
    "As {first} and {second} came back from the {place}, {subject} threw a {object} to",
    "The {place} was closed, so {first} stayed with {second}, and {subject} read a book to",
    "Before {first} and {second} left the {place}, {subject} brought a {object} to",
    "Since {first} lives with {second}, {subject} gives the {object} to",
    "Although {first} was angry with {second}, {subject} gave a {object} to",
    "It was late when {first} and {second} came to the {place}, and {subject} said good night to",
    "Last year {first} and {second} found a {object}, but then {subject} gave it to",
    "If {first} and {second} go to the {place}, {subject} will give a {object} to",
)
TEMPLATES = _OWN_TEMPLATES + tuple(
    template.format(IO="{first}", S1="{second}", S2="{subject}", place="{place}", object="{object}")
    for template in IOI_TEMPLATES.values()
)
"""Of training text. `first` and `second` are two names, `subject` the giver; each ends where the receiver follows. The
last ones are those of `scrub.tasks.generators.ioi`."""

HELD_OUT_TEMPLATES = (
    "When {first} and {second} found a {object} at the {place}, {subject} gave it to",
    "Later {first} and {second} went to the {place}, and {subject} handed a {object} to",
    "While {first} and {second} walked to the {place}, {subject} showed a {object} to",
    "Then {first} and {second} left the {place}, and {subject} sold the {object} to",
)
"""Like the others, never in training text."""

FILLERS = (
    "The {object} of {first} was lost at the {place}.",
    "Every day {first} goes to the {place} and then {first} comes back.",
    "Nobody knows why {first} left the {place}, but {second} was there too.",
    "There is a {object} in the {place}, and it is old.",
    "I think that {first} and {second} live near the {place}, and that {first} and {second} are friends.",
    "First {first} found the {object}, then {first} sold the {object}.",
    "Both {first} and {second} wanted the {object}, so both {first} and {second} went to the {place}.",
    "Tomorrow {first} will come back to the {place} with the {object}.",
    "Who has the {object}? I think {first} has the {object}.",
    "My {object} is new, but the {object} of {first} is old.",
    "We saw {first} at the {place} and we saw {second} at the {place}.",
)

KIND_SHARES = {"two names": 0.6, "three names": 0.15, "filler": 0.25}
"""Of the sentences of training text."""


def is_held_out(first: str, second: str) -> bool:
    """Whether two names never come together as the two of a sentence of training text; one pair in eight.

    >>> sum(is_held_out(first, second) for first in NAMES for second in NAMES if first != second), 32 * 31
    (128, 992)
    """
    return (NAMES.index(first) + NAMES.index(second)) % 8 == 1


def held_out_prompts(templates: Sequence[str], n: int, *, held_out_pairs: bool, seed: int) -> list[Prompt]:
    """Prompts of given templates in turn, in both orders of the names; in the counterfactual a third name gives.

    Args:
        templates: with the slots of `TEMPLATES`.
        n: number of prompts.
        held_out_pairs: of pairs of names that training text does not have, or of the others.
        seed: of everything that is drawn.

    >>> made = held_out_prompts(TEMPLATES[:1], 2, held_out_pairs=True, seed=0)
    >>> [prompt.facts["order"] for prompt in made], [prompt.answers[0] in prompt.clean for prompt in made]
    (['ABBA', 'BABA'], [True, True])
    """
    generator = np.random.default_rng(seed)
    made: list[Prompt] = []
    for i in range(n):
        first, second, third = _names(generator, held_out=held_out_pairs)
        subject, answer = (first, second) if i % 2 else (second, first)
        slots = {"first": first, "second": second, **_things(generator)}
        clean, other = (templates[i // 2 % len(templates)].format(subject=name, **slots) for name in (subject, third))
        order = "BABA" if i % 2 else "ABBA"
        made.append(Prompt(clean, (f" {answer}",), (f" {subject}",), other, facts={"order": order}))
    return made


class TextSource:
    """Draws batches of training text; the same seed gives the same batches.

    A row begins with a sentence and has as many as are needed to fill it.
    """

    def __init__(self, tokenizer: Tokenizer, *, n_ctx: int, seed: int, templates: Sequence[str] = TEMPLATES) -> None:
        self.tokenizer = tokenizer
        self.length = n_ctx + 1
        self.templates = templates
        self.generator = np.random.default_rng(seed)

    def draw(self, batch: int) -> Tensor:
        """Tokens [batch, n_ctx + 1]."""
        rows: list[list[int]] = []
        for encoding in self.tokenizer.encode_batch([self._text() for _ in range(batch)]):
            rows.append(encoding.ids[: self.length])
        return torch.tensor(rows)

    def _text(self) -> str:
        """Sentences until there are surely enough tokens: none has fewer than ten."""
        return " ".join(self.sentence() for _ in range(self.length // 10 + 1))

    def sentence(self) -> str:
        """One random sentence."""
        first, second, third = _names(self.generator, held_out=False)
        slots = {"first": first, "second": second, **_things(self.generator)}
        kind = self.generator.choice(len(KIND_SHARES), p=list(KIND_SHARES.values()))
        if kind == 2:
            return _one_of(self.generator, FILLERS).format(**slots)
        subject, answer = (first, second) if self.generator.random() < 0.5 else (second, first)
        template = _one_of(self.generator, self.templates)
        return f"{template.format(subject=third if kind == 1 else subject, **slots)} {answer}."


def _names(generator: np.random.Generator, *, held_out: bool) -> tuple[str, str, str]:
    """Three different names, of which the first two are a held-out pair or not."""
    while True:
        drawn: list[int] = generator.choice(len(NAMES), size=3, replace=False).tolist()
        first, second, third = (NAMES[i] for i in drawn)
        if is_held_out(first, second) == held_out:
            return first, second, third


def _things(generator: np.random.Generator) -> dict[str, str]:
    return {"place": _one_of(generator, PLACES), "object": _one_of(generator, OBJECTS)}


def _one_of(generator: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(generator.integers(len(choices)))]
