"""Test all hypotheses about the shipped parentheses classifier, and write docs/parens_results.md.

    python -m zoo.parens_study [--references 4000] [--rows 20000]

Takes some minutes on two cores. The numbers are a function of the arguments.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import scrub as rc
from scrub.hypothesis import Result, Results
from scrub.hypothesis.statistics.table import Table
from scrub.tasks.parens.data import parens_data
from scrub.tasks.parens.hypotheses import HYPOTHESES, Roles, parens_dataset
from scrub.tasks.parens.study import COMPARED, all_hypotheses, choices, ties

ORIGINAL, BASELINE = "0a", "0b"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--references", type=int, default=4_000, help="references of each hypothesis")
    parser.add_argument("--rows", type=int, default=20_000, help="rows of the data set, from the test split")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs/parens_results.md"))
    options = parser.parse_args(arguments)
    model = rc.load_shipped("parens")
    roles = Roles.recorded(model.info)
    data = parens_dataset(parens_data(options.rows, options.seed, split="test"), model, roles)
    n, seed = options.references, options.seed
    hypotheses = all_hypotheses(model, data, roles, n=n, seed=seed, report=_say)
    compared = {which: choices(which, model, data, roles, n=n, seed=seed, report=_say) for which in COMPARED}
    decided = ties(model, data, roles, n=n, seed=seed, report=_say)
    options.out.write_text(page(roles, hypotheses, compared, decided, rows=options.rows))


def page(roles: Roles, hypotheses: Results, compared: Mapping[str, Results], decided: Results, *, rows: int) -> str:
    """The page, with a table for the hypotheses, one for each that is compared under other choices, and ties."""
    first = next(iter(hypotheses.values()))
    sections = [
        "# The parentheses classifier: results",
        "",
        f"Written by `python -m zoo.parens_study`: {first.n:,} references of {rows:,} rows of the test split, "
        f"seed {first.info['seed']}, intervals of 95%. [The hypotheses](parens_hypotheses.md) says what is claimed. "
        f"Count heads {_heads(roles.count_heads)}, horizon head {_heads([roles.horizon_head])}, averaging head "
        f"{_heads([roles.averaging_head])}. Loss in nats; loss recovered is between 0a and 0b.",
        "",
        "## All hypotheses",
        "",
        *_markdown(hypotheses.table(original=ORIGINAL, baseline=BASELINE)),
        "",
        "How many times fewer references loss recovered needs because all losses are of the same references, and nodes "
        "of one name draw alike, than if each loss had draws of its own:",
        "",
        *_pairing(hypotheses),
        "",
        "## What the choices change",
        "",
    ]
    for which, results in compared.items():
        table = results.table(original=ORIGINAL, baseline=BASELINE)
        sections += [f"Hypothesis {which}:", "", *_markdown(table, skip=(ORIGINAL, BASELINE)), ""]
    sections += ["## Ties", "", *_markdown(decided.table(original=ORIGINAL, baseline=BASELINE)), ""]
    for which in ("3b", "4"):
        difference = decided.compare(f"{which}, decided in float32", f"{which}, decided in integers").difference
        sections.append(f"{which}: single precision moves the loss by {difference!r}.")
    return "\n".join([*sections, ""])


def _pairing(results: Results) -> list[str]:
    lines = ["| hypothesis | factor |", "|---|---|"]
    for name in HYPOTHESES:
        if name not in (ORIGINAL, BASELINE):
            lines.append(f"| {name} | {results.pairing_factor(name, original=ORIGINAL, baseline=BASELINE):.1f} |")
    return lines


def _markdown(table: Table, *, skip: Sequence[str] = ()) -> list[str]:
    lines = [f"| {' | '.join(table.header)} |", "|---" * len(table.header) + "|"]
    return lines + [f"| {' | '.join(row)} |" for row in table.rows if row[0] not in skip]


def _heads(heads: Sequence[tuple[int, int]]) -> str:
    return " and ".join(f"{layer}.{head}" for layer, head in heads)


def _say(name: str, result: Result) -> None:
    print(name, result, flush=True)


if __name__ == "__main__":
    main()
