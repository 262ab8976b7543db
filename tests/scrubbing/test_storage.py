"""Results in files: bit for bit the same again, or an error that says what is wrong."""

from __future__ import annotations

import json
import math
import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import pytest
import torch

from scrub import FileError
from scrub.hypothesis import storage
from scrub.hypothesis.result import Result
from tests.scrubbing.noisy_copy import experiment


def odd_nan() -> float:
    """One with a payload."""
    return struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_0000_1234))[0]


ODD = torch.tensor(
    [math.nan, odd_nan(), -math.nan, 0.0, -0.0, math.inf, -math.inf, 5e-324, 1 / 3, 1e300, 1.0, -(2.0**53)],
    dtype=torch.float64,
)


def result(**values: torch.Tensor) -> Result:
    n = len(next(iter(values.values())))
    draws = {"head": torch.arange(n) * 2**40, "head/other": torch.arange(n)}
    return Result("name", values, torch.arange(n), draws, {"name": "name", "seed": 2**70, "list": [1, {"a": None}]})


def bits(values: torch.Tensor) -> list[int]:
    return values.view(torch.int64).tolist()


def execute(file: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(file)) as database:
        found = database.execute(statement, values).fetchall()
        database.commit()
    return found


def test_everything_comes_back_bit_for_bit(tmp_path: Path) -> None:
    before = result(loss=ODD, accuracy=torch.ones(len(ODD), dtype=torch.float64))
    before.save(tmp_path / "a.sqlite")
    after = Result.load(tmp_path / "a.sqlite")
    assert after.name == "name"
    assert {name: bits(values) for name, values in after.values.items()} == {
        name: bits(values) for name, values in before.values.items()
    }
    assert after.references.tolist() == before.references.tolist()
    assert before.draws is not None
    assert after.draws is not None
    assert {k: v.tolist() for k, v in after.draws.items()} == {k: v.tolist() for k, v in before.draws.items()}
    assert after.info == {**before.info, "n": len(ODD)}
    assert list(after.values) == ["loss", "accuracy"]


def test_a_run_comes_back(tmp_path: Path) -> None:
    before = experiment("group").run(100, keep_draws=True, seed=4)
    before.save(tmp_path / "a.sqlite")
    after = Result.load(tmp_path / "a.sqlite")
    assert repr(after) == repr(before)
    assert after.info == before.info
    assert after.draws is not None
    again = experiment("group").run(100, draws=after.draws, seed=99)
    assert torch.equal(again.values["loss"], before.values["loss"])


def test_without_draws_and_without_references(tmp_path: Path) -> None:
    experiment("group").run(0).save(tmp_path / "a.sqlite")
    after = Result.load(tmp_path / "a.sqlite")
    assert (after.n, after.draws, list(after.values)) == (0, None, ["loss", "large"])


def test_the_tables_are_plain(tmp_path: Path) -> None:
    before = experiment("group").run(20, keep_draws=True)
    before.save(tmp_path / "a.sqlite")
    file = tmp_path / "a.sqlite"
    found = execute(file, 'SELECT number, reference, loss, large, "draw copy" FROM per_reference ORDER BY number')
    assert before.draws is not None
    columns = [torch.arange(20), before.references, *before.values.values(), before.draws["copy"]]
    assert found == list(zip(*(column.tolist() for column in columns), strict=True))
    info = {str(key): value for key, value in execute(file, "SELECT key, value FROM info")}
    assert json.loads(str(info["seed"])) == 0
    assert json.loads(str(info["hypothesis"])) == before.info["hypothesis"]


def test_names_that_sqlite_would_confuse(tmp_path: Path) -> None:
    names = ["loss", "Loss", 'we"ird', "number", "draw head", "a b; --", "ключ", ""]
    before = result(**{name: torch.full((3,), float(i), dtype=torch.float64) for i, name in enumerate(names)})
    before.save(tmp_path / "a.sqlite")
    after = Result.load(tmp_path / "a.sqlite")
    assert {name: values.tolist() for name, values in after.values.items()} == {
        name: [float(i)] * 3 for i, name in enumerate(names)
    }


def test_odd_paths(tmp_path: Path) -> None:
    file = tmp_path / "50% off? a#b &c.sqlite"
    result(loss=ODD).save(file)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert Result.load(str(file)).n == len(ODD)


def test_an_old_file_is_replaced_or_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.sqlite"
    result(loss=ODD).save(file)
    other = result(loss=ODD[:3])
    other.save(file)
    assert Result.load(file).n == 3
    before = file.read_bytes()

    def fails(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(storage, "_checksum", fails)
    with pytest.raises(KeyboardInterrupt):
        result(loss=ODD).save(file)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="is no file of a result, or cannot be used: unable to open"):
        result(loss=ODD).save(tmp_path / "missing" / "a.sqlite")
    with pytest.raises(FileError, match="there is no file"):
        Result.load(tmp_path / "missing.sqlite")
    with pytest.raises(FileError, match="there is no file"):
        Result.load(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kept", [0, 50, 1000, 5000])
def test_a_truncated_file(tmp_path: Path, kept: int) -> None:
    file = tmp_path / "a.sqlite"
    result(loss=torch.rand(1000, dtype=torch.float64)).save(file)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(FileError, match="no file of a result, or cannot be used"):
        Result.load(file)


ALTERED = {
    "UPDATE per_reference SET loss = 7 WHERE number = 3": "references 0 to 12 were changed",
    "UPDATE per_reference SET reference = 7 WHERE number = 3": "references 0 to 12 were changed",
    "UPDATE per_reference SET loss = 'seven' WHERE number = 3": "a value is of another type",
    "UPDATE per_reference SET reference = 0.5 WHERE number = 3": "a value is of another type",
    "UPDATE per_reference SET loss = NULL WHERE number = 8": "references 0 to 12 were changed",
    "UPDATE exact_values SET bits = 7 WHERE number = 1": "references 0 to 12 were changed",
    "UPDATE exact_values SET name = 'none'": "a value is of another type",
    "UPDATE exact_values SET number = 99 WHERE number = 1": "a value is of another type",
    "DELETE FROM exact_values": "references 0 to 12 were changed",
    "DELETE FROM per_reference WHERE number = 3": "references are missing",
    "DELETE FROM per_reference WHERE number = 11": "references 0 to 12 were changed",
    "DELETE FROM steps": "steps end at 0, references at 12",
    "UPDATE info SET value = '1' WHERE key = 'seed'": "what it says about the run was changed",
    "DELETE FROM info WHERE key = 'seed'": "what it says about the run was changed",
    "DELETE FROM info WHERE key = 'checksum'": "what it says about the run was changed",
}


@pytest.mark.parametrize("statement", ALTERED)
def test_an_altered_file(tmp_path: Path, statement: str) -> None:
    file = tmp_path / "a.sqlite"
    result(loss=ODD).save(file)
    execute(file, statement)
    with pytest.raises(FileError) as caught:
        Result.load(file)
    assert f"{file} was altered: {ALTERED[statement]}" in str(caught.value)


def test_a_layout_of_the_future(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.sqlite"
    monkeypatch.setattr(storage, "_FORMAT", 9)
    result(loss=ODD).save(file)
    monkeypatch.undo()
    with pytest.raises(FileError, match="has layout 9 of results, this version reads 1"):
        Result.load(file)
