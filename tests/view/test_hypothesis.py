"""The page about an experiment: well formed, self-contained, nothing a user names becomes markup, colors apart."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import scrub as rc
from scrub.hypothesis import (
    Correspondence,
    Dataset,
    ExactSampler,
    Experiment,
    FuncSampler,
    Hypothesis,
    InterpNode,
    UncondSampler,
    corr_root_matcher,
)
from scrub.hypothesis.render.tree import experiment_tree
from scrub.view import HypothesisHtml, hypothesis_html
from tests.view.test_tree import data_of

X = torch.arange(6.0, dtype=torch.float64)
VOID = {"meta", "input"}


class Read(HTMLParser):
    """A page's texts by the tags they are in, the nesting of the interpretation, and all attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.bold: list[tuple[int, str]] = []  # depth in the interpretation, name
        self.marks: list[tuple[str, str]] = []  # number, classes
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        if tag not in VOID:
            self.open.append((tag, dict(attrs).get("class") or ""))
        if tag == "b":
            self.bold.append((self.depth(), ""))

    def depth(self) -> int:
        return sum(tag == "details" or kind == "leaf line" for tag, kind in self.open) - 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        tag, kind = self.open[-1] if self.open else ("", "")
        if tag == "b":
            self.bold[-1] = (self.bold[-1][0], self.bold[-1][1] + data)
        if kind.startswith("mark "):
            self.marks.append((data, kind.removeprefix("mark ")))
        if tag not in ("style", "script"):
            self.texts.append(data)


def wide(num_terms: int, **choices: Any) -> Experiment:
    symbols = [rc.Symbol.new_from_name((), f"x{i}") for i in range(num_terms)]
    total = rc.Add(*[symbol.scale(2.0, name=f"t{i}") for i, symbol in enumerate(symbols)], name="loss")
    root, corr = InterpNode(ExactSampler(), "root"), Correspondence()
    corr.add(root, corr_root_matcher)
    corr.add(root.make_descendant(ExactSampler(), "first"), "t0")
    return Experiment(total, Dataset({str(s.name): X for s in symbols}), Hypothesis(corr, **choices))


def named(name: str, array: str) -> Experiment:
    """A claim inside a claim, all named by the user."""
    x = rc.Symbol.new_from_name((), array)
    inner = x.scale(2.0, name=f"{name} inner")
    total = inner.add(x, name=name)
    root, corr = InterpNode(UncondSampler(), name), Correspondence()
    corr.add(root, corr_root_matcher)
    below = root.make_descendant(FuncSampler(array, name=name, few=1), name + "1")
    corr.add(below, f"{name} inner")
    corr.add(below.make_descendant(ExactSampler(), name + "2"), rc.IterativeMatcher(f"{name} inner").chain(array))
    return Experiment(total, Dataset({array: X}), Hypothesis(corr, name=name))


NASTY = "<script>alert(1)</script>&amp;\"'</style></details>--><b>\n"


@pytest.mark.parametrize("name", [NASTY, "plain", "' onmouseover='alert(1)", "]]>"])
def test_nothing_a_user_names_becomes_markup(name: str) -> None:
    plain = Read(hypothesis_html(named("plain", "array"), datum=lambda row: "text").html)
    html = hypothesis_html(named(name, name), datum=lambda row: name * 30).html
    page = Read(html)
    assert sorted(key for key, _ in page.attributes if key != "title") == sorted(
        key for key, _ in plain.attributes if key != "title"
    )
    assert [text for _, text in page.bold] == [name.replace("\n", "\\n") + suffix for suffix in ("", "1", "2")]
    assert data_of(html)["name"][0] == name


@given(st.text(max_size=20), st.text(min_size=1, max_size=20))
@settings(max_examples=25)
def test_any_names(name: str, array: str) -> None:
    if array == f"{name} inner" or array == name:
        return
    page = Read(hypothesis_html(named(name, array)).html)
    assert [depth for depth, _ in page.bold] == [0, 1, 2]


def test_the_interpretation_nests_as_it_does() -> None:
    symbols = [rc.Symbol.new_from_name((), name) for name in "xy"]
    a = symbols[0].mul(symbols[1], name="a")
    total = a.add(symbols[1].scale(3.0, name="b"), symbols[0], name="loss")
    root, corr = InterpNode(ExactSampler(), "0"), Correspondence()
    corr.add(root, corr_root_matcher)
    left = root.make_descendant(ExactSampler(), "1")
    corr.add(left, "a")
    corr.add(left.make_descendant(UncondSampler(), "2"), rc.IterativeMatcher("a").chain("x"))
    corr.add(left.make_descendant(UncondSampler(), "2'"), rc.IterativeMatcher("a").chain("y"))
    corr.add(root.make_descendant(UncondSampler(), "1'"), "b")
    experiment = Experiment(total, Dataset({"x": X, "y": X}), corr)
    page = Read(hypothesis_html(experiment).html)
    assert page.bold == [(0, "0"), (1, "1"), (2, "2"), (2, "2'"), (1, "1'")]


def test_marks_and_colors_are_those_of_the_draws() -> None:
    experiment = wide(20, unimportant="term")
    tree = experiment_tree(experiment)
    html = hypothesis_html(experiment).html
    page = Read(html)
    kinds = dict(page.marks)
    assert len(kinds) == 20
    assert len(set(page.marks)) == 20  # each draw looks the same wherever it is shown
    assert [kinds[str(i)] for i in (0, 7, 8, 16)] == ["d0 r0", "d7 r0", "d0 r1", "d0 r2"]
    assert len(set(kinds.values())) == 20
    data = data_of(html)
    style = dict(zip(data["name"], data["style"], strict=True))
    for node, draws in tree.reads.items():
        if node.name and node.name.startswith("t"):
            (drawn,) = draws
            assert style[node.name] == f"draw {kinds[str(drawn.number)]}"
    assert style["loss"] == "several"
    assert style[None] == "neither"  # the factor 2
    assert data["open"][0]
    assert sum(data["open"]) == 1
    assert "… 20 draws" in data["note"][0]


def test_draws_with_data() -> None:
    experiment = named("h", "x")
    tree = experiment_tree(experiment, seed=4, reference=3)
    page = Read(hypothesis_html(experiment, seed=4, reference=3, datum=lambda row: f"<{row['x'].item()}>").html)
    for drawn in tree.draws:
        assert f"<{float(X[drawn.row])}>" in page.texts
        assert drawn.slot.label in page.texts
        assert str(drawn.row) in page.texts
    assert any("reference 3 of seed 4" in text for text in page.texts)


def test_self_contained_and_saved(tmp_path: Any) -> None:
    shown = hypothesis_html(wide(3), title="a <title>")
    assert isinstance(shown, HypothesisHtml)
    assert "<title>a &lt;title&gt;</title>" in shown.html
    assert not re.search(r"https?://|@import|url\(|<link|\bsrc=", shown.html)
    shown.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == shown.html
    frame = shown._repr_html_()  # pyright: ignore[reportPrivateUsage]
    assert frame.startswith("<iframe srcdoc=")
    assert "<script" not in frame
    assert "HypothesisHtml" in repr(shown)


# Machado, Oliveira, Fernandes 2009, "A physiologically-based model for simulation of color vision deficiency",
# severity 1; linear RGB.
SIGHT = {
    "all three cones": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def linear(color: str) -> np.ndarray:
    value = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """WCAG 2."""
    low, high = sorted(float(linear(color) @ [0.2126, 0.7152, 0.0722]) for color in (one, other))
    return (high + 0.05) / (low + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear RGB, white D65."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    relative = to_xyz @ np.clip(rgb, 0, 1) / [0.9505, 1.0, 1.089]
    f = np.where(relative > 0.008856, np.cbrt(relative), 7.787 * relative + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("scheme", [0, 1])
def test_colors_are_legible_and_apart(scheme: int) -> None:
    """On page and panel, and for readers who lack one kind of cones (a difference of 2.3 is just noticeable)."""
    html = hypothesis_html(wide(2)).html
    css = files("scrub.view").joinpath("hypothesis.css").read_text(encoding="utf-8")
    colors = [re.findall(rf"--d{i}: (#[0-9a-f]{{6}})", css)[scheme] for i in range(8)]
    backgrounds = [re.findall(rf"--{name}: (#[0-9a-f]{{6}})", html)[scheme] for name in ("page", "panel")]
    assert min(contrast(color, background) for color in colors for background in backgrounds) >= 4.5
    for matrix in SIGHT.values():
        seen = [lab(matrix @ linear(color)) for color in colors]
        assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 20
