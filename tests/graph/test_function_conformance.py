"""What every registered function promises, checked on its examples: registering one is all it takes to be here."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import scrub as rc
from scrub.graph import ELEMENTWISE, FUNCTIONS, rebuild_batched
from scrub.graph.testing import check_function
from tests.independent import assert_same

EXAMPLES = [
    pytest.param(spec, arguments, id=f"{name}-{i}")
    for name, cls in sorted(FUNCTIONS.items())
    for i, (spec, arguments) in enumerate(cls.examples())
]
Arguments = tuple[torch.Tensor, ...]


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_function_gives_examples_of_itself(name: str) -> None:
    examples = list(FUNCTIONS[name].examples())
    assert examples
    for spec, arguments in examples:
        assert type(spec) is FUNCTIONS[name]
        assert dataclasses.replace(spec) == spec
        assert hash(dataclasses.replace(spec)) == hash(spec)
        assert all(isinstance(argument, torch.Tensor) for argument in arguments)
        assert spec.label


@pytest.mark.parametrize(("spec", "arguments"), EXAMPLES)
def test_it_computes_what_it_declares(spec: rc.Function, arguments: Arguments) -> None:
    report = check_function(spec, arguments=[arguments])
    assert report.num_computed > 30
    assert report.accepted


@pytest.mark.parametrize(("spec", "arguments"), EXAMPLES)
def test_what_is_not_batchable_refuses_and_says_so(spec: rc.Function, arguments: Arguments) -> None:
    node = rc.GeneralFunction(*map(rc.Array, arguments), spec=spec, name="the node")
    for i, can in enumerate(node.function_shape().is_batchable):
        if can:
            continue
        children = list(node.children)
        children[i] = rc.Array(arguments[i].expand(3, *arguments[i].shape).clone())
        with pytest.raises(rc.BatchError, match=rf"'the node': argument {i} of .* takes no batch axes"):
            rebuild_batched(node, children)


@pytest.mark.parametrize(("spec", "arguments"), EXAMPLES)
def test_a_wrong_number_of_arguments_is_a_shape_error(spec: rc.Function, arguments: Arguments) -> None:
    more = [*map(rc.Array, arguments), rc.Scalar(1.0), rc.Scalar(2.0)]
    with pytest.raises(rc.ShapeError, match=r"'f': .*(unpack|expected|arguments)"):
        rc.GeneralFunction(*more, spec=spec, name="f")


def test_2_6_every_function_that_is_named_there_exists() -> None:
    elementwise = (
        "sin cos tanh sigmoid relu gelu gelu_new silu step exp log abs rsqrt reciprocal logit gaussian_pdf "
        "gaussian_cdf log_exp_p_1"
    )
    assert set(elementwise.split()) <= set(ELEMENTWISE)
    assert {"softmax", "log_softmax", "min", "max", "pow", "cast", "gen_index"} <= set(FUNCTIONS)


def test_elementwise_functions_against_their_definitions() -> None:
    x = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    definitions = {
        "sigmoid": 1 / (1 + (-x).exp()),
        "relu": x.clamp(min=0),
        "gelu": x * 0.5 * (1 + torch.erf(x / 2**0.5)),
        "gelu_new": 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))),
        "silu": x / (1 + (-x).exp()),
        "step": (x > 0).double(),
        "rsqrt": x**-0.5,
        "reciprocal": 1 / x,
        "logit": (x / (1 - x)).log(),
        "gaussian_pdf": (-x * x / 2).exp() / (2 * torch.pi) ** 0.5,
        "gaussian_cdf": 0.5 * (1 + torch.erf(x / 2**0.5)),
        "log_exp_p_1": (1 + x.exp()).log(),
        "tanh": (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()),
    }
    for name, expected in definitions.items():
        assert_same(rc.elementwise(name, rc.Array(x)).evaluate(), expected, tolerance=1e-12)
    negative = rc.Array(torch.tensor([-1.0, 0.0, 2.0]))
    assert rc.elementwise("step", negative).evaluate().tolist() == [0, 0, 1]
    assert rc.elementwise("relu", negative).evaluate().tolist() == [0, 0, 2]
    assert rc.elementwise("abs", negative).evaluate().tolist() == [1, 0, 2]


def test_softmax_and_extremes_against_their_definitions() -> None:
    x = torch.tensor([[0.0, 1.0, -2.0], [3.0, 3.0, 3.0]], dtype=torch.float64)
    shares = x.exp() / x.exp().sum(-1, keepdim=True)
    assert_same(rc.softmax(rc.Array(x)).evaluate(), shares)
    assert_same(rc.log_softmax(rc.Array(x)).evaluate(), shares.log())
    assert rc.GeneralFunction(rc.Array(x), spec=FUNCTIONS["max"]()).evaluate().tolist() == [1, 3]
    assert rc.GeneralFunction(rc.Array(x), spec=FUNCTIONS["min"]()).evaluate().tolist() == [-2, 3]


def test_pow_takes_the_dtype_of_the_array() -> None:
    power = FUNCTIONS["pow"]()
    x = rc.Array(torch.tensor([4.0, 9.0]), "x")
    root = rc.GeneralFunction(x, rc.Scalar(0.5, (2,)), spec=power)
    assert root.dtype == root.evaluate().dtype == torch.float32
    assert root.evaluate().tolist() == [2, 3]
    square = rc.GeneralFunction(rc.Array(torch.tensor([3])), rc.Scalar(2), spec=power)
    assert square.dtype == square.evaluate().dtype == torch.int64
    with pytest.raises(rc.DtypeError, match=r"a scalar that is not a torch\.int64"):
        rc.GeneralFunction(rc.Array(torch.tensor([3])), rc.Scalar(0.5), spec=power).evaluate()


def test_integers_have_no_negative_powers() -> None:
    base, exponent = rc.Array(torch.tensor([2, 3])), rc.Array(torch.tensor([1, -1]))
    with pytest.raises(rc.DtypeError, match="pow: a negative power of integers") as caught:
        rc.GeneralFunction(base, exponent, spec=FUNCTIONS["pow"]()).evaluate()
    assert caught.value.found == -1
    flags = rc.Array(torch.tensor([True]))
    with pytest.raises(rc.DtypeError, match="booleans have no powers"):
        rc.GeneralFunction(flags, flags, spec=FUNCTIONS["pow"]())


def test_pow_carries_the_axes_that_both_have_in_full() -> None:
    power = FUNCTIONS["pow"]()
    assert power.infer_shape([(2, 3, 1), (2, 3, 4)]) == rc.FunctionShape((2, 3, 4), 1, (True, True), (1, 1))
    assert power.infer_shape([(5, 2, 3), (2, 1)]) == rc.FunctionShape((5, 2, 3), 1, (True, False), (1, 1))
    assert power.infer_shape([(2, 3), (2, 3)]) == rc.FunctionShape((2, 3), 0, (True, True), (0, 0))
    with pytest.raises(rc.ShapeError, match=r"base \(2, 3\) and exponent \(4,\) do not broadcast"):
        rc.GeneralFunction(rc.Scalar(1.0, (2, 3)), rc.Scalar(1.0, (4,)), spec=power)
