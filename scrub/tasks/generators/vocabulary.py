"""Which words of a list a tokenizer has as single tokens, or in equally many: what generators ask of it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from scrub.graph import TaskError
from scrub.tasks.encoding import Tokenizer, encode_all

W = TypeVar("W")

BEFORE = "the"
"""Words are looked at after this one, as some tokenizers treat the start of a text in their own way."""


def continuations(tokenizer: Tokenizer, texts: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """By text, the tokens that it adds to those of `BEFORE`; none if it changes those.

    >>> from scrub.models import load_shipped
    >>> found = continuations(load_shipped("attn_only_2l").tokenizer, [" name", " Mary"])
    >>> {text: len(tokens) for text, tokens in found.items()}
    {' name': 1, ' Mary': 2}
    """
    texts = list(texts)
    ids = encode_all(tokenizer, [BEFORE, *(BEFORE + text for text in texts)])
    start = ids[BEFORE]
    wholes = {text: ids[BEFORE + text] for text in texts}
    return {text: tuple(whole[len(start) :]) if whole[: len(start)] == start else () for text, whole in wholes.items()}


def one_token(tokenizer: Tokenizer, texts: Iterable[str]) -> set[str]:
    """Those of the texts that add one token, see `continuations`."""
    return {text for text, tokens in continuations(tokenizer, texts).items() if len(tokens) == 1}


def single_tokens(tokenizer: Tokenizer, words: Sequence[str], *, option: str, least: int = 2) -> tuple[str, ...]:
    """The words that are one token together with the space in front of them.

    Args:
        tokenizer: see `scrub.tasks.tokenizing`.
        words: without spaces in front.
        option: of the generator, by which other words can be given.
        least: how many different words are needed.

    Raises:
        TaskError: fewer are left.
    """
    single = one_token(tokenizer, [f" {word}" for word in words])
    kept = [word for word in words if f" {word}" in single]
    return enough(kept, least=least, of=words, option=option, what="that are single tokens of this tokenizer")


def of_one_length(
    tokenizer: Tokenizer,
    words: Sequence[W],
    *,
    option: str,
    least: int = 1,
    texts: Callable[[W], Iterable[str]] = lambda word: (str(word),),
) -> tuple[W, ...]:
    """The words that have the number of tokens that most of them have; of several such numbers the smallest.

    Args:
        tokenizer: see `scrub.tasks.tokenizing`.
        words: without spaces in front.
        option: of the generator, by which other words can be given.
        least: how many different words are needed.
        texts: of a word that has several forms, all of them. A word whose forms differ in length is left out.

    Raises:
        TaskError: fewer are left.
    """
    forms = [[f" {form}" for form in texts(word)] for word in words]
    tokens = continuations(tokenizer, itertools.chain(*forms))
    lengths = [_common_length([tokens[form] for form in of_word]) for of_word in forms]
    counts = Counter(length for length in lengths if length)
    commonest = max(counts, key=lambda length: (counts[length], -length), default=0)
    kept = [word for word, length in zip(words, lengths, strict=True) if length and length == commonest]
    return enough(kept, least=least, of=words, option=option, what="with as many tokens as most of them have")


def _common_length(forms: Sequence[Sequence[int]]) -> int:
    """The number of tokens of each form; 0 where they differ."""
    lengths = {len(tokens) for tokens in forms}
    return lengths.pop() if len(lengths) == 1 else 0


def enough(kept: Sequence[W], *, least: int, of: Sequence[W], option: str, what: str) -> tuple[W, ...]:
    """The words that were kept of a list, each once, if there are enough.

    Raises:
        TaskError: fewer than `least` are left; it names them and the option by which to give others.
    """
    different = tuple(dict.fromkeys(kept))
    if len(different) < least:
        listed = ", ".join(map(str, different)) or "none"
        raise TaskError(
            f"{option}: {len(different)} of {len(of)} are left {what}, and {least} are needed: {listed}",
            expected=least,
            found=different,
            hint=f"give others as {option}=..., or take a tokenizer with a larger vocabulary",
        )
    return different
