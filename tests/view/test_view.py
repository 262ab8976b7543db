"""Pages and plots, and what a tree is coloured by."""

from __future__ import annotations

import re

import torch

import scrub as rc
from scrub.view import Interval, attention_plot, interval_plot, page, reads, table


def small_tree() -> tuple[rc.Expr, rc.Expr, rc.Expr]:
    original, other = rc.Scalar(1.0, name="original"), rc.Scalar(2.0, name="<other>")
    weight = rc.Scalar(3.0, name="weight")
    left = rc.Add(original, weight, name="left")
    right = rc.Add(other, weight, name="right")
    return rc.Add(left, right, left, weight, name="root"), original, other


def test_reads_tells_what_each_node_reads() -> None:
    root, original, other = small_tree()
    classes = {node.name: kind for node, kind in reads(root, original, other).items()}
    assert classes == {
        "root": "both",
        "left": "original",
        "right": "scrubbed",
        "original": "original",
        "<other>": "scrubbed",
        "weight": "neither",
    }


def test_table_escapes() -> None:
    assert "<td>a &lt; b</td>" in table(("x",), [("a < b",)])


def test_page_has_both_colour_schemes_and_no_links() -> None:
    html = page("A & B", ["<p>text</p>"])
    assert "prefers-color-scheme: dark" in html
    assert "A &amp; B" in html
    assert "http" not in html


def test_interval_plot_places_values_in_order() -> None:
    svg = interval_plot([Interval("a", 0.2, 0.1, 0.3), Interval("b", 0.9, 0.8, 1.4)], axis="fraction")
    centers = [float(x) for x in re.findall(r'circle class="mark" cx="([\d.]+)"', svg)]
    assert centers[0] < centers[1]
    low, high = (float(x) for x in re.findall(r'class="bar" x1="([\d.]+)" x2="([\d.]+)"', svg)[0])
    assert low < centers[0] < high


def test_attention_plot_draws_the_pattern() -> None:
    pattern = torch.tensor([[1.0, 0.0], [0.25, 0.75]])
    svg = attention_plot(pattern, ["a", " \n"], title="t")
    assert svg.count("<rect") == 3
    assert "·⏎ (1) attends to a (0): 0.25" in svg
