"""The study of the parentheses classifier: all hypotheses on the same references, and what the choices change."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from scrub.hypothesis import Dataset, FewRowsWarning, Result, Results
from scrub.models import LoadedModel
from scrub.tasks.parens.hypotheses import HYPOTHESES, Roles, parens_experiment

CHOICES: Mapping[str, Mapping[str, Any]] = {
    "as defined": {},
    "unimportant terms draw separately": {"unimportant": "term"},
    "all that is unimportant shares one draw": {"unimportant": "shared"},
    "the original reference is handed down": {"handed_down": "original"},
    "masks are unconditioned": {"mask": "unconditioned"},
}
"""What is told to `parens_experiment` in place of its defaults."""
COMPARED = ("1b", "2a", "3a")
"""Hypotheses for which the choices are shown."""

Report = Callable[[str, Result], None]


def all_hypotheses(
    model: LoadedModel, data: Dataset, roles: Roles, *, n: int, seed: int = 0, report: Report | None = None
) -> Results:
    """Every hypothesis of the table; 0a is the original and 0b the baseline."""
    return _run({name: {"which": name} for name in HYPOTHESES}, model, data, roles, n, seed, report)


def choices(
    which: str,
    model: LoadedModel,
    data: Dataset,
    roles: Roles,
    *,
    n: int,
    seed: int = 0,
    report: Report | None = None,
) -> Results:
    """A hypothesis under each of `CHOICES`, with 0a and 0b."""
    runs: dict[str, dict[str, Any]] = {name: {"which": name} for name in ("0a", "0b")}
    runs |= {choice: {"which": which, **options} for choice, options in CHOICES.items()}
    return _run(runs, model, data, roles, n, seed, report)


def ties(
    model: LoadedModel, data: Dataset, roles: Roles, *, n: int, seed: int = 0, report: Report | None = None
) -> Results:
    """3b and 4 with shares compared with 1/2 exactly, and in single precision; with 0a and 0b."""
    runs: dict[str, dict[str, Any]] = {name: {"which": name} for name in ("0a", "0b")}
    for which in ("3b", "4"):
        for decided_in in ("integers", "float32"):
            runs[f"{which}, decided in {decided_in}"] = {"which": which, "decided_in": decided_in}
    return _run(runs, model, data, roles, n, seed, report)


def _run(
    runs: Mapping[str, Mapping[str, Any]],
    model: LoadedModel,
    data: Dataset,
    roles: Roles,
    n: int,
    seed: int,
    report: Report | None,
) -> Results:
    results: dict[str, Result] = {}
    for name, options in runs.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FewRowsWarning)  # of p and of classes far from the start: meant
            experiment = parens_experiment(model=model, data=data, roles=roles, **options)
        results[name] = experiment.run(n, seed=seed)
        if report is not None:
            report(name, results[name])
    return Results(results)
