"""Subject-verb agreement: a verb in the number of its subject, with or without another noun between the two.

The task of Linzen et al. 2016, "Assessing the Ability of LSTMs to Learn Syntax-Sensitive Dependencies"; the structures
"nounpp" and "relative" are the prepositional phrase and the object relative clause of Marvin & Linzen 2018.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Unpack

from scrub.tasks.encoding import Tokenizer
from scrub.tasks.generators.registry import Effect, Encoding, generator
from scrub.tasks.generators.vocabulary import enough, of_one_length, one_token
from scrub.tasks.generators.word_lists import PEOPLE, THINGS
from scrub.tasks.generators.words import Spans, choose, draw, fill
from scrub.tasks.prompts import Prompt
from scrub.tasks.task import Task

Noun = tuple[str, str]
"""Singular and plural; a verb likewise."""

STRUCTURES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "simple": ("The {subject}", "I think that the {subject}", "Every day the {subject}", "Now the {subject}"),
        "nounpp": (
            "The {subject} near the {attractor}",
            "The {subject} behind the {attractor}",
            "The {subject} with the {attractor}",
        ),
        "relative": (
            "The {subject} that the {attractor} found",
            "The {subject} that the {attractor} saw",
            "The {subject} that the {attractor} used",
        ),
    }
)
VERBS = (("is", "are"), ("was", "were"), ("has", "have"), ("does", "do"))
VARIANTS: Mapping[str, Effect] = MappingProxyType({"subject": "changed", "noun": "same"})
ATTRACTORS = {"same": (False,), "opposite": (True,), "any": (False, True)}
"""Whether the attractor's number is the opposite of the subject's."""
_NUMBERS = {0: "singular", 1: "plural"}
_LEAST_NOUNS = 3


def subject_verb_agreement_prompts(
    n: int = 100,
    seed: int = 0,
    *,
    counterfactual: str = "subject",
    structure: str = "simple",
    attractor: str = "any",
    people: Sequence[Noun] = PEOPLE,
    things: Sequence[Noun] = THINGS,
    verbs: Sequence[Noun] = VERBS,
) -> list[Prompt]:
    """Sentences up to the verb. Right are the forms of all `verbs` in the subject's number, wrong those in the other.

    Marks: "subject" and, where there is one, "attractor". Facts: "number" of the subject ("singular" or "plural"),
    "attractor_number" (None where there is no attractor), "structure", "counterfactual", "counterfactual_answers".

    Args:
        n: number of prompts.
        seed: of everything that is drawn.
        counterfactual: "subject" changes the number of the subject; "noun" takes another noun of the same number, and
            the answers stay.
        structure: "simple", "nounpp" (a prepositional phrase in between) or "relative" (a relative clause in between).
        attractor: number of the noun in between: the "same" as the subject's, the "opposite", or "any".
        people, things: nouns as (singular, plural). All of them are subjects and attractors; in relative clauses only
            people are attractors.
        verbs: as (singular, plural).

    Raises:
        TaskError: an option that is not known, n below 1, or too few words.

    >>> prompt = subject_verb_agreement_prompts(1, structure="nounpp", attractor="opposite")[0]
    >>> print(prompt.clean, prompt.counterfactual, sep="|")
    The class with the names|The classes with the names
    """
    choose("counterfactual", counterfactual, VARIANTS)
    (templates,) = choose("structure", structure, STRUCTURES)
    (opposite,) = choose("attractor", attractor, ATTRACTORS)
    pairs = _pairs(structure, people, things)
    nouns = list(dict.fromkeys(subject for subject, _ in pairs))
    forms = {number: tuple(f" {verb[number]}" for verb in verbs) for number in _NUMBERS}
    rng = Random(seed)
    prompts: list[Prompt] = []
    axes = (templates, pairs, list(_NUMBERS), opposite if structure != "simple" else (False,))
    for template, (subject, other), number, is_opposite in draw(rng, n, *axes):
        between = None if other is None else other[number ^ is_opposite]
        clean, marks = _filled(template, subject[number], between)
        new_number: int = 1 - number if counterfactual == "subject" else number
        candidates = [noun for noun in nouns if noun not in (subject, other)]
        noun = subject if counterfactual == "subject" else rng.choice(candidates)
        text, _ = _filled(template, noun[new_number], between)
        facts = {
            "structure": structure,
            "number": _NUMBERS[number],
            "attractor_number": None if other is None else _NUMBERS[number ^ is_opposite],
            "counterfactual": counterfactual,
            "counterfactual_answers": forms[new_number],
        }
        prompts.append(Prompt(clean, forms[number], forms[1 - number], text, marks, facts))
    return prompts


@generator(
    prompts=subject_verb_agreement_prompts,
    variants=VARIANTS,
    settings=[{}, {"structure": "nounpp"}, {"structure": "relative", "attractor": "opposite"}],
)
def subject_verb_agreement(
    tokenizer: Tokenizer,
    n: int = 100,
    seed: int = 0,
    *,
    counterfactual: str = "subject",
    structure: str = "simple",
    attractor: str = "any",
    people: Sequence[Noun] = PEOPLE,
    things: Sequence[Noun] = THINGS,
    verbs: Sequence[Noun] = VERBS,
    **encoding: Unpack[Encoding],
) -> Task:
    """Agreement with nouns that have equally many tokens in both numbers, and verbs that are single tokens.

    See `subject_verb_agreement_prompts` for the options. The lengths differ only where those of the templates do.

    Raises:
        TaskError: as `subject_verb_agreement_prompts`, or too few words are left.

    >>> from scrub.models import load_shipped
    >>> task = subject_verb_agreement(load_shipped("attn_only_2l").tokenizer, 4, structure="nounpp")
    >>> sorted(task.token_positions)
    ['attractor', 'end', 'subject']
    """
    single = one_token(tokenizer, [f" {form}" for verb in verbs for form in verb])
    verbs = enough(
        [verb for verb in verbs if all(f" {form}" in single for form in verb)],
        least=1,
        of=verbs,
        option="verbs",
        what="that are single tokens of this tokenizer in both numbers",
    )
    nouns = of_one_length(tokenizer, [*people, *things], option="people and things", least=_LEAST_NOUNS, texts=tuple)
    animate = [noun for noun in nouns if noun in people]
    if structure == "relative":
        enough(animate, least=1, of=people, option="people", what="with as many tokens as most nouns have")
    prompts = subject_verb_agreement_prompts(
        n,
        seed,
        counterfactual=counterfactual,
        structure=structure,
        attractor=attractor,
        people=animate,
        things=[noun for noun in nouns if noun not in people],
        verbs=verbs,
    )
    return Task.from_prompts("subject_verb_agreement", prompts, tokenizer, **encoding)


def _pairs(structure: str, people: Sequence[Noun], things: Sequence[Noun]) -> list[tuple[Noun, Noun | None]]:
    """Subjects, each with each attractor that it can have."""
    both = [*people, *things]
    nouns = enough(both, least=_LEAST_NOUNS, of=both, option="people and things", what="that differ")
    if structure == "simple":
        return [(noun, None) for noun in nouns]
    others = nouns
    if structure == "relative":
        others = enough(people, least=1, of=people, option="people", what="for the relative clause")
    return [(noun, other) for noun in nouns for other in others if noun != other]


def _filled(template: str, subject: str, attractor: str | None) -> tuple[str, Spans]:
    return fill(template, {"subject": subject} | ({} if attractor is None else {"attractor": attractor}))
