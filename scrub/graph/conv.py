"""`Conv`: convolution over one to three spatial axes, channels last.

As in torch and the rest of the field this is cross-correlation: the filter is not flipped.

    out[p, o] = sum over k, c of  input[p * stride + k - padding_before, c] * filter[k, c, o]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self, cast

import torch
from torch.nn import functional

from scrub.graph.array import Array
from scrub.graph.batching import common_batch
from scrub.graph.contract import contract
from scrub.graph.errors import ConstructionError, ShapeError
from scrub.graph.expr import AxisMap, AxisUse, Expr, Shape
from scrub.graph.rearrange import repeat_axes
from scrub.graph.registry import node
from scrub.graph.rules import common_dtype, to_common_dtype
from scrub.graph.sizes import Size, as_size, is_surely_less

Stride = int | Sequence[int]
Padding = int | Sequence[int | tuple[int, int]]
_TORCH_CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


@node
class Conv(Expr):
    """Convolution, channels last.

    Args:
        input: [*batch, *spatial, in_channels].
        filter: [*kernel, in_channels, out_channels], the layout of JAX and TensorFlow ("HWIO"); one to three kernel
            axes. torch's [out, in, *kernel] is `Rearrange(weight, "o i h w -> h w i o")`.
        stride: one for all spatial axes, or one each.
        padding: zeros around the input: one number for all sides, one for each axis, or pairs (before, after).

    The result is [*batch, *spatial, out_channels], each spatial size `(n + before + after - kernel) // stride + 1`.

    >>> x = Array(torch.arange(5.0).reshape(5, 1), "x")
    >>> difference = Array(torch.tensor([-1.0, 1.0]).reshape(2, 1, 1), "difference")
    >>> Conv(x, difference).evaluate().squeeze(1)
    tensor([1., 1., 1., 1.])
    """

    __slots__ = ()

    def __new__(
        cls,
        input: Expr,  # noqa: A002 - the field's word
        filter: Expr,  # noqa: A002
        stride: Stride = 1,
        padding: Padding = 0,
        name: str | None = None,
    ) -> Self:
        what = f"Conv {name!r}"
        num_spatial = filter.ndim - 2
        if num_spatial not in _TORCH_CONV:
            raise ShapeError(
                f"{what}: the filter has {filter.ndim} axes",
                nodes=[filter],
                expected="3 to 5: one to three kernel axes, in_channels, out_channels",
                found=filter.ndim,
                hint="filters with batch axes come from batching a Conv, see rc.Expander",
            )
        strides = (stride,) * num_spatial if isinstance(stride, int) else tuple(stride)
        paddings = (padding,) * num_spatial if isinstance(padding, int) else tuple(padding)
        for meaning, given in (("stride", strides), ("padding", paddings)):
            if len(given) != num_spatial:
                raise ConstructionError(
                    f"{what}: {meaning} for {len(given)} axes, the filter {filter!r} has {num_spatial} kernel axes",
                    nodes=[input, filter],
                    expected=num_spatial,
                    found=given,
                    hint=f"give one {meaning} for all, or one for each spatial axis",
                )
        pairs = tuple((p, p) if isinstance(p, int) else tuple(p) for p in paddings)
        _check_numbers(what, strides, pairs)
        return cls.make((input, filter), (strides, pairs), name)

    @property
    def input(self) -> Expr:
        """[*batch, *spatial, in_channels]."""
        return self.children[0]

    @property
    def filter(self) -> Expr:
        """[*batch, *kernel, in_channels, out_channels]; it has batch axes only where a `Conv` was batched."""
        return self.children[1]

    @property
    def stride(self) -> tuple[int, ...]:
        """One for each spatial axis."""
        return self.params[0]

    @property
    def padding(self) -> tuple[tuple[int, int], ...]:
        """Zeros before and after, for each spatial axis."""
        return self.params[1]

    @property
    def num_spatial(self) -> int:
        """Number of spatial axes."""
        return len(self.stride)

    @classmethod
    def infer(
        cls, children: tuple[Expr, ...], params: tuple[Any, ...], name: str | None
    ) -> tuple[Shape, torch.dtype | None]:
        what = f"Conv {name!r}"
        strides, paddings = cast("tuple[tuple[int, ...], tuple[tuple[int, int], ...]]", params)
        value, kernel = children
        ranks = _ranks(children, len(strides))
        if min(ranks) < 0:
            raise ShapeError(
                f"{what}: {value!r} is too small for {len(strides)} spatial axes and channels",
                nodes=children,
                expected=f"at least {len(strides) + 1} axes",
                found=value.ndim,
                hint="the layout is [*batch, *spatial, in_channels]",
            )
        *spatial, in_channels = value.shape[ranks[0] :]
        *kernel_sizes, filter_channels, out_channels = kernel.shape[ranks[1] :]
        if in_channels != filter_channels:
            raise ShapeError(
                f"{what}: the input has {in_channels} channels (its last axis), the filter {filter_channels}",
                nodes=children,
                axis=-1,
                expected=filter_channels,
                found=in_channels,
                hint="layouts are [*batch, *spatial, in_channels] and [*kernel, in_channels, out_channels]",
            )
        sizes: list[Size] = []
        for axis, (size, width, stride, (before, after)) in enumerate(
            zip(spatial, kernel_sizes, strides, paddings, strict=True)
        ):
            padded = size + before + after
            if width == 0 or is_surely_less(padded, width):
                raise ShapeError(
                    f"{what}: a kernel of size {width} does not fit spatial axis {axis}, {padded} with padding",
                    nodes=children,
                    axis=axis,
                    expected=f"1 to {padded}",
                    found=width,
                    hint="pad more, or use a smaller kernel",
                )
            num_windows = (padded - width) // stride + 1
            sizes.append(num_windows if type(num_windows) is int else as_size(num_windows))
        return (*common_batch(what, children, ranks), *sizes, out_channels), common_dtype(what, children)

    def axis_map(self) -> AxisMap:
        num_batch = self.ndim - self.num_spatial - 1
        of_input, of_filter = (
            tuple(range(num_batch - rank, num_batch)) for rank in _ranks(self.children, self.num_spatial)
        )
        mixed = (AxisUse.MIXED,) * self.num_spatial
        return (
            (*of_input, *mixed, AxisUse.REDUCED),
            (*of_filter, *mixed, AxisUse.REDUCED, self.ndim - 1),
        )

    def batched(self, children: tuple[Expr, ...], ranks: tuple[int, ...], batch: Shape) -> Expr:
        own_ranks = _ranks(self.children, self.num_spatial)
        own_axes = zip(children, ranks, own_ranks, strict=True)  # of the new children: sizes may change
        own_batch = max((child.shape[gained : gained + own] for child, gained, own in own_axes), key=len)
        shown = [  # what gains axes must show the batch axes it had not, or the two would be confused
            repeat_axes(child, own_batch[: len(own_batch) - own], at=gained) if gained else child
            for child, gained, own in zip(children, ranks, own_ranks, strict=True)
        ]
        return self.with_children(shown)

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        value, kernel = to_common_dtype(f"Conv {self.name!r}", values, self.dtype)
        num_spatial = self.num_spatial
        sides = [side for pair in reversed(self.padding) for side in pair]
        padded = functional.pad(value, [0, 0, *sides]) if any(sides) else value
        is_plain = kernel.ndim == num_spatial + 2 and value.is_floating_point()
        if is_plain and padded.numel() and kernel.numel():
            return self._by_torch(padded, kernel)
        return self._by_windows(padded, kernel)

    def _by_torch(self, padded: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        """Batch axes merged into torch's one, channels moved to where torch has them."""
        num_spatial = self.num_spatial
        batch = padded.shape[: padded.ndim - num_spatial - 1]
        channels_first = padded.reshape(-1, *padded.shape[len(batch) :]).movedim(-1, 1)
        weight = kernel.movedim((-1, -2), (0, 1)).contiguous()  # torch runs some backwards only for such ones
        result = _TORCH_CONV[num_spatial](channels_first, weight, stride=self.stride).movedim(1, -1)
        return result.reshape(*batch, *result.shape[1:])

    def _by_windows(self, padded: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        """For what torch's convolutions do not take (filters with batch axes, integers, empty axes): a contraction."""
        num_spatial = self.num_spatial
        ranks = padded.ndim - num_spatial - 1, kernel.ndim - num_spatial - 2
        for axis, stride in enumerate(self.stride):
            padded = padded.unfold(ranks[0] + axis, kernel.shape[ranks[1] + axis], stride)  # puts the window last
        batch = tuple(range(max(ranks)))
        spatial = tuple(range(len(batch), len(batch) + num_spatial))
        window = tuple(axis + num_spatial for axis in spatial)
        in_channels, out_channels = window[-1] + 1, window[-1] + 2
        of_input = (*batch[len(batch) - ranks[0] :], *spatial, in_channels, *window)
        of_filter = (*batch[len(batch) - ranks[1] :], *window, in_channels, out_channels)
        return contract([padded, kernel], [of_input, of_filter], (*batch, *spatial, out_channels))

    def flops(self) -> int:
        """A multiply-add, which is 2, for each output element, kernel position and input channel."""
        per_element = 2
        for size in self.filter.shape[-self.num_spatial - 2 : -1]:
            per_element *= size
        return self.numel * per_element

    def param_text(self) -> str:
        stride = "x".join(map(str, self.stride))
        padding = ",".join(str(a) if a == b else f"{a}:{b}" for a, b in self.padding)
        return f"stride={stride} padding={padding}"

    def derived_name(self, names: Sequence[str]) -> str:
        return f"conv({names[0]}, {names[1]})"

    @classmethod
    def examples(cls) -> Iterator[Expr]:
        generator = torch.Generator().manual_seed(0)

        def random(*shape: int) -> torch.Tensor:
            return torch.randn(shape, generator=generator)

        line = Array(random(5, 2), "line")
        yield cls(line, Array(random(3, 2, 4), "kernel"), stride=2, padding=1, name="conv")
        yield cls(line, Array(random(2, 2, 1)), padding=[(2, 0)])
        yield cls(Array(random(3, 4, 5, 2), "images"), Array(random(2, 3, 2, 3)), stride=(1, 2), padding=(0, 1))
        yield cls(Array(random(2, 3, 3, 1), "volume"), Array(random(2, 1, 2, 1, 2)))
        yield cls(Array(torch.tensor([[1], [2], [3]])), Array(torch.tensor([[[1]], [[-1]]])))


def _ranks(children: Sequence[Expr], num_spatial: int) -> tuple[int, int]:
    """Number of batch axes of input and filter."""
    return children[0].ndim - num_spatial - 1, children[1].ndim - num_spatial - 2


def _check_numbers(what: str, strides: Sequence[object], pairs: Sequence[tuple[object, ...]]) -> None:
    for stride in strides:
        if type(stride) is not int or stride < 1:
            raise ConstructionError(f"{what}: a stride is an int of at least 1", expected="at least 1", found=stride)
    for pair in pairs:
        if len(pair) != 2 or not all(type(side) is int and side >= 0 for side in pair):
            raise ConstructionError(
                f"{what}: padding of a spatial axis is a number or a pair (before, after), none negative",
                expected="(before, after)",
                found=pair,
                hint="padding=1, padding=(1, 2) for two axes, or padding=[(1, 0), (2, 2)]",
            )
