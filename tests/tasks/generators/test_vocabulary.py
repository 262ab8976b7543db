"""Which words are left for a tokenizer, what is said when too few are, and tasks for the vocabulary that ships."""

from __future__ import annotations

import math
from collections import Counter
from random import Random
from typing import Any

import pytest
from tokenizers import Tokenizer

from scrub.graph import TaskError
from scrub.models import load_shipped
from scrub.tasks.generators import GENERATORS, docstring_prompts, generate, generator, induction, ioi
from scrub.tasks.generators.vocabulary import continuations, of_one_length, single_tokens
from scrub.tasks.generators.word_lists import CAPITALS, CATEGORIES, MEN, NAMES, OBJECTS, PLACES, WOMEN
from scrub.tasks.generators.words import Arrangements, draw
from scrub.tasks.task import Task
from tests.tasks.generators.solvers import CAPITAL_OF, KIND_OF, SOLVERS
from tests.tasks.generators.solvers import WOMEN as KNOWN_WOMEN
from tests.tasks.generators.synthetic import LONG, cut_words, whole_words

KEYWORDS = ("None", "True", "False", "Python", "Key", "Type")
"""Capitalized words that the small vocabulary has as single tokens, with a space in front."""

SMALL = [
    ("docstring", {}),
    ("docstring", {"counterfactual": "random_def", "before": 0}),
    ("subject_verb_agreement", {"structure": "simple"}),
    ("subject_verb_agreement", {"structure": "nounpp", "attractor": "opposite"}),
    ("arithmetic", {"template": "symbols", "counterfactual": "operation"}),
    ("arithmetic", {"template": "symbols", "counterfactual": "first"}),
    ("multiple_choice", {"counterfactual": "move"}),
    ("ioi", {"names": KEYWORDS, "counterfactual": "abc"}),
    ("ioi", {"names": KEYWORDS, "counterfactual": "flip"}),
]


@pytest.fixture(scope="module")
def shipped() -> Tokenizer:
    return load_shipped("attn_only_2l").tokenizer


@pytest.mark.parametrize(("name", "options"), SMALL)
def test_tasks_for_the_shipped_vocabulary(shipped: Tokenizer, name: str, options: dict[str, Any]) -> None:
    task = generate(name, shipped, n=12, **options)
    assert task.counterfactual is not None
    solve = SOLVERS[name][0]
    for row, (clean, other) in enumerate(zip(task.prompts, task.counterfactual_prompts, strict=True)):
        ids = shipped.encode(clean).ids
        assert task.tokens[row][task.mask[row] == 1].tolist() == ids
        assert task.counterfactual[row][task.mask[row] == 1].tolist() == shipped.encode(other).ids
        right = {shipped.decode([token]) for token in task.answers[row, 0].tolist() if token >= 0}
        wrong = {shipped.decode([token]) for token in task.wrong[row, 0].tolist() if token >= 0}
        assert solve(clean, right | wrong) == right
        for mark, at in task.token_positions.items():
            start, end = shipped.encode(clean).offsets[int(at[row])]
            marks = {**SOLVERS[name][1](clean), "end": (len(clean) - 1, len(clean))}
            assert start < marks[mark][1] <= end


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        (
            "ioi",
            "names: 0 of 60 are left that are single tokens of this tokenizer, and 5 are needed: none",
            "names=...",
        ),
        ("greater_than", "years: 0 of 8 are left that this tokenizer splits into two tokens", "years=..."),
        ("gendered_pronouns", "' she': no single token of this tokenizer", "on_long_answer"),
        ("capitals", "capitals: 0 of 34 are left whose capitals are single tokens", "capitals=..."),
        ("hypernyms", "categories: 0 of 9 are left that are single tokens", "categories=..."),
    ],
)
def test_too_small_a_vocabulary_is_refused_with_a_way_out(
    shipped: Tokenizer, name: str, message: str, hint: str
) -> None:
    with pytest.raises(TaskError) as refused:
        generate(name, shipped)
    assert message in str(refused.value)
    assert hint in str(refused.value).splitlines()[-1]


def test_says_which_words_are_left(shipped: Tokenizer) -> None:
    with pytest.raises(TaskError, match=r"names: 2 of 4 are left .* and 5 are needed: Python, True") as refused:
        ioi(shipped, names=["Python", "Mary", "True", "John"])
    assert (refused.value.expected, refused.value.found) == (5, ("Python", "True"))


def test_signs_of_different_length_are_refused(shipped: Tokenizer) -> None:
    assert len(shipped.encode("the plus").ids) != len(shipped.encode("the minus").ids)
    with pytest.raises(TaskError, match="plus and minus have different numbers of tokens"):
        generate("arithmetic", shipped, counterfactual="operation")


def test_words_are_those_of_one_token_or_of_one_length() -> None:
    tokenizer = cut_words()
    words = ("park", "library", "hospital", "theater", "farm", "market")
    assert single_tokens(tokenizer, words, option="places") == tuple(word for word in words if len(word) <= LONG)
    assert of_one_length(tokenizer, ("hospital", "parameter", "farm"), option="places") == ("hospital", "parameter")
    pairs = [("teacher", "teachers"), ("doctor", "doctors"), ("cat", "cats")]
    assert of_one_length(tokenizer, pairs, option="nouns", texts=tuple) == (("doctor", "doctors"), ("cat", "cats"))


def test_text_that_changes_the_tokens_before_it_has_no_tokens_of_its_own(shipped: Tokenizer) -> None:
    before, joined = shipped.encode("the").ids, shipped.encode("then").ids
    assert joined[: len(before)] != before
    assert continuations(shipped, ["n"]) == {"n": ()}


class OneYearWhole:
    """As the tokenizer of whole words, but for one year that is a token of its own."""

    def encode(self, text: str) -> list[int]:
        before, year, after = text.partition(" 1776")
        ids = [whole_words().encode(part).ids for part in (before, after)]
        return [*ids[0], 10**6, *ids[1]] if year else ids[0]

    def decode(self, ids: list[int]) -> str:
        known = whole_words()
        return "".join(" 1776" if token == 10**6 else str(known.id_to_token(token)) for token in ids)


def test_years_of_one_token_are_in_no_prompt_and_no_answer() -> None:
    seventy_six = whole_words().token_to_id("76")
    for tokenizer, is_used in ((whole_words(), True), (OneYearWhole(), False)):
        task = generate("greater_than", tokenizer, n=5, years={"17": [f"{year:02}" for year in range(100)]})
        assert bool((task.answers == seventy_six).any() | (task.wrong == seventy_six).any()) is is_used


def test_word_lists_say_what_is_so() -> None:
    assert {*WOMEN} == KNOWN_WOMEN
    assert not {*WOMEN} & {*MEN}
    assert dict(CAPITALS) == CAPITAL_OF
    assert {word: kind for kind, words in CATEGORIES.items() for word in words} == KIND_OF
    for words in (NAMES, PLACES, OBJECTS):
        assert len(set(words)) == len(words)
    assert not [word for word in OBJECTS if word[0] in "aeiou"]


@pytest.mark.parametrize("variant", ["random", "reversed"])
@pytest.mark.parametrize("predictions", ["last", "all"])
@pytest.mark.parametrize("start", [[], [99]])
def test_induction_repeats_what_came_before(variant: str, predictions: Any, start: list[int]) -> None:
    task = induction(
        None, 50, 3, counterfactual=variant, length=5, predictions=predictions, prefix=start, token_ids=range(20)
    )
    assert task.counterfactual is not None
    assert task.positions.shape == (50, 3 if predictions == "all" else 1)
    for row, tokens in enumerate(task.tokens.tolist()):
        other, last = task.counterfactual[row].tolist(), len(tokens) - 1
        assert tokens[: len(start)] == other[: len(start)] == start
        assert task.positions[row, -1] == task.token_positions["end"][row] == last
        assert tokens[int(task.token_positions["earlier"][row])] == tokens[last]
        assert task.token_positions["successor"][row] == tokens.index(tokens[last]) + 1
        there = task.facts[row]["counterfactual_answers"]
        for k, at in enumerate(task.positions[row].tolist()):
            assert tokens[tokens.index(tokens[at]) + 1] == task.answers[row, k, 0]
            if variant == "reversed":
                assert other[other.index(other[at]) + 1] == there[k] == task.wrong[row, k, 0]
            else:
                assert other.count(other[at]) == 1
                assert not there
                assert task.wrong[row, k, 0] in other
                assert task.wrong[row, k, 0] not in tokens


def test_induction_asks_for_tokens_to_draw_from() -> None:
    task = induction(cut_words(), 20)
    assert 0 not in task.tokens
    with pytest.raises(TaskError, match="does not say which tokens it has"):
        induction(object(), 2)
    with pytest.raises(TaskError, match="token_ids: 7 of 7 are left that differ and are not special, and 8 are needed"):
        induction(None, 2, token_ids=range(7), length=4)
    with pytest.raises(TaskError, match="length=2"):
        induction(None, 2, token_ids=range(7), length=2)


def test_arrangements_are_all_and_differ() -> None:
    arrangements = Arrangements("abcd", 3)
    every = [arrangements[index] for index in range(arrangements.count)]
    assert len(set(every)) == len(every) == math.perm(4, 3)
    assert all(len(set(one)) == 3 for one in every)


def test_draws_are_uniform_and_exhaust_the_combinations() -> None:
    counts = Counter(draw(Random(5), 6 * 3 + 2, "ab", range(3)))
    assert sorted(counts.values()) == [3, 3, 3, 3, 4, 4]
    firsts = Counter(draw(Random(seed), 1, "ab", range(3))[0] for seed in range(6000))
    assert all(abs(count - 1000) < 5 * math.sqrt(1000 * 5 / 6) for count in firsts.values())


def test_draws_from_more_combinations_than_an_index_can_count() -> None:
    words = range(10**5)
    drawn = draw(Random(0), 100, Arrangements(words, 9), "ab")
    assert len({row for row, _ in drawn}) == 100
    assert all(len(set(row)) == 9 for row, _ in drawn)


def test_parameters_are_counted() -> None:
    with pytest.raises(TaskError, match="before=-1"):
        docstring_prompts(1, before=-1)
    with pytest.raises(TaskError, match="arguments: 3 of 3 are left that differ, and 12 are needed: a, b, c"):
        docstring_prompts(1, arguments=["a", "b", "c"])


def test_a_word_of_two_categories_is_refused() -> None:
    both = {"animal": ["cat", "orange"], "fruit": ["orange", "plum"]}
    with pytest.raises(TaskError, match="'orange' is in two categories, 'animal' and 'fruit'"):
        generate("hypernyms", whole_words(), categories=both)
    with pytest.raises(TaskError, match="names of women and of men: Kim"):
        generate("gendered_pronouns", whole_words(), women=["Kim", "Ann"], men=["Kim", "Bob"])


def test_names_of_generators_are_known_and_used_once() -> None:
    with pytest.raises(TaskError, match="no generator is named 'sudoku'; there are arithmetic, capitals") as refused:
        generate("sudoku", whole_words())
    assert refused.value.expected == sorted(GENERATORS)

    def ioi(tokenizer: Any, n: int = 100, seed: int = 0) -> Task:
        raise NotImplementedError

    with pytest.raises(TypeError, match="a generator named ioi is registered already"):
        generator(prompts=None, variants={})(ioi)
