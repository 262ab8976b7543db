"""Labelled tables: selection, text, pandas and plots."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
import torch

import scrub as rc
from scrub.discovery.tables import Table

NAN = float("nan")


def a_table(*sizes: int) -> Table:
    names = ("layer", "head", "query", "key")[: len(sizes)]
    values = torch.randn(sizes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Table(
        values, [(n, range(size)) for n, size in zip(names, sizes, strict=True)], "change", errors=values.abs()
    )


def test_selection_by_label() -> None:
    table = a_table(3, 2, 4)
    assert table.select(layer=2, query=1).values.equal(table.values[2, :, 1])
    part = table.select(query=[3, 0], head=1)
    assert part.names == ("layer", "query")
    assert part.labels("query") == (3, 0)
    assert part.values.equal(table.values[:, 1][:, [3, 0]])
    assert part.errors is not None
    assert part.errors.equal(part.values.abs())
    assert table.select(layer=0, head=0, query=0).item() == float(table.values[0, 0, 0])
    named = Table(torch.arange(3.0), [("position", ("end", 4, "S2"))], "score")
    assert named.select(position="S2").item() == 2
    assert named.select(position=4).item() == 1


def test_sums_differences_and_functions() -> None:
    table = a_table(3, 2)
    assert table.summed("head").values.equal(table.values.sum(1))
    twice = table.map(lambda v: 2 * v, "twice")
    difference = twice - table
    assert difference.values.allclose(table.values)
    assert difference.quantity == "twice - change"
    assert difference.errors is None


def test_text() -> None:
    table = Table(
        torch.tensor([[0.25, NAN], [-3.0, 1e-7]]), [("layer", (0, 1)), ("head", ("a", "b"))], "change", "title"
    )
    assert str(table).splitlines() == [
        "change: layer x head (title)",
        "layer     a      b",
        "-----  ----  -----",
        "0      0.25",
        "1        -3  1e-07",
    ]
    assert str(table.largest(1)).splitlines()[2].split() == ["1", "a", "-3"]
    assert repr(table) == "title (change): 2 layer x 2 head"
    assert len(str(a_table(3, 3, 3)).splitlines()) == 13
    assert str(table.select(layer=1, head="a")) == "change: -3"


def test_pandas() -> None:
    table = a_table(3, 2)
    frame = table.to_pandas()
    assert list(frame.columns) == ["layer", "head", "value", "error"]
    assert len(frame) == 6
    row = frame[(frame["layer"] == 2) & (frame["head"] == 1)]
    assert float(row["value"].iloc[0]) == float(table.values[2, 1])


@pytest.mark.parametrize("sizes", [(5,), (3, 2), (2, 3, 4), (2, 2, 3, 3)])
def test_plots_show_every_number_once(sizes: tuple[int, ...]) -> None:
    table = a_table(*sizes)
    root = ElementTree.fromstring(table.svg())
    tips = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}title")]
    assert len(tips) == table.values.numel()
    shown = sorted(float(tip.rsplit(": ", 1)[1]) for tip in tips)
    assert shown == sorted(float(f"{v:.4g}") for v in table.values.flatten().tolist())
    assert table._repr_html_() == table.svg()


def test_plots_escape_labels_and_leave_out_nothing() -> None:
    table = Table(torch.tensor([[1.0, NAN]]), [("layer", (0,)), ("token", ("<b>", " &"))], "a < b", "x & y")
    root = ElementTree.fromstring(table.svg(scale=2.0))
    rects = [e for e in root.iter("{http://www.w3.org/2000/svg}rect") if len(e)]
    assert [e.get("class") for e in rects] == ["p", "none"]
    assert rects[0].get("fill-opacity") == "0.500"
    zeros = Table(torch.zeros(2, 2), [("layer", (0, 1)), ("head", (0, 1))], "nothing")
    assert ElementTree.fromstring(zeros.svg()) is not None


def test_mistakes_say_what_to_do() -> None:
    table = a_table(3, 2)
    with pytest.raises(rc.DiscoveryError, match="has no label 7"):
        table.select(layer=7)
    with pytest.raises(rc.DiscoveryError, match="no axis 'position'"):
        table.select(position=1)
    with pytest.raises(rc.DiscoveryError, match=r"\[3\] do not fit axes of \[2\] labels"):
        Table(torch.zeros(3), [("layer", (0, 1))], "x")
    with pytest.raises(rc.DiscoveryError, match="twice"):
        Table(torch.zeros(2), [("layer", (1, 1))], "x")
    with pytest.raises(rc.DiscoveryError, match="different axes"):
        _ = table - a_table(3, 3)
    with pytest.raises(rc.DiscoveryError, match="no single number"):
        table.item()
