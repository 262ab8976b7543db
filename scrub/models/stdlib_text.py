"""Text of Python's own standard library, split into a training and a held-out part: what the shipped model was trained
on, and real held-out text for it on any machine, without a download.

A document is one source file below the running interpreter's standard library, or one topic of the language reference
that `pydoc_data` carries. The split hashes the document's name, so it is the same on every Python version and platform:
a document held out when the model was trained is held out everywhere. Files that later versions renamed keep
their former name for the split.
"""

from __future__ import annotations

import importlib
import os
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, Protocol, cast

import torch
import xxhash

from scrub.graph import ConstructionError, FileError

Part = Literal["train", "held_out"]

MIN_CHARACTERS = 1024
HELD_OUT_ONE_IN = 20
HASH_SEED = 4  # the seed under which the held-out documents are also about a twentieth of the text, code and prose

_SKIPPED_DIRECTORIES = (
    "site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__", "config-*", "lib-dynload",
)  # fmt: skip
_SKIPPED_FILES = (
    "_sysconfigdata*", "_sysconfig_vars*", "pydoc_data/topics.py", "pydoc_data/module_docs.py", "html/entities.py",
    "encodings/cp*.py", "encodings/mac_*.py", "encodings/iso*.py", "encodings/koi8*.py", "encodings/big5*.py",
    "encodings/euc_*.py", "encodings/gb*.py", "encodings/hp_roman8.py", "encodings/kz1048.py",
    "encodings/palmos.py", "encodings/ptcp154.py", "encodings/tis_620.py", "encodings/aliases.py",
    "encodings/shift_jis*.py", "encodings/johab.py", "encodings/hz.py", "stringprep.py",
)  # fmt: skip
_FORMER_NAMES = {  # since Python 3.11, whose text the shipped model was trained on
    "zipfile/__init__.py": "zipfile.py",
    "sysconfig/__init__.py": "sysconfig.py",
    "pathlib/__init__.py": "pathlib.py",
    "pathlib/_local.py": "pathlib.py",
    "string/__init__.py": "string.py",
    "_py_warnings.py": "warnings.py",
}


@dataclass(frozen=True, slots=True)
class Document:
    """One text and the name that the split and the digest know it by.

    >>> Document(name="json/decoder.py", text="...").name
    'json/decoder.py'
    """

    name: str
    text: str


class Encoding(Protocol):
    """What encoding a text gives: its token ids."""

    @property
    def ids(self) -> Sequence[int]: ...


class Encoder(Protocol):
    """Anything that encodes a text, such as `tokenizers.Tokenizer`."""

    def encode(self, sequence: str, /) -> Encoding: ...


def is_held_out(name: str) -> bool:
    """Whether the document of this name belongs to the held-out part (about one in twenty do).

    >>> is_held_out("json/decoder.py")
    False
    """
    first_name = _FORMER_NAMES.get(name, name)
    return xxhash.xxh3_64_intdigest(first_name.encode(), seed=HASH_SEED) % HELD_OUT_ONE_IN == 0


def documents(part: Part) -> Iterator[Document]:
    """The documents of one part in the order of their names.

    Left out: installed packages, tests (not every distribution has them), build records, generated character tables,
    files that are not UTF-8, and texts of fewer than `MIN_CHARACTERS` characters.

    >>> next(documents("train")).name
    '__future__.py'
    """
    for name, source in sorted({**_files(), **_topics()}.items()):
        if is_held_out(name) != (part == "held_out"):
            continue
        text = source if isinstance(source, str) else _read(source)
        if text is not None and len(text) >= MIN_CHARACTERS:
            yield Document(name, text)


def corpus_digest(part: Part) -> str:
    """xxh3_128 of the names and contents of one part, in hexadecimal: equal digests mean equal text.

    >>> len(corpus_digest("held_out"))
    32
    """
    digest = xxhash.xxh3_128()
    for document in documents(part):
        for field in (document.name.encode(), document.text.encode()):
            digest.update(len(field).to_bytes(8, "little"))
            digest.update(field)
    return digest.hexdigest()


def held_out_note(recorded_digest: str) -> str | None:
    """A sentence for the reader when the running Python's held-out text is not the text a digest was recorded for.

    Another Python version has other sources: numbers then differ somewhat from the recorded ones, but the text is held
    out all the same, since the split goes by name. None means the text is identical.

    >>> held_out_note(corpus_digest("held_out")) is None
    True
    """
    if corpus_digest("held_out") == recorded_digest:
        return None
    return (
        f"The held-out text comes from Python {sysconfig.get_python_version()}'s standard library, which differs from"
        " the one the shipped model's numbers were recorded on: expect slightly different numbers on text that is"
        " held out all the same."
    )


def held_out_sequences(tokenizer: Encoder, length: int, *, limit: int | None = None) -> torch.Tensor:
    """Held-out token windows [n, length], int64: consecutive and non-overlapping within each document.

    Documents come in the order of their names; one shorter than `length` tokens gives no window, and the rest of a
    document after its last whole window is dropped. On another Python version than the shipped model's the windows
    differ somewhat but stay held out; `held_out_note` says so.

    Args:
        tokenizer: the shipped model's tokenizer, or any other.
        length: tokens per window.
        limit: at most so many windows, spread evenly over all of them.

    Raises:
        ConstructionError: length or limit is below 1.
        FileError: no held-out document has that many tokens (or the standard library's sources are missing).

    >>> from scrub.models import load_shipped
    >>> held_out_sequences(load_shipped("attn_only_2l").tokenizer, 256, limit=8).shape
    torch.Size([8, 256])
    """
    if length < 1 or (limit is not None and limit < 1):
        raise ConstructionError(
            f"held_out_sequences: length and limit must be at least 1, got {length} and {limit}",
            expected="at least 1",
            found=(length, limit),
        )
    windows = [window for document in documents("held_out") for window in _windows(tokenizer, document.text, length)]
    if not windows:
        raise FileError(
            f"no held-out document of the standard library has {length} tokens",
            found=length,
            hint="ask for shorter sequences; or this Python comes without the sources of its standard library",
        )
    kept = torch.tensor(windows, dtype=torch.int64)
    if limit is None or limit >= len(windows):
        return kept
    return kept[torch.arange(limit) * len(windows) // limit]


def _windows(tokenizer: Encoder, text: str, length: int) -> Iterator[Sequence[int]]:
    ids = tokenizer.encode(text).ids
    for start in range(0, len(ids) - length + 1, length):
        yield ids[start : start + length]


def _files() -> dict[str, Path]:
    """Source files by their POSIX path relative to the standard library."""
    root = sysconfig.get_paths()["stdlib"]
    found: dict[str, Path] = {}
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [name for name in subfolders if not _matches(name, _SKIPPED_DIRECTORIES)]
        for path in (Path(folder, name) for name in files if name.endswith(".py")):
            name = path.relative_to(root).as_posix()
            if not _matches(name, _SKIPPED_FILES):
                found[name] = path
    return found


def _topics() -> dict[str, str]:
    """The language reference's topics, which `help()` shows; none where the distribution leaves them out."""
    try:
        module = importlib.import_module("pydoc_data.topics")
    except ImportError:
        return {}
    topics = cast(dict[str, str], module.topics)
    return {f"pydoc_data/topics:{topic}": text for topic, text in topics.items()}


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _read(path: Path) -> str | None:
    """The text with newlines as "\\n", or None where it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
