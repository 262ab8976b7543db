"""Files: what is saved is what is loaded, and whatever is not what was saved is a `FileError` that says so."""

from __future__ import annotations

import gc
import json
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
import xxhash

import scrub as rc
from tests.steps import num_steps

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


def test_files_cut_anywhere(file: Path) -> None:
    rc.save(small(), file)
    data = file.read_bytes()
    for length in range(0, len(data), 5):
        file.write_bytes(data[:length])
        with pytest.raises(rc.FileError, match=r"(?s)truncated.*hint: "):
            rc.load(file)


def header(metadata: object, size: int | None = None) -> bytes:
    """The beginning of a file with that metadata, which claims to be of that size."""
    encoded = metadata if isinstance(metadata, bytes) else json.dumps({"__metadata__": metadata}).encode()
    encoded += b" " * (-len(encoded) % 8)
    return struct.pack("<Q", len(encoded) if size is None else size) + encoded


FOREIGN = {
    "empty": b"",
    "text": b"'x' [] Scalar 1.0\n" * 40,
    "zip": b"PK\x03\x04 not ours",
    "ones": b"\xff" * 100,
    "zeros": bytes(100),
    "a list": struct.pack("<Q", 2) + b"[]",
    "a larger header than the file": header({"scrub": ""}, 10_000),
    "a huge header": header({"scrub": ""}, 2**63),
    "no metadata": header(b"{}"),
    "metadata of another kind": header(["scrub"]),
    "nested without end": header(b'{"__metadata__":' + b"[" * 100_000),
    "nested values": header(b'{"__metadata__":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001),
    "no roots": header({"scrub": "", "scrub.version": "2"}),
    "roots of another kind": header({"scrub": "", "scrub.version": "2", "scrub.roots": "7", "scrub.checksum": ""}),
    "nested roots": header({"scrub": "", "scrub.version": "2", "scrub.roots": "[" * 100_000, "scrub.checksum": ""}),
    "not utf-8": header(b'{"__metadata__": {"scrub": "\xff"}}'),
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_foreign_files(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(
        rc.FileError, match=r"(?s)expr\.safetensors holds no expression.*not written by scrub.*hint: rc"
    ):
        rc.load(file)


def test_other_safetensors_files(file: Path) -> None:
    for metadata in (None, {"format": "pt"}):
        safetensors.torch.save_file({"w": torch.ones(2)}, file, metadata=metadata)
        with pytest.raises(rc.FileError, match=r"(?s)holds no expression.*not written by scrub.*hint: rc.save"):
            rc.load(file)


def test_a_file_that_does_not_exist(file: Path) -> None:
    with pytest.raises(FileNotFoundError):
        rc.load(file)


def rewritten(file: Path, change: str, to: str, key: str = "scrub") -> None:
    """The file with text in its header replaced, and every length and checksum made right again."""
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    parsed = json.loads(data[8 : 8 + length])
    metadata = parsed["__metadata__"]
    assert change in metadata[key]
    metadata[key] = metadata[key].replace(change, to)
    parts = (metadata["scrub.version"], metadata["scrub.roots"], metadata["scrub"])
    metadata["scrub.checksum"] = xxhash.xxh3_128("\0".join(parts).encode()).hexdigest()
    encoded = json.dumps(parsed).encode()
    encoded += b" " * (-len(encoded) % 8)
    file.write_bytes(struct.pack("<Q", len(encoded)) + encoded + data[8 + length :])


@pytest.mark.parametrize(
    ("change", "to", "message"),
    [
        ("Index", "Indexx", r"malformed: line 1: .*unknown type 'Indexx'.*hint: a newer scrub wrote it"),
        ("'cut'", "'cat'", r"expression '' was altered"),
        ("Index [0", "Index [7", r"malformed: line 1: Index 'cut': 7 is out of range"),
        ("Array ", "Array 0", r"malformed: line 6: .* is not a digest"),
        ("Array ", "Array \x00", r"malformed: line 6"),
        ("[2, 3] Module", "[4] Module", r"malformed: line 2: written with shape \[4\]"),
        ("-0.0", "__import__('os')", r"malformed: line 5"),
        ("-0.0", "0.0", r"expression '' was altered"),
        ("'cut'", "'x' [] Scalar 1\n'cut'", r"lists 1 expressions, but holds 2"),
        ("'cut'", "  'cut'", r"malformed: line 1: Index does not take 0 children"),
    ],
)
def test_consistent_but_wrong_files(file: Path, change: str, to: str, message: str) -> None:
    rc.save(small(), file)
    rewritten(file, change, to)
    with pytest.raises(rc.FileError, match=f"(?s)expr.safetensors.*{message}") as info:
        rc.load(file)
    assert info.value.hint


def test_other_versions(file: Path) -> None:
    rc.save(small(), file)
    rewritten(file, "2", "3", "scrub.version")
    with pytest.raises(rc.FileError, match=r"(?s)format version 3, this scrub reads version 2.*hint: load it with"):
        rc.load(file)
    file.write_bytes(header({"scrub": "{}", "scrub.checksum": ""}))
    with pytest.raises(rc.FileError, match=r"(?s)format version 1, this scrub reads version 2.*hint: load it with"):
        rc.load(file)


def test_wrong_digests_of_the_whole(file: Path) -> None:
    rc.save(small(), file)
    rewritten(file, small().digest, "0" * 32, "scrub.roots")
    with pytest.raises(rc.FileError, match=r"(?s)expression '' was altered.*hint"):
        rc.load(file)


def test_an_unknown_function(file: Path) -> None:
    rc.save(rc.softmax(X), file)
    rewritten(file, "softmax", "hardmax")
    with pytest.raises(rc.FileError, match=r"(?s)unknown function 'hardmax'.*hint: .*registers the type or function"):
        rc.load(file)


@pytest.fixture
def unsaveable() -> rc.Expr:
    class Strange(rc.Expr):
        __slots__ = ()

        @classmethod
        def infer(cls, children: object, params: object, name: object) -> tuple[rc.Shape, torch.dtype | None]:
            return (), None

    return Strange.make((), (1j,), "strange")


def test_a_failed_write_leaves_the_old_file(file: Path, unsaveable: rc.Expr, monkeypatch: pytest.MonkeyPatch) -> None:
    rc.save(X, file)
    with pytest.raises(rc.FileError, match=r"(?s)cannot be saved: a parameter of type complex.*hint"):
        rc.save(unsaveable, file)

    def full(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("scrub.graph.files.save_file", full)
    with pytest.raises(OSError, match="disk full"):
        rc.save(small(), file)
    assert rc.load(file) is X
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_meta_tensors_are_saved_as_what_they_are(file: Path) -> None:
    """SPEC 1.2: identified by a uuid given at construction."""
    x = rc.Array(torch.empty(2, 3, dtype=torch.bfloat16, device="meta"), "x")
    other = rc.Array(torch.empty(2, 3, dtype=torch.bfloat16, device="meta"), "x")
    rc.save({"x": rc.Add(x, x), "other": other}, file)
    assert rc.load_many(file) == {"x": rc.Add(x, x), "other": other}
    assert x is not other
    assert pickle.loads(pickle.dumps(x)) is x


def test_the_structure_alone(file: Path) -> None:
    big = rc.Array(torch.randn(1000, 1000), "big")
    expr = rc.Index(rc.Add(big, X.index([0, 0]), name="sum"), (torch.arange(50),))
    rc.save(expr, file, weights=False)
    assert file.stat().st_size < 3000
    loaded = rc.load(file)
    assert (loaded.digest, loaded.shape, loaded.dtype) == (expr.digest, expr.shape, expr.dtype)
    assert loaded.device == torch.device("meta")
    assert loaded is not expr
    assert rc.to_text(loaded) == rc.to_text(expr)


def test_tensors_are_mapped_not_copied(file: Path) -> None:
    rc.save(rc.Array(torch.randn(500, 500), "mapped"), file)
    gc.collect()
    loaded = rc.load(file).cast_array()
    address = loaded.value.data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, stop = (int(part, 16) for part in line.split()[0].split("-"))
        if start <= address < stop:
            assert line.endswith(str(file))
            assert " rw-p " in line  # private: writing into the tensor does not reach the file
            return
    pytest.fail("the tensor lies nowhere")


def test_text_too_long_for_a_header(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scrub.graph.files._MAX_HEADER_TEXT", 100)
    names = [f"name {i} äöü" for i in range(100)]
    expr = rc.Add(*[rc.Scalar(1.0, name=name) for name in names], X)
    rc.save(expr, file)
    assert set(safetensors.torch.load_file(file)) == {"scrub.text", X.frozen.digest}
    assert rc.load(file) is expr
    assert pickle.loads(pickle.dumps(expr)) is expr
    data = bytearray(file.read_bytes())
    at = data.index("äöü".encode())
    data[at] ^= 1
    file.write_bytes(data)
    with pytest.raises(rc.FileError, match=r"(?s)expr\.safetensors: its header was altered.*hint"):
        rc.load(file)


def test_pickling_gives_the_same_object_in_another_process() -> None:
    code = (
        "import sys, pickle; expr = pickle.loads(sys.stdin.buffer.read());"
        "sys.stdout.buffer.write(pickle.dumps((expr.digest, expr)))"
    )
    expr = rc.Add(small(), X.index([0, 0]), name="sent")
    sent = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(expr), capture_output=True, check=True)
    digest, back = pickle.loads(sent.stdout)
    assert digest == expr.digest
    assert back is expr


def test_unpickling_what_is_there_already_is_cheap() -> None:
    layer = [rc.Add(X, name=f"n{i}") for i in range(5000)]
    data = pickle.dumps(rc.Add(*layer, name="wide"))
    made: list[rc.Expr] = []
    steps = [num_steps(lambda: made.append(pickle.loads(data))) for _ in range(2)]
    assert made[0] is made[1]
    assert steps[1] < 0.5 * steps[0]


def test_a_tensor_that_was_changed_in_place_is_restored_by_unpickling() -> None:
    value = torch.ones(3)
    x = rc.Array(value, "x")
    data = pickle.dumps(x)
    value[0] = 7
    assert pickle.loads(data) is x
    assert x.value.tolist() == [1, 1, 1]


def steps_a_node(count: int, file: Path) -> tuple[float, float]:
    layer: list[rc.Expr] = [rc.Add(X, name=f"0.{i}") for i in range(100)]
    for depth in range(1, count // 100):
        layer = [rc.Add(layer[i], layer[i - 1], name=f"{depth}.{i}") for i in range(100)]
    expr = rc.Add(*layer)
    saved = num_steps(lambda: rc.save(expr, file)) / count
    loaded: list[rc.Expr] = []
    read = num_steps(lambda: loaded.append(rc.load(file))) / count
    assert loaded == [expr]
    return saved, read


def test_cost_per_node_does_not_grow(file: Path) -> None:
    """See benchmarks/graph_scale.py for the time that 1,000,000 nodes take."""
    for small, large in zip(steps_a_node(1_000, file), steps_a_node(10_000, file), strict=True):
        assert large < 1.1 * small
