"""Calls of every registered operator: the arguments with which each is tried against torch itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class T:
    """A tensor to draw: "float" about 0, "unit" between 0.1 and 0.9, "int" from 1 to `high`, "bool", "nan"."""

    shape: tuple[int, ...]
    kind: str = "float"
    high: int = 5

    def draw(self, generator: torch.Generator, dtype: torch.dtype) -> torch.Tensor:
        if self.kind == "int":
            return torch.randint(1, self.high + 1, self.shape, generator=generator)
        if self.kind == "position":
            return torch.randint(0, self.high, self.shape, generator=generator)
        if self.kind == "order":
            return torch.rand((*self.shape[:-1], self.high), generator=generator).argsort(-1)[..., : self.shape[-1]]
        if self.kind == "bool":
            return torch.rand(self.shape, generator=generator) > 0.4
        if self.kind == "unit":
            return (torch.rand(self.shape, generator=generator, dtype=torch.float64) * 0.8 + 0.1).to(dtype)
        drawn = torch.randn(self.shape, generator=generator, dtype=torch.float64).to(dtype)
        if self.kind == "nan":
            drawn.view(-1)[0], drawn.view(-1)[1], drawn.view(-1)[2] = math.nan, math.inf, -math.inf
        return drawn


@dataclass(frozen=True)
class Case:
    """One call; `T`s among the arguments are drawn."""

    operator: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict[str, Any])

    def __str__(self) -> str:
        return f"{self.operator.removeprefix('aten.')}-{CASES.index(self)}"


def F(*shape: int) -> T:
    return T(shape)


def U(*shape: int) -> T:
    return T(shape, "unit")


def N(*shape: int, high: int = 5) -> T:
    return T(shape, "int", high)


def B(*shape: int) -> T:
    return T(shape, "bool")


def at(*shape: int, size: int) -> T:
    """Positions in an axis of that size."""
    return T(shape, "position", size)


def cases(operators: str, *calls: Sequence[Any] | tuple[Sequence[Any], dict[str, Any]]) -> list[Case]:
    """The same calls of several operators. A call is its arguments, or a pair of these and keyword arguments."""
    made: list[Case] = []
    for operator in operators.split():
        for call in calls:
            has_kwargs = len(call) == 2 and isinstance(call[0], tuple) and isinstance(call[1], dict)
            args, kwargs = call if has_kwargs else (call, {})
            made.append(Case(f"aten.{operator}", tuple(args), kwargs))
    return made


ORDER = T((2, 3), "order", 4)
"""Positions that differ along the last axis."""

CASES = [
    # arithmetic
    *cases(
        "add.Tensor", (F(2, 3), F(3)), ((F(2, 1), F(1, 3)), {"alpha": 2}), (N(3), F(2, 3)), (N(3), N(3)), (F(2, 3), 0.5)
    ),
    *cases("add.Scalar sub.Scalar", (F(2, 3), 2), ((F(2), 2), {"alpha": 0.5}), (N(2), 2), (N(2), 0.5)),
    *cases("sub.Tensor", (F(2, 3), F(2, 1)), ((F(3), F(2, 3)), {"alpha": 3}), (F(1, 2), F(2, 1, 1)), (N(4), F())),
    *cases("neg.default", (F(2, 3),), (N(3),), (F(),)),
    *cases(
        "mul.Tensor",
        (F(2, 3), F(3)),
        (F(2, 1), F(1, 3)),
        (B(3), B(2, 3)),
        (N(3), F(2, 3)),
        (F(1, 1), F(1, 1)),
        (B(3), F(3)),
    ),
    *cases("mul.Scalar", (F(2, 3), 2), (N(2), 0.5), (N(2), 3)),
    *cases("div.Tensor", (F(2, 3), U(3)), (N(3), N(2, 3)), (F(2, 3), 4.0), (F(2, 1), U(1, 3))),
    *cases("div.Scalar", (F(2, 3), 4), (N(3), 2)),
    *cases("div.Tensor_mode", *(((F(2, 3), U(3)), {"rounding_mode": mode}) for mode in ("floor", "trunc", None))),
    *cases("div.Tensor_mode", *(((N(2, 3, high=9), N(3)), {"rounding_mode": mode}) for mode in ("floor", "trunc"))),
    *cases(
        "div.Scalar_mode", ((N(4, high=9), 2), {"rounding_mode": "floor"}), ((F(4), 0.3), {"rounding_mode": "trunc"})
    ),
    *cases("remainder.Tensor fmod.Tensor", (F(2, 3), U(3)), (N(2, 3, high=9), N(3))),
    *cases("remainder.Scalar fmod.Scalar", (F(2, 3), 0.7), (N(5, high=9), 3)),
    *cases("reciprocal.default rsqrt.default", (U(2, 3),), (N(3),)),
    *cases(
        "pow.Tensor_Scalar",
        *((U(2, 3), exponent) for exponent in (2, 3, 4, 0.5, -0.5, -1, 1, 1.7, 0)),
        (N(4), 2),
        (N(4), 5),
    ),
    *cases("pow.Tensor_Tensor", (U(2, 3), F(3)), (U(3), F(2, 1))),
    *cases("pow.Scalar", (2.0, F(2, 3)), (2, N(3))),
    *cases("maximum.default minimum.default", (F(2, 3), F(3)), (N(3), N(2, 1))),
    *cases("atan2.default", (F(2, 3), U(3))),
    *cases("clamp.default", (F(2, 3), -0.5, 0.5), (F(4), None, 0.1), (F(4), 0.0, math.inf), (N(5, high=9), 2, 4)),
    *cases("clamp.Tensor", (F(2, 3), F(3)), (F(2, 3), None, F())),
    # functions of one number
    *cases(
        "sin.default cos.default tan.default atan.default sinh.default cosh.default asinh.default tanh.default "
        "sigmoid.default exp.default expm1.default erf.default erfc.default",
        (F(2, 3),),
        (F(),),
        (N(3, high=2),),
    ),
    *cases(
        "asin.default acos.default atanh.default log.default log1p.default log2.default log10.default sqrt.default",
        (U(2, 3),),
    ),
    *cases("relu.default floor.default ceil.default trunc.default abs.default sign.default", (F(2, 3),), (N(3),)),
    *cases("round.default", (F(5),), (N(3),)),
    *cases("round.decimals", ((F(5),), {"decimals": 2})),
    *cases("gelu.default", (F(2, 3),), ((F(2, 3),), {"approximate": "tanh"})),
    *cases("silu.default mish.default hardsigmoid.default hardswish.default", (F(2, 3),)),
    *cases("log_sigmoid.default", (F(2, 3),)),
    *cases("softplus.default", (F(2, 3),), (F(2, 3), 2, 1), (F(4), 1, 20)),
    *cases("leaky_relu.default", (F(2, 3),), (F(4), 0.3)),
    *cases("_prelu_kernel.default", (F(2, 3), F(3)), (F(2, 3, 4), U(1, 3, 1))),
    *cases("rrelu_with_noise_functional.default", (F(2, 3), F(2, 3), 0.1, 0.5, False)),
    *cases("elu.default", (F(2, 3),), (F(4), 0.7, 1.5, 2)),
    *cases("hardtanh.default", (F(2, 3),), (F(4), 0, 0.4)),
    # comparison, logic, choice
    *cases(
        "lt.Tensor le.Tensor gt.Tensor ge.Tensor eq.Tensor ne.Tensor", (N(2, 3), N(3)), (F(2, 1), F(3)), (N(3), F(3))
    ),
    *cases("lt.Scalar le.Scalar gt.Scalar ge.Scalar eq.Scalar ne.Scalar", (N(2, 3), 3), (F(3), 0), (N(40), 2.5)),
    *cases("logical_and.default logical_or.default logical_xor.default", (B(2, 3), B(3)), (F(3), N(3))),
    *cases("bitwise_and.Tensor bitwise_or.Tensor bitwise_xor.Tensor", (B(2, 3), B(3)), (N(4), N(4))),
    *cases("bitwise_and.Scalar bitwise_or.Scalar bitwise_xor.Scalar", (N(4), 3), (B(4), True)),
    *cases("logical_not.default", (B(4),), (F(3),)),
    *cases("bitwise_not.default", (B(4),), (N(4),)),
    *cases("where.self", (B(2, 3), F(3), F(2, 1)), (B(3), F(2, 3), F()), (B(3), N(3), F(3))),
    *cases("masked_fill.Scalar", (F(2, 3), B(3), 0.5), (F(2, 3), B(2, 3), -math.inf), (N(3), B(3), 7)),
    *cases("masked_fill.Tensor", (F(2, 3), B(2, 1), F())),
    *cases("isnan.default isinf.default", (T((4,), "nan"),), (N(3),)),
    # shapes
    *cases("clone.default alias.default lift_fresh_copy.default", (F(2, 3),)),
    *cases("native_dropout.default", (F(2, 3), 0.0, False)),
    *cases(
        "view.default",
        (F(2, 6), [2, 3, 2]),
        (F(2, 3), [3, 2]),
        (F(2, 3, 4), [-1]),
        (F(1, 3), [3, 1]),
        (N(0, 3), [3, 0]),
    ),
    *cases("permute.default", (F(2, 3, 4), [2, 0, 1]), (F(), [])),
    *cases("unsqueeze.default", (F(2, 3), 1), (F(2, 3), -1), (F(), 0)),
    *cases("squeeze.dims", (F(2, 1, 3, 1), [1, 3]), (F(2, 1), [0, 1])),
    *cases("expand.default", (F(2, 1), [2, 3]), (F(3), [2, -1]), (F(1, 3), [4, 2, 3])),
    *cases("repeat.default", (F(2, 3), [2, 1]), (F(3), [2, 2, 3])),
    *cases("repeat_interleave.self_int", (F(2, 3), 2, 1), (F(2, 3), 2)),
    *cases(
        "cat.default", ([F(2, 3), F(1, 3)],), ([F(2, 3), F(2, 1), F(2, 2)], -1), ([N(2), F(3)],), ([F(0), F(2, 3)],)
    ),
    *cases("stack.default", ([F(2, 3), F(2, 3)], 1), ([F(3), F(3)],)),
    *cases("split_with_sizes.default", (F(2, 6), [1, 3, 2], 1), (F(5), [2, 3])),
    *cases("split.Tensor", (F(2, 5), 2, -1), (F(5), 2)),
    *cases("unbind.int", (F(2, 3),), (F(2, 3), -1)),
    *cases("flip.default", (F(2, 3), [0, -1])),
    *cases("roll.default", (F(2, 3), [1], [1]), (F(2, 3), [-2, 1], [1, 0]), (F(2, 3), [2])),
    *cases(
        "constant_pad_nd.default",
        (F(2, 3), [1, 2]),
        (F(2, 3), [1, 0, 0, 2], 1.5),
        (F(2, 5), [-1, -2]),
        (N(3), [1, 1], 7),
        (F(3), [0, 0]),
    ),
    *cases(
        "pad.default",
        (F(2, 3, 4), [1, 2], "reflect"),
        (F(2, 3, 4), [2, 1], "replicate"),
        (F(2, 3, 4), [2, 1], "circular"),
    ),
    *cases("pad.default", (F(2, 3), [1, 2], "constant", 0.5), (F(1, 2, 3, 4), [1, 1, 2, 0], "reflect")),
    # picking and placing
    *cases(
        "slice.Tensor",
        (F(5, 3), 0, 1, 4),
        (F(5, 6), 1, 0, 9223372036854775807, 2),
        (F(5), 0, -3),
        (F(5), 0, 4, 2),
        (F(5), 0, 1, -1),
    ),
    *cases("select.int", (F(2, 3), 1, -1), (F(2, 3), 0, 1)),
    *cases("diagonal.default", (F(3, 4),), (F(2, 3, 4), 1, 1, 2), (F(3, 2, 4), -1, 0, -1)),
    *cases("embedding.default", (F(5, 3), at(2, 4, size=5)), (F(5, 3), at(4, size=5), 0)),
    *cases(
        "index_select.default",
        (F(2, 5, 3), 1, at(4, size=5)),
        (F(5), 0, at(2, size=5)),
        (F(2, 3, 4), -1, at(3, size=4)),
    ),
    *cases(
        "index.Tensor", (F(5, 3), [at(2, size=5)]), (F(5, 3), [at(2, 2, size=5)]), (F(2, 5, 3), [None, at(4, size=5)])
    ),
    *cases(
        "index.Tensor",
        (F(4, 5, 3), [at(2, 1, size=4), at(3, size=5)]),
        (F(2, 4, 5, 3), [None, at(2, size=4), at(2, size=5)]),
    ),
    *cases("index.Tensor", (F(4, 5, 3), [at(2, size=4), None, at(2, size=3)]), (N(4, 3), [at(2, 2, size=4)])),
    *cases(
        "gather.default",
        (F(2, 5), 1, at(2, 3, size=5)),
        (F(4, 3), 0, at(2, 3, size=4)),
        (F(2, 5, 3), -2, at(2, 1, 3, size=5)),
    ),
    *cases(
        "slice_scatter.default",
        (F(5, 3), F(2, 3), 0, 1, 3),
        (F(2, 6), F(2, 3), 1, 0, 9223372036854775807, 2),
        (F(3), F(3)),
    ),
    *cases("select_scatter.default", (F(3, 4), F(3), 1, -1), (F(3, 4), F(4), 0, 1)),
    *cases("tril.default triu.default", (F(3, 4),), (F(2, 3, 3), 1), (B(3, 3), -1)),
    *cases("scatter.src scatter_add.default", (F(2, 5), 1, ORDER, F(2, 3)), (F(3, 4), 1, ORDER, F(2, 3))),
    *cases("scatter.value", (F(2, 5), 1, at(2, 3, size=5), 0.5), (N(3, 4), 0, at(2, 4, size=3), 7)),
    *cases("scatter_add.default", (F(4, 3), 0, at(2, 3, size=4), F(2, 3)), (F(4, 3), -1, at(3, 2, size=3), F(4, 3))),
    *cases(
        "index_add.default", (F(5, 3), 0, at(4, size=5), F(4, 3)), ((F(2, 5), 1, at(3, size=5), F(2, 3)), {"alpha": 2})
    ),
    # products of matrices
    *cases("linear.default", (F(2, 4, 3), F(5, 3)), (F(3), F(5, 3), F(5)), (F(2, 3), F(3)), (F(1, 1), F(1, 1), F(1))),
    *cases(
        "matmul.default",
        (F(2, 3), F(3, 4)),
        (F(3), F(3, 4)),
        (F(2, 3), F(3)),
        (F(3), F(3)),
        (F(2, 1, 3, 4), F(5, 4, 2)),
    ),
    *cases("matmul.default", (F(1, 1), F(1, 3)), (F(5, 2, 3), F(3, 1)), (F(1, 2, 3), F(4, 3, 2))),
    *cases("mm.default", (F(2, 3), F(3, 4))),
    *cases("bmm.default", (F(2, 3, 4), F(2, 4, 1))),
    *cases("mv.default", (F(2, 3), F(3))),
    *cases("dot.default", (F(3), F(3))),
    *cases(
        "addmm.default",
        (F(4), F(2, 3), F(3, 4)),
        ((F(2, 4), F(2, 3), F(3, 4)), {"beta": 0.5, "alpha": 2}),
        ((F(4), F(2, 3), F(3, 4)), {"beta": 0}),
    ),
    *cases(
        "baddbmm.default",
        (F(2, 1, 4), F(2, 3, 5), F(2, 5, 4)),
        ((F(4), F(2, 3, 5), F(2, 5, 4)), {"beta": 0, "alpha": 0.3}),
    ),
    *cases("addbmm.default", (F(3, 4), F(2, 3, 5), F(2, 5, 4))),
    *cases("addmv.default", (F(2), F(2, 3), F(3))),
    *cases("outer.default", (F(2), F(3))),
    *cases("addcmul.default", (F(2, 3), F(3), F(2, 1)), ((F(3), F(3), F(2, 3)), {"value": 0.5})),
    *cases(
        "einsum.default",
        ("bij,bjk->bik", [F(2, 3, 4), F(2, 4, 5)]),
        ("...i,...i->...", [F(2, 3), F(1, 3)]),
        ("ii->i", [F(3, 3)]),
    ),
    *cases(
        "einsum.default",
        ("ij,jk", [F(2, 3), F(3, 4)]),
        ("b...h, h -> ...b", [F(2, 3, 4), F(4)]),
        ("i,j->ij", [F(2), F(3)]),
    ),
    *cases("_trilinear.default", (F(2, 3), F(5, 3, 4), F(2, 4), [1, 3], [0], [1, 2], [2, 3])),
    # reductions
    *cases(
        "sum.dim_IntList",
        (F(2, 3, 4), [1]),
        (F(2, 3), [0, 1], True),
        (F(2, 3), []),
        (N(2, 3), [-1]),
        (B(2, 3), [0]),
        (F(), []),
    ),
    *cases("sum.dim_IntList mean.dim", ((F(2, 3), [0]), {"dtype": torch.float64})),
    *cases("mean.dim", (F(2, 3, 4), [-1], True), (F(2, 3), [0, 1])),
    *cases("mean.default", (F(2, 3),)),
    *cases(
        "var.correction std.correction var_mean.correction",
        (F(2, 3),),
        ((F(2, 3, 4), [1, -1]), {"correction": 0, "keepdim": True}),
        ((F(5, 2), [0]), {"correction": 1}),
    ),
    *cases(
        "linalg_vector_norm.default", (F(2, 3),), (F(2, 3), 1, [1], True), (F(2, 3), math.inf, [0]), (F(2, 3), 3, [-1])
    ),
    *cases("amax.default amin.default", (F(2, 3, 4), [1]), (F(2, 3), [0, 1], True), (F(3, 2),), (N(2, 3), [-1])),
    *cases("max.default min.default", (F(2, 3),), (N(4),)),
    *cases("max.dim min.dim", (F(2, 3), 1), (F(2, 3), 0, True)),
    *cases("argmax.default argmin.default", (F(2, 3),), (F(2, 3), 1), (F(2, 3, 4), -2, True)),
    *cases("any.default", (B(2, 3),), (F(3),)),
    *cases("any.dim", (B(2, 3), 1), (N(2, 3), 0, True)),
    *cases("any.dims", (B(2, 3, 4), [0, 2])),
    *cases("prod.default", (F(2, 3),), (N(3),)),
    *cases("prod.dim_int", (F(2, 3), 0), (F(2, 3), 1, True)),
    *cases("cumsum.default cumprod.default", (F(2, 3), 0), (F(2, 3, 4), -2), (N(4), 0), (B(4), 0), (F(), 0)),
    *cases("_softmax.default _log_softmax.default", (F(2, 3), -1, False), (F(2, 3, 4), 1, False), (F(), 0, False)),
    *cases("_safe_softmax.default", (F(2, 3), -1)),
    *cases("logsumexp.default", (F(2, 3), [1]), (F(2, 3, 4), [0, -1], True)),
    *cases("topk.default", (F(2, 5), 3), (F(5, 2), 2, 0, False)),
    *cases("sort.default", (F(2, 5),), (F(5, 2), 0, True)),
    *cases("sort.stable", ((F(2, 5),), {"stable": True}), ((F(5, 2),), {"stable": True, "dim": 0, "descending": True})),
    # norms
    *cases(
        "layer_norm.default",
        (F(2, 3, 4), [4], F(4), F(4), 1e-5),
        (F(2, 3, 4), [3, 4]),
        (F(2, 4), [4], F(4)),
        (F(2, 4), [4], None, F(4)),
    ),
    *cases("native_layer_norm.default", (F(2, 3, 4), [4], F(4), F(4), 1e-5), (F(2, 3, 4), [3, 4], None, None, 1e-3)),
    *cases("rms_norm.default", (F(2, 3, 4), [4], F(4), 1e-5), (F(2, 3), [3])),
    *cases("group_norm.default", (F(2, 6, 5), 3, F(6), F(6), 1e-5), (F(2, 4, 3, 2), 2)),
    *cases(
        "_native_batch_norm_legit_no_training.default _batch_norm_no_update.default",
        (F(2, 3, 4), F(3), F(3), F(3), U(3), 0.1, 1e-5),
        (F(2, 3), None, None, F(3), U(3), 0.1, 1e-3),
    ),
    *cases(
        "_native_batch_norm_legit.no_stats",
        (F(2, 3, 4), F(3), F(3), True, 0.1, 1e-5),
        (F(2, 3, 4, 5), None, None, True, 0.1, 1e-3),
    ),
    # attention
    *cases("scaled_dot_product_attention.default", (F(2, 3, 4, 5), F(2, 3, 6, 5), F(2, 3, 6, 7))),
    *cases("scaled_dot_product_attention.default", (F(2, 3, 4, 5), F(2, 3, 4, 5), F(2, 3, 4, 5), None, 0.0, True)),
    *cases("scaled_dot_product_attention.default", (F(2, 3, 4, 5), F(2, 3, 6, 5), F(2, 3, 6, 5), F(4, 6))),
    *cases("scaled_dot_product_attention.default", (F(2, 3, 4, 5), F(2, 3, 6, 5), F(2, 3, 6, 5), B(2, 1, 4, 6))),
    *cases(
        "scaled_dot_product_attention.default",
        ((F(2, 4, 4, 5), F(2, 2, 4, 5), F(2, 2, 4, 5), None, 0.0, True), {"scale": 0.3, "enable_gqa": True}),
    ),
    *cases("scaled_dot_product_attention.default", (F(4, 5), F(6, 5), F(6, 5))),
    # convolution and pooling
    *cases("convolution.default", (F(2, 3, 7), F(4, 3, 3), F(4), [1], [1], [1], False, [0], 1)),
    *cases("convolution.default", (F(2, 4, 7), F(4, 1, 3), F(4), [1], [2], [1], False, [0], 4)),
    *cases("convolution.default", (F(2, 4, 9), F(6, 2, 3), None, [2], [1], [2], False, [0], 2)),
    *cases("convolution.default", (F(1, 3, 6, 5), F(4, 3, 3, 2), F(4), [2, 1], [1, 0], [1, 1], False, [0, 0], 1)),
    *cases("convolution.default", (F(1, 2, 6, 7), F(4, 1, 3, 3), None, [1, 2], [2, 1], [2, 1], False, [0, 0], 2)),
    *cases("convolution.default", (F(1, 2, 3, 4, 5), F(3, 2, 2, 2, 2), None, [1], [0], [1], False, [0], 1)),
    *cases("convolution.default", (F(2, 4, 5), F(4, 3, 3), F(3), [2], [1], [1], True, [1], 1)),
    *cases("convolution.default", (F(1, 4, 3, 4), F(4, 2, 2, 3), None, [2, 3], [0, 1], [1, 2], True, [0, 1], 2)),
    *cases("avg_pool1d.default", (F(2, 3, 8), [3], [2], [1]), (F(2, 3, 8), [3])),
    *cases(
        "avg_pool2d.default",
        (F(2, 3, 6, 7), [2, 3]),
        (F(1, 2, 6, 7), [3, 3], [2, 2], [1, 1], True, False),
        (F(1, 1, 5, 5), [2, 2], [2, 2], [0, 0], False, True, 3),
    ),
    *cases("avg_pool2d.default", (F(1, 2, 6, 7), [3, 3], [2, 2], [1, 1], True, True)),
    *cases("avg_pool3d.default", (F(1, 2, 4, 4, 4), [2, 2, 2])),
    *cases(
        "max_pool2d_with_indices.default",
        (F(2, 3, 6, 7), [2, 3]),
        (F(1, 2, 6, 7), [3, 3], [2, 2], [1, 1], [1, 1], True),
        (F(1, 1, 7, 7), [2, 2], [1, 1], [0, 0], [2, 2]),
    ),
    *cases("max_pool3d_with_indices.default", (F(1, 2, 4, 4, 4), [2, 2, 2])),
    *cases("_adaptive_avg_pool2d.default", (F(2, 3, 6, 7), [1, 1]), (F(1, 2, 6, 7), [4, 3])),
    *cases("_adaptive_avg_pool3d.default", (F(1, 2, 4, 3, 5), [2, 3, 1])),
    *cases("adaptive_avg_pool1d.default", (F(2, 3, 8), [3])),
    *cases("adaptive_max_pool2d.default", (F(2, 3, 6, 7), [1, 1]), (F(1, 2, 6, 7), [4, 3])),
    *cases("adaptive_max_pool3d.default", (F(1, 2, 4, 3, 5), [2, 3, 1])),
    *cases("upsample_nearest1d.vec", (F(1, 2, 3), [7], None), (F(1, 2, 3), None, [2.0])),
    *cases("upsample_nearest2d.vec", (F(1, 2, 3, 4), [5, 8], None), (F(1, 2, 3, 4), None, [2.0, 1.5])),
    *cases("upsample_nearest3d.vec", (F(1, 2, 2, 3, 2), [4, 3, 5], None)),
    *cases("upsample_linear1d.vec", (F(1, 2, 3), [7], False, None), (F(1, 2, 3), None, True, [2.0])),
    *cases("upsample_bilinear2d.vec upsample_bicubic2d.vec", (F(1, 2, 3, 4), [5, 8], False, None)),
    *cases("upsample_bilinear2d.vec upsample_bicubic2d.vec", (F(1, 2, 3, 4), [5, 8], True, None)),
    *cases("upsample_bilinear2d.vec upsample_bicubic2d.vec", (F(1, 2, 3, 4), None, False, [2.0, 1.6])),
    *cases("upsample_trilinear3d.vec", (F(1, 2, 2, 3, 2), [4, 3, 5], False, None)),
    # dtypes
    *cases("copy.default", (F(2, 3), F(3)), (F(3), N(3)), (N(2, 3), F())),
    *cases(
        "_to_copy.default",
        *(((F(2, 3),), {"dtype": dtype}) for dtype in (torch.float64, torch.int64, torch.bool, None)),
    ),
    *cases("_to_copy.default", ((N(3),), {"dtype": torch.float32}), ((B(3),), {"dtype": torch.float64})),
]

KNOWN_ONLY = [
    *cases("index_put.default", (F(5, 3), [at(1, size=5)], F(1, 3)), (F(2, 5), [None, at(3, size=5)], F(), True)),
]
"""Calls whose positions must be known when a model is exported."""
