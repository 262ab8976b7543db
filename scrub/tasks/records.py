"""Records of CSV and JSON files, and JSON that gives back what was written."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any, cast

from scrub.graph import FileError, TaskError


def read_records(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a CSV file (texts, by its header) or the objects of a JSON file, a list of them or one a line.

    A column without a name is called "index".

    Raises:
        FileError: the file is not there, is empty, or is neither.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(
            f"{path} cannot be read: {error}", expected="a CSV or JSON file in UTF-8", found=path
        ) from error
    records = _json_records(path, text) if text.lstrip()[:1] in ("[", "{") else _csv_records(path, text)
    if not records:
        raise FileError(f"{path} has no records", expected="at least one", found=0)
    return records


def as_json(value: object, what: str) -> str:
    """JSON from which the value is read back as it is.

    Raises:
        TaskError: it would not be.
    """
    try:
        text = json.dumps(value, allow_nan=False)
        if json.loads(text) == value:
            return text
        problem = "it is read back differently"
    except (TypeError, ValueError) as error:
        problem = str(error)
    raise TaskError(
        f"{what} cannot be written as JSON: {problem}",
        expected="texts, numbers, booleans, None, lists, and mappings with texts as keys",
        found=value,
        hint="make tuples lists, and tensors numbers, in its facts",
    )


def _json_records(path: Path, text: str) -> list[dict[str, Any]]:
    try:
        whole: Any = json.loads(text)
        found = cast(list[Any], whole if isinstance(whole, list) else [whole])
    except json.JSONDecodeError:
        found = [_json_line(path, n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    for number, record in enumerate(found):
        if not isinstance(record, dict):
            raise FileError(
                f"{path}, record {number} is no JSON object: {record!r}", expected="an object", found=record
            )
    return found


def _json_line(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise FileError(
            f"{path}, line {number} is no JSON: {error}",
            expected="a JSON list of objects, or one object a line",
            found=line[:80],
        ) from error


def _csv_records(path: Path, text: str) -> list[dict[str, Any]]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    records: list[dict[str, Any]] = []
    try:
        header = [name or "index" for name in next(rows, list[str]())]
        if len(set(header)) < len(header):
            raise FileError(f"{path} names a column twice", expected="different names", found=header)
        for row in rows:
            if row and len(row) != len(header):
                raise FileError(
                    f"{path}, line {rows.line_num}: {len(row)} fields for {len(header)} columns",
                    expected=header,
                    found=row,
                    hint="put fields with commas in quotes",
                )
            if row:
                records.append(dict(zip(header, row, strict=True)))
    except csv.Error as error:
        raise FileError(f"{path}, line {rows.line_num}: {error}", expected="CSV", found=rows.line_num) from error
    return records
