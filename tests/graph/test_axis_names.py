"""Names of axes: given to leaves, carried to results, shown, and free where nobody uses them."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

import scrub as rc
from scrub.graph import FUNCTIONS, Scatter, SetSymbolicShape, symbolic_sizes
from scrub.graph.axis_names import parse_shape, shape_text
from scrub.rewrite import bind_sizes, conform_all_modules
from tests.independent import assert_same

N, D = symbolic_sizes("n d")


def array(*names: str | None, name: str | None = "x") -> rc.Array:
    shape = tuple(range(2, 2 + len(names)))
    return rc.Array(torch.arange(float(torch.tensor(shape).prod())).reshape(shape), name, axis_names=names)


# ---- leaves ------------------------------------------------------------------------------------------------------


def test_names_are_part_of_what_a_leaf_is() -> None:
    x = array("pos", "d")
    assert x.axis_names == ("pos", "d")
    assert x is array("pos", "d")
    assert x is not array("pos", "e")
    plain = rc.Array(x.value, "x")
    assert plain.axis_names == (None, None)
    assert x is not plain
    assert rc.Array(x.value, "x", axis_names=(None, None)) is plain
    assert rc.Scalar(1.0, (2,), axis_names=("pos",)) is not rc.Scalar(1.0, (2,))
    s = rc.Symbol.new_from_name((2, 3), "s", axis_names=("pos", None))
    assert (s.uuid, s.axis_names) == (rc.Symbol.new_from_name((2, 3), "s").uuid, ("pos", None))
    assert x.rename("y").axis_names == ("pos", "d")
    assert rc.cast(x, dtype=torch.float16).axis_names == ("pos", "d")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("pos",), r"Array 'x': \('pos',\) names 1 axes, there are 2"),
        ("pd", "names 1 axes, there are 2"),
        (("pos", "d model"), "'d model' cannot name an axis"),
        (("pos", ""), "'' cannot name an axis"),
        (("pos", 3), "3 cannot name an axis"),
    ],
    ids=str,
)
def test_names_that_cannot_be(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(rc.ConstructionError, match=message):
        rc.Array(torch.ones(2, 3), "x", axis_names=names)


# ---- results -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda x: x.scale(2.0), ("pos", "d")),
        (lambda x: x.sum(axis=0), ("d",)),
        (lambda x: x.mean(axis=1), ("pos",)),
        (lambda x: rc.Add(x, rc.Scalar(1.0)), ("pos", "d")),
        (lambda x: rc.Add(x, rc.Array(torch.ones(5, 2, 3))), (None, "pos", "d")),
        (lambda x: rc.Rearrange(x, "a b -> b a"), ("d", "pos")),
        (lambda x: rc.Rearrange(x, "a b -> b 1 a 4"), ("d", None, "pos", None)),
        (lambda x: rc.Rearrange(x, "a b -> (a b)"), (None,)),
        (lambda x: x.index(rc.I[0]), ("d",)),
        (lambda x: x.index(rc.I[1:, [0, 2]]), ("pos", "d")),
        (lambda x: rc.Concat(x, x, axis=0), ("pos", "d")),
        (lambda x: rc.Concat.stack(x, x), (None, "pos", "d")),
        (lambda x: Scatter(x, rc.I[1:3], (4, 3)), ("pos", "d")),
        (rc.softmax, ("pos", "d")),
        (lambda x: rc.GeneralFunction(x, spec=FUNCTIONS["max"]()), ("pos",)),
        (lambda x: rc.Einsum.from_string("ab->aab", x), (None, None, "d")),
        (lambda x: rc.Tag.new_from_name(x, "tag"), ("pos", "d")),
        (rc.DiscreteVar, ("d",)),
        (lambda x: rc.Cumulant(x, x), ("pos", "d", "pos", "d")),
    ],
)
def test_names_are_carried_to_results(make: object, names: tuple[str | None, ...]) -> None:
    assert make(array("pos", "d")).axis_names == names  # type: ignore[operator]


def test_an_axis_of_which_the_children_disagree_has_no_name() -> None:
    x, y = array("pos", "d"), array("pos", "e", name="y")
    assert rc.Add(x, y).axis_names == ("pos", None)
    assert rc.Add(x, y, x).axis_names == ("pos", None)
    assert rc.Add(x, array(None, None, name="z")).axis_names == ("pos", "d")
    assert rc.Einsum.from_string("ab,ab->ba", x, y).axis_names == (None, "pos")


def test_a_module_has_the_names_of_its_body_and_batch_axes_none() -> None:
    s = rc.Symbol.new_from_name((2, 3), "s", axis_names=("pos", "d"))
    spec = rc.ModuleSpec(s.scale(2.0), [s])
    call = rc.Module(spec, s=rc.Array(torch.ones(5, 2, 3)))
    assert call.axis_names == (None, "pos", "d")
    assert call.substitute().axis_names == (None, None, None)
    assert rc.Module(spec, s=array("pos", "d")).substitute().axis_names == ("pos", "d")
    batched = rc.Expander(("x", rc.Array(torch.ones(4, 2, 3)))).run(array("pos", "d").scale(2.0))
    assert batched.axis_names == (None, None, None)


def test_names_do_not_change_values() -> None:
    named, plain = array("pos", "d"), array(None, None)
    for make in (lambda x: x.sum(axis=0), lambda x: rc.softmax(x).index(rc.I[:, 1:]), lambda x: x.mul(x).mean()):
        assert_same(make(named).evaluate(), make(plain).evaluate(), tolerance=0)
        assert (make(named).shape, make(named).dtype) == (make(plain).shape, make(plain).dtype)


# ---- inner nodes -------------------------------------------------------------------------------------------------


def test_inner_nodes_are_named_by_a_node_around_them() -> None:
    product = rc.Rearrange(array("pos", "d"), "a b -> (a b)", name="flat")
    named = product.with_axis_names(["features"])
    assert isinstance(named, SetSymbolicShape)
    assert named.axis_names == ("features",)
    assert named.children == (product,)
    assert_same(named.evaluate(), product.evaluate())
    assert named.scale(2.0).axis_names == ("features",)
    assert named.with_axis_names(["f"]).children == (product,)


def test_leaves_are_named_themselves() -> None:
    x = array(None, None)
    assert x.with_axis_names(["pos", "d"]) is array("pos", "d")
    s = rc.Symbol.new_from_name((2,), "s")
    assert s.with_axis_names(["pos"]) is rc.Symbol.new_from_name((2,), "s", axis_names=["pos"])
    assert s.with_axis_names(["pos"]).with_axis_names([None]) is s
    assert rc.Scalar(1.0, (2,)).with_axis_names(["pos"]) is rc.Scalar(1.0, (2,), axis_names=["pos"])


def test_naming_keeps_names_that_are_not_given() -> None:
    total = array("pos", "d").scale(2.0)
    assert total.with_axis_names([None, "e"]).axis_names == ("pos", "e")
    with pytest.raises(rc.ConstructionError, match=r"names 1 axes, there are 2"):
        total.with_axis_names(["pos"])


def test_a_name_given_to_an_inner_node_claims_no_size() -> None:
    x = rc.Array(torch.arange(6.0).reshape(2, 3), "x")
    named = x.scale(2.0).with_axis_names(["pos", None])
    wider = rc.Expander(("x", rc.Array(torch.ones(4, 5, 3)))).run(named)
    assert wider.shape == (4, 5, 3)
    assert wider.axis_names == (None, "pos", None)


def test_names_and_claims_together_in_a_module() -> None:
    s = rc.Symbol.new_from_name((N, D), "s", axis_names=("pos", "d_model"))
    body = SetSymbolicShape(s.mean(axis=1), (N,), axis_names=("position",))
    call = rc.Module(rc.ModuleSpec(body, [s]), s=rc.Array(torch.ones(4, 2, 3)))
    assert call.axis_names == (None, "position")
    conformed = conform_all_modules(call).cast_module()
    assert conformed.body.axis_names == ("position",)
    assert conformed.params[0].symbol.axis_names == ("pos", "d_model")
    assert bind_sizes(s, n=2).axis_names == ("pos", "d_model")
    assert_same(call.evaluate(), torch.ones(4, 2))


# ---- shown -------------------------------------------------------------------------------------------------------


def test_names_are_shown_with_sizes() -> None:
    assert repr(array("pos", "d_model")).startswith("'x' [pos:2, d_model:3] Array ")
    assert repr(array("pos", None).scale(2.0)).split(" Einsum")[0].endswith("[pos:2, 3]")
    s = rc.Symbol.new_from_name((N, 2 * D), "s", axis_names=("pos", None))
    assert shape_text(s) == "[pos:n, 2*d]"
    assert parse_shape(shape_text(s)) == (s.shape, s.axis_names)
    assert parse_shape("[]") == ((), ())


@pytest.mark.parametrize("text", ["2, 3", "[2, ]", "[pos:]", "[a b:2]", "[pos:x y]", "[[2]]"])
def test_what_is_no_shape_is_refused(text: str) -> None:
    with pytest.raises((rc.ShapeError, rc.ConstructionError)):
        parse_shape(text)


def test_text_files_and_pickles_keep_names(tmp_path: Path) -> None:
    s = rc.Symbol.new_from_name((N, D), "s", axis_names=("pos", "d"))
    unnamed = rc.Symbol.new_from_name((N, D), "s2")
    total = rc.Add(s, unnamed, rc.Scalar(1.0, (1, 1), axis_names=("pos", None)))
    body = total.index(rc.I[1:]).with_axis_names(["p", None])
    call = rc.Module(rc.ModuleSpec(body, [s, unnamed]), "call", s=array("pos", "d"), s2=array(None, None, name="y"))
    rc.save(call, tmp_path / "named.safetensors")
    assert rc.load(tmp_path / "named.safetensors") is call
    assert pickle.loads(pickle.dumps(call)) is call
    text = rc.to_text(call, exact=True)
    assert "'x' [pos:2, d:3] Array" in text
    assert rc.graph.Parser(tensors=[array("pos", "d").value])(text) is call


def test_errors_call_axes_by_name() -> None:
    with pytest.raises(rc.ShapeError, match="axis 'd' is 3 in"):
        rc.Add(array("pos", "d"), rc.Array(torch.ones(2, 4), axis_names=("pos", "d")))
    with pytest.raises(rc.ShapeError, match="5 is out of range for axis 'pos' of size 2"):
        array("pos", "d").index(rc.I[5])
    with pytest.raises(rc.ShapeError, match=r"argument 0 \('x'\) but 5 in argument 1.*\(axis 'd'\)"):
        rc.Einsum.from_string("ab,bc->ac", array("pos", "d"), rc.Array(torch.ones(5, 2)))
    with pytest.raises(rc.ShapeError, match=r"axis 'd' of 'x' .* is 3, not 4"):
        SetSymbolicShape(array("pos", "d"), (None, 4))
