"""SPEC 2.5: `Conv`, against torch's convolutions and against sums written out."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
import torch
from torch.nn import functional

import scrub as rc
from scrub.graph import AxisUse, Conv, rebuild_batched
from tests.independent import assert_same, loop_and_stack

TORCH = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def by_torch(x: torch.Tensor, kernel: torch.Tensor, stride: Any, pairs: list[tuple[int, int]]) -> torch.Tensor:
    """One input without batch axes: padded by hand, then torch's convolution."""
    num_spatial = kernel.ndim - 2
    sides = [side for pair in reversed(pairs) for side in pair]
    channels_first = functional.pad(x.movedim(-1, 0), sides)
    weight = kernel.permute(-1, -2, *range(num_spatial))
    return TORCH[num_spatial](channels_first[None], weight, stride=stride)[0].movedim(0, -1)


def by_sums(
    x: torch.Tensor, kernel: torch.Tensor, stride: tuple[int, ...], pairs: list[tuple[int, int]]
) -> torch.Tensor:
    """The definition, one output position at a time."""
    num_spatial = kernel.ndim - 2
    sizes = [(n + a + b - k) // s + 1 for n, (a, b), k, s in zip(x.shape, pairs, kernel.shape, stride, strict=False)]
    result = torch.zeros((*sizes, kernel.shape[-1]), dtype=x.dtype)
    for place in itertools.product(*map(range, sizes)):
        for k in itertools.product(*map(range, kernel.shape[:num_spatial])):
            at = [p * s + i - a for p, s, i, (a, _) in zip(place, stride, k, pairs, strict=True)]
            if all(0 <= i < n for i, n in zip(at, x.shape, strict=False)):
                result[place] += (x[tuple(at)][:, None] * kernel[k]).sum(0)
    return result


CASES: list[tuple[tuple[int, ...], tuple[int, ...], Any, Any]] = [
    ((5, 2), (3, 2, 4), 1, 0),
    ((5, 2), (3, 2, 4), 2, 1),
    ((6, 1), (2, 1, 1), 3, [(3, 0)]),
    ((4, 5, 2), (2, 3, 2, 3), 1, 0),
    ((4, 5, 2), (2, 3, 2, 3), (2, 1), (0, 2)),
    ((4, 5, 2), (1, 1, 2, 3), 1, [(1, 2), (0, 3)]),
    ((3, 3, 4, 2), (2, 1, 3, 2, 2), (1, 2, 1), 1),
    ((3, 3, 4, 1), (3, 3, 4, 1, 5), 1, 0),
]


def pairs_of(padding: Any, num_spatial: int) -> list[tuple[int, int]]:
    given = [padding] * num_spatial if isinstance(padding, int) else padding
    return [(p, p) if isinstance(p, int) else p for p in given]


@pytest.mark.parametrize(("shape", "kernel_shape", "stride", "padding"), CASES)
def test_2_5_values_are_those_of_torch_and_of_the_definition(
    shape: tuple[int, ...], kernel_shape: tuple[int, ...], stride: Any, padding: Any
) -> None:
    x, kernel = torch.randn(shape, dtype=torch.float64), torch.randn(kernel_shape, dtype=torch.float64)
    node = Conv(rc.Array(x), rc.Array(kernel), stride, padding)
    num_spatial = len(kernel_shape) - 2
    strides = (stride,) * num_spatial if isinstance(stride, int) else stride
    pairs = pairs_of(padding, num_spatial)
    expected = by_sums(x, kernel, strides, pairs)
    assert node.shape == tuple(expected.shape)
    assert_same(node.evaluate(), expected)
    assert_same(by_torch(x, kernel, stride, pairs), expected)
    whole = rc.Array((x * 3).round().to(torch.int64)), rc.Array((kernel * 3).round().to(torch.int64))
    integers = Conv(*whole, stride, padding)
    assert integers.dtype == integers.evaluate().dtype == torch.int64
    assert_same(integers.evaluate(), by_sums(whole[0].value, whole[1].value, strides, pairs), tolerance=0)


@pytest.mark.parametrize(("shape", "kernel_shape", "stride", "padding"), CASES)
@pytest.mark.parametrize(
    ("of_input", "of_filter"), [((3,), ()), ((), (3,)), ((2, 3), (3,)), ((3,), (2, 3)), ((2, 3), (2, 3)), ((0,), (0,))]
)
def test_3_both_arguments_take_batch_axes(
    shape: tuple[int, ...],
    kernel_shape: tuple[int, ...],
    stride: Any,
    padding: Any,
    of_input: tuple[int, ...],
    of_filter: tuple[int, ...],
) -> None:
    node = Conv(rc.Scalar(1.0, shape), rc.Scalar(1.0, kernel_shape), stride, padding, name="conv")
    x = torch.randn((*of_input, *shape), dtype=torch.float64)
    kernel = torch.randn((*of_filter, *kernel_shape), dtype=torch.float64)
    batched = rebuild_batched(node, [rc.Array(x), rc.Array(kernel)])
    batch = max(of_input, of_filter, key=len)
    assert (batched.shape, batched.name) == ((*batch, *node.shape), "conv")
    assert tuple(batched.evaluate().shape) == batched.shape
    if 0 not in batch:
        pairs = pairs_of(padding, len(kernel_shape) - 2)
        expected = loop_and_stack(
            lambda a, b: by_torch(a, b, stride, pairs), [x, kernel], [len(shape), len(kernel_shape)]
        )
        assert_same(batched.evaluate(), expected)


def test_3_what_is_batched_again_keeps_its_batch_axes_apart() -> None:
    """The input has a batch axis of its own; then the filter gains another of equal size, which goes in front."""
    x, kernel = torch.randn(2, 5, 3, dtype=torch.float64), torch.randn(2, 2, 3, 4, dtype=torch.float64)
    node = Conv(rc.Array(x), rc.Scalar(1.0, (2, 3, 4)))
    assert node.shape == (2, 4, 4)
    again = rebuild_batched(node, [node.input, rc.Array(kernel)])
    expected = torch.stack([torch.stack([by_torch(a, k, 1, [(0, 0)]) for a in x]) for k in kernel])
    assert_same(again.evaluate(), expected)
    with pytest.raises(rc.BatchError, match="batch axes"):
        rebuild_batched(
            Conv(rc.Scalar(1.0, (5, 3)), rc.Scalar(1.0, (2, 3, 4))),
            [rc.Scalar(1.0, (7, 5, 3)), node.filter.add(rc.Scalar(1.0, (2, 1, 1, 1)))],
        )


def test_spatial_sizes_may_change_and_output_channels_too() -> None:
    node = Conv(rc.Scalar(1.0, (5, 3)), rc.Scalar(1.0, (2, 3, 4)))
    assert node.axis_map() == ((AxisUse.MIXED, AxisUse.REDUCED), (AxisUse.MIXED, AxisUse.REDUCED, 1))
    assert rebuild_batched(node, [rc.Scalar(1.0, (9, 3)), rc.Scalar(1.0, (2, 3, 7))]).shape == (8, 7)


def test_generated_convolutions_against_torch() -> None:
    choose = random.Random(0)
    for _ in range(100):
        num_spatial = choose.choice([1, 2, 3])
        kernel_sizes = [choose.randint(1, 3) for _ in range(num_spatial)]
        pairs = [(choose.randint(0, 2), choose.randint(0, 2)) for _ in range(num_spatial)]
        sizes = [max(1, k - a - b) + choose.randint(0, 3) for k, (a, b) in zip(kernel_sizes, pairs, strict=True)]
        stride = tuple(choose.randint(1, 3) for _ in range(num_spatial))
        channels = choose.randint(1, 3), choose.randint(1, 3)
        x = torch.randn((*sizes, channels[0]), dtype=torch.float64)
        kernel = torch.randn((*kernel_sizes, *channels), dtype=torch.float64)
        value = Conv(rc.Array(x), rc.Array(kernel), stride, pairs).evaluate()
        assert_same(value, by_torch(x, kernel, stride, pairs))


def test_booleans_are_any_of_both() -> None:
    x = torch.tensor([True, False, False])[:, None]
    kernel = torch.ones((2, 1, 1), dtype=torch.bool)
    assert Conv(rc.Array(x), rc.Array(kernel)).evaluate()[:, 0].tolist() == [True, False]


def test_names_and_text() -> None:
    x, kernel = rc.Array(torch.ones(5, 5, 2), "x"), rc.Array(torch.ones(2, 2, 2, 3), "kernel")
    node = Conv(x, kernel, 2, [1, (0, 2)])
    assert repr(node) == "conv(x, kernel) [3, 3, 3] Conv stride=2x2 padding=1,0:2"
    assert Conv(x, kernel, (2, 2), [(1, 1), (0, 2)]) is node


def test_errors_say_what_does_not_fit() -> None:
    x, kernel = rc.Array(torch.ones(5, 2), "x"), rc.Array(torch.ones(3, 2, 4), "kernel")
    with pytest.raises(
        rc.ShapeError, match=r"Conv 'c': the input has 5 channels \(its last axis\), the filter 2"
    ) as channels:
        Conv(rc.Array(torch.ones(2, 5)), kernel, name="c")
    assert (channels.value.expected, channels.value.found) == (2, 5)
    assert "hint: layouts are" in str(channels.value)
    with pytest.raises(
        rc.ShapeError, match=r"Conv 'c': a kernel of size 3 does not fit spatial axis 0, 2 with padding"
    ):
        Conv(rc.Array(torch.ones(2, 2)), kernel, name="c")
    with pytest.raises(rc.ShapeError, match=r"Conv 'c': the filter has 2 axes"):
        Conv(x, rc.Array(torch.ones(2, 2)), name="c")
    with pytest.raises(rc.ShapeError, match=r"Conv 'c': 'x' \[5, 2\] Array .* is too small for 2 spatial axes"):
        Conv(x, rc.Array(torch.ones(1, 1, 2, 2)), name="c")
    with pytest.raises(rc.ConstructionError, match=r"Conv 'c': stride for 2 axes, the filter 'kernel' .* has 1 kernel"):
        Conv(x, kernel, (1, 1), name="c")
    with pytest.raises(rc.ConstructionError, match=r"Conv 'c': padding for 2 axes"):
        Conv(x, kernel, padding=(1, 0), name="c")
    with pytest.raises(rc.ConstructionError, match=r"Conv 'c': a stride is an int of at least 1"):
        Conv(x, kernel, 0, name="c")
    with pytest.raises(rc.ConstructionError, match=r"Conv 'c': padding of a spatial axis"):
        Conv(x, kernel, padding=[(1, -1)], name="c")
    with pytest.raises(rc.DtypeError, match=r"Conv 'c': torch.float32 in 'x'"):
        Conv(x, rc.Array(torch.ones(3, 2, 4, dtype=torch.float64)), name="c")
