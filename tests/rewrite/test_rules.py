"""What every registered rule promises, checked on generated expressions: registering one is all it takes to be here."""

from __future__ import annotations

import doctest
import importlib

import pytest

import scrub.rewrite.rules  # noqa: F401 - registers them
from scrub.rewrite.rule import REWRITES
from scrub.rewrite.testing import check_rule

FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize("name", sorted(REWRITES))
def test_it_fires_and_keeps_its_promises(name: str) -> None:
    report = check_rule(REWRITES[name], num_cases=200)
    assert report.num_cases >= 200
    assert report.num_fired >= 20, report


@pytest.mark.parametrize("name", sorted(REWRITES))
def test_its_documentation_runs(name: str) -> None:
    """doctest finds functions and classes, and a rule is neither."""
    rule = REWRITES[name]
    scope = dict(vars(importlib.import_module(rule.__module__)))
    test = doctest.DocTestParser().get_doctest(rule.__doc__ or "", scope, name, None, None)
    assert test.examples, "a rule shows an example"
    results = doctest.DocTestRunner(optionflags=FLAGS).run(test)
    assert results.failed == 0


def test_a_rule_says_why_it_does_not_apply() -> None:
    from scrub.graph import Add, RewriteError, Scalar
    from scrub.rewrite.rules import flatten_sum

    with pytest.raises(RewriteError, match=r"flatten_sum does not apply to 's' .*: no term is a sum"):
        flatten_sum(Add(Scalar(1.0), name="s"))
    with pytest.raises(RewriteError, match="it rewrites Add, this is a Scalar"):
        flatten_sum(Scalar(1.0))
