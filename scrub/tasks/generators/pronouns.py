"""Gendered pronouns: "he" or "she", by the name that a sentence is about.

The task of Mathwin et al. 2023, "Identifying a Preliminary Circuit for Predicting Gendered Pronouns in GPT-2 Small".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Unpack

from scrub.graph import TaskError
from scrub.tasks.encoding import Tokenizer
from scrub.tasks.generators.registry import Effect, Encoding, generator
from scrub.tasks.generators.vocabulary import enough, of_one_length, one_token, single_tokens
from scrub.tasks.generators.word_lists import MEN, PLACES, WOMEN
from scrub.tasks.generators.words import choose, draw, fill
from scrub.tasks.prompts import Prompt
from scrub.tasks.task import Task

TEMPLATES: Mapping[str, str] = MappingProxyType(
    {
        "wait": "We waited for {name} at the {place} because",
        "meet": "I met {name} near the {place} today, and I think that",
        "leave": "Yesterday {name} left the {place} early since",
    }
)
PRONOUNS = {"woman": " she", "man": " he"}
VARIANTS: Mapping[str, Effect] = MappingProxyType({"gender": "changed", "name": "same"})


def gendered_pronouns_prompts(
    n: int = 100,
    seed: int = 0,
    *,
    counterfactual: str = "gender",
    template: str = "all",
    women: Sequence[str] = WOMEN,
    men: Sequence[str] = MEN,
    places: Sequence[str] = PLACES,
) -> list[Prompt]:
    """Sentences about one person, up to the pronoun. " she" or " he" is right, the other wrong.

    Marks: "name". Facts: "template", "gender" ("woman" or "man"), "counterfactual", "counterfactual_answers".

    Args:
        n: number of prompts.
        seed: of everything that is drawn.
        counterfactual: "gender" takes a name from the other list; "name" another one from the same list, and the
            answer stays.
        template: a name in `TEMPLATES`, or "all".
        women, men: names after which "she" and "he" are right.
        places: the words to use.

    Raises:
        TaskError: an option that is not known, n below 1, fewer than two names in a list, or a name in both.

    >>> prompt = gendered_pronouns_prompts(1, template="wait")[0]
    >>> print(prompt.clean, prompt.answers, prompt.counterfactual, sep="|")
    We waited for Paula at the theater because|(' she',)|We waited for Adam at the theater because
    """
    choose("counterfactual", counterfactual, VARIANTS)
    chosen = choose("template", template, {key: key for key in TEMPLATES}, several=["all"])
    names = {
        "woman": enough(women, least=2, of=women, option="women", what="that differ"),
        "man": enough(men, least=2, of=men, option="men", what="that differ"),
    }
    if both := set(names["woman"]) & set(names["man"]):
        raise TaskError(
            f"names of women and of men: {', '.join(sorted(both))}", expected="none", found=both, hint="leave them out"
        )
    people = [(gender, name) for gender in names for name in names[gender]]
    rng = Random(seed)
    prompts: list[Prompt] = []
    for key, (gender, name), place in draw(rng, n, chosen, people, places):
        opposite = "man" if gender == "woman" else "woman"
        other = opposite if counterfactual == "gender" else gender
        clean, spans = fill(TEMPLATES[key], {"name": name, "place": place})
        new_name = rng.choice([candidate for candidate in names[other] if candidate != name])
        text, _ = fill(TEMPLATES[key], {"name": new_name, "place": place})
        facts = {
            "template": key,
            "gender": gender,
            "counterfactual": counterfactual,
            "counterfactual_answers": (PRONOUNS[other],),
        }
        marks = {"name": spans["name"]}
        prompts.append(Prompt(clean, (PRONOUNS[gender],), (PRONOUNS[opposite],), text, marks, facts))
    return prompts


@generator(
    prompts=gendered_pronouns_prompts,
    variants=VARIANTS,
    settings=[{}, {"template": "wait"}, {"template": "leave"}],
)
def gendered_pronouns(
    tokenizer: Tokenizer,
    n: int = 100,
    seed: int = 0,
    *,
    counterfactual: str = "gender",
    template: str = "all",
    women: Sequence[str] = WOMEN,
    men: Sequence[str] = MEN,
    places: Sequence[str] = PLACES,
    **encoding: Unpack[Encoding],
) -> Task:
    """Gendered pronouns with the names that are single tokens; see `gendered_pronouns_prompts` for the options.

    With one template all prompts have the same length.

    Raises:
        TaskError: as `gendered_pronouns_prompts`, too few names are single tokens, or " he" or " she" is not one.
    """
    single = one_token(tokenizer, PRONOUNS.values())
    split = [pronoun for pronoun in PRONOUNS.values() if pronoun not in single]
    if split:
        raise TaskError(
            f"{' and '.join(map(repr, split))}: no single token of this tokenizer",
            expected="one token each",
            found=split,
            hint='Task.from_prompts(..., on_long_answer="first") on gendered_pronouns_prompts() reads first tokens',
        )
    prompts = gendered_pronouns_prompts(
        n,
        seed,
        counterfactual=counterfactual,
        template=template,
        women=single_tokens(tokenizer, women, option="women"),
        men=single_tokens(tokenizer, men, option="men"),
        places=of_one_length(tokenizer, places, option="places"),
    )
    return Task.from_prompts("gendered_pronouns", prompts, tokenizer, **encoding)
