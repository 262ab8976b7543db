"""Token ids of texts from any tokenizer, without `transformers`.

A tokenizer is anything whose `encode(text)` gives token ids, or an object that has them as `ids`: one of the
`tokenizers` library, one of `transformers`, or a few lines of one's own. Special tokens are never added by it
(`add_special_tokens=False` where that can be said); a prefix such as a start token is given as such.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Protocol, cast

from scrub.graph import TaskError

Prefix = int | str | Sequence[int]


class Tokenizer(Protocol):
    """What turns text into token ids: a list of ints, or an object with such a list as `ids`."""

    def encode(self, text: str, /) -> Any: ...


def encode_text(tokenizer: Tokenizer, text: str) -> list[int]:
    """Token ids of a text, without special tokens.

    Raises:
        TaskError: `encode` does not give ids.

    >>> from scrub.models import load_shipped
    >>> encode_text(load_shipped("attn_only_2l").tokenizer, "import sys")
    [739, 736]
    """
    return _ids(_encoding(tokenizer, text), text)


def token_text(tokenizer: Tokenizer, token: int) -> str:
    """A token as text, as it reads after another token; its name or id where the tokenizer decodes it to nothing.

    >>> from scrub.models import load_shipped
    >>> token_text(load_shipped("attn_only_2l").tokenizer, 736)
    ' sys'
    """
    decode = getattr(tokenizer, "decode", None)
    name = getattr(tokenizer, "id_to_token", None) or getattr(tokenizer, "convert_ids_to_tokens", None)
    # twice, since some tokenizers leave out the space before the first token of a text
    text = str(decode([token, token]))[len(str(decode([token]))) :] if decode is not None else ""
    return str(text or (name and name(token)) or token)


def prefix_ids(tokenizer: Tokenizer, prefix: Prefix) -> list[int]:
    """Ids of what every prompt starts with: an id, ids, or the text of a special token such as "<s>".

    Raises:
        TaskError: the tokenizer has no such token.
    """
    if isinstance(prefix, int):
        return [prefix]
    if not isinstance(prefix, str):
        return [int(token) for token in prefix]
    if not prefix:
        return []
    look_up = getattr(tokenizer, "token_to_id", None) or getattr(tokenizer, "convert_tokens_to_ids", None)
    found = look_up(prefix) if look_up is not None else None
    if found is None or (found == unknown_id(tokenizer) and prefix != getattr(tokenizer, "unk_token", None)):
        raise TaskError(
            f"the tokenizer has no token {prefix!r} to put before the prompts",
            expected="a token of its vocabulary",
            found=prefix,
            hint="give its id: prefix=[0]",
        )
    return [int(found)]


def unknown_id(tokenizer: Tokenizer) -> int | None:
    """The id that a tokenizer gives to what it does not know, if it has one."""
    if hasattr(tokenizer, "unk_token_id"):
        return cast(Any, tokenizer).unk_token_id
    name = getattr(getattr(tokenizer, "model", None), "unk_token", None)
    return None if name is None else cast(Any, tokenizer).token_to_id(name)


def encode_all(tokenizer: Tokenizer, texts: Iterable[str]) -> dict[str, list[int]]:
    """`encode_text` of each, all together where the tokenizer can.

    Raises:
        TaskError: `encode` does not give ids.
    """
    distinct = list(dict.fromkeys(texts))
    batch = getattr(tokenizer, "encode_batch", None)
    if batch is None and getattr(tokenizer, "is_fast", False):
        call = cast(Callable[..., Mapping[str, Any]], tokenizer)
        ids: list[list[int]] = call(distinct, add_special_tokens=False)["input_ids"] if distinct else []
        return dict(zip(distinct, ids, strict=True))
    if batch is None:
        return {text: encode_text(tokenizer, text) for text in distinct}
    encodings = batch(distinct, **_without_special(_unbound(batch)))
    return {text: _ids(encoding, text) for text, encoding in zip(distinct, encodings, strict=True)}


def character_spans(tokenizer: Tokenizer, text: str, tokens: Sequence[int]) -> list[tuple[int, int]]:
    """(start, end) in characters of `text` for each of its tokens.

    From the tokenizer's own offsets where it has them; else from decoding longer and longer parts of the tokens.

    Raises:
        TaskError: it has no offsets, and its tokens do not decode to the text.

    >>> from scrub.models import load_shipped
    >>> tokenizer = load_shipped("attn_only_2l").tokenizer
    >>> character_spans(tokenizer, "import sys", encode_text(tokenizer, "import sys"))
    [(0, 6), (6, 10)]
    """
    encoding = _encoding(tokenizer, text)
    offsets = _without_padding(encoding, getattr(encoding, "offsets", None))
    if offsets is None and getattr(tokenizer, "is_fast", False):
        call = cast(Callable[..., Mapping[str, Any]], tokenizer)
        offsets = call(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    if offsets is not None:
        return [(int(start), int(end)) for start, end in offsets]
    decode = getattr(tokenizer, "decode", None)
    parts = [str(decode(list(tokens[:n]))) for n in range(len(tokens) + 1)] if decode is not None else []
    if not parts or parts[-1] != text:
        raise TaskError(
            f"the tokenizer does not say which characters of {text!r} its tokens are",
            expected="offsets, which `tokenizers` and fast ones of `transformers` have, or decode() that restores it",
            found=parts[-1] if parts else type(tokenizer).__name__,
            hint="leave out the marks, or give token positions to Task.from_tokens",
        )
    ends = [len(part) for part in parts]
    return list(itertools.pairwise(ends))


def _encoding(tokenizer: Tokenizer, text: str) -> Any:
    return tokenizer.encode(text, **_without_special(_unbound(tokenizer.encode)))


def _unbound(method: Callable[..., Any]) -> Callable[..., Any]:
    """What all tokenizers of a type share, so that its signature is looked up once."""
    owner: object = getattr(method, "__self__", None)
    return getattr(type(owner), getattr(method, "__name__", ""), method)


@cache
def _without_special(encode: Callable[..., Any]) -> dict[str, bool]:
    """The keyword that keeps a tokenizer from adding special tokens, where it knows one."""
    try:
        parameters = inspect.signature(encode).parameters
    except (TypeError, ValueError):  # compiled functions need not have a signature
        return {}
    return {"add_special_tokens": False} if "add_special_tokens" in parameters else {}


def _ids(encoding: Any, text: str) -> list[int]:
    if getattr(encoding, "overflowing", None):
        raise TaskError(
            f"the tokenizer truncates {text!r}",
            expected="all of its tokens",
            found=getattr(encoding, "tokens", None),
            hint="call tokenizer.no_truncation()",
        )
    ids = _without_padding(encoding, getattr(encoding, "ids", encoding))
    try:
        return [int(token) for token in ids]
    except (TypeError, ValueError) as error:
        raise TaskError(
            f"encode({text!r}) gives no token ids but {type(encoding).__name__}",
            expected="a list of ints, or an object with such a list as `ids`",
            found=encoding,
            hint="give a tokenizer of `tokenizers` or `transformers`, or anything whose encode(text) gives ids",
        ) from error


def _without_padding(encoding: Any, values: Any) -> Any:
    """Without the entries at padding, which a tokenizer of `tokenizers` adds if its file says so."""
    mask = getattr(encoding, "attention_mask", None)
    if values is None or mask is None or all(mask):
        return values
    return [value for value, shown in zip(values, mask, strict=True) if shown]
