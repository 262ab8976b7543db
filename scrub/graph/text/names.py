"""How a node is called in text: its given name in quotes, or one derived from what it computes."""

from __future__ import annotations

import re

from scrub.graph.expr import Expr

QUOTED = r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\""
"""Regular expression of a quoted name, as `repr` writes it: no line break, no quote, no control character is bare."""

_PLAIN_NAME = re.compile(r"[^\s'\"#!@{}\[\]\\](?:[^\s'\"#!@{}\[\]\\]| (?=\S))*")
_WHOLE_QUOTES = re.compile(rf"(?:[^'\"\\]|{QUOTED})*")
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))")
_LETTERS = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", "'": "'", '"': '"'}
_MAX_LENGTH = 60


def unquoted(text: str) -> str:
    """The name that `repr` wrote as this text. Raises `ValueError` for an escape that `repr` does not write.

    >>> unquoted(repr("two\\nlines, a 'quote' and a \\\\"))
    "two\\nlines, a 'quote' and a \\\\"
    """
    inner = text[1:-1]
    return _ESCAPE.sub(_character, inner) if "\\" in inner else inner


def _character(match: re.Match[str]) -> str:
    code = match[1] or match[2] or match[3]
    if code:
        return chr(int(code, 16))
    if match[4] not in _LETTERS:
        raise ValueError(f"unknown escape \\{match[4]}")
    return _LETTERS[match[4]]


def display_name(node: Expr) -> str:
    """The given name in quotes, or the derived one without."""
    return repr(node.name) if node.name is not None else derived_name(node)


def derived_name(node: Expr, *, levels: int = 3) -> str:
    """The given name, or one made from the operation and the children's; at most `levels` deep and 60 letters long.

    A given name that could be mistaken for something else stands in quotes inside a derived one.

    >>> from scrub.graph import Add, Scalar
    >>> derived_name(Add(Scalar(1.0, name="a"), Scalar(2.0, name="b")))
    'a + b'
    """
    if node.name is not None:
        return node.name
    if levels == 0:
        return "..."
    shown = node.children[:4]
    names = [_inner_name(child, levels - 1) for child in shown]
    if node.infix:
        names = [f"({n})" if c.infix and c.name is None else n for n, c in zip(names, shown, strict=True)]
    if len(node.children) > len(shown):
        names.append("...")
    text = node.derived_name(names)
    return text if len(text) <= _MAX_LENGTH else _cut(text)


def _inner_name(node: Expr, levels: int) -> str:
    if node.name is None:
        return derived_name(node, levels=levels)
    is_plain = _PLAIN_NAME.fullmatch(node.name) is not None and node.name.isprintable()
    return node.name if is_plain else repr(node.name)


def _cut(text: str) -> str:
    """The beginning of a text, with no quote left open."""
    whole = _WHOLE_QUOTES.match(text[: _MAX_LENGTH - 3])
    return (whole[0] if whole else "") + "..."
