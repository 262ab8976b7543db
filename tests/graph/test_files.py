"""Files: what is saved is what is loaded, and whatever is not what was saved is a `FileError` that says so."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import safetensors.torch
import torch

import scrub as rc

X = rc.Array(torch.arange(6.0).reshape(2, 3), "x")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "expr.safetensors"


def small() -> rc.Expr:
    s = rc.Symbol.new_from_name((3,), "s")
    return rc.Module(rc.ModuleSpec(s.scale(-0.0), [s]), "call", s=X).index([0, slice(1, 2)], name="cut")


def test_kinds_of_tensors(file: Path) -> None:
    storage = torch.arange(12.0)
    for tensor in (
        torch.tensor(3.0),
        torch.zeros(0, 3),
        torch.ones(2).half(),
        torch.ones(2).bfloat16(),
        torch.tensor([True]),
        storage.reshape(3, 4).t(),
        torch.ones(1).expand(4),
    ):
        expr = rc.Array(tensor, "t")
        rc.save(expr, file)
        assert rc.load(file) is expr
    views = rc.Concat(rc.Array(storage[:3]), rc.Array(storage[3:6]), rc.Array(storage[1:2]), axis=0)
    rc.save(views, file)  # safetensors refuses tensors that share memory
    assert rc.load(file) is views


def test_it_is_an_ordinary_safetensors_file(file: Path) -> None:
    rc.save(small(), file)
    (tensor,) = safetensors.torch.load_file(file).values()
    assert torch.equal(tensor, X.value)
    assert not list(file.parent.glob("*.part"))


def test_several_expressions_under_names(file: Path) -> None:
    rc.save({"a": X, "b": small()}, file)
    assert rc.load_many(file) == {"a": X, "b": small()}
    with pytest.raises(rc.FileError, match=r"(?s)holds 2 named expressions.*hint: use load_many"):
        rc.load(file)


def test_any_flipped_byte_is_found(file: Path) -> None:
    rc.save(small(), file)
    data = file.read_bytes()
    for at in range(0, len(data), 3):
        for mask in (0x01, 0x20):
            changed = bytearray(data)
            changed[at] ^= mask
            file.write_bytes(bytes(changed))
            with pytest.raises(rc.FileError, match=r"expr\.safetensors"):
                rc.load(file)


def test_truncated_files(file: Path) -> None:
    rc.save(small(), file)
    data = file.read_bytes()
    for length in (0, 1, 7, 8, 20, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:length])
        with pytest.raises(rc.FileError, match=r"(?s)truncated.*hint: "):
            rc.load(file)


def test_foreign_files(file: Path) -> None:
    safetensors.torch.save_file({"w": torch.ones(2)}, file)
    for content in (file.read_bytes(), b"PK\x03\x04 not ours", b"\xff" * 100, struct.pack("<Q", 2) + b"[]"):
        file.write_bytes(content)
        with pytest.raises(rc.FileError, match=r"(?s)holds no expression.*not written by scrub.*hint: rc.save"):
            rc.load(file)


def rewritten(file: Path, change: str, to: str) -> None:
    """The file with text in its header replaced, and every length and checksum made right again."""
    from scrub.graph.files import _checksum

    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    text = header["__metadata__"]["scrub"]
    assert change in text
    text = text.replace(change, to)
    header["__metadata__"] |= {"scrub": text, "scrub.checksum": _checksum(text)}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    file.write_bytes(struct.pack("<Q", len(encoded)) + encoded + data[8 + length :])


@pytest.mark.parametrize(
    ("change", "to", "message"),
    [
        ('"Index"', '"Indexx"', r"unknown node type 'Indexx'.*hint: a newer scrub"),
        ('"version": 1', '"version": 2', r"format version 2, this scrub reads version 1.*hint"),
        ('"cut"', '"cat"', r"expression '' was altered"),
        ('"Index", "cut", [[0', '"Index", "cut", [[7', r"malformed: Index 'cut': 7 is out of range"),
        ('{"tensor": "', '{"tensor": "0', r"malformed"),
        ('{"float"', '{"code"', r"unknown parameter"),
        ('"roots": {"": [', '"roots": {"": [9', r"malformed"),
        ('"nodes": [', '"nodes": [3, ', r"malformed"),
    ],
)
def test_consistent_but_wrong_files(file: Path, change: str, to: str, message: str) -> None:
    rc.save(small(), file)
    rewritten(file, change, to)
    with pytest.raises(rc.FileError, match=f"(?s){message}"):
        rc.load(file)


def test_an_unknown_function(file: Path) -> None:
    rc.save(rc.softmax(X), file)
    rewritten(file, '"softmax"', '"hardmax"')
    with pytest.raises(
        rc.FileError, match=r"(?s)unknown function 'hardmax'.*hint: import the module that registers it"
    ):
        rc.load(file)


def test_a_failed_write_leaves_the_old_file(file: Path) -> None:
    rc.save(X, file)
    with pytest.raises(rc.FileError):
        rc.save(rc.Array(torch.empty(2, device="meta")), file)
    assert rc.load(file) is X
