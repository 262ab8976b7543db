"""Names that are nearly the one asked for."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_MAX_COMPARED = 2000  # difflib takes tens of microseconds a name


def near_misses(wanted: str, names: Iterable[str], *, count: int = 4) -> list[str]:
    """The names most like `wanted`, likest first. Dots, dashes, case and order of the parts count little.

    >>> near_misses("a.1.h0", ["a1.h0", "b7", "a1.h10", "final.norm"])
    ['a1.h0', 'a1.h10']
    """
    key = _letters(wanted)
    same: list[str] = []
    inside: list[str] = []
    others: list[str] = []
    for name in names:
        letters = _letters(name)
        if letters == key or _parts(name) == _parts(wanted):
            same.append(name)
        elif key and (key in letters or (len(letters) > 2 and letters in key)):
            inside.append(name)
        elif abs(len(name) - len(wanted)) <= max(2, len(wanted) // 3):
            others.append(name)
    inside.sort(key=lambda name: (abs(len(name) - len(wanted)), name))
    compared = [*inside[: 2 * count], *others[:_MAX_COMPARED]]
    close = difflib.get_close_matches(wanted, compared, n=count, cutoff=0.6)
    close.sort(key=lambda name: (-_likeness(name, wanted), name))
    return list(dict.fromkeys([*sorted(same), *close, *inside]))[:count]


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _parts(name: str) -> list[str]:
    return sorted(re.findall(r"[a-z]+|\d+", name.lower()))


def _likeness(name: str, wanted: str) -> float:
    return difflib.SequenceMatcher(None, wanted, name).ratio()
