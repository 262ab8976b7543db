"""Printing: one node a line, and a node's second appearance as its name alone."""

from __future__ import annotations

import pytest
import torch

import scrub as rc


def test_the_example() -> None:
    s = rc.Symbol.new_from_name((3,), "in")
    w, x, y = (rc.Array(torch.full((3,), v), n) for v, n in [(1.0, "w"), (2.0, "x"), (3.0, "y")])
    model = rc.Module(rc.ModuleSpec(rc.Add(s, w, name="spec"), [s]), "model", **{"in": x})
    loss = rc.Einsum.from_string("a,a->", model, y, name="loss")
    assert rc.to_text(loss).splitlines() == [
        "'loss' [] Einsum a,a->",
        "  'model' [3] Module",
        "    'spec' [3] Add",
        f"      'in' [3] Symbol {s.uuid[:8]}",
        f"      'w' [3] Array {w.frozen.digest[:8]}",
        f"    'x' [3] Array {x.frozen.digest[:8]} ! 'in'",
        f"  'y' [3] Array {y.frozen.digest[:8]}",
    ]


def test_second_appearances_depth_comments_and_colors(capsys: pytest.CaptureFixture[str]) -> None:
    shared = rc.Add(rc.Scalar(1.0, name="a"), name="shared")
    top = rc.Add(shared, rc.Add(shared, name="other"), name="top")
    assert rc.to_text(top).splitlines()[3:] == ["  'other' [] Add", "    'shared'"]
    assert rc.to_text(top, max_depth=1).splitlines() == [
        "'top' [] Add",
        "  'shared' [] Add ...",
        "  'other' [] Add ...",
    ]
    assert rc.to_text(top, descend=lambda n: n.name != "shared").splitlines()[1] == "  'shared' [] Add ..."
    lines = rc.to_text(top, commenter=lambda n: "here" if n.name == "a" else None).splitlines()
    assert lines[2] == "    'a' [] Scalar 1.0  # here"
    assert "\033[31m" in rc.to_text(top, colorer=lambda n: "red", color=True)
    top.print()
    assert capsys.readouterr().out == rc.to_text(top) + "\n"
    assert "\n" not in repr(rc.Scalar(1.0, name="two\nlines"))
