"""Section 10 of the specification, sentence by sentence: text."""

from __future__ import annotations

import builtins
import os
from pathlib import Path

import pytest
import torch

import scrub as rc
import scrub.view  # gives expressions print_html
from scrub.graph import FrozenTensor, Parser

WORKED_EXAMPLE = """\
'loss' [] Einsum a,a->
  'model' [3] Module
    'spec' [3] Add
      'in' [3] Symbol 7f0c2d4e
      'w' [3] Array 2f97b0bb
    'x' [3] Array 50dba7b0 ! 'in'
  'y' [3] Array 292d9fdb"""


def worked_example() -> rc.Expr:
    """The expression that it shows, with tensors said to have the digests it shows, and a symbol of such a uuid."""

    def array(name: str, digest: str) -> rc.Array:
        value = torch.tensor([float(ord(name)), 1.0, 2.0])
        return rc.Array(FrozenTensor(value, digest=digest.ljust(32, "0")), name)

    symbol = rc.Symbol((3,), "7f0c2d4e-5b6a-4c1d-8e2f-9a0b1c2d3e4f", "in")
    spec = rc.ModuleSpec(rc.Add(symbol, array("w", "2f97b0bb"), name="spec"), [symbol])
    model = rc.Module(spec, "model", **{"in": array("x", "50dba7b0")})
    return rc.Einsum.from_string("a,a->", model, array("y", "292d9fdb"), name="loss")


def chain(count: int) -> rc.Expr:
    one, expr = rc.Scalar(1.0, name="one"), rc.Scalar(2.0, name="start")
    made: rc.Expr = expr
    for i in range(count):
        made = rc.Add(made, one, name=f"n{i}")
    return made


def test_10_the_worked_example_letter_by_letter(capsys: pytest.CaptureFixture[str]) -> None:
    """SPEC 10: the seven lines as they stand there.

    The `7f0c...` of the specification leaves out the rest of a uuid; eight digits of it are printed, as of digests.
    """
    assert rc.to_text(worked_example()) == WORKED_EXAMPLE
    worked_example().print()
    assert capsys.readouterr().out == WORKED_EXAMPLE + "\n"


def test_10_the_worked_example_is_read_back_to_the_same_object() -> None:
    """SPEC 10: "`Parser` reads it back to the same object", from the short text and from the exact."""
    loss = worked_example()
    assert Parser(known=[loss])(WORKED_EXAMPLE) is loss
    assert Parser(known=[loss])(rc.to_text(loss, exact=True)) is loss


def test_10_tensors_are_looked_up_by_digest_or_random_on_request() -> None:
    """SPEC 10: "(tensors looked up by digest, or random on request)"."""
    x = rc.Array(torch.arange(3.0), "x")
    text = rc.to_text(rc.softmax(x, name="p"), exact=True)
    assert Parser(tensors=[x.value])(text) is rc.softmax(x, name="p")
    with pytest.raises(rc.ScrubError):
        Parser()(text)
    made = Parser(random=0)(text)
    assert made.get_unique("x").shape == (3,)
    assert made is Parser(random=0)(text)
    assert made is not Parser(random=1)(text)


def test_10_two_spaces_per_depth_children_below_their_parent() -> None:
    """SPEC 10: "One node a line, two spaces per depth, children below their parent"."""
    lines = rc.to_text(chain(20)).splitlines()
    for depth in range(20):
        assert lines[depth] == f"{'  ' * depth}'n{19 - depth}' [] Add"
    assert lines[20:22] == [f"{'  ' * 20}'start' [] Scalar 2.0", f"{'  ' * 20}'one' [] Scalar 1.0"]


def test_10_a_second_appearance_is_the_name_alone() -> None:
    """SPEC 10: "a node's second appearance is its name alone"."""
    shared = rc.Add(rc.Scalar(1.0, name="a"), name="shared")
    top = rc.Add(rc.Add(shared, name="first"), rc.Add(shared, name="second"), name="top")
    assert rc.to_text(top).splitlines() == [
        "'top' [] Add",
        "  'first' [] Add",
        "    'shared' [] Add",
        "      'a' [] Scalar 1.0",
        "  'second' [] Add",
        "    'shared'",
    ]


def test_10_printing_is_linear_in_distinct_nodes() -> None:
    """SPEC 10: "always linear in distinct nodes": 2^60 paths are 61 nodes; twice the chain is twice the text."""
    doubled: rc.Expr = rc.Scalar(1.0, name="x")
    for i in range(60):
        doubled = rc.Add(doubled, doubled, name=f"n{i}")
    assert len(rc.to_text(doubled).splitlines()) == 61 + 60  # each node, and each again where it is the second child
    small, large = rc.to_text(chain(5_000)), rc.to_text(chain(10_000))
    assert len(large) < 2.1 * len(small)


def test_10_depth_limited() -> None:
    """SPEC 10: "depth-limited with `...`"."""
    assert rc.to_text(chain(9), max_depth=1).splitlines() == [
        "'n8' [] Add",
        "  'n7' [] Add ...",
        "  'one' [] Scalar 1.0",
    ]


def test_10_folds_repeats() -> None:
    """SPEC 10: "folds repeats"."""
    x = rc.Scalar(1.0, name="x")
    lines = rc.to_text(rc.Add(*[x] * 1000, name="sum")).splitlines()
    assert lines == ["'sum' [] Add", "  'x' [] Scalar 1.0", "  'x' ... x 999"]


def test_10_colours_on_terminals_only(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """SPEC 10: "colours on terminals and in notebooks"."""
    x = rc.Scalar(1.0, name="x")
    x.print()
    assert "\033[" not in capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    x.print()
    assert "\033[" in capsys.readouterr().out
    assert "color:" in x._repr_html_()


def test_10_print_html_is_a_collapsible_tree() -> None:
    """SPEC 10: "`expr.print_html()` is a collapsible tree"."""
    page = worked_example().print_html()
    text = page._repr_html_() if hasattr(page, "_repr_html_") else str(page)
    for name in ("loss", "model", "spec"):
        assert name in text


def test_10_options() -> None:
    """SPEC 10: "Options: traversal, colorer, commenters, shapes, arrows"."""
    loss = worked_example()
    assert rc.to_text(loss, traversal=rc.new_traversal(end_depth=1)) == "'loss' [] Einsum a,a-> ..."
    assert "\033[31m" in rc.to_text(loss, colorer=lambda node: "red", color=True)
    commented = rc.to_text(loss, commenters=[lambda node: "here" if node.name == "w" else None])
    assert commented == WORKED_EXAMPLE.replace("2f97b0bb", "2f97b0bb  # here")
    plain = rc.to_text(loss, shapes=False)
    assert plain == WORKED_EXAMPLE.replace(" []", "").replace(" [3]", "")
    assert rc.to_text(loss, arrows=True).splitlines()[1] == "├ 'model' [3] Module"


@pytest.mark.parametrize(
    "name", ["two words", "a # b", "it's", 'say "hi"', "both ' and \"", "line\nbreak", "back\\slash"]
)
def test_10_names_may_hold_spaces_hashes_and_quotes(name: str) -> None:
    """SPEC 10: "Names may hold spaces, `#` and quotes (escaped)": and are read back."""
    x = rc.Add(rc.Scalar(1.0, name=name), name=f"{name} again")
    text = rc.to_text(x)
    assert len(text.splitlines()) == 2
    assert Parser()(text) is x


def test_10_printing_never_writes_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SPEC 10: "Printing never writes a file": nothing is opened for writing, and the folder stays empty."""
    real_open, real_os_open = builtins.open, os.open

    def readonly(file: object, mode: str = "r", *args: object, **options: object) -> object:
        assert not set(mode) & set("wax+"), file
        return real_open(file, mode, *args, **options)  # type: ignore[call-overload]

    def readonly_os(path: object, flags: int, *args: object, **options: object) -> int:
        assert not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT), path
        return real_os_open(path, flags, *args, **options)  # type: ignore[arg-type]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(builtins, "open", readonly)
    monkeypatch.setattr(os, "open", readonly_os)
    loss = worked_example()
    loss.print(arrows=True, color=True)
    loss._repr_html_()
    loss.print_html()
    assert list(tmp_path.iterdir()) == []
