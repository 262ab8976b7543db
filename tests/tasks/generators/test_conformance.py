"""Every registered generator, in every setting and variant that it names, with two tokenizers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest

from scrub.graph import TaskError
from scrub.tasks.generators import GENERATORS, generate
from scrub.tasks.task import Task
from tests.tasks.generators.solvers import SOLVERS
from tests.tasks.generators.synthetic import cut_words, ids_of, text_of, whole_words

N = 8
TOKENIZERS = {"whole_words": whole_words, "cut_words": cut_words}
CASES = [
    (name, number, variant)
    for name, generator in GENERATORS.items()
    for number in range(len(generator.settings))
    for variant in generator.variants
]
TEXTS = [case for case in CASES if GENERATORS[case[0]].prompts is not None]

case = pytest.mark.parametrize(("name", "number", "variant"), CASES)
text_case = pytest.mark.parametrize(("name", "number", "variant"), TEXTS)
tokenizer_name = pytest.mark.parametrize("with_", TOKENIZERS)


def options_of(name: str, number: int, variant: str) -> dict[str, Any]:
    return {"counterfactual": variant, **GENERATORS[name].settings[number]}


@cache
def task_of(name: str, number: int, variant: str, with_: str, seed: int = 0) -> Task:
    return generate(name, TOKENIZERS[with_](), n=N, seed=seed, **options_of(name, number, variant))


def rows(task: Task) -> list[list[int]]:
    """The prompts without padding."""
    return [row[shown == 1].tolist() for row, shown in zip(task.tokens, task.mask, strict=True)]


@tokenizer_name
@case
def test_gives_what_was_asked_for(name: str, number: int, variant: str, with_: str) -> None:
    task = task_of(name, number, variant, with_)
    assert (task.name, len(task)) == (name, N)
    assert len({tuple(row) for row in rows(task)}) == N
    assert all(fact["counterfactual"] == variant for fact in task.facts)


@tokenizer_name
@case
def test_right_and_wrong_answers_are_there_and_differ(name: str, number: int, variant: str, with_: str) -> None:
    task = task_of(name, number, variant, with_)
    for right, wrong in zip(task.answers.flatten(0, 1).tolist(), task.wrong.flatten(0, 1).tolist(), strict=True):
        assert max(right) >= 0
        assert max(wrong) >= 0
        assert set(right) & set(wrong) <= {-1}


@tokenizer_name
@case
def test_counterfactual_differs_and_has_the_same_length(name: str, number: int, variant: str, with_: str) -> None:
    task = task_of(name, number, variant, with_)
    assert task.counterfactual is not None
    for clean, other, shown in zip(task.tokens, task.counterfactual, task.mask, strict=True):
        assert not clean[shown == 1].equal(other[shown == 1])
        assert clean[shown == 0].equal(other[shown == 0])
    tokenizer = TOKENIZERS[with_]()
    for clean, other in zip(task.prompts, task.counterfactual_prompts, strict=True):
        assert len(ids_of(tokenizer, clean)) == len(ids_of(tokenizer, other))


@tokenizer_name
@case
def test_effect_on_the_answer_is_as_declared(name: str, number: int, variant: str, with_: str) -> None:
    effect = GENERATORS[name].variants[variant]
    task, tokenizer = task_of(name, number, variant, with_), TOKENIZERS[with_]()
    for fact, answers in zip(task.facts, task.answers.flatten(1).tolist(), strict=True):
        there = fact["counterfactual_answers"]
        right = [token for token in answers if token >= 0]
        if GENERATORS[name].prompts is not None:
            right = [text_of(tokenizer, token) for token in right]
        assert bool(there) is (effect != "undefined")
        assert (Counter(there) == Counter(right)) is (effect == "same")


@case
def test_is_determined_by_its_seed(name: str, number: int, variant: str) -> None:
    task = task_of(name, number, variant, "whole_words")
    again = generate(name, whole_words(), n=N, seed=0, **options_of(name, number, variant))
    assert again.tokens.equal(task.tokens)
    assert again.counterfactual is not None
    assert again.counterfactual.equal(task.counterfactual)
    assert again.facts == task.facts
    assert rows(task_of(name, number, variant, "whole_words", 1)) != rows(task)


@text_case
def test_texts_are_solved_by_a_rule_that_reads_them(name: str, number: int, variant: str) -> None:
    generator = GENERATORS[name]
    assert generator.prompts is not None
    solve, find = SOLVERS[name]
    options = options_of(name, number, variant)
    for prompt in generator.prompts(40, seed=3, **options):
        assert prompt.counterfactual is not None
        there = set(prompt.facts["counterfactual_answers"])
        candidates = {*prompt.answers, *prompt.wrong}
        assert solve(prompt.clean, candidates) == set(prompt.answers)
        assert solve(prompt.counterfactual, candidates) == there
        assert prompt.marks == find(prompt.clean)


@tokenizer_name
@text_case
def test_tokens_say_what_the_texts_say(name: str, number: int, variant: str, with_: str) -> None:
    task, tokenizer = task_of(name, number, variant, with_), TOKENIZERS[with_]()
    solve, find = SOLVERS[name]
    for row, (clean, ids) in enumerate(zip(task.prompts, rows(task), strict=True)):
        assert ids == ids_of(tokenizer, clean)
        answers, wrong = (
            {text_of(tokenizer, token) for token in tensor[row, 0].tolist() if token >= 0}
            for tensor in (task.answers, task.wrong)
        )
        assert solve(clean, answers | wrong) == answers
        places = {mark: len(ids_of(tokenizer, clean[:end])) - 1 for mark, (_, end) in find(clean).items()}
        found = {mark: int(at[row]) for mark, at in task.token_positions.items()}
        assert {mark: at for mark, at in found.items() if at >= 0} == {"end": len(ids) - 1, **places}
        assert int(task.positions[row, 0]) == len(ids) - 1


@pytest.mark.parametrize(("name", "number"), dict.fromkeys(text[:2] for text in TEXTS))
def test_no_prompt_comes_twice_before_all_have_come(name: str, number: int) -> None:
    """Fewer words than prompts: the prompts come equally often, but for the last round."""
    generator = GENERATORS[name]
    assert generator.prompts is not None
    options = {**GENERATORS[name].settings[number], **FEW[name]}
    different = {prompt.clean for prompt in generator.prompts(1000, seed=1, **options)}
    assert len(different) < 500
    once = [prompt.clean for prompt in generator.prompts(len(different), seed=2, **options)]
    assert set(once) == different
    more = Counter(prompt.clean for prompt in generator.prompts(2 * len(different) + 1, seed=2, **options))
    assert Counter(more.values()) == {2: len(different) - 1, 3: 1}


FEW: Mapping[str, Mapping[str, Any]] = {
    "ioi": {"names": ["Ann", "Bob", "Cid", "Dan", "Eve"], "places": ["park"], "objects": ["book", "key"]},
    "greater_than": {
        "events": ["war", "trial"],
        "years": {"17": [f"{year:02}" for year in range(12)]},
    },
    "subject_verb_agreement": {"people": [("boy", "boys"), ("girl", "girls")], "things": [("car", "cars")]},
    "gendered_pronouns": {"women": ["Ann", "Eve"], "men": ["Bob", "Cid"], "places": ["park"]},
    "docstring": {
        "before": 0,
        "after": 0,
        "arguments": list("uvwxyz"),
        "functions": ["run"],
        "descriptions": ["old", "new"],
    },
    "capitals": {"capitals": {"France": "Paris", "Italy": "Rome", "Peru": "Lima"}},
    "hypernyms": {"categories": {"animal": ["cat", "dog"], "metal": ["tin", "iron"]}},
    "arithmetic": {"numbers": range(8)},
    "multiple_choice": {
        "letters": list("ABC"),
        "categories": {"animal": ["cat", "dog"], "metal": ["tin", "iron"], "color": ["red", "blue"]},
    },
}
"""Words so few that all prompts can be counted."""


@pytest.mark.parametrize("name", GENERATORS)
def test_refuses_what_it_does_not_know(name: str) -> None:
    with pytest.raises(TaskError, match="counterfactual='sideways' is not known; there are") as refused:
        generate(name, whole_words(), n=1, counterfactual="sideways")
    assert refused.value.expected == list(GENERATORS[name].variants)
    with pytest.raises(TaskError, match="a task of 0 prompts"):
        generate(name, whole_words(), n=0)


@pytest.mark.parametrize("name", [name for name in GENERATORS if name != "induction"])
def test_prefix_and_padding_are_those_asked_for(name: str) -> None:
    plain = generate(name, cut_words(), n=4)
    task = generate(name, cut_words(), n=4, prefix=0, padding="left")
    assert [[0, *row] for row in rows(plain)] == rows(task)
    assert bool((task.mask[:, -1] == 1).all())
    assert task.token_positions["end"].unique().tolist() == [task.tokens.shape[1] - 1]


SWAPS = {
    ("ioi", "flip"),
    ("subject_verb_agreement", "subject"),
    ("gendered_pronouns", "gender"),
    ("capitals", "country"),
    ("hypernyms", "category"),
    *(("arithmetic", variant) for variant in GENERATORS["arithmetic"].variants),
}
"""Variants whose counterfactual makes right what was wrong, as the documentation says."""


@text_case
def test_pairs_are_symmetric_where_the_documentation_says_so(name: str, number: int, variant: str) -> None:
    generator = GENERATORS[name]
    assert generator.prompts is not None
    prompts = generator.prompts(20, seed=2, **options_of(name, number, variant))
    swapped = [set(prompt.facts["counterfactual_answers"]) == set(prompt.wrong) for prompt in prompts]
    if (name, variant) not in SWAPS:
        assert not all(swapped)
        return
    assert all(swapped)
    tokenizer = whole_words()
    pairs = task_of(name, number, variant, "whole_words").symmetric()
    for row, clean in enumerate(pairs.prompts):
        right, wrong = (
            {text_of(tokenizer, token) for token in tensor[row, 0].tolist() if token >= 0}
            for tensor in (pairs.answers, pairs.wrong)
        )
        assert SOLVERS[name][0](clean, right | wrong) == right
