"""What every registered function promises, checked on its examples: registering one is all it takes to be here."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import scrub as rc
from scrub.graph import FUNCTIONS, rebuild_batched
from tests.independent import assert_same, loop_and_stack

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
def test_the_declared_shape_is_that_of_the_result(spec: rc.Function, arguments: Arguments) -> None:
    declared = spec.infer_shape([tuple(a.shape) for a in arguments])
    result = spec.compute(*arguments)
    assert tuple(result.shape) == declared.shape
    assert 0 <= declared.num_opaque <= len(declared.shape)
    assert len(declared.is_batchable) == len(declared.own_ndims) == len(arguments)
    assert all(0 <= own <= a.ndim for own, a in zip(declared.own_ndims, arguments, strict=True))


@pytest.mark.parametrize(("spec", "arguments"), EXAMPLES)
def test_the_declared_dtype_is_that_of_the_result(spec: rc.Function, arguments: Arguments) -> None:
    for floating in (torch.float32, torch.float64):
        values = [a.to(floating) if a.is_floating_point() else a for a in arguments]
        assert spec.compute(*values).dtype == spec.infer_dtype([v.dtype for v in values])


@pytest.mark.parametrize(("spec", "arguments"), EXAMPLES)
def test_the_result_does_not_share_changes_with_the_arguments(spec: rc.Function, arguments: Arguments) -> None:
    before = [a.clone() for a in arguments]
    spec.compute(*arguments)
    assert all(torch.equal(a, b) for a, b in zip(arguments, before, strict=True))


@pytest.mark.parametrize("axes", [(3,), (2, 3), (1,), (0,)], ids=str)
@pytest.mark.parametrize(("spec", "arguments"), EXAMPLES)
def test_declared_batchability_is_true(spec: rc.Function, arguments: Arguments, axes: tuple[int, ...]) -> None:
    """Through a node: every batchable argument alone, and all of them together, against a loop over the batch."""
    node = rc.GeneralFunction(*map(rc.Array, arguments), spec=spec, name="node")
    batchable = [i for i, can in enumerate(node.function_shape().is_batchable) if can]
    for chosen in [*([i] for i in batchable), batchable]:
        values = [spread(a, axes) if i in chosen else a for i, a in enumerate(arguments)]
        batched = rebuild_batched(node, [rc.Array(v) for v in values])
        assert batched.shape == (axes if chosen else ()) + node.shape
        if chosen and 0 not in axes:
            expected = loop_and_stack(spec.compute, values, [a.ndim for a in arguments])
            assert_same(batched.evaluate(), expected, tolerance=1e-6)
        assert tuple(batched.evaluate().shape) == batched.shape


def spread(value: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    """Different values of the same range for each entry of the batch."""
    total = value.expand((*axes, *value.shape)).clone()
    flat = total.reshape(-1, *value.shape)
    for entry in range(flat.shape[0]):
        flat[entry] = value.reshape(-1).roll(entry).reshape(value.shape)
    return flat.reshape((*axes, *value.shape))


@pytest.mark.parametrize(("spec", "arguments"), EXAMPLES)
def test_what_is_not_batchable_refuses_and_says_so(spec: rc.Function, arguments: Arguments) -> None:
    node = rc.GeneralFunction(*map(rc.Array, arguments), spec=spec, name="the node")
    for i, can in enumerate(node.function_shape().is_batchable):
        if can:
            continue
        children = list(node.children)
        children[i] = rc.Array(spread(arguments[i], (3,)))
        with pytest.raises(rc.BatchError, match=rf"'the node': argument {i} of .* takes no batch axes"):
            rebuild_batched(node, children)


@pytest.mark.parametrize(("spec", "arguments"), EXAMPLES)
def test_a_wrong_number_of_arguments_is_a_shape_error(spec: rc.Function, arguments: Arguments) -> None:
    more = [*map(rc.Array, arguments), rc.Scalar(1.0), rc.Scalar(2.0)]
    with pytest.raises(rc.ShapeError, match=r"'f': .*(unpack|expected|arguments)"):
        rc.GeneralFunction(*more, spec=spec, name="f")


@pytest.mark.parametrize(("spec", "arguments"), EXAMPLES)
def test_one_opaque_axis_at_a_time(spec: rc.Function, arguments: Arguments) -> None:
    """All but the opaque axes of the result are carried over: permuting an input along one permutes the result."""
    declared = spec.infer_shape([tuple(a.shape) for a in arguments])
    num_free = len(declared.shape) - declared.num_opaque
    result = spec.compute(*arguments)
    for axis in range(num_free):
        permuted = []
        for value, can, own in zip(arguments, declared.is_batchable, declared.own_ndims, strict=True):
            at = axis - (num_free - (value.ndim - own))
            permuted.append(value.flip(at) if can and at >= 0 else value)
        assert_same(spec.compute(*permuted), result.flip(axis), tolerance=1e-6)


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
