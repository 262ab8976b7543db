"""Expressions in files: one `.safetensors` file, tensors by digest, the exact text form in the header's metadata.

    metadata    scrub           the text, as `to_text(expr, exact=True)` writes it
                scrub.version   of this layout
                scrub.roots     JSON: name -> [digest, device kind] of each expression, in the order of the text
                scrub.checksum  of the three above
    tensors     <digest>        the content of each distinct tensor
                scrub.text      the text as bytes, where it is too long for a header

Loading reads the text with `Parser`, which builds registered nodes and functions only; nothing from the file is
executed. Every tensor and every expression is compared with its digest. Tensors of a file are mapped, not copied.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]

from scrub.graph.array import Array
from scrub.graph.errors import FileError, ParseError, ScrubError
from scrub.graph.expr import Expr, existing
from scrub.graph.frozen_tensor import FrozenTensor, tensor_digest
from scrub.graph.parser import Parser
from scrub.graph.text.render import plain_lines
from scrub.graph.text.tree import tree_lines
from scrub.graph.text.values import flat
from scrub.graph.walk import postorder, rebuild

_TEXT, _VERSION, _ROOTS, _CHECKSUM = "scrub", "scrub.version", "scrub.roots", "scrub.checksum"
_TEXT_TENSOR = "scrub.text"
_CURRENT = "2"
_WINDOW = 8  # levels of indentation; deep ones would make most of a long text
_MAX_HEADER_TEXT = 10_000_000  # letters; safetensors refuses headers over 100 MB
_MAX_TENSORS = 500_000


def save(exprs: Expr | Mapping[str, Expr], path: str | Path, *, weights: bool = True) -> None:
    """Write one expression, or several under names, to a `.safetensors` file.

    Args:
        exprs: one expression, or name -> expression; what they share is written once.
        path: of the file. It is replaced at once when everything is written.
        weights: whether to write the content of arrays. Without it they load as `meta` tensors, as do arrays that are
            on the meta device already: they keep name, shape, dtype and digest, and cannot be evaluated.

    Raises:
        FileError: a node, function or parameter is of a kind that a file cannot hold.

    >>> import tempfile
    >>> x = Array(torch.ones(2), "x")
    >>> file = Path(tempfile.mkdtemp()) / "x.safetensors"
    >>> save(x, file)
    >>> load(file) is x
    True
    """
    path = Path(path)
    tensors, metadata = _encode({"": exprs} if isinstance(exprs, Expr) else dict(exprs), weights=weights)
    temporary = path.with_name(path.name + ".part")
    try:
        save_file(tensors, temporary, metadata=metadata)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
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
    >>> file = Path(tempfile.mkdtemp()) / "two.safetensors"
    >>> save({"a": Array(torch.ones(2)), "b": Array(torch.zeros(1))}, file)
    >>> list(load_many(file))
    ['a', 'b']
    """
    with Path(path).open("rb") as file:
        start = file.read(8)
        size = Path(path).stat().st_size
        length = int.from_bytes(start, "little")
        metadata = _metadata(file.read(length) if length <= size - 8 else b"", str(path))
    try:
        opener: Any = safe_open
        with opener(str(path), framework="pt") as reader:
            tensors: dict[str, torch.Tensor] = {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118
    except _DAMAGE as error:
        raise _damaged(str(path), error) from error
    return _decode(metadata, tensors, str(path))


def to_bytes(expr: Expr) -> bytes:
    """What `save` would write; pickling uses this, so that depth does not matter."""
    tensors, metadata = _encode({"": expr}, weights=True)
    return save_tensors(tensors, metadata=metadata)


def from_bytes(data: bytes) -> Expr:
    """Inverse of `to_bytes`. An expression that this process holds already is not built again."""
    metadata = _metadata(data[8 : 8 + int.from_bytes(data[:8], "little")], "data")
    digest, device = metadata.roots[""]
    known = existing(digest, None if device is None else torch.device(device))
    if known is not None and not any(tensor.is_stale for tensor in frozen_tensors([known])):
        return known
    try:
        tensors = load_tensors(data)
    except _DAMAGE as error:
        raise _damaged("data", error) from error
    return _decode(metadata, tensors, "data")[""]


def frozen_tensors(roots: Iterable[Expr]) -> Iterable[FrozenTensor]:
    """Every tensor that the expressions hold: values of arrays, positions of indices."""
    for node in postorder(roots):
        if node.params:
            yield from (param for param in flat(node.params) if isinstance(param, FrozenTensor))


# ---- writing ----------------------------------------------------------------------------------------------------


def _encode(exprs: Mapping[str, Expr], *, weights: bool) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    if not weights:
        structure = rebuild(exprs.values(), _without_weights)
        exprs = {name: structure[expr] for name, expr in exprs.items()}
    try:
        text = "\n".join(plain_lines(list(tree_lines(exprs.values())), exact=True, window=_WINDOW))
    except FileError:
        raise
    except ScrubError as error:
        raise FileError(
            f"this expression cannot be saved: {error.problem}", nodes=error.nodes, found=error.found, hint=error.hint
        ) from error
    tensors: dict[str, torch.Tensor] = {}
    for frozen in frozen_tensors(exprs.values()):
        if frozen.digest not in tensors and not frozen.value.is_meta:
            tensors[frozen.digest] = frozen.value.cpu().resolve_conj().resolve_neg().contiguous()
    if len(tensors) > _MAX_TENSORS:
        raise FileError(
            f"{len(tensors):,} different tensors do not fit into one file",
            expected=f"at most {_MAX_TENSORS:,}",
            found=len(tensors),
            hint="save parts of the expression to several files, or stack small tensors",
        )
    roots = json.dumps({name: [expr.digest, expr.device and expr.device.type] for name, expr in exprs.items()})
    checksum = _checksum(_CURRENT, roots, text)
    if len(text) > _MAX_HEADER_TEXT:
        tensors[_TEXT_TENSOR] = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
        text = ""
    metadata = {_TEXT: text, _VERSION: _CURRENT, _ROOTS: roots, _CHECKSUM: checksum}
    return _unshared(tensors), metadata


def _without_weights(node: Expr, children: tuple[Expr, ...]) -> Expr:
    if not isinstance(node, Array):
        return node.with_children(children)
    meta = FrozenTensor(torch.empty_like(node.value, device="meta"), digest=node.frozen.digest)
    return Array.make((), (meta, *node.params[1:]), node.name)


def _unshared(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Views of one storage copied apart, since safetensors refuses them."""
    seen: set[int] = set()
    apart: dict[str, torch.Tensor] = {}
    for digest, tensor in tensors.items():
        storage = tensor.untyped_storage().data_ptr()
        apart[digest] = tensor.clone() if storage in seen else tensor
        seen.add(storage)
    return apart


def _checksum(version: str, roots: str, text: str) -> str:
    return xxhash.xxh3_128("\0".join((version, roots, text)).encode()).hexdigest()


# ---- reading ----------------------------------------------------------------------------------------------------

_DAMAGE = (SafetensorError, LookupError, TypeError, ValueError, RuntimeError, OverflowError, MemoryError)


class _Metadata(NamedTuple):
    text: str
    version: str
    roots: dict[str, tuple[str, str | None]]
    roots_text: str
    checksum: str


def _metadata(header: bytes, source: str) -> _Metadata:
    try:
        metadata = json.loads(header)["__metadata__"]
        text, version = str(metadata[_TEXT]), str(metadata.get(_VERSION, "1"))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _foreign(source) from error
    if version != _CURRENT:
        raise FileError(
            f"{source} has format version {version}, this scrub reads version {_CURRENT}",
            expected=_CURRENT,
            found=version,
            hint="load it with the version of scrub that wrote it",
        )
    try:
        roots_text, checksum = str(metadata[_ROOTS]), str(metadata[_CHECKSUM])
        listed = cast("dict[str, list[Any]]", json.loads(roots_text))
        roots = {name: (str(digest), None if kind is None else str(kind)) for name, (digest, kind) in listed.items()}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _foreign(source) from error
    return _Metadata(text, version, roots, roots_text, checksum)


def _decode(metadata: _Metadata, tensors: dict[str, torch.Tensor], source: str) -> dict[str, Expr]:
    text = metadata.text
    stored = tensors.pop(_TEXT_TENSOR, None)
    if stored is not None:
        try:
            text = bytes(stored.contiguous().view(torch.uint8).reshape(-1).numpy()).decode()
        except (ValueError, TypeError, RuntimeError) as error:
            raise _damaged(source, error) from error
    found = _checksum(metadata.version, metadata.roots_text, text)
    if found != metadata.checksum:
        raise FileError(
            f"{source}: its header was altered", expected=metadata.checksum, found=found, hint="save it again"
        )
    frozen: list[FrozenTensor] = []
    for digest, tensor in tensors.items():
        actual = tensor_digest(tensor)
        if actual != digest:
            raise FileError(f"{source}: a tensor was altered", expected=digest, found=actual, hint="save it again")
        frozen.append(FrozenTensor(tensor, digest=digest))
    try:
        exprs = Parser.with_frozen(frozen).parse_many(text)
    except ParseError as error:
        unknown = "the unknown" in error.problem or "unknown function" in error.problem
        hint = "a newer scrub wrote it, or the module that registers the type or function is not imported"
        raise FileError(
            f"{source}: the expression in it is malformed: {error.problem}",
            nodes=error.nodes,
            expected=error.expected,
            found=error.found,
            hint=hint if unknown else "save it again",
        ) from error
    if len(exprs) != len(metadata.roots):
        raise FileError(
            f"{source} lists {len(metadata.roots)} expressions, but holds {len(exprs)}", hint="save it again"
        )
    roots = dict(zip(metadata.roots, exprs, strict=True))
    for name, (digest, _) in metadata.roots.items():
        if roots[name].digest != digest:
            raise FileError(
                f"{source}: expression {name!r} was altered",
                expected=digest,
                found=roots[name].digest,
                hint="save it again",
            )
    return roots


def _foreign(source: str) -> FileError:
    return FileError(
        f"{source} holds no expression: it is truncated, or was not written by scrub", hint="rc.save writes one"
    )


def _damaged(source: str, error: Exception) -> FileError:
    return FileError(f"{source} is truncated or damaged: {error}", hint="save the expression again")
