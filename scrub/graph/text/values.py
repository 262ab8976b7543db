"""Parameters as text, whatever the node type: what `{...}` holds behind a type in the exact form.

    None True 3 -0.0 inf 'text' (1, 2)          themselves; parentheses make a tuple
    gen_index(-1, False, True)                  a registered function with its fields
    :tensor('<digest>')                         a tensor; on the meta device :tensor('<digest>', (2, 3), 'float32')
    :arg('x', (2,), '<uuid>', True, True)       a parameter of a module: its symbol, batchable, expandable
    :size('2*seq')                              a symbolic size

Reading builds only these. Nothing is evaluated, and nesting costs no stack.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any, cast

from scrub.graph.errors import ConstructionError
from scrub.graph.frozen_tensor import FrozenTensor
from scrub.graph.functions import FUNCTIONS, Function
from scrub.graph.functions.base import function_name
from scrub.graph.module import ModuleArgSpec
from scrub.graph.sizes import is_symbolic, size_text
from scrub.graph.symbol import Symbol
from scrub.graph.text.names import QUOTED, unquoted
from scrub.graph.text.sizes import parse_size

Resolver = Callable[[str, tuple[Any, ...] | None, str | None], FrozenTensor]
"""The tensor of a digest; with a shape and a dtype, one on the meta device."""

_TOKEN = re.compile(rf"\s*(?:({QUOTED})|([(),])|(:?[^\s(),'\"]+))\s*")
_WORDS: dict[str, Any] = {"None": None, "True": True, "False": False}
_MAX_DEPTH = 100


def values_text(values: tuple[Any, ...], *, exact: bool) -> str:
    """Parameters as text. Raises `ConstructionError` for one of a kind that text cannot hold.

    >>> values_text((1, -0.0, ("a", None)), exact=True)
    "1, -0.0, ('a', None)"
    """
    return ", ".join(_value_text(value, exact) for value in values)


def _value_text(value: Any, exact: bool, depth: int = 0) -> str:
    if depth > _MAX_DEPTH:
        raise ConstructionError(f"a parameter is nested more than {_MAX_DEPTH} deep", hint="make it flatter")
    if value is None or type(value) in (bool, int, float, str):
        return repr(value)
    if type(value) is tuple:
        return f"({', '.join([_value_text(item, exact, depth + 1) for item in value])})"  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, FrozenTensor):
        digest = value.digest if exact else value.digest[:8]
        return f":tensor({digest!r}{meta_text(value, ', {shape}, {dtype!r}')})"
    if isinstance(value, ModuleArgSpec):
        symbol = value.symbol
        parts = (symbol.name, symbol.shape, symbol.uuid, value.batchable, value.expandable, *symbol.params[2:])
        return f":arg({', '.join(_value_text(part, exact, depth + 1) for part in parts)})"
    if isinstance(value, Function):
        if FUNCTIONS.get(function_name(type(value))) is not type(value):
            raise ConstructionError(
                f"the function {value.label} is not registered, so text cannot name it",
                found=value,
                hint="decorate its class with @rc.function",
            )
        fields = [getattr(value, field.name) for field in dataclasses.fields(value)]
        return f"{function_name(type(value))}({', '.join(_value_text(field, exact, depth + 1) for field in fields)})"
    if is_symbolic(value):
        return f":size({size_text(value)!r})"
    raise ConstructionError(
        f"a parameter of type {type(value).__name__} has no text form",
        found=value,
        hint="parameters are numbers, strings, tuples, tensors, registered functions and parameters of modules",
    )


def meta_text(tensor: FrozenTensor, template: str) -> str:
    """Shape and dtype of a tensor without data, in a template; nothing for one with data, whose digest says all."""
    value = tensor.value
    if not value.is_meta:
        return ""
    shape = f"({', '.join(map(str, value.shape))})"
    return template.format(shape=shape, dtype=str(value.dtype).removeprefix("torch."))


def parse_values(text: str, resolve: Resolver) -> tuple[Any, ...]:
    """Inverse of `values_text`. Raises `ValueError` or a `ScrubError` for anything else.

    >>> parse_values("1, -0.0, ('a', None)", lambda digest, shape, dtype: FrozenTensor(tensors[digest]))
    (1, -0.0, ('a', None))
    """
    frames: list[tuple[str, list[Any]]] = [("", [])]  # (what the parenthesis belongs to, items so far)
    wants_value, position = True, 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"cannot read {text[position : position + 20]!r}")
        quoted, mark, word = match.groups()
        position = match.end()
        if mark == ")" and len(frames) > 1 and (not wants_value or not frames[-1][1]):
            head, items = frames.pop()
            frames[-1][1].append(_built(head, items, resolve))
            wants_value = False
        elif mark == "," and not wants_value:
            wants_value = True
        elif wants_value and mark == "(":
            frames.append(("", []))
        elif wants_value and word is not None and text.startswith("(", position):
            frames.append((word, []))
            position += 1
        elif wants_value and quoted is not None:
            frames[-1][1].append(unquoted(quoted))
            wants_value = False
        elif wants_value and word is not None:
            frames[-1][1].append(_word(word))
            wants_value = False
        else:
            raise ValueError(f"{match[0].strip()!r} is out of place")
        if len(frames) > _MAX_DEPTH + 2:
            raise ValueError(f"nested more than {_MAX_DEPTH} deep")
    if len(frames) > 1 or (wants_value and frames[0][1]):
        raise ValueError("a parenthesis is not closed, or nothing follows a comma")
    return tuple(frames[0][1])


def _word(word: str) -> Any:
    if word in _WORDS:
        return _WORDS[word]
    if re.fullmatch(r"-?\d+", word, flags=re.ASCII):
        return int(word)
    if re.fullmatch(r"-?(inf|nan|\d+\.\d*(e[+-]?\d+)?|\d+e[+-]?\d+)", word, flags=re.ASCII):
        return float(word)
    raise ValueError(f"{word!r} is not a value")


def _built(head: str, items: list[Any], resolve: Resolver) -> Any:
    match head, items:
        case "", _:
            return tuple(items)
        case ":tensor", [str() as digest]:
            return resolve(digest, None, None)
        case ":tensor", [str() as digest, tuple(), str() as dtype]:
            return resolve(digest, items[1], dtype)
        case ":arg", [str() | None as name, tuple(), str() as uuid, bool() as batchable, bool() as expandable]:
            return ModuleArgSpec(Symbol(items[1], uuid, name), batchable, expandable)
        case ":arg", [*_, tuple()] if len(items) == 6:
            spec = _built(head, items[:5], resolve)
            symbol = Symbol(spec.symbol.shape, spec.symbol.uuid, spec.symbol.name, axis_names=items[5])
            return dataclasses.replace(spec, symbol=symbol)
        case ":size", [str() as size]:
            return parse_size(size)
        case _ if head in FUNCTIONS:
            return FUNCTIONS[head](*items)
        case _:
            raise ConstructionError(
                f"unknown function {head!r}",
                expected=sorted(FUNCTIONS),
                found=head,
                hint="import the module that registers it",
            )


def flat(params: tuple[Any, ...]) -> list[Any]:
    """Parameters with those inside tuples.

    >>> flat((1, (2, (3,))))
    [1, 2, 3]
    """
    items: list[Any] = []
    stack: list[Any] = list(reversed(params))
    while stack:
        item = stack.pop()
        if isinstance(item, tuple):
            stack.extend(reversed(cast("tuple[Any, ...]", item)))
        else:
            items.append(item)
    return items
