"""What programs say about bindings, rows, dtypes and names of passes that cannot be right."""

from __future__ import annotations

import pytest
import torch

import scrub as rc
from scrub.compiler import compile as compile_expressions
from scrub.compiler.passes import ALL_PASSES
from tests.compiler.test_must_hold import BOTH, symbol, variable


def test_what_is_not_bound_is_named() -> None:
    x, y, z = symbol("x", 2), symbol("y", 2), variable(2)
    program = compile_expressions([x.add(y), z.add(y)], batched=[x])
    two = torch.ones(2, dtype=torch.float64)
    with pytest.raises(rc.UnboundSymbolError, match="'y'"):
        program.run({x: two[None], z.probs_and_group: torch.tensor([0])})
    with pytest.raises(rc.RandomVariableError, match="no rows are given for 1 groups"):
        program.run({x: two[None], y: two})
    with pytest.raises(rc.UnboundSymbolError, match="2 unbound symbols, the first is 'x'"):
        program.run()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (torch.tensor([0.0, 1.0]), r"\[2\] torch.float32"),
        (torch.tensor([[0, 1]]), r"\[1, 2\] torch.int64"),
        (torch.tensor(1), r"\[\] torch.int64"),
        (torch.tensor([0, 1], dtype=torch.int32), r"torch.int32"),
    ],
)
def test_rows_are_a_list_of_int64(rows: torch.Tensor, message: str) -> None:
    x = variable(2)
    with pytest.raises(rc.ShapeError, match=message) as caught:
        compile_expressions(x.scale(2.0)).run({x.probs_and_group: rows})
    assert caught.value.expected == "int64 [n]"


@BOTH
@pytest.mark.parametrize("row", [5, -1, 100])
def test_rows_that_are_not_there_are_an_error(row: int, passes: tuple[str, ...]) -> None:
    x = variable(2)
    program = compile_expressions(x.scale(2.0), passes=passes)
    with pytest.raises(rc.ScrubError, match="out of range"):
        program.run({x.probs_and_group: torch.tensor([0, row])})


def test_shapes_that_do_not_fit_are_named() -> None:
    x, y, z = symbol("x", 2, 3), symbol("y", 3), variable(3)
    program = compile_expressions(x.add(y).add(z), batched=[x])
    good = {x: torch.ones(4, 2, 3), y: torch.ones(3), z.probs_and_group: torch.arange(4)}
    for key, tensor, message in [
        (x, torch.ones(4, 3), r"symbol 'x' has shape \(2, 3\), the value \(3,\)"),
        (x, torch.ones(4, 3, 2), r"symbol 'x' has shape \(2, 3\), the value \(3, 2\)"),
        (x, torch.ones(()), r"symbol 'x' is bound draw by draw, the value has no axis of draws"),
        (y, torch.ones(4, 3), r"symbol 'y' has shape \(3,\), the value \(4, 3\)"),
        (y, torch.ones(1), r"symbol 'y' has shape \(3,\), the value \(1,\)"),
        (x, torch.ones(5, 2, 3), r"different numbers of draws: \[4, 5\]"),
        (z.probs_and_group, torch.arange(3), r"different numbers of draws: \[3, 4\]"),
    ]:
        with pytest.raises(rc.ShapeError, match=message):
            program.run(good | {key: tensor})


def test_dtypes_that_do_not_go_together_are_an_error_as_in_the_evaluator() -> None:
    x, y = symbol("x", 2), symbol("y", 2)
    half = {x: torch.ones(2, dtype=torch.float32), y: torch.ones(2, dtype=torch.float64)}
    for expr in (x.add(y), x.mul(y), rc.Concat(x, y, axis=0)):
        with pytest.raises(rc.ScrubError) as from_evaluator:
            rc.evaluate_many([expr], half)
        with pytest.raises(type(from_evaluator.value)):
            compile_expressions(expr).run(half)


def test_cumulants_are_not_compiled() -> None:
    with pytest.raises(rc.RandomVariableError, match=r"rc\.estimate"):
        compile_expressions(rc.Cumulant(variable(2)).scale(2.0))


def test_sizes_that_stay_symbolic_are_an_error() -> None:
    (size,) = rc.symbolic_sizes("seq")
    x = rc.Symbol.new_from_name((size, 2), "x")
    program = compile_expressions(x.scale(2.0))
    for n in (1, 3, 0):
        value = torch.ones(n, 2, dtype=torch.float64)
        assert torch.equal(program.run({x: value})[0], value * 2)
    with pytest.raises(rc.ShapeError):
        program.run({x: torch.ones(3, 3)})


def test_an_empty_list_and_a_single_expression() -> None:
    assert compile_expressions([]).run() == []
    assert [t.item() for t in compile_expressions(rc.Scalar(2.0)).run()] == [2.0]


def test_passes_by_a_wrong_name_are_an_error() -> None:
    with pytest.raises(rc.ScrubError, match="no_such_pass"):
        compile_expressions(rc.Scalar(1.0), passes=["no_such_pass"]).run()


@pytest.mark.parametrize("passes", [(), ALL_PASSES], ids=["no passes", "all passes"])
def test_a_tensor_changed_in_place_behind_an_expression_is_an_error(passes: tuple[str, ...]) -> None:
    weight = torch.ones(2, dtype=torch.float64)
    x = symbol("x", 2)
    program = compile_expressions(x.mul(rc.Array(weight)), batched=[x], passes=passes)
    bound = {x: torch.ones(3, 2, dtype=torch.float64)}
    program.run(bound)
    weight.add_(1.0)
    with pytest.raises(rc.FrozenError, match="changed in place"):
        program.run(bound)
