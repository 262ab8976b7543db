"""Activations split by subspace: against projections by the pseudo-inverse, in torch."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import scrub as rc
from scrub.graph.errors import SplitError
from scrub.models.splits import split_subspace
from scrub.rewrite.testing import Maker, groups_of, value_of
from tests.models.splits.cases import (
    MANY,
    activation,
    array,
    assert_equal_values,
    assert_same_in_batches,
    normal,
)


def projector(directions: torch.Tensor) -> torch.Tensor:
    """[d, d], onto what the rows span."""
    return torch.linalg.pinv(directions) @ directions


def orthogonal_directions(seed: int, *ranks: int, d_model: int) -> dict[str, torch.Tensor]:
    """Directions that span subspaces orthogonal to each other, but are not orthogonal within one."""
    eigenvectors = torch.linalg.eigh(normal(d_model, d_model, seed=seed) @ normal(d_model, d_model, seed=seed).T)[1].T
    start, result = 0, {}
    for i, rank in enumerate(ranks):
        result[f"s{i}"] = (normal(rank, rank, seed=seed + i) * 3 + torch.eye(rank)) @ eigenvectors[start : start + rank]
        start += rank
    return result


@given(st.integers(0, MANY))
def test_any_activation_is_the_sum_of_its_projections_and_the_rest(seed: int) -> None:
    maker = Maker(seed)
    d_model = maker.random.randint(2, 6)
    shape = [maker.random.randint(1, 3) for _ in range(maker.random.randint(0, 2))]
    axis = maker.random.randint(0, len(shape))
    shape.insert(axis, d_model)
    act = activation(maker, *shape)
    ranks = maker.random.choice([[1], [2], [1, 1], [d_model]])
    directions = orthogonal_directions(seed % 1000, *ranks, d_model=d_model)
    above = rc.elementwise("sin", act, name="above")
    split = above.update("act", split_subspace(directions, axis=axis - len(shape) * maker.random.randint(0, 1)))
    assert_equal_values(above, split)
    node = split.children[0].cast(rc.Add)
    assert (node.name, [part.name for part in node.children]) == (
        "act",
        [*(f"act.{s}" for s in directions), "act.rest"],
    )
    groups = groups_of([act])
    value = value_of(act, groups=groups).movedim(len(groups) + axis, -1)
    for part, rows in zip(node.children, directions.values(), strict=False):
        found = value_of(part, groups=groups).movedim(len(groups) + axis, -1)
        torch.testing.assert_close(found, value @ projector(rows), rtol=1e-9, atol=1e-9)
        coords = part.children[0]
        assert coords.name == f"{part.name}.coords"
        assert coords.shape == (*shape[:axis], len(rows), *shape[axis + 1 :])
    assert_equal_values(rc.Add(*node.children[:-1], act.scale(-1.0)).scale(-1.0), node.children[-1])


@given(st.integers(0, MANY))
def test_overlapping_subspaces_are_taken_in_order(seed: int) -> None:
    """Each is what it adds to the span of those before it."""
    maker = Maker(seed)
    act = activation(maker, 3, 6)
    directions = {"a": normal(2, 6, seed=seed), "b": normal(1, 6, seed=seed + 1), "c": normal(2, 6, seed=seed + 2)}
    split = split_subspace(directions, sequential=True)(act)
    assert_equal_values(act, split)
    groups = groups_of([act])
    value, known, before = value_of(act, groups=groups), torch.zeros(0, 6, dtype=torch.float64), 0.0
    for part, rows in zip(split.children, directions.values(), strict=False):
        known = torch.cat([known, rows])
        together = value @ projector(known)
        torch.testing.assert_close(value_of(part, groups=groups), together - before, rtol=1e-7, atol=1e-7)
        before = together


def test_a_single_direction_has_the_component_along_it_as_coordinate() -> None:
    act = rc.elementwise("tanh", array("x", 5, 4), name="act")
    v = torch.tensor([[3.0, 0.0, -4.0, 0.0]], dtype=torch.float64)
    split = split_subspace({"v": v})(act)
    coords = split.get_unique("act.v.coords").evaluate()
    torch.testing.assert_close(coords, act.evaluate() @ v.T / 5)
    torch.testing.assert_close(split.get_unique("act.v.basis").evaluate(), v / 5)


def test_directions_come_in_the_order_of_gram_schmidt() -> None:
    rows = torch.tensor([[0.0, -2.0, 0.0], [1.0, 1.0, 0.0]], dtype=torch.float64)
    split = split_subspace({"plane": rows})(rc.elementwise("tanh", array("x", 2, 3), name="act"))
    basis = split.get_unique("act.plane.basis").evaluate()
    torch.testing.assert_close(basis, torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]], dtype=torch.float64))


def test_replacing_coordinates_changes_the_activation_there_and_nowhere_else() -> None:
    """The rest does not take back what the projection changed: it computes the projection by itself."""
    x, other = array("x", 5, 4), array("other", 5, 4)
    act = rc.elementwise("tanh", x, name="act")
    directions = {"a": normal(1, 4), "b": normal(2, 4, seed=1)}
    split = split_subspace(directions, sequential=True)(act)
    new = split.update(rc.IterativeMatcher("act.a.coords").chain("x"), lambda _: other)
    expected = x.value.tanh() + (other.value.tanh() - x.value.tanh()) @ projector(directions["a"])
    torch.testing.assert_close(new.evaluate(), expected)
    new = split.update(rc.IterativeMatcher({"act.b", "act.rest"}).chain("x"), lambda _: other)
    expected = other.value.tanh() + (x.value.tanh() - other.value.tanh()) @ projector(directions["a"])
    torch.testing.assert_close(new.evaluate(), expected)


@given(st.integers(0, MANY))
def test_a_split_activation_takes_batch_axes_as_before(seed: int) -> None:
    maker = Maker(seed)
    x = rc.Symbol.new_from_name((4, 3), "x")
    act = rc.elementwise("tanh", rc.Add(x, maker.expr((4, 3), 2)), name="act")
    directions = {"a": normal(1, 3, seed=seed), "b": normal(1, 3, seed=seed + 1)}
    by_column = split_subspace({"a": normal(2, 4, seed=seed)}, axis=0)
    split = by_column if seed % 2 else split_subspace(directions, sequential=True)
    assert_same_in_batches(rc.softmax(act), split, seed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_basis_has_the_dtype_of_the_activation_or_of_the_directions(dtype: torch.dtype) -> None:
    act = rc.elementwise("tanh", array("x", 5, 4, dtype=dtype), name="act")
    split = split_subspace({"a": normal(2, 4)})(act)
    assert split.dtype == dtype
    torch.testing.assert_close(split.evaluate(), act.evaluate())
    x = rc.Symbol.new_from_name((5, 4), "x")
    open_act = rc.elementwise("tanh", x, name="act")
    split = split_subspace({"a": normal(2, 4, dtype=dtype)})(open_act)
    assert rc.module_new_bind(split, ("x", array("x", 5, 4, dtype=dtype)), name="call").evaluate().dtype == dtype


def test_directions_of_any_length_give_the_same_basis() -> None:
    """Also where their squares would overflow or vanish in float64."""
    act = rc.elementwise("tanh", array("x", 5, 4), name="act")
    rows = normal(2, 4)
    scaled = rows * torch.tensor([[1e200], [1e-200]], dtype=torch.float64)
    first, second = (split_subspace({"a": given})(act).get_unique("act.a.basis") for given in (rows, scaled))
    torch.testing.assert_close(first.evaluate(), second.evaluate())


def test_axis_names_stay() -> None:
    x = array("x", 5, 4).with_axis_names(["pos", "d_model"])
    split = split_subspace({"a": normal(1, 4)}, axis="d_model")(rc.elementwise("tanh", x, name="act"))
    assert split.axis_names == ("pos", "d_model")
    assert [part.axis_names for part in split.children] == [("pos", "d_model")] * 2


@pytest.mark.parametrize("degrees", [0.01, 30.0, 60.0, 89.99])
def test_subspaces_that_are_not_orthogonal_are_an_error_with_the_angle(degrees: float) -> None:
    """The smallest angle between a line and a plane, at an angle to it that is known."""
    angle = math.radians(degrees)
    plane = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]], dtype=torch.float64)
    line = torch.tensor([[math.cos(angle), 0.0, math.sin(angle)]], dtype=torch.float64)
    with pytest.raises(SplitError, match="subspaces 'plane' and 'line' are not orthogonal") as caught:
        split_subspace({"plane": plane, "line": line})
    assert caught.value.found == pytest.approx(degrees, rel=1e-3)
    assert "sequential=True takes 'line' without its part in 'plane'" in str(caught.value)
    act = rc.elementwise("tanh", array("x", 5, 3), name="act")
    assert_equal_values(act, split_subspace({"plane": plane, "line": line}, sequential=True)(act))


def test_the_angle_is_the_smallest_of_several() -> None:
    """Two planes in four dimensions, at 50 degrees in one direction and 80 in the other."""
    first = torch.eye(4, dtype=torch.float64)[:2]
    angles = torch.deg2rad(torch.tensor([50.0, 80.0], dtype=torch.float64))
    second = torch.cat([angles.cos().diag(), angles.sin().diag()], dim=1)
    mixed = torch.tensor([[1.0, 2.0], [-3.0, 1.0]], dtype=torch.float64) @ second
    with pytest.raises(SplitError, match="the smallest angle between them is 50 degrees") as caught:
        split_subspace({"a": first, "b": mixed})
    assert caught.value.found == pytest.approx(50.0)


def test_a_module_may_be_split_while_its_positions_have_no_number() -> None:
    (seq,) = rc.symbolic_sizes("seq")
    x = rc.Symbol.new_from_name((seq, 3), "x")
    body = rc.softmax(rc.elementwise("tanh", x, name="act"))
    split = body.update("act", split_subspace({"a": normal(2, 3)}))
    for length in (2, 5):
        value = array("v", length, 3)
        call = rc.Module(rc.ModuleSpec(split, [x]), "call", x=value)
        torch.testing.assert_close(call.evaluate(), value.value.tanh().softmax(-1))


_V = torch.tensor([[1.0, 2.0, 3.0]])


@pytest.mark.parametrize(
    ("directions", "sequential", "message"),
    [
        (
            {"a": torch.cat([_V, -2 * _V])},
            False,
            "direction 1 of 'a' is, to rounding, a combination of those before it",
        ),
        ({"a": _V, "b": _V * (1 + 1e-7)}, True, "direction 0 of 'b' is, to rounding, a combination"),
        ({"a": torch.eye(3)[:2], "b": torch.tensor([[1.0, 5.0, 0.0]])}, True, "direction 0 of 'b' is, to rounding"),
        ({"a": torch.cat([_V, 0 * _V])}, False, "direction 1 of 'a' is zero"),
        ({"a": torch.eye(3), "b": _V}, True, "direction 0 of 'b' is number 4 in a space of 3 dimensions"),
        ({"a": normal(4, 3)}, False, "direction 3 of 'a' is number 4 in a space of 3 dimensions"),
        ({"a": _V[0]}, False, r"(?s)directions of 'a' have shape \(3,\).*hint: a single direction v is v\[None\]"),
        ({"a": torch.zeros(0, 3)}, False, r"directions of 'a' have shape \(0, 3\)"),
        ({"a": torch.ones(1, 3, dtype=torch.int64)}, False, "directions of 'a' are torch.int64"),
        ({"a": torch.ones(1, 3, dtype=torch.complex64)}, False, "directions of 'a' are torch.complex64"),
        ({"a": _V / 0}, False, "directions of 'a' are not finite"),
        ({"a": _V.to("meta")}, False, "directions of 'a' are meta tensors"),
        ({"a": [[1.0, 2.0, 3.0]]}, False, "directions of 'a' are a list"),
        ({"rest": _V}, False, "directions of 'rest' need another name"),
        ({"": _V}, False, "directions of '' need another name"),
        ({"a": _V, "b": torch.ones(1, 4)}, True, "the directions differ in length: {'a': 3, 'b': 4}"),
        ({}, False, "{} are no directions"),
        (_V, False, "are no directions"),
    ],
)
def test_bad_directions(directions: Any, sequential: bool, message: str) -> None:
    with pytest.raises(SplitError, match=message):
        split_subspace(directions, sequential=sequential)


def test_activations_that_do_not_fit_the_directions() -> None:
    split = split_subspace({"a": _V})
    with pytest.raises(SplitError, match="'x': the directions have length 3, axis 1 has size 4") as caught:
        split(array("x", 3, 4))
    assert (caught.value.expected, caught.value.found) == (4, 3)
    with pytest.raises(SplitError, match=r"'ids': it is torch.int64"):
        split(rc.Array(torch.arange(3), "ids"))
    with pytest.raises(SplitError, match="there is no axis -1"):
        split(rc.Scalar(1.0, name="s"))
