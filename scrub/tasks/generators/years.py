"""Greater-than: an event that began in 1732 ended in a year 17.. that is later.

The task of Hanna et al. 2023, "How does GPT-2 compute greater-than?". It asks for a tokenizer that splits a year into
its first and its last two digits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Unpack

from scrub.graph import TaskError
from scrub.tasks.encoding import Tokenizer, encode_all
from scrub.tasks.generators.registry import Effect, Encoding, generator
from scrub.tasks.generators.vocabulary import BEFORE, enough, of_one_length
from scrub.tasks.generators.word_lists import split
from scrub.tasks.generators.words import choose, draw, fill
from scrub.tasks.prompts import Prompt
from scrub.tasks.task import Task

TEMPLATES: Mapping[str, str] = MappingProxyType(
    {
        "began": "The {event} began in the year {XX}{YY} and ended in the year {XX}",
        "from": "From {XX}{YY} the {event} went on without a pause until {XX}",
        "notes": "My notes say that the {event}, which started in {XX}{YY}, was over in {XX}",
    }
)
EVENTS = split(
    "war siege strike voyage drought truce treaty festival reign trial project trade campaign mission "
    "alliance dispute crisis plan peace study"
)
CENTURIES = ("11", "12", "13", "14", "15", "16", "17", "18")
YEARS: Mapping[str, Sequence[str]] = MappingProxyType(dict.fromkeys(CENTURIES, tuple(f"{n:02}" for n in range(100))))
"""First two digits of a year -> its last two digits."""
VARIANTS: Mapping[str, Effect] = MappingProxyType({"01": "changed", "year": "changed"})
_EARLY = "01"
_LEAST_YEARS = 10


def greater_than_prompts(
    n: int = 100,
    seed: int = 0,
    *,
    counterfactual: str = "01",
    template: str = "all",
    events: Sequence[str] = EVENTS,
    years: Mapping[str, Sequence[str]] = YEARS,
) -> list[Prompt]:
    """Sentences with the year in which something began, up to the first two digits of the year in which it ended.

    All later two digits are right; those of the year itself and all earlier ones are wrong.

    Marks: "XX", the first two digits of the first year, "YY", its last two, "end", the first two of the second year.
    Facts: "template", "year", "counterfactual", "counterfactual_answers".

    Args:
        n: number of prompts.
        seed: of everything that is drawn.
        counterfactual: "01" lets it begin in the year 01 of the same century, after which nearly all years are right;
            "year" in another year, earlier or later.
        template: a name in `TEMPLATES`, or "all".
        events: the words to use.
        years: first two digits -> the last two that may follow them, "01" among them. "01", what is before it and the
            last year begin no clean prompt.

    Raises:
        TaskError: an option that is not known, n below 1, a century without "01" or with fewer than ten years.

    >>> prompt = greater_than_prompts(1, template="began")[0]
    >>> print(prompt.clean, prompt.counterfactual, sep="\\n")
    The dispute began in the year 1814 and ended in the year 18
    The dispute began in the year 1801 and ended in the year 18
    """
    choose("counterfactual", counterfactual, VARIANTS)
    chosen = choose("template", template, {key: key for key in TEMPLATES}, several=["all"])
    starts = [(century, year) for century in years for year in _starts(century, years[century])]
    rng = Random(seed)
    prompts: list[Prompt] = []
    for key, event, (century, year) in draw(rng, n, chosen, events, starts):
        possible = sorted(set(years[century]))
        others = [start for start in _starts(century, possible) if start != year]
        other = _EARLY if counterfactual == "01" else rng.choice(others)
        clean, spans = fill(TEMPLATES[key], {"event": event, "XX": century, "YY": year})
        text, _ = fill(TEMPLATES[key], {"event": event, "XX": century, "YY": other})
        start, end = spans["YY"]
        marks = {"XX": (start - len(century), start), "YY": (start, end)}
        facts = {
            "template": key,
            "year": int(year),
            "counterfactual": counterfactual,
            "counterfactual_answers": tuple(later for later in possible if later > other),
        }
        right, wrong = (tuple(y for y in possible if (y > year) is is_later) for is_later in (True, False))
        prompts.append(Prompt(clean, right, wrong, text, marks, facts))
    return prompts


@generator(prompts=greater_than_prompts, variants=VARIANTS, settings=[{}, {"template": "from"}, {"template": "notes"}])
def greater_than(
    tokenizer: Tokenizer,
    n: int = 100,
    seed: int = 0,
    *,
    counterfactual: str = "01",
    template: str = "all",
    events: Sequence[str] = EVENTS,
    years: Mapping[str, Sequence[str]] = YEARS,
    **encoding: Unpack[Encoding],
) -> Task:
    """Greater-than with the centuries and years that are one token each; see `greater_than_prompts` for the options.

    With one template all prompts have the same length. Years that the tokenizer does not split into the two parts,
    such as " 1776" where that is one token, are in no prompt and no answer.

    Raises:
        TaskError: as `greater_than_prompts`, or no century is left.
    """
    split = {century: _split_years(tokenizer, century, years[century]) for century in years}
    kept = enough(
        [century for century, left in split.items() if _EARLY in left and len(left) >= _LEAST_YEARS],
        least=1,
        of=list(years),
        option="years",
        what=f"that this tokenizer splits into two tokens, with {_EARLY!r} and at least {_LEAST_YEARS} years",
    )
    prompts = greater_than_prompts(
        n,
        seed,
        counterfactual=counterfactual,
        template=template,
        events=of_one_length(tokenizer, events, option="events"),
        years={century: split[century] for century in kept},
    )
    return Task.from_prompts("greater_than", prompts, tokenizer, **encoding)


def _starts(century: str, years: Sequence[str]) -> list[str]:
    """The years after 01 that have a later one, in order."""
    option = f"years[{century!r}]"
    known = sorted(enough(years, least=_LEAST_YEARS, of=years, option=option, what="that differ"))
    if _EARLY not in known:
        raise TaskError(
            f"{option} is without {_EARLY!r}", expected=_EARLY, found=known, hint="counterfactuals begin in that year"
        )
    return [year for year in known if _EARLY < year < known[-1]]


def _split_years(tokenizer: Tokenizer, century: str, years: Sequence[str]) -> list[str]:
    """The years that are one token for their first two digits and one for their last two."""
    alone = f"{BEFORE} {century}"
    ids = encode_all(tokenizer, [BEFORE, alone, *(alone + year for year in years)])
    start = ids[alone]
    is_one = len(start) == len(ids[BEFORE]) + 1
    return [year for year in years if is_one and ids[alone + year][:-1] == start]
