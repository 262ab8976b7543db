"""Every tutorial runs, through public names only, and opens as a notebook."""

from __future__ import annotations

import ast
import contextlib
import io
import runpy
from pathlib import Path

import jupytext
import pytest

import scrub

TUTORIALS = sorted((Path(__file__).parent.parent / "tutorials").glob("*.py"))


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_runs_and_its_checks_pass(path: Path) -> None:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        names = runpy.run_path(str(path))
    assert output.getvalue().splitlines().count("right") == 3
    assert output.getvalue().splitlines().count("not answered yet") == 3
    recovered = {name: float(value) for name, value in names["recovered"].items()}
    assert recovered["values"] > 0.5
    assert recovered["keys"] > 0.2


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_uses_public_names_only(path: Path) -> None:
    tree = ast.parse(path.read_text())
    imported = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    assert imported == {"scrub", "torch"}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "rc"
    }
    assert used <= set(scrub.__all__)
    private = [n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr.startswith("_")]
    assert not private


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_is_a_notebook(path: Path) -> None:
    cells = jupytext.read(path).cells
    assert len(cells) > 20
    assert all(cell.source.count("\n") < 40 for cell in cells)


def test_wrong_answers_are_refused() -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        names = runpy.run_path(str(TUTORIALS[0]))
        with pytest.raises(AssertionError):
            names["check_expectations"](12.25, 12.25)
        with pytest.raises(AssertionError):
            names["check_path"](scrub.IterativeMatcher("t.loss"))
        with pytest.raises(AssertionError):
            names["check_keys"](names["scrub_input"](names["with_positions"], names["ind_keys"]))
