"""Files of prompts against what the csv and json modules say of them, and against the rule of each layout by hand."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrub.graph import FileError, TaskError
from scrub.models import load_shipped
from scrub.tasks.prompts import Prompt
from scrub.tasks.reading import read_columns, read_prompts, write_prompts
from scrub.tasks.records import read_records
from scrub.tasks.task import Task
from scrub.tasks.task_file import load_task, save_task
from tests.tasks.text_tokenizers import Letters, Words, metaspace, word_level

FOLDER = Path(__file__).parents[2].parent / "shared" / "data" / "prompts"
needs_files = pytest.mark.skipif(not FOLDER.is_dir(), reason="the prompts in shared/data are not on this machine")
YEARS, NAMES = FOLDER / "eapig_greater_than.csv", FOLDER / "eapig_ioi_llama.csv"
PAIRS = sorted(FOLDER.glob("featcirc_sva_*.json"))
TWO_DIGITS = [f"{year:02d}" for year in range(100)]


def written(folder: Path, text: str, name: str = "file.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# --- published files


@needs_files
def test_years() -> None:
    prompts = read_prompts(YEARS)
    given_ = rows(YEARS)
    assert len(prompts) == len(given_) == 1000
    for prompt, row in zip(prompts, given_, strict=True):
        assert (prompt.clean, prompt.counterfactual) == (row["clean"], row["corrupted"])
        assert [*prompt.wrong, *prompt.answers] == TWO_DIGITS
        assert prompt.wrong[-1] == row["label"].zfill(2)
        assert prompt.clean[prompt.clean.index("year ") + 7 :].startswith(prompt.wrong[-1])
        assert prompt.facts == {"label": int(row["label"])}


@needs_files
def test_years_as_a_task() -> None:
    """Two digits to a token: ids of answers decode to the years after the label, those of wrong to the others."""
    prompts = read_prompts(YEARS)[:40]
    tokenizer = word_level(
        [*(p.clean for p in prompts), *(str(p.counterfactual) for p in prompts), "".join(TWO_DIGITS)]
    )
    task = Task.from_prompts("greater-than", prompts, tokenizer)
    assert task.is_aligned
    for row, prompt in enumerate(prompts):
        right, wrong = (
            sorted(task.token_text[token] for token in ids[row, 0].tolist() if token >= 0)
            for ids in (task.answers, task.wrong)
        )
        label = int(prompt.facts["label"])
        assert wrong == TWO_DIGITS[: label + 1]
        assert right == TWO_DIGITS[label + 1 :]
    with pytest.raises(TaskError, match=r"row 0: the answer '53' after .* has 2 tokens"):
        Task.from_prompts("greater-than", prompts, Letters())


@needs_files
@pytest.mark.parametrize("path", PAIRS, ids=lambda path: path.stem)
def test_agreement_pairs(path: Path) -> None:
    prompts = read_prompts(path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(prompts) == len(lines) in (120, 480)
    for prompt, line in zip(prompts, lines, strict=True):
        assert (prompt.clean, prompt.counterfactual) == (line["clean_prefix"], line["patch_prefix"])
        assert (prompt.answers, prompt.wrong) == ((line["clean_answer"],), (line["patch_answer"],))
        assert prompt.facts == {"case": line["case"]}
    task = Task.from_prompts("agreement", prompts, Words())
    assert task.is_aligned
    assert len(task) == len(prompts)
    assert len(task.symmetric()) == 2 * len(prompts)


@needs_files
def test_agreement_pairs_for_the_shipped_tokenizer() -> None:
    """Words of several tokens: pairs of unequal length are refused, or dropped and counted; the rest add up."""
    prompts = read_prompts(PAIRS[0])
    tokenizer = load_shipped("attn_only_2l").tokenizer
    with pytest.raises(TaskError, match="counterfactuals have another number of tokens than their prompt\n    row "):
        Task.from_prompts("agreement", prompts, tokenizer)
    task = Task.from_prompts("agreement", prompts, tokenizer, on_long_answer="drop", on_unequal_length="drop")

    def length(text: str) -> int:
        return len(tokenizer.encode(text).ids)

    equal = [p for p in prompts if length(p.clean) == length(str(p.counterfactual))]
    short = [p for p in equal if all(length(p.clean + word) == length(p.clean) + 1 for word in (*p.answers, *p.wrong))]
    assert task.prompts == tuple(p.clean for p in short)
    assert task.notes["prompts left out: counterfactual of another length"] == len(prompts) - len(equal)
    assert task.notes["prompts left out: no answers of one token"] == len(equal) - len(short)
    assert not task.is_aligned


def object_of(record: Any) -> tuple[str, str]:
    """The indirect object and the subject: of the two names after "Then, ", the one that comes once, and the other."""
    first, second = re.findall(r"[A-Z][a-z]+", record["clean"])[1:3]
    repeated = record["clean"].count(first) == 2
    return (second, first) if repeated else (first, second)


@needs_files
def test_names_from_text() -> None:
    prompts = read_columns(
        NAMES,
        clean="clean",
        counterfactual="corrupted_hard",
        answers=lambda record: f" {object_of(record)[0]}",
        wrong=lambda record: f" {object_of(record)[1]}",
    )
    assert len(prompts) == len(rows(NAMES)) == 499
    for prompt, row in zip(prompts, rows(NAMES), strict=True):
        assert prompt.counterfactual == row["corrupted_hard"]
        assert prompt.clean.count(prompt.answers[0]) == 1
        assert prompt.facts == {
            name or "index": row[name] for name in ("", "corrupted", "correct_idx", "incorrect_idx")
        }


@needs_files
def test_names_from_token_ids() -> None:
    """With a tokenizer that gives names the ids of the file, the answers are the names that the sentences say."""
    given_ = rows(NAMES)
    ids = {object_of(row)[0]: int(row["correct_idx"]) for row in given_}
    ids |= {object_of(row)[1]: int(row["incorrect_idx"]) for row in given_}
    texts = [row[column] for row in given_ for column in ("clean", "corrupted", "corrupted_hard")]
    tokenizer = word_level(texts, **ids)
    prompts = read_prompts(NAMES, tokenizer=tokenizer, counterfactual="corrupted_hard")
    for prompt, row in zip(prompts, given_, strict=True):
        assert (prompt.answers, prompt.wrong) == tuple((f" {name}",) for name in object_of(row))
        assert prompt.counterfactual == row["corrupted_hard"]
    task = Task.from_prompts("ioi", prompts, tokenizer)
    assert task.answers.flatten().tolist() == [int(row["correct_idx"]) for row in given_]
    assert task.wrong.flatten().tolist() == [int(row["incorrect_idx"]) for row in given_]


@needs_files
def test_token_ids_without_their_tokenizer() -> None:
    with pytest.raises(
        TaskError, match=r"row 0: its answers are ids of a tokenizer.*\nhint: .*tokenizer=.*read_columns"
    ):
        read_prompts(NAMES)
    with pytest.raises(TaskError, match="correct_idx 47764 is no token of this tokenizer that can follow 'Then, Aaron"):
        read_prompts(NAMES, tokenizer=load_shipped("attn_only_2l").tokenizer)
    with pytest.raises(TaskError, match=r"correct_idx '47764' cannot be decoded"):
        read_prompts(NAMES, tokenizer=Words())


# --- layouts by hand


def test_columns_that_are_not_used_are_facts(tmp_path: Path) -> None:
    path = written(tmp_path, ",clean,corrupted,label,noun\n7,from 1397 to 13,from 1301 to 13,97,war\n")
    assert read_prompts(path) == [
        Prompt(
            "from 1397 to 13",
            ("98", "99"),
            tuple(TWO_DIGITS[:98]),
            "from 1301 to 13",
            facts={"index": "7", "noun": "war", "label": 97},
        )
    ]


@pytest.mark.parametrize("label", ["99", "x", "", "-1", "1.5"])
def test_labels_that_are_no_years(tmp_path: Path, label: str) -> None:
    path = written(tmp_path, f"clean,corrupted,label\na,b,07\na,b,{label}\n")
    with pytest.raises(TaskError, match=f"file.csv, row 1: the label is '{label}'"):
        read_prompts(path)


def test_token_ids_of_a_tokenizer_that_decodes_without_the_first_space(tmp_path: Path) -> None:
    tokenizer = metaspace(["Ann met Bob and gave a drink to"])
    right, wrong = (tokenizer.encode(f"to {name}").ids[-1] for name in ("Ann", "Bob"))
    record = {
        "clean": "Ann gave a drink to",
        "corrupted": "Bob gave a drink to",
        "correct_idx": right,
        "incorrect_idx": wrong,
    }
    path = written(tmp_path, json.dumps(record))
    assert read_prompts(path, tokenizer=tokenizer) == [
        Prompt(record["clean"], (" Ann",), (" Bob",), record["corrupted"])
    ]


def test_json_lists_json_lines_and_csv_say_the_same(tmp_path: Path) -> None:
    records = [
        {
            "clean_prefix": "The uncle,",
            "patch_prefix": "The \u2028uncles",
            "clean_answer": " has",
            "patch_answer": " have",
        },
        {"clean_prefix": 'A "boy"', "patch_prefix": "Bücher", "clean_answer": " is", "patch_answer": " are"},
    ]
    whole = written(tmp_path, json.dumps(records, indent=1), "list.json")
    lines = written(tmp_path, "\n\n".join(json.dumps(one, ensure_ascii=False) for one in records) + "\n", "lines.json")
    one_line = written(tmp_path, json.dumps(records[0]), "one.json")
    table = tmp_path / "table.csv"
    with table.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)
    expected = [
        Prompt(r["clean_prefix"], (r["clean_answer"],), (r["patch_answer"],), r["patch_prefix"]) for r in records
    ]
    assert read_prompts(whole) == read_prompts(lines) == read_prompts(table) == expected
    assert read_prompts(one_line) == expected[:1]


def test_columns_of_a_layout_of_its_own(tmp_path: Path) -> None:
    path = written(
        tmp_path, json.dumps([{"text": "2 + 2 =", "sum": [" 4", " four"], "bad": " 5", "n": 1}]), "sums.json"
    )
    read = read_columns(
        path, clean="text", answers="sum", wrong="bad", counterfactual=lambda record: record["text"][::-1]
    )
    assert read == [Prompt("2 + 2 =", (" 4", " four"), (" 5",), "= 2 + 2", facts={"n": 1})]
    with pytest.raises(TaskError, match=r"sums.json, row 0: there is no column 'answer'"):
        read_columns(path, clean="text", answers="answer")
    with pytest.raises(TaskError, match="row 0: 1 is no text"):
        read_columns(path, clean="n", answers="sum")
    with pytest.raises(TaskError, match="row 0: 1 is neither a text nor texts"):
        read_columns(path, clean="text", answers="n")


def test_layouts_that_do_not_fit(tmp_path: Path) -> None:
    path = written(tmp_path, "question,reply\na,b\n")
    with pytest.raises(TaskError, match=r"has columns \['question', 'reply'\], which no layout has\nhint: say which"):
        read_prompts(path)
    with pytest.raises(TaskError, match="which 'pairs' has not"):
        read_prompts(path, layout="pairs")
    with pytest.raises(TaskError, match="there is no layout 'acdc'"):
        read_prompts(path, layout="acdc")
    years = written(tmp_path, "clean,corrupted,label\na,b,07\n")
    with pytest.raises(TaskError, match="row 0: there is no column 'corrupted_hard'"):
        read_prompts(years, counterfactual="corrupted_hard")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no records"),
        ("clean,corrupted,label\n", "has no records"),
        ("[]", "has no records"),
        ("clean,label\na,1\nb\n", "line 3: 1 fields for 2 columns"),
        ("clean,label\na,1,2\n", r"line 2: 3 fields for 2 columns\nhint: put fields with commas in quotes"),
        ("clean,clean\na,1\n", "names a column twice"),
        ('clean,label\n"a,1\n', "line 2: unexpected end of data"),
        ('{"clean": 1}\n{"clean": \n', "line 2 is no JSON"),
        ("[1, 2]", "record 0 is no JSON object: 1"),
    ],
)
def test_files_that_are_neither(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FileError, match=message):
        read_records(written(tmp_path, text))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be read"):
        read_prompts(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"clean\n\xff\xfe\n")
    with pytest.raises(FileError, match="cannot be read"):
        read_prompts(tmp_path / "bytes.csv")


# --- our own layouts

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def any_prompt(draw: st.DrawFn) -> Prompt:
    clean = draw(texts)
    answers = draw(st.lists(texts, min_size=1, max_size=4, unique=True))
    n_right = draw(st.integers(1, len(answers)))
    starts = draw(st.dictionaries(texts, st.integers(0, len(clean) - 1), max_size=2))
    return Prompt(
        clean,
        tuple(answers[:n_right]),
        tuple(answers[n_right:]),
        draw(st.none() | texts),
        {name: (start, draw(st.integers(start + 1, len(clean)))) for name, start in starts.items()},
        draw(st.dictionaries(texts, values, max_size=3)),
    )


@given(prompts=st.lists(any_prompt(), min_size=1, max_size=4))
def test_written_prompts_are_read_back(prompts: list[Prompt], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    write_prompts(prompts, path)
    assert read_prompts(path) == prompts


@pytest.mark.parametrize("fact", [(1, 2), {1: "a"}, float("nan"), {"a", "b"}, object()])
def test_facts_that_json_does_not_keep(tmp_path: Path, fact: object) -> None:
    prompt = Prompt("a", ("b",), facts={"fact": fact})
    with pytest.raises(TaskError, match=r"row 0, 'a' cannot be written as JSON: .*\nhint: make tuples lists"):
        write_prompts([prompt], tmp_path / "prompts.jsonl")
    assert not (tmp_path / "prompts.jsonl").exists()


@pytest.mark.parametrize("entry", [{"marks": {"s": 3}}, {"marks": [1]}, {"facts": 3}, {"marks": {"s": ["a", "b"]}}])
def test_prompts_edited_by_hand(tmp_path: Path, entry: dict[str, Any]) -> None:
    path = written(tmp_path, json.dumps({"clean": "abcd", "answers": ["e"], **entry}))
    with pytest.raises(TaskError, match="row 0: marks or facts are not as write_prompts makes them"):
        read_prompts(path)


TASK = Task.from_prompts(
    "letters",
    [
        Prompt("ab", ("c", "d"), ("e",), "ba", {"first": (0, 1)}, {"n": 1}),
        Prompt("a", ("b",), ("c", "dd"), "b", facts={"n": [2.5, None]}),
    ],
    Letters(),
    on_long_answer="drop",
    padding="left",
)
PLAIN = Task.from_tokens("tokens", [[3, 1]], positions=[[0, 1]], answers=[[1, 2]])


@pytest.mark.parametrize("task", [TASK, TASK.symmetric(), TASK[1], PLAIN], ids=["task", "pairs", "row", "tokens"])
def test_a_saved_task_is_read_back(tmp_path: Path, task: Task) -> None:
    save_task(task, tmp_path / "task.json")
    read = load_task(tmp_path / "task.json")
    assert read.digest == task.digest
    for name in ("name", "prompts", "counterfactual_prompts", "facts", "notes", "token_text"):
        assert getattr(read, name) == getattr(task, name)
    assert read.groups.tolist() == task.groups.tolist()
    assert read.tokens.tolist() == task.tokens.tolist()
    assert read.wrong.shape == task.wrong.shape
    assert read.table() == task.table()


def test_task_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "task.json"
    with pytest.raises(FileError, match="cannot be read"):
        load_task(path)
    save_task(TASK, path)
    content = json.loads(path.read_text())
    for changed, message in (
        ("[]", "holds no task of this version"),
        ("{", "cannot be read"),
        (json.dumps({**content, "format": "scrub task 0"}), "holds no task of this version"),
        (
            json.dumps({name: value for name, value in content.items() if name != "wrong"}),
            r"is damaged: KeyError\('wrong'\)",
        ),
        (json.dumps({**content, "facts": 3}), "is damaged"),
        (json.dumps({**content, "tokens": [[1, 2], [3, 4]]}), "were changed since they were written"),
    ):
        path.write_text(changed)
        with pytest.raises(FileError, match=message):
            load_task(path)
    path.write_text(json.dumps({**content, "mask": [[1, 1]]}))
    with pytest.raises(TaskError, match=r"mask is \[1, 2\], tokens are \[2, 2\]"):
        load_task(path)


def test_a_task_with_facts_that_json_does_not_keep(tmp_path: Path) -> None:
    task = Task.from_tokens("t", [[1]], answers=[1], facts=[{"pair": (1, 2)}])
    with pytest.raises(TaskError, match="task 't' cannot be written as JSON: it is read back differently"):
        save_task(task, tmp_path / "task.json")
