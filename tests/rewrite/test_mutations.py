"""The generated suite notices broken rules: every rule is broken on purpose, and `check_rule` has to say so.

The breaks are listed in `mutations.txt`: a rule and what goes wrong, the module if it is not the rule's own, and a
fragment of its source (-) with what takes its place (+).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

import scrub.rewrite.rules  # noqa: F401 - registers them
from scrub.graph import ScrubError
from scrub.rewrite.rule import REWRITES, Rule
from scrub.rewrite.testing import check_rule
from tests.rewrite.forks import Fork, source_of

LIST = Path(__file__).with_name("mutations.txt")


@dataclass(frozen=True)
class Mutation:
    """A break of a rule: in the source of a module, `old` becomes `new`."""

    rule: str
    what: str
    module: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"


def mutations() -> list[Mutation]:
    """All that are listed."""
    found: list[Mutation] = []
    for entry in LIST.read_text().strip().split("\n\n"):
        head, *lines = entry.split("\n")
        rule, _, what = head.partition(": ")
        parts = {sign: "\n".join(line[6:] for line in lines if line[4] == sign) for sign in "@-+"}
        module = f"scrub.rewrite.{parts['@']}" if parts["@"] else REWRITES[rule].function.__module__
        found.append(Mutation(rule, what, module, parts["-"], parts["+"]))
    return found


def check_with_two_seeds(rule: Rule[...]) -> None:
    """As the suite does, and once more, so that a change of what is generated does not decide."""
    for seed in range(2):
        check_rule(rule, seed=seed)


@pytest.mark.parametrize("mutation", mutations(), ids=str)
def test_the_suite_notices(mutation: Mutation) -> None:
    source = source_of(mutation.module)
    count = source.count(mutation.old)
    assert count == 1, f"{mutation.module} has the fragment {mutation.old!r} {count} times: adapt {LIST.name}"
    broken = Fork({mutation.module: source.replace(mutation.old, mutation.new)}).rules[mutation.rule]
    with pytest.raises(ScrubError):  # a wrong result, or one that cannot even be made
        check_with_two_seeds(broken)


def test_every_rule_is_broken() -> None:
    assert {mutation.rule for mutation in mutations()} == set(REWRITES)


def test_no_break_is_listed_twice() -> None:
    counts = Counter((mutation.rule, mutation.module, mutation.old, mutation.new) for mutation in mutations())
    assert counts.most_common(1)[0][1] == 1


def test_a_fork_leaves_the_rules_alone() -> None:
    before = dict(REWRITES)
    fork = Fork({})
    assert before == REWRITES
    assert set(fork.rules) == set(REWRITES)
    assert all(fork.rules[name] is not rule for name, rule in REWRITES.items())
    assert check_rule(fork.rules["flatten_sum"], num_cases=20) == check_rule(REWRITES["flatten_sum"], num_cases=20)
