"""Multiple choice: the letter of the option that answers a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Unpack

from scrub.graph import TaskError
from scrub.tasks.encoding import Tokenizer
from scrub.tasks.generators.categories import categories_of_one_length, words_of
from scrub.tasks.generators.registry import Effect, Encoding, generator
from scrub.tasks.generators.vocabulary import enough, of_one_length, one_token
from scrub.tasks.generators.word_lists import CATEGORIES
from scrub.tasks.generators.words import Arrangements, Spans, choose, draw, fill
from scrub.tasks.prompts import Prompt
from scrub.tasks.task import Task

LETTERS = ("A", "B", "C", "D")
TEMPLATES: Mapping[str, str] = MappingProxyType(
    {
        "which": "Question: which of these is a kind of {category}?{options}\nAnswer:",
        "choose": "Choose the one {category} among the words below.{options}\nThe right letter is",
    }
)
VARIANTS: Mapping[str, Effect] = MappingProxyType({"move": "changed", "question": "changed", "wrong_options": "same"})


def multiple_choice_prompts(
    n: int = 100,
    seed: int = 0,
    *,
    counterfactual: str = "move",
    template: str = "all",
    letters: Sequence[str] = LETTERS,
    categories: Mapping[str, Sequence[str]] = CATEGORIES,
) -> list[Prompt]:
    """Questions for the one word of a category among options of different categories.

    The letter of the right option is the answer; all other letters are wrong.

    Marks: "category", "right_letter", "right_option", and the letters of all options by themselves ("A", ...).
    Facts: "template", "options", "category", "counterfactual", "counterfactual_answers".

    Args:
        n: number of prompts.
        seed: of everything that is drawn.
        counterfactual: "move" lets the right option change places with another; "question" asks for the category of
            another option; "wrong_options" lets two wrong options change places, and the answer stays.
        template: a name in `TEMPLATES`, or "all".
        letters: of the options, at least three.
        categories: category -> words of it, as many categories as letters or more. Of each as many words are used as
            the smallest has.

    Raises:
        TaskError: an option that is not known, n below 1, too few letters or categories, or a word in two categories.

    >>> prompt = multiple_choice_prompts(1, template="which")[0]
    >>> print(prompt.clean, prompt.answers, sep="|")
    Question: which of these is a kind of metal?
    A. gold
    B. drum
    C. pear
    D. wrench
    Answer:|(' A',)
    """
    choose("counterfactual", counterfactual, VARIANTS)
    chosen = choose("template", template, {key: key for key in TEMPLATES}, several=["all"])
    letters = enough(letters, least=3, of=letters, option="letters", what="that differ")
    words_of(categories, least=len(letters))
    number = range(min(len(words) for words in categories.values()))
    axes = (chosen, Arrangements(list(categories), len(letters)), range(len(letters)), *([number] * len(letters)))
    rng = Random(seed)
    prompts: list[Prompt] = []
    for key, kinds, right, *numbers in draw(rng, n, *axes):
        options = [categories[kind][int(number)] for kind, number in zip(kinds, numbers, strict=True)]
        clean, spans = _text(key, kinds[right], letters, options)
        one, two = rng.sample([place for place in range(len(letters)) if place != right], 2)
        moved, asked, new_right = list(options), right, right
        if counterfactual == "question":
            asked = new_right = one
        elif counterfactual == "move":
            moved[right], moved[one], new_right = options[one], options[right], one
        else:
            moved[one], moved[two] = options[two], options[one]
        text, _ = _text(key, kinds[asked], letters, moved)
        marks = {**spans, "right_letter": spans[letters[right]]}
        marks["right_option"] = marks.pop(f"option{right}")
        facts = {
            "template": key,
            "options": tuple(options),
            "category": kinds[right],
            "counterfactual": counterfactual,
            "counterfactual_answers": (f" {letters[new_right]}",),
        }
        kept = {name: span for name, span in marks.items() if not name.startswith("option")}
        wrong = tuple(f" {letter}" for letter in letters if letter != letters[right])
        prompts.append(Prompt(clean, (f" {letters[right]}",), wrong, text, kept, facts))
    return prompts


@generator(prompts=multiple_choice_prompts, variants=VARIANTS, settings=[{}, {"template": "choose"}])
def multiple_choice(
    tokenizer: Tokenizer,
    n: int = 100,
    seed: int = 0,
    *,
    counterfactual: str = "move",
    template: str = "all",
    letters: Sequence[str] = LETTERS,
    categories: Mapping[str, Sequence[str]] = CATEGORIES,
    **encoding: Unpack[Encoding],
) -> Task:
    """Multiple choice between words with equally many tokens; see `multiple_choice_prompts` for the options.

    With one template, lengths differ only where those of the categories' names do; for "question", whose prompts
    differ in that name, they do not.

    Raises:
        TaskError: as `multiple_choice_prompts`, a letter is no single token, or too few words are left.
    """
    single = one_token(tokenizer, [f" {letter}" for letter in letters])
    split = [letter for letter in letters if f" {letter}" not in single]
    if split:
        raise TaskError(
            f"letters: {', '.join(map(repr, split))}: no single tokens of this tokenizer",
            expected="one token each",
            found=split,
            hint="give other letters: letters=...",
        )
    names = list(categories)
    if counterfactual == "question":
        names = of_one_length(tokenizer, names, option="categories", least=len(letters))
    kept = categories_of_one_length(tokenizer, {name: categories[name] for name in names}, least=len(letters))
    prompts = multiple_choice_prompts(
        n, seed, counterfactual=counterfactual, template=template, letters=letters, categories=kept
    )
    return Task.from_prompts("multiple_choice", prompts, tokenizer, **encoding)


def _text(template: str, category: str, letters: Sequence[str], options: Sequence[str]) -> tuple[str, Spans]:
    """The question with its options, and where they are."""
    lines = "".join(f"\n{{{letter}}}. {{option{place}}}" for place, letter in enumerate(letters))
    words = {f"option{place}": option for place, option in enumerate(options)}
    form = TEMPLATES[template].replace("{options}", lines)
    return fill(form, {"category": category, **{letter: letter for letter in letters}, **words})
