"""Small tokenizers of every kind that tasks take, for tests."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE, WordLevel
from tokenizers.processors import TemplateProcessing

WORD = r" ?[a-zA-Z]+| ?[0-9]{2}| ?[^a-zA-Z0-9 ]"
"""A word, two digits or a sign, with the space before it."""


class Letters:
    """A token for each character, its code point; nothing but `encode` and `decode`."""

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))


class Words:
    """A token for each of `WORD`, numbered as they come; `encode` alone."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}

    def encode(self, text: str) -> list[int]:
        return [self.ids.setdefault(word, len(self.ids)) for word in re.findall(WORD, text)]


class Pairs:
    """Two characters to a token from the start, the last one alone if the number is odd: answers change prompts."""

    def encode(self, text: str) -> list[int]:
        return [
            sum(ord(letter) << 8 * i for i, letter in enumerate(text[at : at + 2])) for at in range(0, len(text), 2)
        ]


def word_level(texts: Iterable[str], **ids: int) -> Tokenizer:
    """The same words by the `tokenizers` library, with "<s>" (id 1) before each text unless it is told not to.

    Args:
        texts: whose words it knows; others are "<unk>", id 0.
        ids: word, without its space -> the id that it has with one.
    """
    fixed = {f" {word}": token for word, token in ids.items()}
    words = dict.fromkeys(word for text in texts for word in re.findall(WORD, text))
    free = (token for token in itertools.count(2) if token not in fixed.values())
    vocabulary = {"<unk>": 0, "<s>": 1, **fixed, **{word: next(free) for word in words if word not in fixed}}
    tokenizer: Any = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(["<s>"])
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def byte_pairs(merges: Iterable[tuple[str, str]]) -> Tokenizer:
    """Characters, of which these pairs are merged."""
    merges = list(merges)
    letters = [chr(code) for code in range(32, 127)]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys([*letters, *(a + b for a, b in merges)]))}
    tokenizer: Any = Tokenizer(BPE(vocabulary, merges))
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def metaspace(texts: Iterable[str]) -> Tokenizer:
    """Whole words that begin with "▁" for their space, also the first of a text, which decodes without it."""
    words = dict.fromkeys(f"▁{word}" for text in texts for word in text.split())
    tokenizer: Any = Tokenizer(WordLevel({"<unk>": 0, **{word: i for i, word in enumerate(words, 1)}}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer
