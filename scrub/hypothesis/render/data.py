"""How one datum is shown on a line, and what else on it comes from users: short, and without control characters."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol, cast

import torch

from scrub.hypothesis.dataset import Dataset

Datum = Callable[[Dataset], str]
"""From a dataset of one row, how that row is shown."""
MAX_DATUM = 72
_MAX_NUMBERS = 8
_PLAIN_NAME = re.compile(r"[\w.]+")


class Decoder(Protocol):
    """What makes text of tokens, such as a tokenizer."""

    def decode(self, token_ids: Any, /) -> Any:
        """The text of a list of tokens."""
        ...


def printable(text: object) -> str:
    """Text on one line: line breaks, control characters and the like as Python escapes them.

    >>> print(printable("a\\nb"))
    a\\nb
    """
    whole = str(text)
    if whole.isprintable():
        return whole
    return "".join([c if c.isprintable() else c.encode("unicode_escape").decode() for c in whole])


def shortened(text: object, limit: int) -> str:
    """The beginning of a text, printable, at most so many letters long."""
    whole = printable(str(text)[: 8 * limit])
    return whole if len(whole) <= limit else whole[: limit - 1] + "…"


def inputs_text(row: Dataset) -> str:
    """The inputs of a datum, shortened; how a datum is shown unless a function says otherwise.

    >>> inputs_text(Dataset({"x": torch.tensor([2.5]), "tokens": torch.arange(20)[None]}))
    'x=2.5, tokens=[0 1 2 3 4 5 6 7 … 12 more]'
    """
    return ", ".join([f"{_name(name)}={_value(row[name][0])}" for name in row.inputs])


def decoded(array: str, tokenizer: Decoder, *, limit: int = MAX_DATUM) -> Datum:
    """Shows the text of an array of tokens: an argument `datum=` for models of language.

    Args:
        array: of the dataset, [n, tokens].
        tokenizer: whatever has `decode(tokens)`.
        limit: most letters that are shown.

    >>> class Letters:
    ...     def decode(self, tokens):
    ...         return "".join(map(chr, tokens))
    >>> decoded("tokens", Letters())(Dataset({"tokens": torch.tensor([[104, 105, 10]])}))
    'hi\\\\n'
    """

    def datum(row: Dataset) -> str:
        return shortened(tokenizer.decode(cast(Any, row[array][0].tolist())), limit)

    return datum


def _name(name: str) -> str:
    return name if _PLAIN_NAME.fullmatch(name) else repr(name)


def _value(value: torch.Tensor) -> str:
    if value.ndim == 0:
        return _number(value.item())
    shape = "" if value.ndim == 1 else "×".join(map(str, value.shape)) + ": "
    flat = value.detach().reshape(-1)
    numbers = [_number(number) for number in cast(list[Any], flat[:_MAX_NUMBERS].tolist())]
    rest = [] if len(flat) <= _MAX_NUMBERS else [f"… {len(flat) - _MAX_NUMBERS} more"]
    return f"[{shape}{' '.join([*numbers, *rest])}]"


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
