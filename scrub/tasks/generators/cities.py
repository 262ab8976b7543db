"""Capitals: the capital of a country, which the model has to know."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from types import MappingProxyType
from typing import Unpack

from scrub.tasks.encoding import Tokenizer
from scrub.tasks.generators.registry import Effect, Encoding, generator
from scrub.tasks.generators.vocabulary import enough, of_one_length, one_token
from scrub.tasks.generators.word_lists import CAPITALS
from scrub.tasks.generators.words import choose, draw, fill
from scrub.tasks.prompts import Prompt
from scrub.tasks.task import Task

TEMPLATES: Mapping[str, str] = MappingProxyType(
    {
        "is": "We learned at school that the capital of {country} is",
        "city": "On this old map, the capital of {country} is the city of",
        "called": "The capital city of {country} is called",
        "government": "The government of {country} meets in the capital,",
    }
)
VARIANTS: Mapping[str, Effect] = MappingProxyType({"country": "changed"})


def capitals_prompts(
    n: int = 100,
    seed: int = 0,
    *,
    counterfactual: str = "country",
    template: str = "all",
    capitals: Mapping[str, str] = CAPITALS,
) -> list[Prompt]:
    """Sentences up to the capital of a country. The wrong answer is the capital of the counterfactual's country.

    Marks: "country". Facts: "template", "country", "other_country", "counterfactual", "counterfactual_answers".

    Args:
        n: number of prompts.
        seed: of everything that is drawn.
        counterfactual: "country", another country.
        template: a name in `TEMPLATES`, or "all".
        capitals: country -> capital.

    Raises:
        TaskError: an option that is not known, n below 1, or fewer than two countries.

    >>> prompt = capitals_prompts(1, template="called")[0]
    >>> print(prompt.clean, prompt.answers, prompt.counterfactual, sep="|")
    The capital city of Finland is called|(' Helsinki',)|The capital city of Lebanon is called
    """
    choose("counterfactual", counterfactual, VARIANTS)
    chosen = choose("template", template, {key: key for key in TEMPLATES}, several=["all"])
    countries = enough(list(capitals), least=2, of=list(capitals), option="capitals", what="that differ")
    rng = Random(seed)
    prompts: list[Prompt] = []
    for key, country in draw(rng, n, chosen, countries):
        answer = capitals[country]
        other = rng.choice([name for name in countries if capitals[name] != answer])
        clean, marks = fill(TEMPLATES[key], {"country": country})
        text, _ = fill(TEMPLATES[key], {"country": other})
        wrong = (f" {capitals[other]}",)
        facts = {
            "template": key,
            "country": country,
            "other_country": other,
            "counterfactual": counterfactual,
            "counterfactual_answers": wrong,
        }
        prompts.append(Prompt(clean, (f" {answer}",), wrong, text, marks, facts))
    return prompts


@generator(prompts=capitals_prompts, variants=VARIANTS, settings=[{}, {"template": "city"}])
def capitals(
    tokenizer: Tokenizer,
    n: int = 100,
    seed: int = 0,
    *,
    counterfactual: str = "country",
    template: str = "all",
    capitals: Mapping[str, str] = CAPITALS,
    **encoding: Unpack[Encoding],
) -> Task:
    """Capitals that are single tokens, of countries with equally many tokens; see `capitals_prompts` for the options.

    With one template all prompts have the same length.

    Raises:
        TaskError: as `capitals_prompts`, or fewer than two countries are left.
    """
    cities = one_token(tokenizer, [f" {capital}" for capital in capitals.values()])
    single = [country for country, capital in capitals.items() if f" {capital}" in cities]
    what = "whose capitals are single tokens of this tokenizer"
    left = enough(single, least=2, of=list(capitals), option="capitals", what=what)
    kept = of_one_length(tokenizer, left, option="capitals", least=2)
    prompts = capitals_prompts(
        n, seed, counterfactual=counterfactual, template=template, capitals={name: capitals[name] for name in kept}
    )
    return Task.from_prompts("capitals", prompts, tokenizer, **encoding)
