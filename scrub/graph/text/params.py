"""Parameters of the node types as they stand behind the type: `Einsum ab,b->a`, `Array 2f97b0bb`.

`params_text` writes what a reader can turn back into the same parameters; where the short text of a type does not say
everything, the rest follows in braces (see `values`). A type that is not in `_WRITERS` and `_READERS` needs nothing
here: its parameters stand in braces.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch

from scrub.graph.axis_names import AxisNames, as_axis_names
from scrub.graph.errors import ConstructionError
from scrub.graph.expr import Expr, Shape
from scrub.graph.frozen_tensor import FrozenTensor
from scrub.graph.functions import FUNCTIONS, Function
from scrub.graph.functions.elementwise import ELEMENTWISE, Elementwise
from scrub.graph.index import Entry
from scrub.graph.module import ModuleArgSpec
from scrub.graph.sizes import is_surely_less, size_text
from scrub.graph.symbol import Symbol
from scrub.graph.tag import Tag
from scrub.graph.text.sizes import parse_size
from scrub.graph.text.values import Resolver, meta_text, values_text

DIGEST_LENGTH = 32
_PLAIN = re.compile(r"[^#!{}'\"]*")
_UUID = re.compile(r"[0-9A-Za-z-]{9,}")  # at most eight letters are the beginning of one


class Parts(NamedTuple):
    """What is known of a node when its parameters are read.

    Attributes:
        name, shape: as written; the shape is None where the line has none.
        children: its children.
        arguments: for each child the parameter it is bound to (`! 'in'`), or None.
        axis_names: as written with the shape.
        resolve: tensors by digest.
        find_uuid: full uuid of a symbol or tag from (what is written, the uuid that its name makes, if it has one).
    """

    name: str | None
    shape: Shape | None
    children: tuple[Expr, ...]
    arguments: Sequence[str | None]
    resolve: Resolver
    find_uuid: Callable[[str, Callable[[], str] | None], str]
    axis_names: AxisNames = ()

    @property
    def names(self) -> tuple[AxisNames, ...]:
        """The parameter of a leaf that holds the names of its axes; it has none where no axis is named."""
        return as_axis_names("a leaf", self.axis_names, len(self.axis_names))


def params_text(node: Expr, *, exact: bool) -> str:
    """Parameters as text, from which they can be read back; digests and uuids in full if `exact`.

    Raises:
        ConstructionError: a parameter is of a kind that text cannot hold.
    """
    writer = _WRITERS.get(type(node).__name__)
    if writer is not None:
        text = writer(node, exact)
        if text is not None:
            return text
    elif not node.params:
        return ""
    plain = node.param_text()
    braces = f"{{{values_text(node.params, exact=exact)}}}"
    return f"{plain} {braces}" if plain and _is_plain(plain) else braces


def read_params(kind: str, text: str, parts: Parts) -> tuple[Any, ...]:
    """Inverse of `params_text` for text without braces. Raises `ValueError` or a `ScrubError`."""
    reader = _READERS.get(kind)
    if reader is not None:
        return reader(text, parts)
    if text:
        raise ValueError(f"{kind}'s parameters cannot be read from {text!r}; to_text(expr, exact=True) writes them")
    return ()


def _is_plain(text: str) -> bool:
    return _PLAIN.fullmatch(text) is not None and text.isprintable() and not text.endswith("...")


# ---- writing: None where the short text does not say everything ------------------------------------------------


def _write_array(node: Expr, exact: bool) -> str | None:
    frozen: FrozenTensor = node.params[0]
    return f"{frozen.digest}{meta_text(frozen, ' meta {dtype}')}" if exact else frozen.digest[:8]


def _write_scalar(node: Expr, exact: bool) -> str | None:
    return repr(node.params[0]) if type(node.params[0]) in (int, float, bool) else None


def _write_uuid(node: Expr, exact: bool) -> str | None:
    uuid: object = node.params[1] if isinstance(node, Symbol) else node.params[-1]
    if type(uuid) is not str or _UUID.fullmatch(uuid) is None:
        return None
    return uuid if exact else uuid[:8]


def _write_module(node: Expr, exact: bool) -> str | None:
    """Nothing, if the name of each parameter alone tells which symbol of the body is meant, and flags are as usual."""
    body = node.children[0]
    by_name: dict[str | None, Symbol | None] = {}
    for symbol in body.free_symbols:
        by_name[symbol.name] = None if symbol.name in by_name else symbol
    for spec in node.params:
        if not (spec.batchable and spec.expandable) or by_name.get(spec.symbol.name) is not spec.symbol:
            return None
    return ""


def _write_rearrange(node: Expr, exact: bool) -> str | None:
    sizes = [f"{_letter(i)}={size_text(size)}" for i, size in enumerate(node.params[2]) if size is not None]
    return _checked(node, ", ".join([node.param_text(), *sizes]))


def _write_function(node: Expr, exact: bool) -> str | None:
    spec: Function = node.params[0]
    return _checked(node, spec.label)


def _write_entries(node: Expr, exact: bool) -> str | None:
    entries: tuple[Entry, ...] = node.params[0]
    long = [entry for entry in entries if isinstance(entry, FrozenTensor) and len(entry.value) > 8]
    text = node.param_text()
    if exact:
        for entry in long:
            text = text.replace(f"[{entry.digest[:8]}]", f"[{entry.digest}]")
    if not long:
        return _checked(node, text)
    return text if all(_is_numeric(entry) for entry in entries) else None


def _is_numeric(entry: Entry) -> bool:
    parts = entry if isinstance(entry, tuple) else (entry,)
    return all(part is None or type(part) is int or isinstance(part, FrozenTensor) for part in parts)


def _write_checked(node: Expr, exact: bool) -> str | None:
    return _checked(node, node.param_text())


def _checked(node: Expr, text: str) -> str | None:
    """The text if the parameters can be read back from it."""
    key = (type(node).__name__, text, len(node.children), node.shape if type(node).__name__ == "Scatter" else None)
    return text if _is_plain(text) and _read_repr(*key) == repr(node.params) else None


@lru_cache(maxsize=65536)
def _read_repr(kind: str, text: str, num_children: int, shape: Shape | None) -> str | None:
    children: Any = (None,) * num_children  # the readers used here only count them
    try:
        return repr(_READERS[kind](text, Parts(None, shape, children, (), _no_tensor, _no_uuid)))
    except (ValueError, TypeError, LookupError, ConstructionError):
        return None


def _no_tensor(digest: str, shape: tuple[Any, ...] | None, dtype: str | None) -> FrozenTensor:
    raise ValueError("no tensors here")


def _no_uuid(text: str, of_name: Callable[[], str] | None) -> str:
    raise ValueError("no uuids here")


_WRITERS: dict[str, Callable[[Expr, bool], str | None]] = {
    "Array": _write_array,
    "Scalar": _write_scalar,
    "Symbol": _write_uuid,
    "Tag": _write_uuid,
    "StoredCumulantVar": _write_uuid,
    "Module": _write_module,
    "Rearrange": _write_rearrange,
    "GeneralFunction": _write_function,
    "Index": _write_entries,
    "Scatter": _write_entries,
    "Einsum": _write_checked,
    "Concat": _write_checked,
    "Conv": _write_checked,
}


# ---- reading ----------------------------------------------------------------------------------------------------


def _read_array(text: str, parts: Parts) -> tuple[Any, ...]:
    digest, *meta = text.split(" ")
    match meta:
        case []:
            return (parts.resolve(digest, parts.shape, None), *parts.names)
        case ["meta", dtype]:
            return (parts.resolve(digest, _given(parts.shape), dtype), *parts.names)
        case _:
            raise ValueError(f"expected a digest, found {text!r}")


def _read_scalar(text: str, parts: Parts) -> tuple[Any, ...]:
    if text in ("True", "False"):
        return (text == "True", _given(parts.shape), *parts.names)
    try:
        value = int(text) if re.fullmatch(r"-?\d+", text, flags=re.ASCII) else float(text)
    except ValueError:
        raise ValueError(f"expected a number, found {text!r}") from None
    return (value, _given(parts.shape), *parts.names)


def _read_symbol(text: str, parts: Parts) -> tuple[Any, ...]:
    shape, name = _given(parts.shape), parts.name
    of_name = None if name is None else lambda: Symbol.new_from_name(shape, name).uuid
    return (shape, parts.find_uuid(text, of_name), *parts.names)


def _read_tag(text: str, parts: Parts) -> tuple[Any, ...]:
    name = parts.name
    of_name = None if name is None else lambda: Tag.new_from_name(parts.children[0], name).uuid
    return (parts.find_uuid(text, of_name),)


def _read_uuid(text: str, parts: Parts) -> tuple[Any, ...]:
    return (parts.find_uuid(text, None),)


def _given(shape: Shape | None) -> Shape:
    if shape is None:
        raise ValueError("a leaf needs its shape in brackets, as in 'x' [2, 3] Symbol")
    return shape


def _read_module(text: str, parts: Parts) -> tuple[Any, ...]:
    if text:
        raise ValueError(f"expected nothing behind Module, found {text!r}")
    if not parts.children:
        raise ValueError("a Module needs its body as its first child")
    specs: list[ModuleArgSpec] = []
    by_name: dict[str | None, list[Symbol]] = {}
    for symbol in parts.children[0].free_symbols:
        by_name.setdefault(symbol.name, []).append(symbol)
    for argument in parts.arguments[1:]:
        if argument is None:
            raise ValueError("each child of a Module but the first says what it is bound to: 'x' ... ! 'in'")
        found = by_name.get(argument, [])
        if len(found) != 1:
            raise ValueError(
                f"{len(found) or 'no'} free symbols of the body are named {argument!r}, expected one; "
                "to_text(expr, exact=True) says which is meant"
            )
        specs.append(ModuleArgSpec(found[0]))
    return tuple(specs)


@lru_cache(maxsize=65536)
def _einsum_axes(text: str, num_children: int) -> tuple[Any, ...]:
    left, arrow, right = text.partition("->")
    if not arrow:
        raise ValueError(f"expected axes such as 'ab,b->a', found {text!r}")
    terms = left.split(",") if num_children else []
    if len(terms) != num_children or (not num_children and left):
        raise ValueError(f"{text!r} is for {len(left.split(','))} operands, found {num_children}")
    is_wide = re.search(r"x\d| ", text) is not None
    number: dict[str, int] = {}

    def axes(term: str) -> tuple[int, ...]:
        letters = term.split() if is_wide else list(term)
        if not all(re.fullmatch(r"[a-z]|x\d+", letter, flags=re.ASCII) for letter in letters):
            raise ValueError(f"malformed axes {term!r}")
        return tuple([number.setdefault(letter, len(number)) for letter in letters])

    in_axes = tuple([axes(term) for term in terms])
    num_axes = len(number)
    out_axes = axes(right)
    if len(number) > num_axes:
        raise ValueError(f"an output axis of {text!r} is in no operand")
    return (in_axes, out_axes)


def _read_einsum(text: str, parts: Parts) -> tuple[Any, ...]:
    return _einsum_axes(text, len(parts.children))


def _read_concat(text: str, parts: Parts) -> tuple[Any, ...]:
    match = re.fullmatch(r"axis=(\d+)", text, flags=re.ASCII)
    if match is None:
        raise ValueError(f"expected axis=0 or another number, found {text!r}")
    return (int(match[1]),)


def _read_conv(text: str, parts: Parts) -> tuple[Any, ...]:
    match = re.fullmatch(r"stride=(\d+(?:x\d+)*) padding=(\d+(?::\d+)?(?:,\d+(?::\d+)?)*)", text, flags=re.ASCII)
    if match is None:
        raise ValueError(f"expected stride=1 padding=0, or one number for each spatial axis, found {text!r}")
    pairs = [pair.split(":") for pair in match[2].split(",")]
    return (tuple(map(int, match[1].split("x"))), tuple((int(pair[0]), int(pair[-1])) for pair in pairs))


@lru_cache(maxsize=4096)
def _rearrange_params(text: str) -> tuple[Any, ...]:
    spec, *given = text.split(", ")
    left_text, arrow, right_text = spec.partition(" -> ")
    if not arrow:
        left_text, arrow, right_text = f" {spec} ".partition("->")
    sides: list[tuple[tuple[int, ...], ...]] = []
    for side in (left_text, right_text):
        groups: list[tuple[int, ...]] = []
        for group in re.findall(r"\([^()]*\)|[^\s()]+", side):
            letters: list[str] = [] if group == "1" else group.strip("()").split()
            groups.append(tuple([_axis_number(letter) for letter in letters]))
        sides.append(tuple(groups))
    if not arrow:
        raise ValueError(f"expected a rearrangement such as 'a b -> b a', found {spec!r}")
    count = 1 + max([axis for side in sides for group in side for axis in group], default=-1)
    sizes: list[Any] = [None] * min(count, 10_000)
    for item in given:
        letter, equals, size = item.partition("=")
        if not equals or _axis_number(letter) >= len(sizes):
            raise ValueError(f"expected the size of an axis of {spec!r}, as in b=2, found {item!r}")
        sizes[_axis_number(letter)] = parse_size(size)
    return (*sides, tuple(sizes))


def _read_rearrange(text: str, parts: Parts) -> tuple[Any, ...]:
    return _rearrange_params(text)


def _letter(axis: int) -> str:
    return chr(ord("a") + axis) if axis < 26 else f"x{axis}"


def _axis_number(letter: str) -> int:
    if re.fullmatch(r"[a-z]", letter, flags=re.ASCII):
        return ord(letter) - ord("a")
    if re.fullmatch(r"x\d{1,4}", letter, flags=re.ASCII):
        return int(letter[1:])
    raise ValueError(f"{letter!r} is not an axis")


def _read_function(text: str, parts: Parts) -> tuple[Any, ...]:
    name, bracket, inner = text.partition("[")
    made: Function | None = None
    known: dict[str, Any] = dict(FUNCTIONS)
    if not bracket and name in FUNCTIONS and not dataclasses.fields(FUNCTIONS[name]):
        made = known[name]()
    elif not bracket and name in ELEMENTWISE:
        made = Elementwise(name)
    elif name == "cast":
        made = known[name](inner.rstrip("]"))
    elif name == "gen_index" and (dim := re.match(r"dim=(-?\d+)", inner)):
        made = known[name](int(dim[1]), "batch_x" in inner, "batch_index=False" not in inner)
    if made is None or made.label != text:
        if name not in FUNCTIONS and name not in ELEMENTWISE:
            raise ConstructionError(
                f"unknown function {name!r}",
                expected=sorted({*FUNCTIONS, *ELEMENTWISE}),
                found=name,
                hint="import the module that registers it",
            )
        fields = ", ".join(field.name for field in dataclasses.fields(FUNCTIONS[name])) if name in FUNCTIONS else ""
        raise ValueError(f"{text!r} does not say all of {name}'s fields; write {name} {{{name}({fields})}}")
    return (made,)


_ENTRY = re.compile(r"\s*(?:\[([^\[\]]*)\]|([^,\[\]]*))\s*(?:,|$)")


def _read_entries(text: str, parts: Parts) -> tuple[Entry, ...]:
    if not (text.startswith("[") and text.endswith("]")):
        raise ValueError(f"expected an index such as [0, 1:3, [2, 0]], found {text!r}")
    inner = text[1:-1]
    entries: list[Entry] = []
    position = 0
    while position < len(inner):
        match = _ENTRY.match(inner, position)
        if match is None:
            raise ValueError(f"cannot read {inner[position:]!r} in the index {text!r}")
        position = match.end()
        entries.append(_entry(match[2].strip()) if match[1] is None else _positions(match[1], parts.resolve))
    return tuple(entries)


def _entry(text: str) -> Entry:
    if text == ":":
        return None
    bounds = text.split(":")
    try:
        sizes = [parse_size(bound) for bound in bounds[:3]]
    except ValueError:
        sizes = []
    if len(sizes) not in (1, 2):
        raise ValueError(f"{text!r} in an index is not ':', a position from 0, or start:stop")
    if len(sizes) == 1:
        return sizes[0]
    start, stop = sizes
    if is_surely_less(stop, start):
        raise ValueError(f"the slice {text!r} ends before it starts")
    return (start, stop)


def _positions(text: str, resolve: Resolver) -> FrozenTensor:
    word = text.strip()
    if re.fullmatch(rf"[0-9a-f]{{{DIGEST_LENGTH}}}|(?=.*[a-f])[0-9a-f]{{8}}", word):
        found = resolve(word, None, None)
        if found.value.ndim != 1 or found.value.dtype != torch.int64 or bool((found.value < 0).any()):
            raise ValueError(f"tensor {word[:8]} does not hold positions: a 1-d int64 tensor of numbers from 0")
        return found
    items = [item.strip() for item in word.split(",")] if word else []
    if not all(re.fullmatch(r"\d{1,18}", item, flags=re.ASCII) for item in items):
        raise ValueError(f"[{text}] in an index does not hold positions")
    return FrozenTensor(torch.tensor([int(item) for item in items], dtype=torch.int64))


def _read_index(text: str, parts: Parts) -> tuple[Any, ...]:
    return (_read_entries(text, parts),)


def _read_scatter(text: str, parts: Parts) -> tuple[Any, ...]:
    entries = _read_entries(text, parts)
    shape = _given(parts.shape)
    if len(entries) != len(shape):
        raise ValueError(f"the index {text} has {len(entries)} entries for {len(shape)} axes")
    return (entries, tuple(None if entry is None else size for entry, size in zip(entries, shape, strict=True)))


_READERS: dict[str, Callable[[str, Parts], tuple[Any, ...]]] = {
    "Array": _read_array,
    "Scalar": _read_scalar,
    "Symbol": _read_symbol,
    "Tag": _read_tag,
    "StoredCumulantVar": _read_uuid,
    "Module": _read_module,
    "Rearrange": _read_rearrange,
    "GeneralFunction": _read_function,
    "Index": _read_index,
    "Scatter": _read_scatter,
    "Einsum": _read_einsum,
    "Concat": _read_concat,
    "Conv": _read_conv,
}

assert _WRITERS.keys() == _READERS.keys()
