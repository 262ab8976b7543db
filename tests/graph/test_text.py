"""Printing: one node a line, a node's second appearance as its name alone, and every option of SPEC 10."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser

import pytest
import torch

import scrub as rc
from scrub.graph.text import Line, styled_lines, tree_lines
from tests.steps import num_steps


def spec_example() -> tuple[rc.Expr, rc.Symbol, list[rc.Array]]:
    s = rc.Symbol.new_with_random_uuid((3,), "in")
    arrays = [rc.Array(torch.full((3,), v), n) for v, n in [(1.0, "w"), (2.0, "x"), (3.0, "y")]]
    w, x, y = arrays
    model = rc.Module(rc.ModuleSpec(rc.Add(s, w, name="spec"), [s]), "model", **{"in": x})
    return rc.Einsum.from_string("a,a->", model, y, name="loss"), s, arrays


def numbered(count: int, child: rc.Expr, *, is_named: bool = True) -> rc.Expr:
    one = rc.Scalar(1.0, name="one")
    for i in range(count):
        child = rc.Add(child, one, name=f"n{i}" if is_named else None)
    return child


def test_the_worked_example() -> None:
    """SPEC 10, its digests and uuid aside."""
    loss, s, arrays = spec_example()
    w, x, y = (array.frozen.digest[:8] for array in arrays)
    assert rc.to_text(loss) == "\n".join(
        [
            "'loss' [] Einsum a,a->",
            "  'model' [3] Module",
            "    'spec' [3] Add",
            f"      'in' [3] Symbol {s.uuid[:8]}",
            f"      'w' [3] Array {w}",
            f"    'x' [3] Array {x} ! 'in'",
            f"  'y' [3] Array {y}",
        ]
    )


def test_the_exact_form_of_the_worked_example_differs_in_digests_alone() -> None:
    """SPEC 10."""
    loss, s, arrays = spec_example()
    text = rc.to_text(loss)
    for full in (s.uuid, *(array.frozen.digest for array in arrays)):
        text = text.replace(full[:8], full)
    assert rc.to_text(loss, exact=True) == text


def test_a_second_appearance_is_the_name_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """SPEC 10."""
    shared = rc.Add(rc.Scalar(1.0, name="a"), name="shared")
    top = rc.Add(shared, rc.Add(shared, name="other"), name="top")
    assert rc.to_text(top).splitlines()[3:] == ["  'other' [] Add", "    'shared'"]
    top.print()
    assert capsys.readouterr().out == rc.to_text(top) + "\n"


def test_equal_neighbours_are_folded() -> None:
    x = rc.Scalar(1.0, name="x")
    assert rc.to_text(rc.Add(x, x, name="s")).splitlines()[1:] == ["  'x' [] Scalar 1.0", "  'x'"]
    assert rc.to_text(rc.Add(*[x] * 12, name="s")).splitlines()[1:] == ["  'x' [] Scalar 1.0", "  'x' ... x 11"]
    deep = rc.Add(x, name="deep")
    assert rc.to_text(rc.Add(*[deep] * 5, x, name="s")).splitlines()[1:] == [
        "  'deep' [] Add",
        "    'x' [] Scalar 1.0",
        "  'deep' ... x 4",
        "  'x'",
    ]


def test_labels_only_where_a_name_alone_would_be_ambiguous() -> None:
    a, b = rc.Add(rc.Scalar(1.0), name="n"), rc.Add(rc.Scalar(2.0), name="n")
    lines = rc.to_text(rc.Add(a, b, rc.Add(a, name="last"), name="top")).splitlines()
    assert [line.strip() for line in lines if "'n'" in line] == ["'n' @1 [] Add", "'n' [] Add", "'n' @1"]
    unnamed = rc.Add(rc.Scalar(1.0, name="x"))
    lines = rc.to_text(rc.Add(unnamed, rc.Add(unnamed, name="last"), name="top"), exact=True).splitlines()
    assert lines[1:] == ["  @1 [] Add", "    'x' [] Scalar 1.0", "  'last' [] Add", "    @1"]
    assert "@" not in rc.to_text(spec_example()[0], exact=True)


def test_an_unnamed_leaf_says_its_digest_once() -> None:
    x = rc.Array(torch.ones(2))
    assert repr(x) == rc.to_text(x) == f"[2] Array {x.frozen.digest[:8]}"
    s = rc.Symbol((2,), "0b0a5bd6-4ab5-4a32-9a4c-7c2d2c5d4d0c")
    assert repr(s) == "[2] Symbol 0b0a5bd6"


@pytest.mark.parametrize("name", ["two\nlines", "a # b", "it's", 'say "hi"', "'", "", "[2] Add", "\u2028", "x ! 'y'"])
def test_any_name_stays_on_its_line(name: str) -> None:
    """SPEC 10: names may hold spaces, `#` and quotes (escaped)."""
    x = rc.Scalar(1.0, name=name)
    assert rc.to_text(x) == f"{name!r} [] Scalar 1.0"
    assert len(rc.to_text(rc.Add(x, x)).splitlines()) == 3
    assert "\n" not in repr(rc.Add(x, rc.Scalar(2.0, name="y")))


def test_depth_limit() -> None:
    shared = rc.Add(rc.Scalar(1.0, name="a"), name="shared")
    top = rc.Add(shared, rc.Add(shared, name="other"), name="top")
    assert rc.to_text(top, max_depth=1).splitlines() == [
        "'top' [] Add",
        "  'shared' [] Add ...",
        "  'other' [] Add ...",
    ]
    assert rc.to_text(top, max_depth=0) == "'top' [] Add ..."


def test_a_depth_limit_shows_all_that_is_within_it() -> None:
    """A node that was cut where it came first is printed again where there is room for it."""
    shared = rc.Add(rc.Add(rc.Scalar(1.0, name="a"), name="inner"), name="shared")
    top = rc.Add(rc.Add(rc.Add(shared, name="p"), name="q"), shared, name="top")
    assert rc.to_text(top, max_depth=3).splitlines() == [
        "'top' [] Add",
        "  'q' [] Add",
        "    'p' [] Add",
        "      'shared' [] Add ...",
        "  'shared' [] Add",
        "    'inner' [] Add",
        "      'a' [] Scalar 1.0",
    ]


def test_descend_stops_at_a_predicate() -> None:
    shared = rc.Add(rc.Scalar(1.0, name="a"), name="shared")
    top = rc.Add(shared, rc.Add(shared, name="other"), name="top")
    lines = rc.to_text(top, descend=lambda n: n.name != "shared").splitlines()
    assert lines[1:] == ["  'shared' [] Add ...", "  'other' [] Add", "    'shared'"]
    assert rc.to_text(top, descend=~rc.Matcher("shared")).splitlines() == lines


def test_a_traversal_goes_along_paths() -> None:
    """Below A everything is shown, below B nothing: what both share is printed in the place that shows more."""
    x = rc.Add(rc.Scalar(1.0, name="leaf"), name="x")
    top = rc.Add(rc.Add(x, name="B"), rc.Add(x, name="A"), name="top")
    traversal = rc.restrict(True, term_early_at="B")
    assert rc.to_text(top, traversal=traversal).splitlines() == [
        "'top' [] Add",
        "  'B' [] Add ...",
        "  'A' [] Add",
        "    'x' [] Add",
        "      'leaf' [] Scalar 1.0",
    ]
    path = rc.IterativeMatcher("A").chain(rc.restrict(True, end_depth=2)) & rc.restrict(True, end_depth=4)
    assert "leaf" in rc.to_text(top, traversal=path)
    assert rc.to_text(top, traversal=rc.new_traversal(end_depth=2)).splitlines() == [
        "'top' [] Add",
        "  'B' [] Add ...",
        "  'A' [] Add ...",
    ]
    chosen = rc.restrict(rc.new_traversal(end_depth=1).chain(rc.children_matcher({1})), end_depth=5)
    assert rc.to_text(top, traversal=chosen).splitlines()[1] == "  'B' [] Add ..."


def test_a_traversal_that_is_none() -> None:
    with pytest.raises(rc.ConstructionError, match=r"(?s)a traversal is an IterativeMatcher, not 'x'.*hint: new_trav"):
        rc.to_text(rc.Scalar(1.0), traversal="x")  # type: ignore[arg-type]


def test_a_traversal_of_2_to_the_60_paths() -> None:
    node: rc.Expr = rc.Scalar(1.0, name="x")
    for i in range(60):
        node = rc.Add(node, node, name=f"n{i}")
    assert len(rc.to_text(node, traversal=rc.new_traversal(end_depth=30)).splitlines()) < 31 * 31
    assert len(rc.to_text(node, max_depth=30).splitlines()) < 31 * 31


def test_comments_of_several_commenters() -> None:
    x = rc.Add(rc.Scalar(1.0, name="a"), name="s")
    only_a = lambda node: "here\nand there" if node.name == "a" else None  # noqa: E731
    assert rc.to_text(x, commenters=only_a).splitlines() == ["'s' [] Add", "  'a' [] Scalar 1.0  # here and there"]
    both = rc.to_text(x, commenters=[only_a, lambda node: f"ndim {node.ndim}"])
    assert both.splitlines() == ["'s' [] Add  # ndim 0", "  'a' [] Scalar 1.0  # here and there; ndim 0"]


def test_without_shapes() -> None:
    assert rc.to_text(spec_example()[0], shapes=False).splitlines()[:2] == ["'loss' Einsum a,a->", "  'model' Module"]


def test_arrows_connect_children_and_repeats() -> None:
    shared = rc.Add(rc.Scalar(1.0, name="a"), name="shared")
    top = rc.Add(rc.Add(shared, name="first"), rc.Add(shared, name="last"), name="top")
    assert rc.to_text(top, arrows=True).splitlines() == [
        "'top' [] Add",
        "├ 'first' [] Add",
        "│ └ 'shared' [] Add",
        "│   └ 'a' [] Scalar 1.0",
        "└ 'last' [] Add",
        "  └ 'shared'  # ↑ line 3",
    ]


def test_colors() -> None:
    loss, _, _ = spec_example()
    plain = rc.to_text(loss)
    assert re.sub(r"\033\[\d+m", "", rc.to_text(loss, color=True)) == plain
    assert "\033[32m Array" in rc.to_text(loss, color=True)
    colored = rc.to_text(loss, colorer=lambda n: "red" if n.name == "w" else None, color=True).splitlines()
    assert [("\033[31m" in line) for line in colored] == ["'w'" in line for line in plain.splitlines()]
    assert rc.to_text(loss, colorer=lambda n: "red") == plain
    with pytest.raises(rc.ConstructionError, match=r"(?s)'pink', which is not a color.*hint: one of blue, cyan"):
        rc.to_text(loss, colorer=lambda n: "pink", color=True)


def test_print_colors_on_terminals_only(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    x = rc.Scalar(1.0, name="x")
    x.print()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    x.print()
    x.print(color=False)
    plain, colored, asked = capsys.readouterr().out.splitlines()
    assert plain == asked == "'x' [] Scalar 1.0"
    assert "\033[" in colored


def test_printing_writes_no_file(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """SPEC 10."""
    monkeypatch.setattr("builtins.open", None)
    monkeypatch.setattr("pathlib.Path.open", None)
    loss = spec_example()[0]
    loss.print(arrows=True, color=True)
    assert loss._repr_html_()


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_what_a_notebook_shows_is_small_and_escaped() -> None:
    wide = rc.Add(*[rc.Scalar(float(i), name=f"<b>{i}</b>") for i in range(100_000)], name="wide")
    for expr in (numbered(20_000, rc.Scalar(1.0)), wide):
        html = expr._repr_html_()
        assert len(html) < 20_000
        tags = Tags()
        tags.feed(html)
        assert not tags.open
        assert "expr.print() shows all" in tags.text
    assert "'<b>0</b>' [] Scalar 0.0" in tags.text
    assert "print_html" not in rc.Scalar(1.0)._repr_html_()


def test_deep_text_is_linear() -> None:
    sizes: dict[int, int] = {}
    for count in (10_000, 20_000):
        text = rc.to_text(numbered(count, rc.Scalar(1.0, name="start")))
        sizes[count] = len(text)
        lines = text.splitlines()
        assert len(lines) == 2 * count + 1
    assert sizes[20_000] < 2.1 * sizes[10_000]
    assert lines[99] == f"{'  ' * 99}'n{20_000 - 100}' [] Add"
    assert lines[100] == f"100|'n{20_000 - 101}' [] Add"
    assert lines[101] == f"100|  'n{20_000 - 102}' [] Add"


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("is_named", [False, True])
def test_a_line_costs_the_same_at_any_depth(exact: bool, is_named: bool) -> None:
    small, large = (numbered(count, rc.Scalar(1.0, name="start"), is_named=is_named) for count in (1_000, 10_000))
    assert num_steps(lambda: rc.to_text(large, exact=exact)) < 10.5 * num_steps(lambda: rc.to_text(small, exact=exact))


def test_several_roots_share_what_is_printed() -> None:
    x = rc.Add(rc.Scalar(1.0, name="a"), name="x")
    assert rc.to_text([x, rc.Add(x, name="y"), x]).splitlines()[2:] == ["'y' [] Add", "  'x'", "'x'"]


def test_styled_lines_have_the_text_of_plain_ones() -> None:
    loss = rc.Add(*[spec_example()[0]] * 7)
    lines: list[Line] = list(tree_lines(loss))
    styled = ["".join(piece.text for piece in row) for row in styled_lines(lines, exact=True)]
    assert styled == rc.to_text(loss, exact=True).splitlines()
