"""Expressions as functions that torch differentiates: values of the reference evaluator, gradients of torch."""

from __future__ import annotations

import pytest
import torch

import scrub as rc
from scrub.compiler import TorchFunction
from scrub.graph import Add, Array, Einsum, Symbol, elementwise

X, W, B = (Symbol.new_from_name(shape, name) for shape, name in (((5, 3), "x"), ((4, 3), "w"), ((4,), "b")))
LINEAR = Add(Einsum.from_string("s i, o i -> s o", X, W), B, name="linear")
SQUASHED = elementwise("tanh", LINEAR, name="tanh")


def tensors(n: int = 2) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((n, 5, 3), (4, 3), (4,))
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)


def test_values_are_those_of_the_reference_evaluator() -> None:
    x, w, b = tensors()
    linear, squashed = TorchFunction([LINEAR, SQUASHED], [X, W, B], batched=[X])(x, w, b)
    for i in range(len(x)):
        bound = {X: Array(x[i]), W: Array(w), B: Array(b)}
        torch.testing.assert_close(linear[i], rc.bind(LINEAR, bound).evaluate())
        torch.testing.assert_close(squashed[i], rc.bind(SQUASHED, bound).evaluate())


def test_gradients_of_first_and_second_order() -> None:
    x, w, b = (value.requires_grad_() for value in tensors())
    function = TorchFunction([SQUASHED], [X, W, B], batched=[X])
    assert torch.autograd.gradcheck(lambda *values: function(*values)[0], (x, w, b))
    assert torch.autograd.gradgradcheck(lambda *values: function(*values)[0], (x, w, b))


def test_it_is_part_of_a_larger_computation() -> None:
    x, w, b = (value.requires_grad_() for value in tensors())
    (found,) = TorchFunction([SQUASHED], [X, W, B], batched=[X])(x.sin(), w, b)
    (ours,) = torch.autograd.grad(found.exp().sum(), x)
    (theirs,) = torch.autograd.grad((x.sin() @ w.T + b).tanh().exp().sum(), x)
    torch.testing.assert_close(ours, theirs)


def test_what_is_not_batched_has_no_axis_in_front() -> None:
    _, w, b = tensors()
    table = W.scale(2.0)
    x = tensors(3)[0]
    linear, doubled = TorchFunction([LINEAR, table], [X, W, B], batched=[X])(x, w, b)
    assert (linear.shape, doubled.shape) == ((3, 5, 4), (4, 3))
    torch.testing.assert_close(doubled, 2 * w)


def test_any_number_of_examples_and_both_precisions() -> None:
    function = TorchFunction([LINEAR], [X, W, B], batched=[X])
    for n in (1, 4, 2):
        x, w, b = tensors(n)
        torch.testing.assert_close(function(x, w, b)[0], x @ w.T + b)
        (single,) = function(x.float(), w.float(), b.float())
        assert single.dtype == torch.float32
        torch.testing.assert_close(single, x.float() @ w.float().T + b.float())


def test_an_argument_that_nothing_reads_is_ignored() -> None:
    x, w, b = tensors()
    unread = Symbol.new_from_name((7,), "unread")
    (found,) = TorchFunction([LINEAR], [unread, X, W, B], batched=[X, unread])(torch.ones(1), x, w, b)
    torch.testing.assert_close(found, x @ w.T + b)


def test_a_symbol_that_is_no_argument() -> None:
    with pytest.raises(rc.ConstructionError, match=r"'b' .* is free in the expressions, and no argument") as caught:
        TorchFunction([LINEAR], [X, W])
    assert "add it to args, or bind it" in str(caught.value)


def test_a_tensor_of_the_wrong_shape() -> None:
    x, w, b = tensors()
    with pytest.raises(rc.ScrubError, match="w"):
        TorchFunction([LINEAR], [X, W, B], batched=[X])(x, w.T, b)
