"""`check_finite` names the node that produced NaN or infinity first."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

import scrub as rc
from scrub.compiler import compile  # noqa: A004 - as torch.compile
from scrub.compiler.passes import ALL_PASSES
from scrub.graph import Expr

COMBINATIONS = [(), ALL_PASSES, *((name,) for name in ALL_PASSES)]


def symbol(*shape: int, name: str = "x") -> rc.Symbol:
    return rc.Symbol.new_from_name(shape, name)


def failing(expr: Expr, bindings: dict[Expr, torch.Tensor], passes: Sequence[str] = ALL_PASSES) -> rc.NonFiniteError:
    program = compile(expr, batched=list(bindings), passes=passes, check_finite=True)
    with pytest.raises(rc.NonFiniteError) as caught:
        program.run(bindings)
    unchecked = compile(expr, batched=list(bindings), passes=passes).run(bindings)[0]
    assert not unchecked.isfinite().all()
    return caught.value


@pytest.mark.parametrize("passes", COMBINATIONS, ids=lambda names: "+".join(names) or "none")
def test_the_first_of_several_steps_is_named(passes: Sequence[str]) -> None:
    x = symbol(4)
    hidden = rc.elementwise("exp", x.mul(x, name="square"), name="hidden")
    gap = hidden.sub(hidden.scale(2.0, name="twice"), name="gap")
    error = failing(gap.sum(name="total"), {x: torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0, 20.0, 3.0, 30.0]])}, passes)
    assert error.nodes == (hidden,)
    assert error.found == 2
    assert "'hidden' (exp) is the first to hold infinity: 2 of 4 in [4], the first at (1,), in draw 1" in str(error)
    assert "it reads 'square'" in str(error)
    assert ": 1 to 900" in str(error)


def test_log_of_a_negative_number() -> None:
    x = symbol(3)
    logs = rc.elementwise("log", x, name="logs")
    error = failing(logs.scale(0.5, name="half"), {x: torch.tensor([[1.0, -1.0, 2.0]])})
    assert error.nodes == (logs,)
    assert "NaN: 1 of 3 in [3], the first at (1,), in draw 0" in str(error)
    assert "it reads the input 'x': -1 to 2" in str(error)


def test_zero_by_zero() -> None:
    x = symbol(2)
    ratio = rc.Einsum(
        (x, (0,)), (rc.elementwise("reciprocal", x.sum(name="s"), name="1/s"), ()), out_axes=(0,), name="r"
    )
    error = failing(ratio, {x: torch.tensor([[1.0, 2.0], [0.0, 0.0]])})
    assert [node.name for node in error.nodes] == ["1/s"]
    assert "it reads" in str(error)
    assert "0 to 0" in str(error)


@pytest.mark.parametrize("passes", COMBINATIONS, ids=lambda names: "+".join(names) or "none")
def test_overflow_of_float16_in_the_middle_of_a_model(passes: Sequence[str]) -> None:
    """The product of two matrices overflows, the norm that follows makes NaN of it."""
    x, w = symbol(2, 8), rc.Array(torch.full((8, 8), 100.0, dtype=torch.float16), "w")
    big = rc.Einsum.from_string("s d, d e -> s e", x, w, name="big")
    mean = rc.Rearrange(big.mean(axis=1), "s -> s 1")
    out = big.sub(mean, name="centred").sum(name="out")
    error = failing(out, {x: torch.full((3, 2, 8), 100.0, dtype=torch.float16)}, passes)
    assert "infinity" in str(error)
    assert "it reads" in str(error)
    assert "100 to 100" in str(error)


def test_a_value_that_was_bound() -> None:
    x = symbol(2)
    error = failing(x.scale(2.0), {x: torch.tensor([[1.0, torch.nan]])})
    assert error.nodes == (x,)
    assert "the input 'x' is the first to hold NaN" in str(error)


def test_an_array_that_holds_nan() -> None:
    x, w = symbol(2), rc.Array(torch.tensor([1.0, torch.nan]), "w")
    error = failing(x.mul(w, name="product"), {x: torch.ones(1, 2)})
    assert error.nodes == (w,)


def test_masks_of_infinity_are_no_fault() -> None:
    x, mask = symbol(3), rc.Array(torch.tensor([0.0, -torch.inf, 0.0]), "mask")
    masked = x.add(mask, name="masked")
    program = compile([masked, rc.softmax(masked)], batched=[x], check_finite=True)
    values, probabilities = program.run({x: torch.zeros(1, 3)})
    assert values.tolist() == [[0.0, -torch.inf, 0.0]]
    assert probabilities.tolist() == [[0.5, 0.0, 0.5]]


def test_what_makes_nan_of_a_mask_is_named() -> None:
    x, mask = symbol(3), rc.Array(torch.full((3,), -torch.inf), "mask")
    probabilities = rc.softmax(x.add(mask, name="masked"), name="probabilities")
    error = failing(probabilities, {x: torch.zeros(1, 3)})
    assert error.nodes == (probabilities,)


def test_of_two_faults_the_one_that_reaches_the_result_is_named() -> None:
    x = symbol()
    harmless = rc.elementwise("reciprocal", rc.elementwise("exp", x, name="overflows"), name="zero")
    fault = rc.elementwise("log", x.scale(-1.0), name="fault")
    error = failing(harmless.add(fault), {x: torch.tensor([200.0])})
    assert error.nodes == (fault,)


def test_finite_results_pass_and_integers_too() -> None:
    x, row = symbol(2), symbol(name="row")
    picked = rc.GeneralFunction.gen_index(x, row, index_dim=0)
    program = compile([picked, row], batched=[x, row], check_finite=True)
    results = program.run({x: torch.ones(0, 2), row: torch.zeros(0, dtype=torch.int64)})
    assert [tuple(result.shape) for result in results] == [(0,), (0,)]
    assert program.run({x: torch.ones(1, 2), row: torch.tensor([1])})[0].tolist() == [1.0]


def test_gradients_are_checked_too() -> None:
    x = symbol()
    root = rc.elementwise("sqrt", x, name="root")
    program = compile(root, wrt=[x], batched=[x], check_finite=True)
    with pytest.raises(
        rc.NonFiniteError, match=r"gradient of 'root' .* with respect to 'x' .* is not finite: infinity"
    ):
        program.value_and_grad({x: torch.tensor([1.0, 0.0])})
    _, gradients = program.value_and_grad({x: torch.tensor([1.0, 4.0])})
    assert gradients[x].tolist() == [0.5, 0.25]
