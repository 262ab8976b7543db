"""Prompts from JSON and CSV files, in the layouts that circuit papers publish them in, and in one of our own.

A layout is told by the columns of a file:

| layout | columns | answers |
|---|---|---|
| "scrub" | clean, answers, ... as `write_prompts` makes them | as written |
| "pairs" | clean_prefix, patch_prefix, clean_answer, patch_answer | that of the clean prompt; wrong: of the other |
| "greater_than" | clean, corrupted, label | two-digit years above the label; wrong: the label and those below |
| "token_ids" | clean, corrupted, correct_idx, incorrect_idx | ids of a tokenizer, which must be given |

Sources: "pairs" are files of Marks et al. 2024 (feature circuits), the last two are of Hanna et al. 2024 (EAP-IG).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from scrub.graph import TaskError
from scrub.tasks.encoding import Tokenizer, encode_text
from scrub.tasks.prompts import Prompt
from scrub.tasks.records import as_json, read_records

Record = Mapping[str, Any]
Column = str | Callable[[Record], Any]
"""A column's name, or what computes its entry from the whole record."""


@dataclass(frozen=True)
class Layout:
    """Which columns a kind of file has, and the prompt that a record of it makes."""

    columns: tuple[str, ...]
    prompt: Callable[[Record, str | None, Tokenizer | None], Prompt]


def read_prompts(
    path: str | Path,
    *,
    layout: str | None = None,
    counterfactual: str | None = None,
    tokenizer: Tokenizer | None = None,
) -> list[Prompt]:
    """The prompts of a file in one of the layouts above. Columns that the layout does not name become facts.

    Args:
        path: a CSV file with a header, a JSON list of objects, or one JSON object a line.
        layout: its name, told from the columns if left out.
        counterfactual: the column of counterfactuals, where a file has several; otherwise the layout's own.
        tokenizer: the one whose ids a file of layout "token_ids" holds.

    Raises:
        FileError: the file is not there, or no such file.
        TaskError: no layout has such columns, or a record makes no prompt: with its row.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "years.csv")
    >>> _ = path.write_text("clean,corrupted,label\\nThe war lasted from 1397 to 13,It lasted from 1301 to 13,97\\n")
    >>> read_prompts(path)[0].answers
    ('98', '99')
    """
    records = read_records(path)
    chosen = LAYOUTS[_layout_name(path, records[0], layout)]
    return _each(path, records, lambda record: chosen.prompt(record, counterfactual, tokenizer))


def read_columns(
    path: str | Path,
    *,
    clean: Column,
    answers: Column,
    wrong: Column | None = None,
    counterfactual: Column | None = None,
) -> list[Prompt]:
    """The prompts of a file in a layout of its own: every part from a column, or computed from the record.

    Args:
        path: a CSV or JSON file, as for `read_prompts`.
        clean, counterfactual: give a text.
        answers, wrong: give a text or several.

    Raises:
        FileError: the file is not there, or no such file.
        TaskError: there is no such column, or a record makes no prompt: with its row.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "capitals.json")
    >>> _ = path.write_text('[{"country": "Peru", "capital": "Lima"}]')
    >>> prompts = read_columns(path, clean=lambda r: f"The capital of {r['country']}:", answers="capital")
    >>> prompts[0].clean, prompts[0].answers
    ('The capital of Peru:', ('Lima',))
    """
    named = [column for column in (clean, answers, wrong, counterfactual) if isinstance(column, str)]

    def prompt(record: Record) -> Prompt:
        return Prompt(
            _text(_entry(record, clean)),
            _texts(_entry(record, answers)),
            () if wrong is None else _texts(_entry(record, wrong)),
            None if counterfactual is None else _text(_entry(record, counterfactual)),
            facts=_others(record, named),
        )

    return _each(path, read_records(path), prompt)


def write_prompts(prompts: Iterable[Prompt], path: str | Path) -> None:
    """Prompts as one JSON object a line, from which `read_prompts` gives equal ones.

    Raises:
        TaskError: facts that JSON does not give back as they are, such as tuples.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "prompts.jsonl")
    >>> prompts = [Prompt("The uncle", (" has",), (" have",), marks={"subject": (4, 9)}, facts={"case": "singular"})]
    >>> write_prompts(prompts, path)
    >>> read_prompts(path) == prompts
    True
    """
    lines = [
        as_json(
            {
                "clean": prompt.clean,
                "answers": list(prompt.answers),
                "wrong": list(prompt.wrong),
                "counterfactual": prompt.counterfactual,
                "marks": {name: list(span) for name, span in prompt.marks.items()},
                "facts": dict(prompt.facts),
            },
            f"row {row}, {prompt.clean!r}",
        )
        for row, prompt in enumerate(prompts)
    ]
    Path(path).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _from_scrub(record: Record, counterfactual: str | None, tokenizer: Tokenizer | None) -> Prompt:
    marks: Any = record.get("marks") or {}
    facts: Any = record.get("facts") or {}
    other = record.get("counterfactual") if counterfactual is None else record[counterfactual]
    try:
        spans = {str(name): (int(start), int(end)) for name, (start, end) in marks.items()}
        known = {str(name): value for name, value in facts.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise TaskError(
            f"marks or facts are not as write_prompts makes them: {error}",
            expected='{"marks": {name: [start, end]}, "facts": {name: value}}',
            found=(marks, facts),
        ) from error
    return Prompt(
        _text(record["clean"]),
        _texts(record["answers"]),
        _texts(record.get("wrong") or ()),
        None if other is None else _text(other),
        spans,
        known,
    )


def _from_pair(record: Record, counterfactual: str | None, tokenizer: Tokenizer | None) -> Prompt:
    other = counterfactual or "patch_prefix"
    return Prompt(
        _text(record["clean_prefix"]),
        _texts(record["clean_answer"]),
        _texts(record["patch_answer"]),
        _text(_entry(record, other)),
        facts=_others(record, [*LAYOUTS["pairs"].columns, other]),
    )


def _from_year(record: Record, counterfactual: str | None, tokenizer: Tokenizer | None) -> Prompt:
    text = str(record["label"])
    if not (text.isascii() and text.isdigit() and int(text) < 99):
        raise TaskError(f"the label is {text!r}", expected="a year of two digits, 00 to 98", found=text)
    year, other = int(text), counterfactual or "corrupted"
    return Prompt(
        _text(record["clean"]),
        tuple(f"{later:02d}" for later in range(year + 1, 100)),
        tuple(f"{earlier:02d}" for earlier in range(year + 1)),
        _text(_entry(record, other)),
        facts={**_others(record, ["clean", "label", other]), "label": year},
    )


def _from_ids(record: Record, counterfactual: str | None, tokenizer: Tokenizer | None) -> Prompt:
    if tokenizer is None:
        raise TaskError(
            "its answers are ids of a tokenizer, correct_idx and incorrect_idx",
            expected="the tokenizer they are of",
            found=None,
            hint="read_prompts(..., tokenizer=...), or read_columns(..., answers=...) with answers as text",
        )
    other, ids = counterfactual or "corrupted", ("correct_idx", "incorrect_idx")
    clean = _text(record["clean"])
    right, wrong = (_continuation(clean, record[column], tokenizer, column) for column in ids)
    used = ["clean", other, *ids]
    return Prompt(clean, (right,), (wrong,), _text(_entry(record, other)), facts=_others(record, used))


def _continuation(clean: str, given: Any, tokenizer: Tokenizer, column: str) -> str:
    """The text that a token id is after a prompt; encoding both must give the id again."""
    text = str(given)
    decode: Callable[[list[int]], Any] | None = getattr(tokenizer, "decode", None)
    if decode is None or not (text.isascii() and text.isdigit()):
        raise TaskError(
            f"{column} {text!r} cannot be decoded",
            expected="a token id, and a tokenizer with decode(ids)",
            found=(given, type(tokenizer).__name__),
        )
    tokens = encode_text(tokenizer, clean)
    try:
        after = str(decode([*tokens, int(text)]))[len(str(decode(tokens))) :]
    except (IndexError, KeyError, OverflowError):  # what tokenizers raise for ids they do not have
        after = ""
    if not after or encode_text(tokenizer, clean + after) != [*tokens, int(text)]:
        raise TaskError(
            f"{column} {text} is no token of this tokenizer that can follow {clean!r}: it decodes to {after!r}",
            expected="an id of the tokenizer that the file was made with",
            found=int(text),
            hint="give that tokenizer, or read_columns(..., answers=...) with answers as text",
        )
    return after


LAYOUTS: dict[str, Layout] = {
    "scrub": Layout(("clean", "answers"), _from_scrub),
    "pairs": Layout(("clean_prefix", "patch_prefix", "clean_answer", "patch_answer"), _from_pair),
    "greater_than": Layout(("clean", "corrupted", "label"), _from_year),
    "token_ids": Layout(("clean", "corrupted", "correct_idx", "incorrect_idx"), _from_ids),
}


def _layout_name(path: str | Path, record: Record, asked: str | None) -> str:
    fitting = [name for name, layout in LAYOUTS.items() if set(layout.columns) <= set(record)]
    if asked is not None and asked not in LAYOUTS:
        raise TaskError(f"there is no layout {asked!r}", expected=list(LAYOUTS), found=asked)
    if asked in fitting or (asked is None and fitting):
        return asked or fitting[0]
    wanted = {name: list(layout.columns) for name, layout in LAYOUTS.items() if asked in (None, name)}
    raise TaskError(
        f"{path} has columns {list(record)}, which {'no layout has' if asked is None else f'{asked!r} has not'}",
        expected=wanted,
        found=list(record),
        hint="say which columns are what: read_columns(path, clean=..., answers=..., wrong=..., counterfactual=...)",
    )


def _each(path: str | Path, records: Sequence[Record], prompt: Callable[[Record], Prompt]) -> list[Prompt]:
    """A prompt of each record; an error says of which."""
    prompts: list[Prompt] = []
    for row, record in enumerate(records):
        try:
            prompts.append(prompt(record))
        except TaskError as error:
            raise TaskError(
                f"{path}, row {row}: {error.problem}", expected=error.expected, found=error.found, hint=error.hint
            ) from error
        except KeyError as error:
            raise _no_column(f"{path}, row {row}", str(error.args[0]), record) from error
    return prompts


def _entry(record: Record, column: Column) -> Any:
    if callable(column):
        return column(record)
    return record[column]


def _no_column(where: str, column: str, record: Record) -> TaskError:
    return TaskError(f"{where}: there is no column {column!r}", expected=list(record), found=column)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TaskError(f"{value!r} is no text", expected="a text", found=value)
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list | tuple):
        raise TaskError(f"{value!r} is neither a text nor texts", expected="a text, or a list of them", found=value)
    return tuple(_text(one) for one in cast(Sequence[Any], value))


def _others(record: Record, used: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in used}
