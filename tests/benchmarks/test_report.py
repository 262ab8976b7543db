"""Rows survive their file, and the page and the plot hold them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from benchmarks import report
from benchmarks.timing import Row, compare

ROWS = {
    "forward": [Row("a < b", "1 x 15 tokens", (1.5, 0.5, 1.0), 1.05, note="0.1 / 0.2 s")],
    "many": [Row("one more", "small", (0.25,), unit="ms"), Row("compile", "small", (4.0, 5.0), 3.0, unit="s")],
}


def written(folder: Path) -> Path:
    (folder / "benchmarks.md").write_text(f"# Title\n\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write(ROWS, folder)
    return folder


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert report.read(written(tmp_path) / "benchmarks.csv") == ROWS
    assert report.read(tmp_path / "missing.csv") == {}


def test_the_page_keeps_what_is_around_the_table(tmp_path: Path) -> None:
    page = (written(tmp_path) / "benchmarks.md").read_text()
    assert page.startswith("# Title\n")
    assert page.endswith(f"{report.END}\nafter\n")
    assert "old" not in page
    report.write(ROWS, tmp_path)
    assert (tmp_path / "benchmarks.md").read_text() == page


def test_the_table_says_what_is_reached() -> None:
    lines = report.markdown([row for rows in ROWS.values() for row in rows]).splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[3] for row in cells] == ["1.00", "0.25 ms", "4.5 s"]
    assert [row[5] for row in cells] == ["yes", "", "no"]


def test_the_plot_is_well_formed_and_places_values_by_target(tmp_path: Path) -> None:
    svg = (written(tmp_path) / "benchmarks.svg").read_text()
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    target = float(re.findall(r'class="target" x1="([\d.]+)"', svg)[0])
    circles = [(kind, float(x)) for kind, x in re.findall(r'<circle class="(\w+)" cx="([\d.]+)"', svg)]
    assert [kind for kind, _ in circles] == ["good", "bad"]
    assert circles[0][1] < target < circles[1][1]


def test_ratios_are_ours_over_the_peer_and_sides_take_turns() -> None:
    calls: list[str] = []
    row = compare(
        "x",
        "",
        lambda: calls.append("ours") or sum(range(300_000)),
        lambda: calls.append("peer"),
        rounds=4,
        target=1.0,
        warm_ups=0,
    )
    assert calls == ["ours", "peer", "peer", "ours"] * 2
    assert len(row.values) == 4
    assert row.is_reached is False  # adding 300,000 numbers is slower than nothing, on any machine
