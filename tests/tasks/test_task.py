"""Tasks against their own texts: tokens decoded back, marks found by counting characters, rows by torch's indexing."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scrub.graph import TaskError
from scrub.models import load_shipped
from scrub.tasks.encoding import character_spans, encode_text, token_text
from scrub.tasks.prompts import Prompt
from scrub.tasks.task import Task
from tests.tasks.text_tokenizers import WORD, Letters, Pairs, Words, byte_pairs, metaspace, word_level

UNCLE = Prompt("The uncle", (" has",), (" have",), "The uncles", {"subject": (4, 9)}, {"case": "singular"})
BOYS = Prompt("Near it the boys", (" have",), (" has",), "Near it the boy", {"subject": (12, 16)}, {"case": "plural"})
AGREEMENT = [UNCLE, BOYS]

words = st.text("abcdefgh", min_size=1, max_size=5)
sentences = st.lists(words, min_size=1, max_size=6).map(" ".join)
sides = st.sampled_from(["right", "left"])


@st.composite
def marked_prompts(draw: st.DrawFn) -> Prompt:
    text = draw(sentences)
    spans = [match.span() for match in re.finditer("[a-z]+", text)]
    marks = draw(st.dictionaries(st.sampled_from(["S", "IO"]), st.sampled_from(spans)))
    other = " ".join(draw(words) for _ in spans)
    right, wrong = draw(st.lists(words.map(" {}".format), min_size=2, max_size=2, unique=True))
    return Prompt(text, (right,), (wrong,), other, marks)


@st.composite
def tasks(draw: st.DrawFn) -> Task:
    """Any task of tokens: several predictions, several answers, padding on both sides."""
    n, seq = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    first = torch.randint(0, seq, (n,), generator=generator)
    last = torch.stack([torch.randint(int(at), seq, (), generator=generator) for at in first])
    columns = torch.arange(seq)
    mask = ((columns >= first[:, None]) & (columns <= last[:, None])).long()
    positions = torch.stack([torch.stack([at, end]) for at, end in zip(first, last, strict=True)])
    positions[torch.rand(n, generator=generator) < 0.3, 0] = -1
    ids = torch.stack([torch.randperm(9, generator=generator)[:5] for _ in range(2 * n)]).unflatten(0, (n, 2))
    ids[positions == -1] = -1
    task = Task.from_tokens(
        "random",
        torch.randint(0, 9, (n, seq), generator=generator),
        mask=mask,
        counterfactual=torch.randint(0, 9, (n, seq), generator=generator),
        positions=positions,
        answers=ids[..., :2],
        wrong=ids[..., 2:],
        token_positions={"first": first},
        facts=[{"row": row} for row in range(n)],
    )
    return dataclasses.replace(task, prompts=tuple(f"prompt {row}" for row in range(n)))


def rows_of(task: Task) -> list[tuple[Any, ...]]:
    """Everything a task says of each prompt, padding and columns of padding left out."""
    assert task.counterfactual is not None
    found: list[tuple[Any, ...]] = []
    for row in range(len(task)):
        shown = task.mask[row] == 1
        start = int(shown.nonzero()[0])
        places = {name: int(at[row]) - start for name, at in task.token_positions.items()}
        found.append(
            (
                task.tokens[row][shown].tolist(),
                task.counterfactual[row][shown].tolist(),
                [at - start if at >= 0 else None for at in task.positions[row].tolist()],
                task.answers[row].tolist(),
                task.wrong[row].tolist(),
                places,
                task.prompts[row],
                task.facts[row],
            )
        )
    return found


# --- from prompts


def test_prompts_become_tokens_marks_and_answers() -> None:
    tokenizer = Words()
    task = Task.from_prompts("agreement", [dataclasses.replace(prompt, marks={}) for prompt in AGREEMENT], tokenizer)
    the, uncle, near, it, article, boys = (
        tokenizer.ids[word] for word in ("The", " uncle", "Near", " it", " the", " boys")
    )
    assert task.tokens.tolist() == [[the, uncle, 0, 0], [near, it, article, boys]]
    assert task.mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert task.positions.tolist() == [[1], [3]]
    assert task.answers.tolist() == [[[tokenizer.ids[" has"]]], [[tokenizer.ids[" have"]]]]
    assert task.wrong.tolist() == [[[tokenizer.ids[" have"]]], [[tokenizer.ids[" has"]]]]
    assert task.counterfactual is not None
    assert task.counterfactual[0].tolist() == [the, tokenizer.ids[" uncles"], 0, 0]
    assert task.prompts == ("The uncle", "Near it the boys")
    assert task.counterfactual_prompts == ("The uncles", "Near it the boy")
    assert [known["case"] for known in task.facts] == ["singular", "plural"]
    assert not task.is_aligned
    assert task[0].trimmed().is_aligned


def kinds_of_tokenizer() -> Mapping[str, Any]:
    texts = [text for prompt in AGREEMENT for text in (prompt.clean, str(prompt.counterfactual), " has", " have")]
    return {"letters": Letters(), "words": Words(), "tokenizers": word_level(texts), "transformers": fast(texts)}


def fast(texts: list[str]) -> Any:
    from transformers import PreTrainedTokenizerFast

    wrapped: Any = PreTrainedTokenizerFast
    return wrapped(tokenizer_object=word_level(texts), bos_token="<s>", unk_token="<unk>")


@pytest.mark.parametrize("kind", ["tokenizers", "transformers"])
@pytest.mark.parametrize("padding", ["right", "left"])
def test_every_kind_of_tokenizer(kind: str, padding: Any) -> None:
    """Special tokens that the tokenizer would add are not added, the prefix is, and everything moves by it."""
    tokenizer = kinds_of_tokenizer()[kind]
    assert encode_text(tokenizer, "The uncle") == [2, 3]
    task = Task.from_prompts("agreement", AGREEMENT, tokenizer, prefix="<s>", padding=padding)
    assert task.mask.sum(1).tolist() == [3, 5]
    assert task.token_strings(0) == ["<s>", "The", " uncle"]
    for row, subject in enumerate(("uncle", "boys")):
        at = int(task.token_positions["subject"][row])
        assert task.token_text[int(task.tokens[row, at])] == f" {subject}"
        assert int(task.positions[row, 0]) == at == int(task.token_positions["end"][row])
        assert task.mask[row, at] == 1
    assert task.positions.tolist() == ([[2], [4]] if padding == "right" else [[4], [4]])


def test_prefixes() -> None:
    tokenizer = kinds_of_tokenizer()["tokenizers"]
    by_text, by_id, by_ids = (Task.from_prompts("a", AGREEMENT, tokenizer, prefix=prefix) for prefix in ("<s>", 1, [1]))
    assert by_text.digest == by_id.digest == by_ids.digest
    assert by_text.digest != Task.from_prompts("a", AGREEMENT, tokenizer).digest
    for unknown in (tokenizer, Words(), kinds_of_tokenizer()["transformers"]):
        with pytest.raises(TaskError, match=r"has no token '<bos>'.*\nhint: give its id"):
            Task.from_prompts("a", AGREEMENT, unknown, prefix="<bos>")


@given(prompts=st.lists(marked_prompts(), min_size=1, max_size=5), padding=sides, prefix=st.booleans())
def test_padding_and_marks(prompts: list[Prompt], padding: Any, prefix: bool) -> None:
    """Tokens under the mask decode to the prompt, on the side asked for, and marks are at the words they mark."""
    texts = [text for p in prompts for text in (p.clean, str(p.counterfactual), *p.answers, *p.wrong)]
    tokenizer = word_level(texts)
    known = {token: word for word, token in tokenizer.get_vocab().items()}
    task = Task.from_prompts("marked", prompts, tokenizer, padding=padding, prefix="<s>" if prefix else ())
    assert task.counterfactual is not None
    longest = max(len(re.findall(WORD, prompt.clean)) for prompt in prompts) + prefix
    assert task.tokens.shape == (len(prompts), longest)
    for row, prompt in enumerate(prompts):
        shown = task.mask[row] == 1
        for tokens, text in ((task.tokens[row], prompt.clean), (task.counterfactual[row], prompt.counterfactual)):
            assert "".join(known[int(token)] for token in tokens[shown]) == "<s>" * prefix + str(text)
        run = "".join(map(str, task.mask[row].tolist()))
        assert re.fullmatch("1+0*" if padding == "right" else "0*1+", run)
        last = int(shown.nonzero()[-1])
        assert task.positions[row].tolist() == [last] == [int(task.token_positions["end"][row])]
        for name in ("S", "IO"):
            if name in task.token_positions:
                at = int(task.token_positions[name][row])
                if name not in prompt.marks:
                    assert at == -1
                    continue
                before = "".join(known[int(token)] for token in task.tokens[row, :at][shown[:at]])[3 * prefix :]
                word = known[int(task.tokens[row, at])]
                start = len(before) + len(word) - len(word.lstrip())
                assert (start, len(before) + len(word)) == prompt.marks[name]
        assert [known[int(token)] for token in task.answers[row].flatten()] == list(prompt.answers)
        assert [known[int(token)] for token in task.wrong[row].flatten()] == list(prompt.wrong)


@given(text=sentences, data=st.data())
def test_marks_without_offsets(text: str, data: st.DataObject) -> None:
    """A tokenizer with nothing but encode and decode; one token a character: a mark is at its last character."""
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    task = Task.from_prompts("letters", [Prompt(text, ("x",), marks={"span": (start, end)})], Letters())
    assert task.token_positions["span"].tolist() == [end - 1]


def test_a_mark_over_several_tokens_is_at_the_last() -> None:
    tokenizer = load_shipped("attn_only_2l").tokenizer
    prompt = Prompt("When Mary went", (" to",), marks={"name": (5, 9)})
    task = Task.from_prompts("names", [prompt], tokenizer)
    strings = task.token_strings()
    assert "".join(strings) == "When Mary went"
    at = int(task.token_positions["name"])
    assert "".join(strings[: at + 1]) == "When Mary"


def test_spans_of_characters_of_several_bytes() -> None:
    tokenizer = load_shipped("attn_only_2l").tokenizer
    text = "naïve → 日本 code"
    spans = character_spans(tokenizer, text, encode_text(tokenizer, text))
    task = Task.from_prompts("bytes", [Prompt(text, (":",), marks={"word": (8, 9)})], tokenizer)
    touched = [i for i, (start, end) in enumerate(spans) if start <= 8 < end]
    assert text[8] == "日"
    assert int(task.token_positions["word"]) == touched[-1]


def test_marks_that_cannot_be_placed() -> None:
    with pytest.raises(TaskError, match="does not say which characters of 'The uncle' its tokens are"):
        Task.from_prompts("a", [UNCLE], Words())
    tokenizer = word_level(["The  uncle", " has"])
    with pytest.raises(TaskError, match="row 0: no token touches the mark 'gap' of 'The  uncle', ' '"):
        Task.from_prompts("a", [Prompt("The  uncle", (" has",), marks={"gap": (3, 4)})], Gaps(tokenizer))


class Gaps:
    """Offsets without spaces, as tokenizers that trim have them."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def encode(self, text: str) -> Any:
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        return type("Encoding", (), {"ids": ids, "offsets": [m.span() for m in re.finditer(r"\S+", text)]})


def test_the_tokenizers_own_padding_and_truncation() -> None:
    tokenizer = kinds_of_tokenizer()["tokenizers"]
    plain = Task.from_prompts("a", AGREEMENT, tokenizer)
    for direction in ("right", "left"):
        tokenizer.enable_padding(length=12, direction=direction)
        assert Task.from_prompts("a", AGREEMENT, tokenizer).digest == plain.digest
    tokenizer.enable_truncation(3)
    with pytest.raises(TaskError, match=r"the tokenizer truncates 'Near it the boys'.*\n.*no_truncation"):
        Task.from_prompts("a", AGREEMENT, tokenizer)


# --- what is refused


def test_answers_of_several_tokens() -> None:
    prompt = Prompt("go ", ("up", "x"), ("do", "y"))
    with pytest.raises(TaskError) as caught:
        Task.from_prompts("moves", [Prompt("go ", ("x",), ("y",)), prompt], Letters())
    assert str(caught.value).startswith(
        "row 1: the answer 'up' after 'go ' has 2 tokens: [117, 112]\nhint: use words of"
    )
    assert 'on_long_answer="drop"' in str(caught.value)
    assert caught.value.found == [117, 112]
    dropped = Task.from_prompts("moves", [prompt], Letters(), on_long_answer="drop")
    assert [dropped.answers.tolist(), dropped.wrong.tolist()] == [[[[ord("x")]]], [[[ord("y")]]]]
    assert dropped.notes == {"answers left out: several tokens": 2}
    first = Task.from_prompts("moves", [prompt], Letters(), on_long_answer="first")
    assert [first.answers.tolist(), first.wrong.tolist()] == [[[[ord("u"), ord("x")]]], [[[ord("d"), ord("y")]]]]
    assert first.notes == {"answers shortened to their first token": 2}


def test_first_tokens_that_right_and_wrong_answers_share() -> None:
    years = Prompt("17", tuple(f"{year:02d}" for year in range(53, 100)), tuple(f"{year:02d}" for year in range(53)))
    task = Task.from_prompts("years", [years], Letters(), on_long_answer="first")
    assert [chr(token) for token in task.answers.flatten()] == list("6789")
    assert [chr(token) for token in task.wrong.flatten()] == list("01234")
    assert task.notes["first tokens left out: of right and of wrong answers"] == 1
    with pytest.raises(
        TaskError, match=r"none of the 1 prompts is left: {'answers shortened to their first token': 2, "
    ):
        Task.from_prompts("names", [Prompt("to", (" Mary",), (" Mike",))], Letters(), on_long_answer="first")


def test_prompts_left_without_answers_are_dropped_and_counted() -> None:
    prompts = [Prompt("go ", ("x",), ("y",)), Prompt("go ", ("up",), ("y",)), Prompt("be ", ("x",), ("up",))]
    task = Task.from_prompts("moves", prompts, Letters(), on_long_answer="drop")
    assert task.prompts == ("go ",)
    assert task.notes == {"answers left out: several tokens": 2, "prompts left out: no answers of one token": 2}


def test_answers_that_change_the_tokens_of_their_prompt() -> None:
    with pytest.raises(
        TaskError, match=r"row 0: the answer 'x' changes the tokens of the prompt 'abc'.*\nhint: end the"
    ):
        Task.from_prompts("a", [Prompt("abc", ("x",))], Pairs())
    with pytest.raises(TaskError, match="the answer 'xy' changes the tokens of the prompt 'abc'"):
        Task.from_prompts("a", [Prompt("abc", ("xy",))], Pairs(), on_long_answer="first")
    assert Task.from_prompts("a", [Prompt("ab", ("xy",))], Pairs()).answers.item() == ord("x") + (ord("y") << 8)
    tokenizer = byte_pairs([("1", "7"), ("17", "5")])
    prompts = [Prompt("to 17", ("6", "5"), ("1",)), Prompt("to 18", ("5",), ("1",))]
    with pytest.raises(TaskError, match="row 0: the answer '5' changes the tokens of the prompt 'to 17'"):
        Task.from_prompts("a", prompts, tokenizer)
    task = Task.from_prompts("a", prompts, tokenizer, on_long_answer="drop")
    assert [token_text(tokenizer, int(token)) for token in task.answers.flatten()] == ["6", "5"]
    assert task.notes == {"answers left out: they change the tokens of their prompt": 1}


def test_counterfactuals_of_another_length() -> None:
    prompts = [
        Prompt("a" * (n + 1), ("x",), counterfactual="b" * m) for n, m in ((1, 2), (2, 5), (3, 1), (4, 4), (5, 1))
    ]
    with pytest.raises(TaskError) as caught:
        Task.from_prompts("lengths", prompts, Letters())
    message = str(caught.value)
    assert message.startswith("4 of 5 counterfactuals have another number of tokens than their prompt\n")
    assert "    row 1: 'aaa' has 3 tokens, 'bbbbb' has 5\n" in message
    assert "row 3" in message
    assert "row 4" not in message
    assert caught.value.found == {1: (3, 5), 2: (4, 1), 3: (5, 4), 4: (6, 1)}
    task = Task.from_prompts("lengths", prompts, Letters(), on_unequal_length="drop")
    assert task.prompts == ("aa",)
    assert task.notes == {"prompts left out: counterfactual of another length": 4}


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        ([], {}, "none of the 0 prompts"),
        (
            [Prompt("a", ("x",)), Prompt("a", ("x",), counterfactual="b")],
            {},
            "1 of 2 prompts have no counterfactual.* 0",
        ),
        (
            [Prompt("a", ("x",), ("y",)), Prompt("a", ("x",))],
            {},
            "1 of 2 prompts have no wrong answer, the first in row 1",
        ),
        ([Prompt("a", ("x",))], {"padding": "middle"}, "padding='middle' is not known"),
        ([Prompt("a", ("x",))], {"on_long_answer": "skip"}, "on_long_answer='skip' is not known"),
        ([Prompt("a", ("x",))], {"on_unequal_length": "pad"}, "on_unequal_length='pad' is not known"),
    ],
)
def test_prompts_that_make_no_task(prompts: list[Prompt], options: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        Task.from_prompts("t", prompts, Letters(), **options)


class Vowels(Letters):
    """All vowels are one token."""

    def encode(self, text: str) -> list[int]:
        return super().encode(re.sub("[aeiou]", "a", text))


def test_answers_that_the_tokenizer_does_not_tell_apart() -> None:
    with pytest.raises(TaskError, match="row 0, 'b': a right and a wrong answer are the same token 97"):
        Task.from_prompts("t", [Prompt("b", ("e",), ("o",))], Vowels())
    assert Task.from_prompts("t", [Prompt("b", ("e", "o"), ("x",))], Vowels()).answers.tolist() == [[[97]]]


@pytest.mark.parametrize("wrap", [word_level, fast], ids=["tokenizers", "transformers"])
def test_answers_that_the_tokenizer_does_not_know(wrap: Any) -> None:
    tokenizer = wrap(["The uncle has"])
    prompts = [Prompt("The uncle", (" has", " eats"))]
    for on_long in ("error", "first"):
        with pytest.raises(
            TaskError, match=r"row 0: the answer ' eats' after 'The uncle' is unknown to the tokenizer: \[0\]"
        ):
            Task.from_prompts("t", prompts, tokenizer, on_long_answer=on_long)
    task = Task.from_prompts("t", prompts, tokenizer, on_long_answer="drop")
    assert [task.token_text[token] for token in task.answers.flatten().tolist()] == [" has"]
    assert task.notes == {"answers left out: unknown to the tokenizer": 1}


def test_something_that_is_no_tokenizer() -> None:
    class Wrong:
        def encode(self, text: str) -> Any:
            return text.split()

    with pytest.raises(TaskError, match=r"encode\('a b'\) gives no token ids but list"):
        Task.from_prompts("t", [Prompt("a b", ("c",))], Wrong())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"answers": " has"}, r"answers is a text: ' has'\nhint: write answers=\(' has',\)"),
        ({"answers": ()}, "it has no answers"),
        ({"answers": ("",)}, "an answer is empty"),
        ({"clean": ""}, "prompt '': it is empty"),
        ({"wrong": (" has", " is")}, r"an answer is right and wrong: \[' has'\]"),
        ({"marks": {"s": (4, 10)}}, r"mark 's' is not inside it: \(4, 10\)"),
        ({"marks": {"s": (4, 4)}}, "mark 's' is not inside it"),
    ],
)
def test_prompts_that_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        Prompt(**{"clean": "The uncle", "answers": (" has",), **arguments})


def test_marked_text() -> None:
    assert UNCLE.marked("subject") == "uncle"
    with pytest.raises(TaskError, match="there is no mark 'object'"):
        UNCLE.marked("object")


BAD: list[tuple[dict[str, Any], str]] = [
    ({"tokens": [[1, 2, -3], [4, 5, 6]]}, r"row 0: tokens are negative: \[1, 2, -3\]"),
    ({"tokens": [1, 2, 3]}, r"tokens is torch.int64 \[3\]"),
    ({"tokens": torch.zeros(2, 3)}, r"tokens is torch.float32 \[2, 3\]"),
    ({"tokens": torch.zeros(0, 3, dtype=torch.int64)}, r"tokens are \[0, 3\]"),
    ({"tokens": [[1, 2], [3]]}, "tokens makes no tensor"),
    ({"mask": [[1, 1, 1]]}, r"mask is \[1, 3\], tokens are \[2, 3\]"),
    ({"mask": [[1, 1, 2], [1, 1, 1]]}, "row 0: the mask is neither 0 nor 1"),
    ({"mask": [[1, 1, 1], [1, 0, 1]]}, r"row 1: the mask is not one run of tokens: \[1, 0, 1\]"),
    ({"mask": [[1, 1, 1], [0, 0, 0]]}, "row 1: the mask is not one run of tokens"),
    ({"mask": [[1.0, 1, 1], [1, 1, 1]]}, "mask is torch.float32"),
    ({"counterfactual": [[1, 2], [3, 4]]}, r"counterfactual is \[2, 2\], tokens are \[2, 3\]"),
    ({"positions": [2]}, "positions has 1 rows for 2 prompts"),
    ({"positions": [2, 3]}, r"row 1: positions is outside the prompt: \[3\]"),
    ({"positions": [2, -2]}, "row 1: positions is outside the prompt"),
    ({"positions": [2, -1]}, "row 1: there is no position at which a prediction is read"),
    ({"positions": [2, 2], "mask": [[1, 1, 1], [1, 1, 0]]}, "row 1: positions is at padding"),
    ({"positions": [2, 0], "mask": [[1, 1, 1], [0, 1, 1]]}, "row 1: positions is at padding"),
    ({"positions": [[[2]], [[2]]]}, r"positions is torch.int64 \[2, 1, 1\]"),
    ({"token_positions": {"S": [0]}}, r"token_positions\['S'\] has 1 rows"),
    ({"token_positions": {"S": [0, 7]}}, "row 1: S is outside the prompt: 7"),
    ({"token_positions": {"S": [2, 2]}, "mask": [[1, 1, 1], [1, 1, 0]]}, "row 1: S is at padding"),
    ({"answers": [1, -1]}, "row 1: answers are missing where a prediction is read"),
    ({"answers": [1, -2]}, "row 1: answers are negative"),
    ({"answers": [1.5, 2.5]}, "answers is torch.float32"),
    ({"answers": [1, 2, 3]}, r"answers is \[3, 1, 1\], positions are \[2, 1\]"),
    ({"answers": [[[1, 1]], [[2, 3]]]}, "row 0: answers name a token twice"),
    ({"answers": [[[0, 0]], [[2, 3]]]}, "row 0: answers name a token twice"),
    ({"answers": [0, 1], "wrong": [0, 2]}, "row 0: a wrong answer is right too"),
    ({"wrong": [5, 2]}, "row 1: a wrong answer is right too"),
    ({"wrong": [5, -1]}, r"row 1: wrong are missing.*\nhint: give every prediction wrong answers, or none at all"),
    ({"positions": [[2, 1], [2, -1]], "answers": [[1, 2], [1, 2]]}, "row 1: answers are given where no prediction is"),
    ({"facts": [{}]}, "facts has 1 entries for 2 prompts"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_tensors_that_make_no_task(arguments: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"tokens": [[1, 2, 3], [4, 5, 6]], "answers": [1, 2]}
    assert len(Task.from_tokens("t", **good)) == 2
    with pytest.raises(TaskError, match=message) as caught:
        Task.from_tokens("t", **{**good, **arguments})
    assert caught.value.expected is not None


# --- slices, splits, pairs


@given(task=tasks(), data=st.data())
def test_slices_are_what_indexing_gives(task: Task, data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(-len(task), len(task) - 1), min_size=1, max_size=6))
    expected = [rows_of(task)[row] for row in rows]
    assert rows_of(task[rows]) == rows_of(task[torch.tensor(rows)]) == expected
    assert task[rows].groups.tolist() == task.groups[rows].tolist()
    assert rows_of(task[rows[0]]) == expected[:1]
    chosen = data.draw(st.lists(st.booleans(), min_size=len(task), max_size=len(task)).filter(any))
    assert rows_of(task[torch.tensor(chosen)]) == list(itertools.compress(rows_of(task), chosen))
    assert [row for one in task for row in rows_of(one)] == rows_of(task)
    size = data.draw(st.integers(1, len(task) + 1))
    batches = list(task.batches(size))
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert [row for batch in batches for row in rows_of(batch)] == rows_of(task)


@given(task=tasks())
def test_trimming_leaves_what_is_said(task: Task) -> None:
    trimmed = task.trimmed()
    assert rows_of(trimmed) == rows_of(task)
    assert trimmed.mask.any(0).all()
    assert trimmed.trimmed() is trimmed
    at = trimmed.positions
    shown = at != -1
    assert torch.equal(shown, task.positions != -1)
    ids = task.tokens.gather(1, task.positions.clamp_min(0))
    assert torch.equal(trimmed.tokens.gather(1, at.clamp_min(0))[shown], ids[shown])


@pytest.mark.parametrize("rows", [5, -6, [0, 5], [], slice(3, 3), torch.tensor([0.5]), torch.tensor([True]), "ab"])
def test_rows_that_are_not_there(rows: Any) -> None:
    task = Task.from_tokens("t", [[i] for i in range(5)], answers=list(range(5)))
    with pytest.raises(TaskError):
        task[rows]


def test_batches_of_no_prompts() -> None:
    with pytest.raises(TaskError, match="batches of 0 prompts"):
        Task.from_tokens("t", [[1]], answers=[1]).batches(0)


@given(task=tasks())
def test_symmetric_pairs(task: Task) -> None:
    both = task.symmetric()
    assert task.counterfactual is not None
    assert both.counterfactual is not None
    assert len(both) == 2 * len(task)
    assert torch.equal(both.tokens[0::2], task.tokens)
    assert torch.equal(both.counterfactual[0::2], task.counterfactual)
    assert torch.equal(both.tokens[1::2], task.counterfactual)
    assert torch.equal(both.counterfactual[1::2], task.tokens)
    assert torch.equal(both.answers[1::2], both.wrong[0::2])
    assert torch.equal(both.wrong[1::2], both.answers[0::2])
    for row in range(len(task)):
        for place in range(2):
            for found, given_ in ((both.answers, task.answers), (both.wrong, task.wrong)):
                kept = [token for token in found[2 * row, place].tolist() if token >= 0]
                assert kept == [token for token in given_[row, place].tolist() if token >= 0]
    assert [known["is_swapped"] for known in both.facts] == [False, True] * len(task)
    assert torch.equal(both.mask[1::2], task.mask)


def test_symmetric_pairs_of_texts() -> None:
    both = Task.from_prompts("agreement", AGREEMENT, kinds_of_tokenizer()["tokenizers"]).symmetric()
    assert both.prompts == ("The uncle", "The uncles", "Near it the boys", "Near it the boy")
    assert both.counterfactual_prompts == ("The uncles", "The uncle", "Near it the boy", "Near it the boys")
    assert both.token_positions["subject"].tolist() == [1, 1, 3, 3]


def test_symmetric_needs_counterfactuals_and_wrong_answers() -> None:
    with pytest.raises(TaskError, match=r"symmetric\(\) without counterfactuals"):
        Task.from_tokens("t", [[1]], answers=[1], wrong=[2]).symmetric()
    with pytest.raises(TaskError, match=r"symmetric\(\) without wrong answers"):
        Task.from_tokens("t", [[1]], counterfactual=[[2]], answers=[1]).symmetric()


@given(n=st.integers(2, 30), fraction=st.floats(0.05, 0.95), seed=st.integers(0, 100), is_symmetric=st.booleans())
def test_splits(n: int, fraction: float, seed: int, is_symmetric: bool) -> None:
    """Every prompt in one part, in order, pairs together, the number asked for, the same for the same seed."""
    task = Task.from_tokens(
        "t", [[i] for i in range(n)], counterfactual=[[i] for i in range(n)], answers=[1] * n, wrong=[2] * n
    )
    task = task.symmetric() if is_symmetric else task
    asked = round(fraction * n)
    if not 0 < asked < n:
        with pytest.raises(TaskError, match=rf"of {n} groups of prompts gives"):
            task.split(fraction, seed)
        return
    first, second = task.split(fraction, seed=seed)
    copies = 2 if is_symmetric else 1
    numbers = [part.tokens.flatten().tolist() for part in (first, second)]
    assert sorted(numbers[0] + numbers[1]) == sorted([*range(n)] * copies)
    assert len(first) == asked * copies
    assert not set(numbers[0]) & set(numbers[1])
    assert numbers == [sorted(part) for part in numbers]
    again = task.split(fraction, torch.Generator().manual_seed(seed))
    assert [part.digest for part in again] == [first.digest, second.digest]


def test_splits_differ_with_the_seed() -> None:
    task = Task.from_tokens("t", [[i] for i in range(20)], answers=[1] * 20)
    assert len({task.split(0.5, seed)[0].digest for seed in range(10)}) == 10


# --- digest, text, device


def test_the_digest_covers_what_runs_depend_on() -> None:
    given_: dict[str, Any] = {
        "tokens": [[1, 2, 3], [4, 5, 0]],
        "mask": [[1, 1, 1], [1, 1, 0]],
        "counterfactual": [[1, 3, 3], [4, 6, 0]],
        "positions": [2, 1],
        "answers": [1, 2],
        "wrong": [3, 4],
        "token_positions": {"S": [0, 0]},
    }
    changes: dict[str, Any] = {
        "tokens": [[1, 2, 4], [4, 5, 0]],
        "mask": [[1, 1, 1], [1, 1, 1]],
        "counterfactual": [[1, 3, 3], [4, 7, 0]],
        "positions": [1, 1],
        "answers": [1, 3],
        "wrong": [3, 5],
        "token_positions": {"S": [0, 1]},
    }
    plain = Task.from_tokens("t", **given_)
    digests = {name: Task.from_tokens("t", **{**given_, name: value}).digest for name, value in changes.items()}
    digests["mark"] = Task.from_tokens("t", **{**given_, "token_positions": {"IO": [0, 0]}}).digest
    digests["no counterfactual"] = Task.from_tokens("t", **{**given_, "counterfactual": None}).digest
    digests["order"] = plain[[1, 0]].digest
    assert len({plain.digest, *digests.values()}) == len(digests) + 1
    elsewhere = {"tokens": [[1, 2, 3], [4, 5, 9]], "counterfactual": [[1, 3, 3], [4, 6, 8]], "facts": [{"a": 1}, {}]}
    assert Task.from_tokens("another name", **{**given_, **elsewhere}).digest == plain.digest
    assert plain[:].digest == plain.digest
    assert re.fullmatch("[0-9a-f]{32}", plain.digest)


def test_a_task_as_text() -> None:
    task = Task.from_prompts("agreement", [UNCLE, BOYS], kinds_of_tokenizer()["tokenizers"])
    assert repr(task) == (
        "Task 'agreement': 2 prompts of 2 to 4 tokens; counterfactuals; 1 right and 1 wrong answer; "
        "positions end, subject"
    )
    assert task.table(1).splitlines()[1:] == [
        "The uncle",
        "    counterfactual: The uncles",
        "    right: ' has'",
        "    wrong: ' have'",
        "... and 1 more",
    ]
    with pytest.raises(TaskError, match="a table of 0 prompts"):
        task.table(0)


def test_words_with_their_space_in_front() -> None:
    """Tokens read as they do after others, though a text decodes without its first space; marks are at the words."""
    tokenizer = metaspace(["The uncle uncles has have Near it the boys boy"])
    task = Task.from_prompts("agreement", AGREEMENT, tokenizer)
    assert task.token_strings(1) == [" Near", " it", " the", " boys"]
    assert task.token_positions["subject"].tolist() == [1, 3]
    assert [task.token_text[token] for token in task.answers.flatten().tolist()] == [" has", " have"]


def test_a_task_of_tokens_as_text() -> None:
    years = torch.arange(10)
    task = Task.from_tokens("t", [[1, 2, 3]], positions=[[1, 2]], answers=torch.stack((years, years + 10))[None])
    assert task.table().splitlines() == [
        "Task 't': 1 prompt of 3 tokens; up to 2 predictions each; 10 right answers",
        "1 2 3",
        "    right at 1: 0, 1, 2, 3, 4, 5 and 4 more",
        "    right at 2: 10, 11, 12, 13, 14, 15 and 4 more",
    ]
    tokenizer = load_shipped("attn_only_2l").tokenizer
    two_lines = Task.from_prompts("t", [Prompt("日:\n", ("x",), counterfactual="月:\n")], tokenizer)
    assert two_lines.table().splitlines()[1:3] == ["日:\\n", "    counterfactual: 月:\\n"]
    dropped = Task.from_prompts("t", [Prompt("a", ("xy", "z"))], Letters(), on_long_answer="drop")
    assert dropped.table().splitlines()[-1] == "answers left out: several tokens: 1"


def test_moving_to_a_device() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    task = Task.from_prompts("agreement", AGREEMENT, kinds_of_tokenizer()["tokenizers"]).to(device)
    assert task.positions.device.type == task.groups.device.type == task.token_positions["end"].device.type == device
    moved = task.symmetric()[[3, 0]].trimmed().split(0.5, 0)[0].to("cpu")
    assert moved.tokens.device.type == "cpu"
    assert moved.prompts in [("Near it the boy",), ("The uncle",)]


def test_tensors_on_several_devices() -> None:
    with pytest.raises(TaskError, match=r"its tensors are on several devices: .*'counterfactual': 'meta'"):
        Task.from_tokens("t", [[1]], counterfactual=torch.zeros(1, 1, dtype=torch.int64, device="meta"), answers=[1])
