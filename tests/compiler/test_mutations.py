"""The generated checks notice a broken compiler: it is broken on purpose, and they have to say so.

The breaks are listed in `mutations.txt`: a module and what goes wrong, a fragment of its source (-) with what takes its
place (+). All are of results; that work is shared, or memory saved, is measured elsewhere.
"""

from __future__ import annotations

import builtins
import functools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from scrub.compiler.passes import ALL_PASSES, PASSES
from tests.compiler.cases import Case, Compiler, cases, check_case, pattern_cases
from tests.rewrite.forks import Fork, source_of

LIST = Path(__file__).with_name("mutations.txt")
PACKAGE = "scrub.compiler"
SHARED = "scrub.compiler.reference"  # extends `Expr`, which can be done once
ONLY_WITH_PASSES = ("passes.", "ops.attention", "ops.cross_entropy", "ops.linear", "ops.normalization")
NUM_CASES, NUM_OF_EACH_PATTERN = 20, 8


@dataclass(frozen=True)
class Mutation:
    """A break of the compiler: in the source of a module, `old` becomes `new`."""

    module: str
    what: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.module}: {self.what}"


class CompilerFork(Fork):
    """The compiler once more, from source text of which some is replaced, next to the real one.

    Args:
        sources: module name -> its text, where that is not what is in its file.
    """

    def __init__(self, sources: Mapping[str, str]) -> None:  # the rules, which a `Fork` loads, are none of ours
        self.rules = {}
        self.modules: dict[str, ModuleType] = {}
        self.sources = sources
        self.compile: Compiler = self._load(f"{PACKAGE}.program").compile
        self.passes: dict[str, Any] = self._load(f"{PACKAGE}.passes").PASSES

    def _import(self, name: str, *args: Any) -> Any:
        is_forked = name.startswith(f"{PACKAGE}.") and name != SHARED
        is_from = len(args) > 2 and bool(args[2])
        return self._load(name) if is_forked and is_from else builtins.__import__(name, *args)


def mutations() -> list[Mutation]:
    """All that are listed."""
    found: list[Mutation] = []
    for entry in LIST.read_text().strip().split("\n\n"):
        head, *lines = entry.split("\n")
        module, _, what = head.partition(": ")
        parts = {sign: "\n".join(line[6:] for line in lines if line[4] == sign) for sign in "-+"}
        found.append(Mutation(module, what, parts["-"], parts["+"]))
    return found


@functools.cache
def tried() -> list[Case]:
    """One of each pattern first, and so on: most breaks show in some of these."""
    return [*pattern_cases(NUM_OF_EACH_PATTERN), *cases(0, NUM_CASES)]


def is_noticed(compiler: Compiler, passes: tuple[str, ...]) -> bool:
    """Whether some case fails under these passes."""
    for case in tried():
        try:
            check_case(case, passes, compiler)
        except Exception:  # a wrong result, or none at all
            return True
    return False


@pytest.mark.parametrize("mutation", mutations(), ids=str)
def test_the_suite_notices(mutation: Mutation) -> None:
    name = f"{PACKAGE}.{mutation.module}"
    source = source_of(name)
    count = source.count(mutation.old)
    assert count == 1, f"{name} has the fragment {mutation.old!r} {count} times: adapt {LIST.name}"
    compiler = CompilerFork({name: source.replace(mutation.old, mutation.new)}).compile
    is_seen_without = not mutation.module.startswith(ONLY_WITH_PASSES) and is_noticed(compiler, ())
    assert is_seen_without or is_noticed(compiler, ALL_PASSES)


def test_no_break_is_listed_twice() -> None:
    counts = Counter((mutation.module, mutation.old, mutation.new) for mutation in mutations())
    assert counts.most_common(1)[0][1] == 1
    assert len(counts) >= 25


def test_a_fork_is_right_until_it_is_broken() -> None:
    before = dict(PASSES)
    fork = CompilerFork({})
    assert before == PASSES
    assert list(fork.passes) == list(PASSES)
    assert all(fork.passes[name] is not run for name, run in PASSES.items())
    for case in tried()[:20]:
        check_case(case, ALL_PASSES, fork.compile)
