"""Every registered operator against torch: values, shapes and dtypes, with open and with known arguments."""

from __future__ import annotations

import pytest
import torch

from scrub.compiler import evaluate_many
from scrub.graph import CheckpointError, Scalar
from scrub.models.exported import ATEN, from_torch
from scrub.models.exported.registry import KEPT
from tests.models.exported.cases import CASES, KNOWN_ONLY, Case
from tests.models.exported.single import Lowered, drawn, lower_call

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


def test_every_operator_has_a_case() -> None:
    assert set(ATEN) - {case.operator for case in (*CASES, *KNOWN_ONLY)} == set()


def test_no_operator_is_taken_apart_by_torch_before_it_is_met() -> None:
    decomposed = {str(operator) for operator in torch.export.default_decompositions()}
    assert sorted(decomposed & set(ATEN) - KEPT) == []


@pytest.mark.parametrize("case", CASES, ids=str)
def test_open_arguments(case: Case) -> None:
    for dtype in (torch.float32, torch.float64):
        args, kwargs, _ = drawn(case, dtype)
        check(case, lower_call(case, args, kwargs))


@pytest.mark.parametrize("case", [*CASES, *KNOWN_ONLY], ids=lambda case: case.operator)
def test_known_arguments(case: Case) -> None:
    args, kwargs, tensors = drawn(case, torch.float32, seed=1)
    for chosen in tensors if len(tensors) > 1 else ():
        if case not in KNOWN_ONLY or not chosen.is_floating_point():
            check(case, lower_call(case, args, kwargs, known=[chosen]))


def test_known_positions_along_several_axes() -> None:
    x, generator = torch.zeros(3, 4, 2), torch.Generator().manual_seed(0)
    rows, columns = torch.tensor([[0], [2]]), torch.tensor([1, -1])

    class Put(torch.nn.Module):
        def forward(self, x: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, ...]:
            one, two, three = x * 2, x + 1, x.permute(2, 0, 1) + 3
            one[rows, columns] = values
            two.index_put_((rows, columns), values, accumulate=True)
            three[:, rows, columns] = values[..., 0]
            return one, two, three, one.index_put((torch.tensor([1, 1]),), x[0], accumulate=True)

    values = torch.randn(2, 2, 2, generator=generator)
    model = from_torch(Put(), (x, values))
    x = torch.randn(3, 4, 2, generator=generator)
    for got, want in zip(model.call_all(x=x, values=values).values(), Put()(x, values), strict=True):
        torch.testing.assert_close(got.evaluate(), want)


def test_what_is_made_of_numbers_alone_has_the_dtype_of_torch() -> None:
    class Bias(torch.nn.Module):
        def forward(self, mask: torch.Tensor) -> torch.Tensor:
            return torch.where(mask, 0.0, -1.5)

    mask = torch.tensor([[True, False]])
    value = from_torch(Bias(), (mask,)).call(mask=mask).evaluate()
    assert value.dtype == torch.float32
    assert value.tolist() == [[0.0, -1.5]]


def test_a_result_that_is_not_supported_is_an_error_only_where_it_is_used() -> None:
    class Pool(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return torch.nn.functional.max_pool2d(x, 2, return_indices=True)  # type: ignore[return-value]

    with pytest.raises(CheckpointError, match=r"result 1 of aten\.max_pool2d_with_indices\.default is used"):
        from_torch(Pool(), (torch.ones(1, 1, 4, 4),))


def check(case: Case, lowered: Lowered) -> None:
    outputs, bindings, expected = lowered
    assert outputs.keys() == expected.keys()
    for name, want in expected.items():
        expr = outputs[name]
        assert expr.shape == tuple(want.shape)
        (got,) = evaluate_many([expr], {s: v for s, v in bindings.items() if s in expr.free_symbols})
        if isinstance(expr, Scalar):
            got = got.to(want.dtype)  # it has no dtype of its own
        assert got.dtype == want.dtype, expr
        torch.testing.assert_close(got, want, rtol=0, atol=TOLERANCE.get(want.dtype, 0), equal_nan=True)
