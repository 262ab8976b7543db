"""Indirect object identification: of two names, one occurs again, and the other is what comes next.

The task of Wang et al. 2022, "Interpretability in the Wild". S1 and S2 are the subject's two occurrences, IO is the
indirect object, and S1+1 the token after S1. ABBA sentences name the indirect object first, BABA sentences second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Any, Literal, Unpack

from scrub.tasks.encoding import Tokenizer
from scrub.tasks.generators.registry import Effect, Encoding, generator
from scrub.tasks.generators.vocabulary import enough, of_one_length, single_tokens
from scrub.tasks.generators.word_lists import NAMES, OBJECTS, PLACES
from scrub.tasks.generators.words import Arrangements, choose, draw, fill
from scrub.tasks.prompts import Prompt
from scrub.tasks.task import Task

TEMPLATES: Mapping[str, str] = MappingProxyType(
    {
        "walk": "This morning {IO} and {S1} walked to the {place}. Later {S2} handed a {object} to",
        "wait": "While {IO} and {S1} waited near the {place}, {S2} passed a {object} to",
        "meet": "At the {place}, {IO} met {S1}, and {S2} gave a {object} to",
        "work": "Since {IO} and {S1} had worked together at the {place} all week, {S2} decided to offer a {object} to",
        "shop": "Last year {IO} and {S1} opened a shop beside the old {place}, and on the first day {S2} brought a"
        " {object} for",
    }
)
"""ABBA; for BABA, IO and S1 change places."""

VARIANTS: Mapping[str, Effect] = MappingProxyType(
    {"abc": "undefined", "flip": "changed", "names": "changed", "order": "same"}
)
_ORDERS = {"ABBA": "ABBA", "BABA": "BABA"}
_LEAST_NAMES = 5


def ioi_prompts(
    n: int = 100,
    seed: int = 0,
    *,
    counterfactual: str = "abc",
    template: str = "all",
    order: Literal["ABBA", "BABA", "both"] = "both",
    names: Sequence[str] = NAMES,
    places: Sequence[str] = PLACES,
    objects: Sequence[str] = OBJECTS,
) -> list[Prompt]:
    """Sentences with two names, one of them twice. The right answer is the other, the wrong one the repeated.

    Marks: "IO", "S1", "S1+1", "S2". Facts: "template", "order", "counterfactual", "counterfactual_answers".

    Args:
        n: number of prompts.
        seed: of everything that is drawn.
        counterfactual: "abc" puts three other, different names in place of IO, S1 and S2, so that none is right;
            "flip" names the indirect object again instead of the subject, so that the subject is right; "names" is
            the same sentence about two other people; "order" exchanges IO and S1, and the answer stays.
        template: a name in `TEMPLATES`, or "all".
        order: "ABBA", "BABA" or "both".
        names, places, objects: the words to use; objects stand after "a".

    Raises:
        TaskError: an option that is not known, n below 1, or fewer than five names.

    >>> prompt = ioi_prompts(1, counterfactual="flip", template="meet", order="ABBA")[0]
    >>> print(prompt.clean, prompt.answers, prompt.counterfactual, sep="\\n")
    At the park, Emily met Kate, and Kate gave a flower to
    (' Emily',)
    At the park, Emily met Kate, and Emily gave a flower to
    """
    choose("counterfactual", counterfactual, VARIANTS)
    chosen = [
        key for key, text in TEMPLATES.items() if text in choose("template", template, TEMPLATES, several=["all"])
    ]
    orders = choose("order", order, _ORDERS, several=["both"])
    names = enough(names, least=_LEAST_NAMES, of=names, option="names", what="that differ")
    rng = Random(seed)
    prompts: list[Prompt] = []
    for key, abba, (io, subject), place, object_ in draw(
        rng, n, chosen, orders, Arrangements(names, 2), places, objects
    ):
        words = {"IO": io, "S1": subject, "S2": subject, "place": place, "object": object_}
        form = TEMPLATES[key] if abba == "ABBA" else _exchanged(TEMPLATES[key])
        clean, spans = fill(form, words)
        other, answers = _counterfactual(rng, counterfactual, form, words, names)
        marks = {name: spans[name] for name in ("IO", "S1", "S2")} | {"S1+1": _after(clean, spans["S1"][1])}
        facts = {
            "template": key,
            "order": abba,
            "counterfactual": counterfactual,
            "counterfactual_answers": tuple(f" {name}" for name in answers),
        }
        prompts.append(Prompt(clean, (f" {io}",), (f" {subject}",), other, marks, facts))
    return prompts


@generator(
    prompts=ioi_prompts,
    variants=VARIANTS,
    settings=[{}, {"template": "wait", "order": "ABBA"}, {"template": "shop", "order": "BABA"}],
)
def ioi(
    tokenizer: Tokenizer,
    n: int = 100,
    seed: int = 0,
    *,
    counterfactual: str = "abc",
    template: str = "all",
    order: Literal["ABBA", "BABA", "both"] = "both",
    names: Sequence[str] = NAMES,
    places: Sequence[str] = PLACES,
    objects: Sequence[str] = OBJECTS,
    **encoding: Unpack[Encoding],
) -> Task:
    """Indirect object identification with the names that are single tokens; see `ioi_prompts` for the options.

    With one template all prompts have the same length.

    Raises:
        TaskError: as `ioi_prompts`, or fewer than five names are single tokens.

    >>> from scrub.models import load_shipped
    >>> keywords = ("None", "True", "False", "Python", "Key", "Type")  # of names this small vocabulary has none
    >>> ioi(load_shipped("attn_only_2l").tokenizer, 8, names=keywords, template="wait").is_aligned
    True
    """
    prompts = ioi_prompts(
        n,
        seed,
        counterfactual=counterfactual,
        template=template,
        order=order,
        names=single_tokens(tokenizer, names, option="names", least=_LEAST_NAMES),
        places=of_one_length(tokenizer, places, option="places"),
        objects=of_one_length(tokenizer, objects, option="objects"),
    )
    return Task.from_prompts("ioi", prompts, tokenizer, **encoding)


def _exchanged(template: str) -> str:
    """The template with IO and S1 in each other's place."""
    return template.replace("{IO}", "{}").replace("{S1}", "{IO}").replace("{}", "{S1}")


def _after(text: str, end: int) -> tuple[int, int]:
    """The first character after `end` that is no space, which the token after it touches."""
    start = end + len(text[end:]) - len(text[end:].lstrip())
    return start, start + 1


def _counterfactual(
    rng: Random, variant: str, form: str, words: Mapping[str, str], names: Sequence[str]
) -> tuple[str, tuple[str, ...]]:
    """The text, and the names that are right after it."""
    others = rng.sample([name for name in names if name not in (words["IO"], words["S1"])], 3)
    changed: dict[str, Any] = dict(words)
    if variant == "order":
        return fill(_exchanged(form), words)[0], (words["IO"],)
    if variant == "flip":
        return fill(form, changed | {"S2": words["IO"]})[0], (words["S1"],)
    if variant == "names":
        return fill(form, changed | {"IO": others[0], "S1": others[1], "S2": others[1]})[0], (others[0],)
    return fill(form, changed | dict(zip(("IO", "S1", "S2"), others, strict=True)))[0], ()
