"""Hypernyms: the category of a word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Unpack

from scrub.graph import TaskError
from scrub.tasks.encoding import Tokenizer
from scrub.tasks.generators.registry import Effect, Encoding, generator
from scrub.tasks.generators.vocabulary import enough, of_one_length, one_token
from scrub.tasks.generators.word_lists import CATEGORIES
from scrub.tasks.generators.words import choose, draw, fill
from scrub.tasks.prompts import Prompt
from scrub.tasks.task import Task

TEMPLATES: Mapping[str, str] = MappingProxyType(
    {
        "means": "The word {word} means a kind of",
        "dictionary": "In my dictionary, {word} is explained as a type of",
        "asked": "She asked what {word} is, and I said that it is a sort of",
    }
)
VARIANTS: Mapping[str, Effect] = MappingProxyType({"category": "changed", "word": "same"})


def hypernyms_prompts(
    n: int = 100,
    seed: int = 0,
    *,
    counterfactual: str = "category",
    template: str = "all",
    categories: Mapping[str, Sequence[str]] = CATEGORIES,
) -> list[Prompt]:
    """Sentences up to the category of a word. The wrong answer is another category, that of "category" below.

    Marks: "word". Facts: "template", "word", "other_word", "counterfactual", "counterfactual_answers".

    Args:
        n: number of prompts.
        seed: of everything that is drawn.
        counterfactual: "category" takes a word of another category; "word" another word of the same, and the answer
            stays.
        template: a name in `TEMPLATES`, or "all".
        categories: category -> words of it, at least two each.

    Raises:
        TaskError: an option that is not known, n below 1, fewer than two categories, or a word in two of them.

    >>> prompt = hypernyms_prompts(1, template="means")[0]
    >>> print(prompt.clean, prompt.answers, prompt.counterfactual, sep="|")
    The word flute means a kind of|(' instrument',)|The word red means a kind of
    """
    choose("counterfactual", counterfactual, VARIANTS)
    chosen = choose("template", template, {key: key for key in TEMPLATES}, several=["all"])
    words = words_of(categories)
    rng = Random(seed)
    prompts: list[Prompt] = []
    for key, (word, category) in draw(rng, n, chosen, list(words.items())):
        wrong = rng.choice([other for other in categories if other != category])
        right_there = wrong if counterfactual == "category" else category
        other_word = rng.choice([other for other in categories[right_there] if other != word])
        clean, marks = fill(TEMPLATES[key], {"word": word})
        text, _ = fill(TEMPLATES[key], {"word": other_word})
        facts = {
            "template": key,
            "word": word,
            "other_word": other_word,
            "counterfactual": counterfactual,
            "counterfactual_answers": (f" {right_there}",),
        }
        prompts.append(Prompt(clean, (f" {category}",), (f" {wrong}",), text, marks, facts))
    return prompts


@generator(prompts=hypernyms_prompts, variants=VARIANTS, settings=[{}, {"template": "dictionary"}])
def hypernyms(
    tokenizer: Tokenizer,
    n: int = 100,
    seed: int = 0,
    *,
    counterfactual: str = "category",
    template: str = "all",
    categories: Mapping[str, Sequence[str]] = CATEGORIES,
    **encoding: Unpack[Encoding],
) -> Task:
    """Hypernyms whose category is a single token, of words with equally many; see `hypernyms_prompts` for the options.

    With one template all prompts have the same length.

    Raises:
        TaskError: as `hypernyms_prompts`, or fewer than two categories are left.
    """
    names = one_token(tokenizer, [f" {name}" for name in categories])
    single = {name: words for name, words in categories.items() if f" {name}" in names}
    what = "that are single tokens of this tokenizer"
    enough(list(single), least=2, of=list(categories), option="categories", what=what)
    prompts = hypernyms_prompts(
        n,
        seed,
        counterfactual=counterfactual,
        template=template,
        categories=categories_of_one_length(tokenizer, single, least=2),
    )
    return Task.from_prompts("hypernyms", prompts, tokenizer, **encoding)


def words_of(categories: Mapping[str, Sequence[str]], *, least: int = 2) -> dict[str, str]:
    """word -> its category.

    Raises:
        TaskError: fewer categories than `least`, a category of fewer than two words, or a word in two categories.
    """
    enough(list(categories), least=least, of=list(categories), option="categories", what="that differ")
    words: dict[str, str] = {}
    for category, members in categories.items():
        for word in enough(members, least=2, of=members, option=f"categories[{category!r}]", what="that differ"):
            if word in words:
                raise TaskError(
                    f"{word!r} is in two categories, {words[word]!r} and {category!r}",
                    expected="one category for each word",
                    found=(words[word], category),
                    hint="leave it out of one, or its answer is not unique",
                )
            words[word] = category
    return words


def categories_of_one_length(
    tokenizer: Tokenizer, categories: Mapping[str, Sequence[str]], *, least: int
) -> dict[str, tuple[str, ...]]:
    """The categories with the words that have equally many tokens, where at least two words are left.

    Raises:
        TaskError: fewer categories than `least` are left.
    """
    words = [word for members in categories.values() for word in members]
    kept = set(of_one_length(tokenizer, words, option="categories"))
    left = {name: tuple(word for word in members if word in kept) for name, members in categories.items()}
    large = {name: members for name, members in left.items() if len(members) >= 2}
    what = "with two words of as many tokens as most words have"
    enough(list(large), least=least, of=list(categories), option="categories", what=what)
    return large
