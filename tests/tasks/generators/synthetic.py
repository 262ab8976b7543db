"""Tokenizers with a small vocabulary of whole words, made here: of the words that the generators' own files contain."""

from __future__ import annotations

import re
import string
from functools import cache
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from scrub.tasks import generators

_PIECES = r" ?[A-Za-z_]+| ?[0-9]{1,2}| ?[^\sA-Za-z0-9_]|\s"
_BOS = "<s>"
LONG = 7
"""The pieces of `Pieces` are no longer, in letters."""


def pieces(text: str) -> list[str]:
    """Words, pairs of digits and signs, each with the space in front of it."""
    return re.findall(_PIECES, text)


@cache
def _words() -> list[str]:
    sources = " ".join(path.read_text() for path in sorted(Path(generators.__file__).parent.glob("*.py")))
    words = set(re.findall(r"[A-Za-z]+", sources)) | {f"{n:02}" for n in range(100)} | {str(n) for n in range(10)}
    words |= {word + "s" for word in words} | set(string.printable.strip())
    return sorted(words | {f" {word}" for word in words} | {" ", "\n"})


@cache
def whole_words() -> Tokenizer:
    """Of the `tokenizers` library: one token for each word, with offsets."""
    vocabulary = {word: place for place, word in enumerate(["[UNK]", *_words()])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECES), "isolated")
    return tokenizer


class Pieces:
    """Plain Python, with ids as a list, a start token unless told otherwise, no offsets, and long words cut in two."""

    def __init__(self) -> None:
        parts = {part for word in _words() for part in self._cut(word)}
        self._ids = {part: place for place, part in enumerate([_BOS, *sorted(parts)])}
        self._texts = {place: part for part, place in self._ids.items()}
        self.all_special_ids = [0]

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        start = [0] if add_special_tokens else []
        return start + [self._ids[part] for piece in pieces(text) for part in self._cut(piece)]

    def decode(self, ids: list[int]) -> str:
        return "".join(self._texts[token] for token in ids)

    def get_vocab(self) -> dict[str, int]:
        return dict(self._ids)

    @staticmethod
    def _cut(word: str) -> list[str]:
        size = LONG + word.startswith(" ")
        return [word[at : at + size] for at in range(0, len(word), size)]


@cache
def cut_words() -> Pieces:
    return Pieces()


def ids_of(tokenizer: Tokenizer | Pieces, text: str) -> list[int]:
    """Token ids without special tokens, by the tokenizers' own means."""
    if isinstance(tokenizer, Pieces):
        return tokenizer.encode(text, add_special_tokens=False)
    return tokenizer.encode(text, add_special_tokens=False).ids


def text_of(tokenizer: Tokenizer | Pieces, token: int) -> str:
    if isinstance(tokenizer, Pieces):
        return tokenizer.decode([token])
    found = tokenizer.id_to_token(token)
    assert found is not None
    return found
