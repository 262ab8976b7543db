"""What is right after a text, and where its parts are, found by rules that read the text alone.

The rules know the words by themselves: nothing here comes from the package.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

Answers = set[str]
Marks = dict[str, tuple[int, int]]
Solver = Callable[[str, Answers], Answers]
"""From a text, and answers to choose from where there are many, to the right ones; none if there is none."""


def _words(text: str) -> list[str]:
    return text.split()


WOMEN = set(
    _words(
        "Alice Amy Anna Claire Diana Emily Emma Grace Hannah Helen Jane Jessica Julia Karen Kate Laura Linda Lisa "
        "Lucy Maria Mary Megan Nancy Paula Rachel Rose Ruth Sarah Sophie Susan"
    )
)
CAPITAL_OF = dict(
    pair.split("-")
    for pair in _words(
        "Austria-Vienna Belgium-Brussels Canada-Ottawa Chile-Santiago China-Beijing Cuba-Havana "
        "Denmark-Copenhagen Egypt-Cairo England-London Finland-Helsinki France-Paris Germany-Berlin "
        "Greece-Athens Hungary-Budapest Iran-Tehran Iraq-Baghdad Ireland-Dublin Italy-Rome Japan-Tokyo "
        "Kenya-Nairobi Lebanon-Beirut Norway-Oslo Peru-Lima Poland-Warsaw Portugal-Lisbon Russia-Moscow "
        "Scotland-Edinburgh Spain-Madrid Sweden-Stockholm Syria-Damascus Thailand-Bangkok Turkey-Ankara "
        "Vietnam-Hanoi Wales-Cardiff"
    )
)
KIND_OF = {
    word: kind
    for kind, words in {
        "animal": "bear cat cow dog elephant goat horse lion monkey pig rabbit sheep tiger wolf",
        "fruit": "apple banana cherry lemon mango peach pear plum",
        "vehicle": "bicycle bus car taxi tractor train truck van",
        "metal": "copper gold iron silver steel tin zinc",
        "sport": "baseball football golf hockey rugby soccer tennis",
        "instrument": "drum flute guitar piano trumpet violin",
        "vegetable": "cabbage carrot lettuce onion potato spinach",
        "color": "blue brown green pink purple red yellow",
        "tool": "axe drill hammer saw shovel wrench",
    }.items()
    for word in words.split()
}
PLURAL_VERBS = {" are", " were", " have", " do"}
_NO_NAMES = {"This", "Later", "While", "At", "Since", "Last"}


def _names(text: str) -> list[re.Match[str]]:
    return [found for found in re.finditer(r"\b[A-Z][a-z]+\b", text) if found[0] not in _NO_NAMES]


def ioi(text: str, _: Answers) -> Answers:
    """The name that occurs once, if another occurs twice."""
    counts = Counter(found[0] for found in _names(text))
    if sorted(counts.values()) != [1, 2]:
        return set()
    return {f" {name}" for name, count in counts.items() if count == 1}


def ioi_marks(text: str) -> Marks:
    names = _names(text)
    (io,) = (found for found in names if text.count(found[0]) == 1)
    first, second = (found for found in names if found[0] != io[0])
    gap = re.compile(r"\s*").match(text, first.end())
    assert gap is not None
    return {"IO": io.span(), "S1": first.span(), "S2": second.span(), "S1+1": (gap.end(), gap.end() + 1)}


def _year(text: str) -> tuple[re.Match[str], str]:
    first = re.search(r"\b(\d\d)(\d\d)\b", text)
    last = re.search(r"\b(\d\d)$", text)
    assert first is not None
    assert last is not None
    assert first[1] == last[1]
    return first, last[1]


def greater_than(text: str, candidates: Answers) -> Answers:
    return {later for later in candidates if int(later) > int(_year(text)[0][2])}


def greater_than_marks(text: str) -> Marks:
    found = _year(text)[0]
    return {"XX": found.span(1), "YY": found.span(2)}


def _nouns(text: str) -> list[re.Match[str]]:
    return list(re.finditer(r"(?<=[Tt]he )[a-z]+", text))


def subject_verb_agreement(text: str, candidates: Answers) -> Answers:
    """Plural verbs if the first noun ends in one s."""
    subject = _nouns(text)[0][0]
    is_plural = subject.endswith("s") and not subject.endswith("ss")
    return candidates & PLURAL_VERBS if is_plural else candidates - PLURAL_VERBS


def subject_verb_agreement_marks(text: str) -> Marks:
    return dict(zip(("subject", "attractor"), (found.span() for found in _nouns(text)), strict=False))


def _person(text: str) -> re.Match[str]:
    (found,) = (found for found in re.finditer(r"(?<=[a-z] )[A-Z][a-z]+", text))
    return found


def gendered_pronouns(text: str, _: Answers) -> Answers:
    return {" she" if _person(text)[0] in WOMEN else " he"}


def gendered_pronouns_marks(text: str) -> Marks:
    return {"name": _person(text).span()}


def _signature(text: str) -> list[re.Match[str]]:
    start, end = text.index("(self, ") + len("(self, "), text.index("):")
    return list(re.compile(r"\w+").finditer(text, start, end))


def _documented(text: str) -> list[re.Match[str]]:
    return list(re.finditer(r"(?<=:param )\w+", text))


def docstring(text: str, _: Answers) -> Answers:
    """The parameter after the last documented one, if what is documented follows the signature."""
    names = [found[0] for found in _signature(text)]
    first, second = (found[0] for found in _documented(text))
    if first not in names or names[names.index(first) + 1] != second:
        return set()
    return {f" {names[names.index(first) + 2]}"}


def docstring_marks(text: str) -> Marks:
    a, b = _documented(text)
    signature = _signature(text)
    start = [found[0] for found in signature].index(a[0])
    defined = (found.span() for found in signature[start : start + 3])
    return {"A_doc": a.span(), "B_doc": b.span(), **dict(zip(("A_def", "B_def", "C_def"), defined, strict=True))}


def _country(text: str) -> re.Match[str]:
    (found,) = (found for found in re.finditer(r"[A-Z][a-z]+", text) if found[0] in CAPITAL_OF)
    return found


def capitals(text: str, _: Answers) -> Answers:
    return {f" {CAPITAL_OF[_country(text)[0]]}"}


def capitals_marks(text: str) -> Marks:
    return {"country": _country(text).span()}


def _word(text: str) -> re.Match[str]:
    (found,) = (found for found in re.finditer(r"[a-z]+", text) if found[0] in KIND_OF)
    return found


def hypernyms(text: str, _: Answers) -> Answers:
    return {f" {KIND_OF[_word(text)[0]]}"}


def hypernyms_marks(text: str) -> Marks:
    return {"word": _word(text).span()}


def _sum(text: str) -> re.Match[str]:
    found = re.search(r"(\d+) (\+|-|plus|minus) (\d+)", text)
    assert found is not None
    return found


def arithmetic(text: str, _: Answers) -> Answers:
    a, sign, b = _sum(text).groups()
    return {f" {int(a) + int(b) if sign in ('+', 'plus') else int(a) - int(b)}"}


def arithmetic_marks(text: str) -> Marks:
    found = _sum(text)
    return {"a": found.span(1), "operation": found.span(2), "b": found.span(3)}


def _options(text: str) -> dict[str, re.Match[str]]:
    return {found[1]: found for found in re.finditer(r"\n([A-D])\. ([a-z]+)", text)}


def _asked(text: str) -> re.Match[str]:
    (found,) = (found for found in re.finditer(r"[a-z]+", text.split("\n")[0]) if found[0] in KIND_OF.values())
    return found


def multiple_choice(text: str, _: Answers) -> Answers:
    kind = _asked(text)[0]
    return {f" {letter}" for letter, found in _options(text).items() if KIND_OF[found[2]] == kind}


def multiple_choice_marks(text: str) -> Marks:
    options = _options(text)
    (right,) = multiple_choice(text, set())
    chosen = options[right.strip()]
    letters = {letter: found.span(1) for letter, found in options.items()}
    return {**letters, "right_letter": chosen.span(1), "right_option": chosen.span(2), "category": _asked(text).span()}


SOLVERS: dict[str, tuple[Solver, Callable[[str], Marks]]] = {
    "ioi": (ioi, ioi_marks),
    "greater_than": (greater_than, greater_than_marks),
    "subject_verb_agreement": (subject_verb_agreement, subject_verb_agreement_marks),
    "gendered_pronouns": (gendered_pronouns, gendered_pronouns_marks),
    "docstring": (docstring, docstring_marks),
    "capitals": (capitals, capitals_marks),
    "hypernyms": (hypernyms, hypernyms_marks),
    "arithmetic": (arithmetic, arithmetic_marks),
    "multiple_choice": (multiple_choice, multiple_choice_marks),
}
