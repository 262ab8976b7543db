"""Arithmetic: sums and differences of two numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Literal, Unpack

from scrub.graph import TaskError
from scrub.tasks.encoding import Tokenizer
from scrub.tasks.generators.registry import Effect, Encoding, generator
from scrub.tasks.generators.vocabulary import continuations, enough, one_token
from scrub.tasks.generators.words import Spans, choose, draw, fill
from scrub.tasks.prompts import Prompt
from scrub.tasks.task import Task

TEMPLATES: Mapping[str, str] = MappingProxyType(
    {
        "symbols": "Result: {a} {sign} {b} =",
        "words": "We know that {a} {word} {b} is",
        "question": "Question: what is {a} {word} {b}? Answer:",
    }
)
SIGNS = {"addition": {"sign": "+", "word": "plus"}, "subtraction": {"sign": "-", "word": "minus"}}
NUMBERS = tuple(range(100))
VARIANTS: Mapping[str, Effect] = MappingProxyType(
    {"operands": "changed", "first": "changed", "second": "changed", "operation": "changed"}
)
Sum = tuple[str, int, int]
"""The operation and its operands."""


def arithmetic_prompts(
    n: int = 100,
    seed: int = 0,
    *,
    counterfactual: str = "operands",
    template: str = "all",
    operation: Literal["addition", "subtraction", "both"] = "addition",
    numbers: Sequence[int] = NUMBERS,
) -> list[Prompt]:
    """Sums or differences up to the result. The wrong answer is the result of the counterfactual.

    Marks: "a", "b", "operation". Facts: "template", "operation", "operands", "result", "counterfactual",
    "counterfactual_answers".

    Args:
        n: number of prompts.
        seed: of everything that is drawn.
        counterfactual: "operands" takes other numbers; "first" and "second" only another first or second one;
            "operation" a sum in place of a difference, or the reverse. The result is always another.
        template: a name in `TEMPLATES`, or "all".
        operation: "addition", "subtraction" or "both".
        numbers: what operands and results may be; without negative ones, no difference is negative.

    Raises:
        TaskError: an option that is not known, n below 1, or no sum that has a counterfactual.

    >>> prompt = arithmetic_prompts(1, template="symbols")[0]
    >>> print(prompt.clean, prompt.answers, prompt.counterfactual, sep="|")
    Result: 38 + 58 =|(' 96',)|Result: 46 + 28 =
    """
    choose("counterfactual", counterfactual, VARIANTS)
    chosen = choose("template", template, {key: key for key in TEMPLATES}, several=["all"])
    operations = choose("operation", operation, {key: key for key in SIGNS}, several=["both"])
    possible = _possible(numbers)
    sums = [
        asked
        for kind in operations
        for asked in possible[kind]
        if any(_counterfactuals(asked, counterfactual, possible, numbers))
    ]
    what = f"that allow a sum with a counterfactual ({counterfactual!r})"
    enough(numbers if sums else [], least=1, of=numbers, option="numbers", what=what)
    rng = Random(seed)
    prompts: list[Prompt] = []
    for key, asked in draw(rng, n, chosen, sums):
        other = rng.choice(list(_counterfactuals(asked, counterfactual, possible, numbers)))
        clean, marks = _text(key, asked)
        text, _ = _text(key, other)
        wrong = (f" {possible[other[0]][other]}",)
        facts = {
            "template": key,
            "operation": asked[0],
            "operands": asked[1:],
            "result": possible[asked[0]][asked],
            "counterfactual": counterfactual,
            "counterfactual_answers": wrong,
        }
        prompts.append(Prompt(clean, (f" {possible[asked[0]][asked]}",), wrong, text, marks, facts))
    return prompts


@generator(
    prompts=arithmetic_prompts,
    variants=VARIANTS,
    settings=[{}, {"operation": "subtraction", "template": "symbols"}, {"operation": "both", "template": "question"}],
)
def arithmetic(
    tokenizer: Tokenizer,
    n: int = 100,
    seed: int = 0,
    *,
    counterfactual: str = "operands",
    template: str = "all",
    operation: Literal["addition", "subtraction", "both"] = "addition",
    numbers: Sequence[int] = NUMBERS,
    **encoding: Unpack[Encoding],
) -> Task:
    """Arithmetic with the numbers that are single tokens; see `arithmetic_prompts` for the options.

    With one template all prompts have the same length.

    Raises:
        TaskError: as `arithmetic_prompts`; no numbers are single tokens; or for "operation", "plus" and "minus" have
            different numbers of tokens.

    >>> from scrub.models import load_shipped
    >>> task = arithmetic(load_shipped("attn_only_2l").tokenizer, 4, template="symbols", counterfactual="first")
    >>> task.is_aligned
    True
    """
    single = one_token(tokenizer, [f" {number}" for number in numbers])
    kept = enough(
        [number for number in numbers if f" {number}" in single],
        least=2,
        of=numbers,
        option="numbers",
        what="that are single tokens of this tokenizer",
    )
    if counterfactual == "operation":
        _check_signs(tokenizer, template)
    prompts = arithmetic_prompts(
        n, seed, counterfactual=counterfactual, template=template, operation=operation, numbers=kept
    )
    return Task.from_prompts("arithmetic", prompts, tokenizer, **encoding)


def _check_signs(tokenizer: Tokenizer, template: str) -> None:
    """That the two operations are written in as many tokens.

    Raises:
        TaskError: in one of the templates they are not.
    """
    for form in choose("template", template, TEMPLATES, several=["all"]):
        words = [signs["sign" if "{sign}" in form else "word"] for signs in SIGNS.values()]
        lengths = {word: len(continuations(tokenizer, [f" {word}"])[f" {word}"]) for word in words}
        if len(set(lengths.values())) > 1:
            raise TaskError(
                f"{' and '.join(lengths)} have different numbers of tokens in this tokenizer: {[*lengths.values()]}",
                expected="equally many",
                found=lengths,
                hint='template="symbols" has + and - in their place',
            )


def _possible(numbers: Sequence[int]) -> dict[str, dict[Sum, int]]:
    """By operation, the sums or differences whose operands and result are among these numbers, with their result."""
    known = dict.fromkeys(numbers)
    results = {
        "addition": {("addition", a, b): a + b for a in known for b in known},
        "subtraction": {("subtraction", a, b): a - b for a in known for b in known},
    }
    return {
        operation: {asked: result for asked, result in of_all.items() if result in known}
        for operation, of_all in results.items()
    }


def _counterfactuals(
    asked: Sum, variant: str, possible: Mapping[str, Mapping[Sum, int]], numbers: Sequence[int]
) -> Iterator[Sum]:
    """What can stand in place of a sum, with another result."""
    operation, a, b = asked
    candidates: Iterable[Sum]
    match variant:
        case "first":
            candidates = ((operation, other, b) for other in numbers)
        case "second":
            candidates = ((operation, a, other) for other in numbers)
        case "operation":
            candidates = ((other, a, b) for other in SIGNS)
        case _:
            candidates = (other for other in possible[operation] if other[1] != a and other[2] != b)
    result = possible[operation][asked]
    return (other for other in candidates if possible[other[0]].get(other, result) != result)


def _text(template: str, asked: Sum) -> tuple[str, Spans]:
    """The question, and where its parts are."""
    operation, a, b = asked
    text, spans = fill(TEMPLATES[template], {"a": str(a), "b": str(b), **SIGNS[operation]})
    name = next(slot for slot in ("sign", "word") if slot in spans)
    return text, {"a": spans["a"], "b": spans["b"], "operation": spans[name]}
