"""Expressions in files: one `.safetensors` file, tensors by digest, the nodes as JSON in the header's metadata.

Loading builds registered nodes and functions from their parameters; it never executes anything from the file.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
import xxhash
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from scrub.graph.errors import FileError, ScrubError
from scrub.graph.expr import Expr
from scrub.graph.frozen_tensor import FrozenTensor, tensor_digest
from scrub.graph.functions import FUNCTIONS, Function
from scrub.graph.functions.base import function_name
from scrub.graph.module import ModuleArgSpec
from scrub.graph.registry import NODES
from scrub.graph.sizes import is_symbolic, parse_size, size_text
from scrub.graph.symbol import Symbol
from scrub.graph.walk import postorder

_KEY = "scrub"
_CHECKSUM = "scrub.checksum"
_VERSION = 1


def save(exprs: Expr | Mapping[str, Expr], path: str | Path) -> None:
    """Write one expression, or several under names, to a `.safetensors` file.

    >>> import tempfile
    >>> from scrub.graph import Array
    >>> x = Array(torch.ones(2), "x")
    >>> file = Path(tempfile.mkdtemp()) / "x.safetensors"
    >>> save(x, file)
    >>> load(file) is x
    True
    """
    path = Path(path)
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(_encode({"": exprs} if isinstance(exprs, Expr) else dict(exprs)))
    temporary.replace(path)  # a reader never sees half a file, and an old one survives a failed write


def load(path: str | Path) -> Expr:
    """The expression that `save` wrote.

    Raises:
        FileError: the file is truncated, altered, holds several expressions, or was not written by `save`.
    """
    exprs = load_many(path)
    if set(exprs) != {""}:
        raise FileError(f"{path} holds {len(exprs)} named expressions", found=list(exprs), hint="use load_many")
    return exprs[""]


def load_many(path: str | Path) -> dict[str, Expr]:
    """The named expressions that `save` wrote.

    >>> import tempfile
    >>> from scrub.graph import Array
    >>> file = Path(tempfile.mkdtemp()) / "two.safetensors"
    >>> save({"a": Array(torch.ones(2)), "b": Array(torch.zeros(1))}, file)
    >>> list(load_many(file))
    ['a', 'b']
    """
    return _decode(Path(path).read_bytes(), str(path))


def to_bytes(expr: Expr) -> bytes:
    """What `save` would write; pickling uses this, so that depth does not matter."""
    return _encode({"": expr})


def from_bytes(data: bytes) -> Expr:
    """Inverse of `to_bytes`."""
    return _decode(data, "data")[""]


def _encode(exprs: Mapping[str, Expr]) -> bytes:
    tensors: dict[str, torch.Tensor] = {}
    numbers: dict[Expr, int] = {}
    rows: list[Any] = []
    for node in postorder(exprs.values()):
        numbers[node] = len(rows)
        children = [numbers[child] for child in node.children]
        rows.append([type(node).__name__, node.name, _pack(node.params, tensors), children])
    roots = {name: [numbers[expr], expr.digest] for name, expr in exprs.items()}
    header = {"version": _VERSION, "nodes": rows, "roots": roots}
    text = json.dumps(header)
    return save_tensors(_unshared(tensors), metadata={_KEY: text, _CHECKSUM: _checksum(text)})


def _decode(data: bytes, source: str) -> dict[str, Expr]:
    header = _read_header(data, source)
    try:
        tensors = load_tensors(data)
    except (SafetensorError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise FileError(f"{source} is truncated or damaged: {error}", hint="save the expression again") from error
    frozen: dict[str, FrozenTensor] = {}
    for digest, tensor in tensors.items():
        if tensor_digest(tensor) != digest:
            raise FileError(
                f"{source}: a tensor was altered", expected=digest, found=tensor_digest(tensor), hint="save it again"
            )
        frozen[digest] = FrozenTensor(tensor, digest=digest)
    nodes: list[Expr] = []
    try:
        for kind, name, params, children in header["nodes"]:
            if kind not in NODES:
                raise FileError(
                    f"{source}: unknown node type {kind!r}",
                    expected=sorted(NODES),
                    found=kind,
                    hint="a newer scrub wrote it, or a package that registers this type is not imported",
                )
            below: list[int] = children
            nodes.append(NODES[kind].make(tuple(nodes[i] for i in below), _unpack(params, frozen), name))
        roots: dict[str, Expr] = {name: nodes[i] for name, (i, _) in header["roots"].items()}
    except FileError:
        raise
    except (ScrubError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise FileError(f"{source}: the expression in it is malformed: {error}", hint="save it again") from error
    for name, (_, digest) in header["roots"].items():
        if roots[name].digest != digest:
            raise FileError(
                f"{source}: expression {name!r} was altered",
                expected=digest,
                found=roots[name].digest,
                hint="save it again",
            )
    return roots


def _read_header(data: bytes, source: str) -> dict[str, Any]:
    length = int.from_bytes(data[:8], "little")
    try:
        metadata = json.loads(data[8 : 8 + length])["__metadata__"]
        text, checksum = metadata[_KEY], metadata[_CHECKSUM]
        header = json.loads(text)
        version = header["version"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise FileError(
            f"{source} holds no expression: it is truncated, or was not written by scrub", hint="rc.save writes one"
        ) from error
    if version != _VERSION:
        raise FileError(
            f"{source} has format version {version}, this scrub reads version {_VERSION}",
            expected=_VERSION,
            found=version,
            hint="load it with the version of scrub that wrote it",
        )
    if _checksum(text) != checksum:
        raise FileError(
            f"{source}: its header was altered", expected=checksum, found=_checksum(text), hint="save it again"
        )
    return header


def _pack(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """A parameter as JSON; everything that JSON does not have is an object with one key."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return {"float": value.hex()}  # exact, with infinities, nan and the sign of zero
        case tuple():
            return [_pack(item, tensors) for item in value]  # pyright: ignore[reportUnknownVariableType]
        case FrozenTensor():
            if value.value.is_meta:
                raise FileError(
                    "a meta tensor has no content to save",
                    found=value.value,
                    hint="save the expression with real weights",
                )
            tensors[value.digest] = value.value.cpu().resolve_conj().resolve_neg().contiguous()
            return {"tensor": value.digest}
        case ModuleArgSpec():
            symbol = value.symbol
            return {"arg": [_pack(symbol.shape, tensors), symbol.uuid, symbol.name, value.batchable, value.expandable]}
        case Function():
            fields = [_pack(getattr(value, field.name), tensors) for field in dataclasses.fields(value)]
            return {"function": [function_name(type(value)), fields]}
        case _ if is_symbolic(value):
            return {"size": size_text(value)}
        case _:
            raise FileError(f"a parameter of type {type(value).__name__} cannot be saved", found=value)


def _unshared(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Views of one storage copied apart, since safetensors refuses them."""
    seen: set[int] = set()
    apart: dict[str, torch.Tensor] = {}
    for digest, tensor in tensors.items():
        storage = tensor.untyped_storage().data_ptr()
        apart[digest] = tensor.clone() if storage in seen else tensor
        seen.add(storage)
    return apart


def _checksum(text: str) -> str:
    return xxhash.xxh3_128(text.encode()).hexdigest()


def _unpack(value: Any, frozen: Mapping[str, FrozenTensor]) -> Any:
    match value:
        case list():
            return tuple(_unpack(item, frozen) for item in cast("list[Any]", value))
        case {"float": text}:
            return float.fromhex(text)
        case {"tensor": digest}:
            return frozen[digest]
        case {"arg": [shape, uuid, name, batchable, expandable]}:
            return ModuleArgSpec(Symbol(_unpack(shape, frozen), uuid, name), batchable, expandable)
        case {"size": text}:
            return parse_size(text)
        case {"function": [name, fields]}:
            if name not in FUNCTIONS:
                raise FileError(
                    f"unknown function {name!r}",
                    expected=sorted(FUNCTIONS),
                    found=name,
                    hint="import the module that registers it before loading",
                )
            return FUNCTIONS[name](*(_unpack(field, frozen) for field in fields))
        case dict():
            raise FileError(f"unknown parameter {value!r}")
        case _:
            return value
