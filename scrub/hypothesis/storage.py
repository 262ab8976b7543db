"""Results in files: one sqlite file of plain tables, read by anything that reads sqlite.

    info            key, value (JSON): what decides the numbers (`scrub.hypothesis.info`), and a checksum of it
    per_reference   number, reference (its row), one column per metric, one per kept draw
    columns         name of such a column, kind ("metric" or "draw"), and whose it is
    steps           start, stop, checksum: what was written together; a file grows by whole steps
    exact_values    number, name, bits: values that a REAL column does not keep (NaN and -0.0)

Nothing in a file is executed. Everything read is compared with its checksum.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import torch
import xxhash

from scrub.graph import FileError

_FORMAT = 1
_TABLES = (
    "CREATE TABLE info (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE columns (name TEXT PRIMARY KEY, kind TEXT NOT NULL, whose TEXT NOT NULL)",
    "CREATE TABLE steps (start INTEGER PRIMARY KEY, stop INTEGER NOT NULL, checksum TEXT NOT NULL)",
    "CREATE TABLE exact_values (number INTEGER, name TEXT, bits INTEGER NOT NULL, PRIMARY KEY (number, name))",
)
_KEPT = ("format", "checksum")


@dataclass(frozen=True)
class Stored:
    """What a file holds, of references 0 to n.

    Attributes:
        info: of the run.
        references: rows, int64 [n].
        values: by metric, float64 [n].
        draws: by label, int64 [n]; empty if none were kept.
    """

    info: dict[str, Any]
    references: torch.Tensor
    values: dict[str, torch.Tensor]
    draws: dict[str, torch.Tensor]


class ResultFile:
    """A file of a result, perhaps of a run under way.

    >>> import tempfile
    >>> file = ResultFile(Path(tempfile.mkdtemp()) / "a.sqlite")
    >>> file.create({"seed": 0}, metrics=["loss"], draws=[])
    >>> file.append(0, torch.tensor([7]), {"loss": torch.tensor([0.5], dtype=torch.float64)}, {})
    >>> file.read().values
    {'loss': tensor([0.5000], dtype=torch.float64)}
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def is_new(self) -> bool:
        """Whether there is nothing yet: no file, or an empty one as an interrupted start leaves."""
        return not self.path.exists() or (self.path.is_file() and self.path.stat().st_size == 0)

    def create(self, info: Mapping[str, Any], *, metrics: list[str], draws: list[str]) -> None:
        """Make the file, of no references yet."""
        named = _column_names([("metric", name) for name in metrics] + [("draw", label) for label in draws])
        columns = "".join(f", {_quoted(c)} {'REAL' if kind == 'metric' else 'INTEGER'}" for c, kind, _ in named)
        rows = [(key, json.dumps(value)) for key, value in [("format", _FORMAT), *info.items()]]
        with self._transaction("rwc") as database:
            for statement in _TABLES:
                database.execute(statement)
            database.execute(f"CREATE TABLE per_reference (number INTEGER PRIMARY KEY, reference INTEGER{columns})")
            database.executemany("INSERT INTO columns VALUES (?, ?, ?)", named)
            database.executemany("INSERT INTO info VALUES (?, ?)", [*rows, ("checksum", _info_checksum(rows))])

    def append(
        self,
        start: int,
        references: torch.Tensor,
        values: Mapping[str, torch.Tensor],
        draws: Mapping[str, torch.Tensor],
    ) -> None:
        """Write the references numbered from `start` on, all or none of them."""
        stop = start + len(references)
        with self._transaction("rw") as database:
            found = database.execute("SELECT coalesce(max(stop), 0) FROM steps").fetchone()[0]
            if found != start:
                raise FileError(
                    f"{self.path} has {found} references, so it cannot go on with number {start}",
                    expected=start,
                    found=found,
                    hint="another run writes to it too; give each run a file of its own",
                )
            columns = [(n, (values if kind == "metric" else draws)[whose]) for n, kind, whose in _columns(database)]
            table: list[Iterable[object]] = [range(start, stop), _plain(references)]
            table += [_plain(column) for _, column in columns]
            marks = ", ".join("?" * len(table))
            database.executemany(f"INSERT INTO per_reference VALUES ({marks})", zip(*table, strict=True))
            for name, column in columns:
                database.executemany("INSERT INTO exact_values VALUES (?, ?, ?)", _exact(name, column, start))
            checksum = _checksum(references, columns)
            database.execute("INSERT INTO steps VALUES (?, ?, ?)", (start, stop, checksum))

    def read(self) -> Stored:
        """All complete steps.

        Raises:
            FileError: there is no such file, it is no file of a result, or it was altered.
        """
        with self._reading() as database:
            info = self._info(database)
            named = _columns(database)
            rows = database.execute("SELECT * FROM per_reference ORDER BY number").fetchall()
            table = list(zip(*rows, strict=True)) or [() for _ in range(2 + len(named))]
            steps = database.execute("SELECT start, stop, checksum FROM steps ORDER BY start").fetchall()
            exact = database.execute("SELECT number, name, bits FROM exact_values").fetchall()
            try:
                references = _tensor(table[1], "draw")
                columns = [(name, _tensor(table[2 + i], kind)) for i, (name, kind, _) in enumerate(named)]
                by_name = dict(columns)
                for number, name, bits in exact:
                    by_name[name].view(torch.int64)[number] = bits
            except (TypeError, ValueError, KeyError, IndexError, RuntimeError, OverflowError) as error:
                raise self._altered("a value is of another type") from error
        if table[0] != tuple(range(len(references))):
            raise self._altered("references are missing")
        self._check_steps(references, columns, steps)
        values = {whose: by_name[name] for name, kind, whose in named if kind == "metric"}
        draws = {whose: by_name[name] for name, kind, whose in named if kind == "draw"}
        return Stored(info, references, values, draws)

    def _info(self, database: sqlite3.Connection) -> dict[str, Any]:
        rows = database.execute("SELECT key, value FROM info WHERE key != 'checksum' ORDER BY rowid").fetchall()
        checksum = database.execute("SELECT value FROM info WHERE key = 'checksum'").fetchone()
        if checksum is None or checksum[0] != _info_checksum(rows):
            raise self._altered("what it says about the run was changed")
        info: dict[str, Any] = {key: json.loads(value) for key, value in rows}
        if info.get("format") != _FORMAT:
            raise FileError(
                f"{self.path} has layout {info.get('format')} of results, this version reads {_FORMAT}",
                expected=_FORMAT,
                found=info.get("format"),
                hint="read it with the version of scrub that wrote it, or a newer one",
            )
        return {key: value for key, value in info.items() if key not in _KEPT}

    def _check_steps(
        self, references: torch.Tensor, columns: list[tuple[str, torch.Tensor]], steps: list[tuple[int, int, str]]
    ) -> None:
        at = 0
        for start, stop, checksum in steps:
            part = [(name, column[start:stop]) for name, column in columns]
            if start != at or _checksum(references[start:stop], part) != checksum:
                raise self._altered(f"references {start} to {stop} were changed")
            at = stop
        if at != len(references):
            raise self._altered(f"steps end at {at}, references at {len(references)}")

    @contextmanager
    def _transaction(self, mode: str) -> Generator[sqlite3.Connection]:
        """All of what is done in it is written, or nothing."""
        with self._reading(mode) as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    @contextmanager
    def _reading(self, mode: str = "rw") -> Generator[sqlite3.Connection]:
        """A connection. Not read-only: what a crash left half written is undone first."""
        if mode == "rw" and not self.path.is_file():
            raise FileError(f"there is no file {self.path}", found=str(self.path))
        try:
            uri = f"file:{quote(str(self.path.absolute()))}?mode={mode}"
            with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as database:
                yield database
        except (sqlite3.Error, UnicodeError) as error:
            raise FileError(
                f"{self.path} is no file of a result, or cannot be used: {error}",
                found=str(error),
                hint="result.save(path) writes one, as does experiment.run(n, file=path)",
            ) from error

    def _altered(self, what: str) -> FileError:
        return FileError(f"{self.path} was altered: {what}", found=what, hint="run it again to another file")


def replace_file(path: str | Path, stored: Stored) -> None:
    """Write a whole result at once: whoever reads sees the old file or the new one."""
    path = Path(path)
    temporary = ResultFile(path.with_name(path.name + ".part"))
    try:
        temporary.path.unlink(missing_ok=True)
        temporary.create(stored.info, metrics=list(stored.values), draws=list(stored.draws))
        temporary.append(0, stored.references, stored.values, stored.draws)
        _journal(path).unlink(missing_ok=True)  # of a crash; sqlite would apply it to the new file
        temporary.path.replace(path)
    except OSError as error:
        raise FileError(f"cannot write {path}: {error}", found=str(error)) from error
    finally:
        temporary.path.unlink(missing_ok=True)


def _journal(path: Path) -> Path:
    return path.with_name(path.name + "-journal")


def _columns(database: sqlite3.Connection) -> list[tuple[str, str, str]]:
    """Name in the table, kind, and metric or label, in the order of the table."""
    return database.execute("SELECT name, kind, whose FROM columns ORDER BY rowid").fetchall()


def _column_names(wanted: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """Columns are told apart without regard to case, and may not be named like those that are always there."""
    taken = {"number", "reference"}
    result: list[tuple[str, str, str]] = []
    for kind, whose in wanted:
        plain = whose if kind == "metric" else f"draw {whose}"
        name, i = plain, 1
        while name.lower() in taken:
            i += 1
            name = f"{plain} ({i})"
        taken.add(name.lower())
        result.append((name, kind, whose))
    return result


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _tensor(column: tuple[Any, ...], kind: str) -> torch.Tensor:
    """NULL is NaN; which NaN, `exact_values` says."""
    if kind == "metric":
        return torch.tensor([float("nan") if value is None else value for value in column], dtype=torch.float64)
    if not all(isinstance(value, int) for value in column):  # torch would round
        raise TypeError("a row number is no integer")
    return torch.tensor(column, dtype=torch.int64)


def _plain(column: torch.Tensor) -> list[Any]:
    return cast("list[Any]", column.tolist())


def _exact(name: str, column: torch.Tensor, start: int) -> list[tuple[int, str, int]]:
    if not column.is_floating_point():
        return []
    odd = (column.isnan() | ((column == 0) & column.signbit())).nonzero()[:, 0]
    bits = column.view(torch.int64)[odd]
    return [(number, name, bit) for number, bit in zip(_plain(odd + start), _plain(bits), strict=True)]


def _checksum(references: torch.Tensor, columns: list[tuple[str, torch.Tensor]]) -> str:
    hasher = xxhash.xxh3_128()
    for name, column in [("reference", references), *columns]:
        hasher.update(f"{name}\0{column.dtype}\0".encode())
        hasher.update(column.contiguous().numpy().tobytes())
    return hasher.hexdigest()


def _info_checksum(rows: list[tuple[str, str]]) -> str:
    return xxhash.xxh3_128("\0".join(f"{key}\0{value}" for key, value in rows).encode()).hexdigest()
