"""Docstrings: the next parameter that the documentation of a Python function names.

The task of Heimersheim & Janiak 2023, "A circuit for Python docstrings in a 4-layer attention-only transformer". A, B
and C are three parameters of a function in their order; A and B are documented, C comes next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Unpack

from scrub.graph import TaskError
from scrub.tasks.encoding import Tokenizer
from scrub.tasks.generators.registry import Effect, Encoding, generator
from scrub.tasks.generators.vocabulary import enough, of_one_length, single_tokens
from scrub.tasks.generators.word_lists import ARGUMENTS
from scrub.tasks.generators.words import Arrangements, Spans, choose, draw, fill
from scrub.tasks.prompts import Prompt
from scrub.tasks.task import Task

FUNCTIONS = ("load", "save", "update", "process", "check", "build", "write", "read")
DESCRIPTIONS = ("first", "second", "current", "given", "new", "old", "default", "original", "other", "last")
VARIANTS: Mapping[str, Effect] = MappingProxyType(
    {"random_answer": "changed", "random_def": "undefined", "random_doc": "undefined"}
)
_TEMPLATE = '''def {function}(self, {arguments}):
    """{function} it.

    :param {A_doc}: the {one} one
    :param {B_doc}: the {two} one
    :param'''


def docstring_prompts(
    n: int = 100,
    seed: int = 0,
    *,
    counterfactual: str = "random_answer",
    before: int = 2,
    after: int = 1,
    arguments: Sequence[str] = ARGUMENTS,
    functions: Sequence[str] = FUNCTIONS,
    descriptions: Sequence[str] = DESCRIPTIONS,
) -> list[Prompt]:
    """Functions with their docstring, up to the name of the third parameter that it documents.

    The parameter after B in the definition, C, is right; all other parameters are wrong.

    Marks: "A_def", "B_def", "C_def", "A_doc", "B_doc". Facts: "arguments", "documented", "counterfactual",
    "counterfactual_answers".

    Args:
        n: number of prompts.
        seed: of everything that is drawn.
        counterfactual: "random_answer" has another name in place of C; "random_def" other names in place of all
            parameters of the definition, so that the documented ones are not among them; "random_doc" other names in
            place of A and B in the docstring.
        before, after: how many parameters stand before A and after C.
        arguments, functions, descriptions: the words to use.

    Raises:
        TaskError: an option that is not known, n below 1, or fewer names than a function and its counterfactual need.

    >>> prompt = docstring_prompts(1, before=0, after=0)[0]
    >>> print(prompt.clean.splitlines()[0], prompt.answers, sep="|")
    def update(self, port, value, state):|(' state',)
    """
    choose("counterfactual", counterfactual, VARIANTS)
    count = _count(before, after)
    names = enough(arguments, least=2 * count, of=arguments, option="arguments", what="that differ")
    rng = Random(seed)
    prompts: list[Prompt] = []
    for arrangement, function, (one, two) in draw(
        rng, n, Arrangements(names, count), functions, [(a, b) for a in descriptions for b in descriptions if a != b]
    ):
        words = {"function": function, "one": one, "two": two}
        chosen: tuple[str, ...] = arrangement
        documented = chosen[before : before + 2]
        others = rng.sample([name for name in names if name not in chosen], count)
        clean, marks = _text(chosen, documented, before, words)
        defined, described = chosen, documented
        if counterfactual == "random_answer":
            defined = (*chosen[: before + 2], others[0], *chosen[before + 3 :])
        elif counterfactual == "random_def":
            defined = tuple(others)
        else:
            described = tuple(others[:2])
        text, _ = _text(defined, described, before, words)
        facts = {
            "arguments": chosen,
            "documented": documented,
            "counterfactual": counterfactual,
            "counterfactual_answers": (f" {others[0]}",) if counterfactual == "random_answer" else (),
        }
        answer = chosen[before + 2]
        wrong = tuple(f" {name}" for name in chosen if name != answer)
        prompts.append(Prompt(clean, (f" {answer}",), wrong, text, marks, facts))
    return prompts


@generator(prompts=docstring_prompts, variants=VARIANTS, settings=[{}, {"before": 0, "after": 2}])
def docstring(
    tokenizer: Tokenizer,
    n: int = 100,
    seed: int = 0,
    *,
    counterfactual: str = "random_answer",
    before: int = 2,
    after: int = 1,
    arguments: Sequence[str] = ARGUMENTS,
    functions: Sequence[str] = FUNCTIONS,
    descriptions: Sequence[str] = DESCRIPTIONS,
    **encoding: Unpack[Encoding],
) -> Task:
    """Docstrings with the parameter names that are single tokens; see `docstring_prompts` for the options.

    All prompts have the same length.

    Raises:
        TaskError: as `docstring_prompts`, or too few names are single tokens.

    >>> from scrub.models import load_shipped
    >>> docstring(load_shipped("attn_only_2l").tokenizer, 4).is_aligned
    True
    """
    prompts = docstring_prompts(
        n,
        seed,
        counterfactual=counterfactual,
        before=before,
        after=after,
        arguments=single_tokens(tokenizer, arguments, option="arguments", least=2 * _count(before, after)),
        functions=of_one_length(tokenizer, functions, option="functions"),
        descriptions=of_one_length(tokenizer, descriptions, option="descriptions", least=2),
    )
    return Task.from_prompts("docstring", prompts, tokenizer, **encoding)


def _count(before: int, after: int) -> int:
    """How many parameters a function has."""
    if before < 0 or after < 0:
        raise TaskError(
            f"before={before} and after={after}: a function has no fewer parameters than the three that are looked at",
            expected="0 or more",
            found=(before, after),
            hint="they count the parameters before A and after C",
        )
    return before + 3 + after


def _text(defined: Sequence[str], described: Sequence[str], before: int, words: Mapping[str, str]) -> tuple[str, Spans]:
    """The function, and where A, B and C are."""
    slots = [f"argument{place}" for place in range(len(defined))]
    for place, name in enumerate("ABC"):
        slots[before + place] = f"{name}_def"
    listed = ", ".join(f"{{{slot}}}" for slot in slots)
    documented = {"A_doc": described[0], "B_doc": described[1]}
    form = _TEMPLATE.replace("{arguments}", listed)
    text, spans = fill(form, {**words, **dict(zip(slots, defined, strict=True)), **documented})
    return text, {name: spans[name] for name in ("A_def", "B_def", "C_def", "A_doc", "B_doc")}
