"""Results as a table (CSV, and Markdown in `docs/benchmarks.md`) and a plot (`docs/benchmarks.svg`)."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from benchmarks.timing import Row

DOCS = Path(__file__).parent.parent / "docs"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
FIELDS = ("benchmark", "what", "size", "target", "unit", "values", "note")


def read(path: Path) -> dict[str, list[Row]]:
    """The rows of a file, by benchmark; none if there is no file."""
    found: dict[str, list[Row]] = {}
    if path.exists():
        with path.open(newline="") as file:
            for record in csv.DictReader(file):
                values = tuple(float(value) for value in record["values"].split())
                target = float(record["target"]) if record["target"] else None
                row = Row(record["what"], record["size"], values, target, record["unit"], record["note"])
                found.setdefault(record["benchmark"], []).append(row)
    return found


def write(results: Mapping[str, Sequence[Row]], folder: Path) -> None:
    """The file of results, the plot, and the table between its marks in the page."""
    with (folder / "benchmarks.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FIELDS)
        for name, rows in results.items():
            for row in rows:
                values = " ".join(f"{value:.5g}" for value in row.values)
                target = "" if row.target is None else row.target
                writer.writerow((name, row.what, row.size, target, row.unit, values, row.note))
    rows = [row for found in results.values() for row in found]
    (folder / "benchmarks.svg").write_text(plot([row for row in rows if row.target is not None]))
    page = folder / "benchmarks.md"
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{markdown(rows)}{END}{after}")


def markdown(rows: Iterable[Row]) -> str:
    """
    >>> print(markdown([Row("a forward", "1 x 15 tokens", (1.0, 1.2, 1.1), 1.05)]))
    | what | size | target | median | range | reached | ours / peer |
    |---|---|---|---|---|---|---|
    | a forward | 1 x 15 tokens | ≤ 1.05 | 1.10 | 1.00 to 1.20 | no | |
    <BLANKLINE>
    """
    lines = ["| what | size | target | median | range | reached | ours / peer |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        unit = f" {row.unit}" if row.unit else ""
        target = "" if row.target is None else f"≤ {row.target:g}{unit}"
        spread = f"{row.low:.3g} to {row.high:.3g}" if row.unit else f"{row.low:.2f} to {row.high:.2f}"
        median = f"{row.median:.3g}{unit}" if row.unit else f"{row.median:.2f}"
        reached = {None: "", True: "yes", False: "no"}[row.is_reached]
        cells = (row.what, row.size, target, median, spread if len(row.values) > 1 else "", reached, row.note)
        lines.append("|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|")
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[Row]) -> str:
    """Each row's median and range as a fraction of its target: left of the line is reached."""
    labels = [f"{row.what}, {row.size}" for row in rows]
    left, right, height, top = 24 + 6.2 * max(map(len, labels), default=0), 360, 24, 30
    highest = max(2.0, *(row.high / (row.target or 1) for row in rows)) if rows else 2.0

    def x(fraction: float) -> float:
        return left + fraction / highest * right

    bottom = top + height * len(rows)
    parts = [f'<line class="target" x1="{x(1):.1f}" x2="{x(1):.1f}" y1="{top - 8}" y2="{bottom}"/>']
    parts.append(f'<text x="{x(1):.1f}" y="{top - 12}" text-anchor="middle">target</text>')
    for index, (row, label) in enumerate(zip(rows, labels, strict=True)):
        low, median, high = (x(value / (row.target or 1)) for value in (row.low, row.median, row.high))
        y = top + height * (index + 0.5)
        kind = "good" if row.is_reached else "bad"
        parts.append(f'<text x="{left - 10:.1f}" y="{y + 4:.1f}" text-anchor="end">{escape(label)}</text>')
        parts.append(f'<line class="{kind}" x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<circle class="{kind}" cx="{median:.1f}" cy="{y:.1f}" r="4"/>')
        parts.append(f'<text x="{left + right + 12:.1f}" y="{y + 4:.1f}">{row.median:.2f} ≤ {row.target:g}</text>')
    width = left + right + 110
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {bottom + 12}" width="{width:.0f}" '
        f'role="img" aria-label="Benchmarks as fractions of their targets">{STYLE}{"".join(parts)}</svg>\n'
    )


STYLE = (
    "<style>svg{background:#fff;font:12px system-ui,sans-serif;fill:#222}line{stroke-width:2}"
    ".target{stroke:#999;stroke-dasharray:4 3}line.good{stroke:#2a7f62}circle.good{fill:#2a7f62}"
    "line.bad{stroke:#b5482f}circle.bad{fill:#b5482f}</style>"
)
