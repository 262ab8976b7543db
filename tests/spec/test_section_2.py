"""Section 2 of the specification, sentence by sentence: the node types."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

import pytest
import torch

import scrub as rc
from scrub import I, S
from scrub.graph import (
    ELEMENTWISE,
    FUNCTIONS,
    Conv,
    GeneralFunction,
    Scatter,
    SetSymbolicShape,
    function,
    rebuild_batched,
    symbolic_sizes,
)
from scrub.graph.functions.base import Function, FunctionShape
from tests.independent import assert_same

V = torch.tensor([1.0, 2.0, 3.0])
SQUARE = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


# ---- 2.1 -----------------------------------------------------------------------------------------------------------


def test_2_1_three_ways_to_write_an_einsum() -> None:
    """SPEC 2.1: `Einsum((expr, axes)..., out_axes=...)`, "ab,bc->ac", and the spaced form "pos d, d e -> pos e"."""
    x, y = rc.Array(torch.arange(6.0).reshape(2, 3), "x"), rc.Array(torch.arange(12.0).reshape(3, 4), "y")
    product = rc.Einsum((x, (0, 1)), (y, (1, 2)), out_axes=(0, 2))
    assert rc.Einsum.from_string("ab,bc->ac", x, y) is product
    assert rc.Einsum.from_string("pos d, d e -> pos e", x, y) is product
    expected = [[sum(x.value[i, k] * y.value[k, j] for k in range(3)) for j in range(4)] for i in range(2)]
    assert product.evaluate().tolist() == expected


def test_2_1_repeated_input_axes() -> None:
    """SPEC 2.1: "Repeated input axes take the diagonal or trace"."""
    square = rc.Array(SQUARE)
    assert rc.Einsum((square, (0, 0)), out_axes=(0,)).evaluate().tolist() == [1.0, 4.0]
    assert rc.Einsum((square, (0, 0)), out_axes=()).evaluate().item() == 5.0


def test_2_1_repeated_output_axes() -> None:
    """SPEC 2.1: "`v, (0,) -> (0, 0)` is `diag(v)`; `aa->aa` zeroes everything off the diagonal"."""
    assert torch.equal(rc.Einsum((rc.Array(V), (0,)), out_axes=(0, 0)).evaluate(), torch.diag(V))
    assert rc.Einsum.from_string("aa->aa", rc.Array(SQUARE)).evaluate().tolist() == [[1.0, 0.0], [0.0, 4.0]]


def test_2_1_sizes_must_match_exactly() -> None:
    """SPEC 2.1: "Sizes must match exactly: 1 does not broadcast"."""
    one, three = rc.Array(torch.ones(1), "one"), rc.Array(torch.ones(3), "three")
    with pytest.raises(rc.ShapeError, match="1 does not broadcast") as caught:
        rc.Einsum.from_string("a,a->a", one, three)
    assert {caught.value.expected, caught.value.found} == {1, 3}


def test_2_1_no_operands_and_unknown_output_axes() -> None:
    """SPEC 2.1: "No operands => scalar 1. An output axis in no input is an error"."""
    one = rc.Einsum(out_axes=())
    assert one.shape == ()
    assert one.evaluate().item() == 1
    with pytest.raises(rc.ConstructionError, match="output axis 1 is in no operand"):
        rc.Einsum((rc.Array(V), (0,)), out_axes=(0, 1))


def test_2_1_more_than_52_axes_in_one_operand() -> None:
    """SPEC 2.1: "More than 52 axes must work": a tensor of 60 axes, permuted, with one summed and one kept diagonal."""
    count = 60
    shape = [1] * count
    shape[7], shape[31], shape[59] = 2, 3, 3
    value = torch.arange(18.0, dtype=torch.float64).reshape(shape)
    axes = [31 if axis == 59 else axis for axis in range(count)]  # axes 31 and 59 are one: a diagonal
    out = [axis for axis in reversed(range(count)) if axis not in (7, 59)]
    made = rc.Einsum((rc.Array(value), axes), out_axes=out)
    table = value.reshape(2, 3, 3)
    expected = [sum(float(table[i, k, k]) for i in range(2)) for k in range(3)]
    assert made.shape == tuple(shape[axis] for axis in out)
    assert made.evaluate().reshape(-1).tolist() == expected


def test_2_1_more_than_52_axes_in_a_chain_of_matrices() -> None:
    """SPEC 2.1: "More than 52 axes must work": a product of 80 matrices over 81 axes, against products in turn."""
    generator = torch.Generator().manual_seed(0)
    factors = [torch.randn(2, 2, generator=generator, dtype=torch.float64) for _ in range(80)]
    made = rc.Einsum(*((rc.Array(f), (i, i + 1)) for i, f in enumerate(factors)), out_axes=(0, 80))
    assert_same(made.evaluate(), torch.linalg.multi_dot(factors), tolerance=1e-9)


# ---- 2.2 to 2.5 ----------------------------------------------------------------------------------------------------


def test_2_2_add() -> None:
    """SPEC 2.2: "`Add(*exprs)` broadcasts like numpy; `Add()` is scalar 0"."""
    x, y = torch.arange(6.0).reshape(2, 1, 3), torch.arange(4.0).reshape(4, 1)
    assert torch.equal(rc.Add(rc.Array(x), rc.Array(y)).evaluate(), x + y)
    assert rc.Add().shape == ()
    assert rc.Add().evaluate().item() == 0
    with pytest.raises(rc.ShapeError, match=r"axis -1 is 2 in .* but 3 in"):
        rc.Add(rc.Array(SQUARE), rc.Array(V))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64])
def test_2_2_a_scalar_takes_the_dtype_of_its_neighbours(dtype: torch.dtype) -> None:
    """SPEC 2.2: "`Scalar(value, shape=())` has no dtype of its own: it takes that of its neighbours"."""
    two = rc.Scalar(2)
    assert (two.dtype, two.shape, rc.Scalar(2, (3, 1)).shape) == (None, (), (3, 1))
    x = rc.Array(torch.tensor([1, 5]).to(dtype))
    for expr, expected in [
        (rc.Add(x, two), [3, 7]),
        (x.mul(two), [2, 10]),
        (rc.Concat(x, rc.Scalar(2, (1,)), axis=0), [1, 5, 2]),
    ]:
        assert expr.dtype == expr.evaluate().dtype == dtype
        assert expr.evaluate().tolist() == expected


def test_2_3_rearrange() -> None:
    """SPEC 2.3: `"a 1 -> a"`, `"a -> a 10"`, `"a (b c) -> c b a"`."""
    x = torch.arange(12.0).reshape(2, 6)
    assert torch.equal(rc.Rearrange(rc.Array(x.reshape(12, 1)), "a 1 -> a").evaluate(), x.reshape(12))
    repeated = rc.Rearrange(rc.Array(V), "a -> a 10").evaluate()
    assert repeated.tolist() == [[v] * 10 for v in V.tolist()]
    turned = rc.Rearrange(rc.Array(x), "a (b c) -> c b a", b=2).evaluate()
    assert turned.shape == (3, 2, 2)
    for a in range(2):
        for b in range(2):
            for c in range(3):
                assert turned[c, b, a] == x[a, 3 * b + c]


@pytest.mark.parametrize(
    ("spec", "made"),
    [
        ("a b -> b a", lambda x: x.t()),  # permute
        ("a (b c) -> a b c", lambda x: x.reshape(2, 2, 3)),  # split
        ("a b -> (b a)", lambda x: x.t().reshape(-1)),  # merge
        ("a b -> a 1 b", lambda x: x.unsqueeze(1)),  # insert
        ("a b -> 3 a b", lambda x: x.expand(3, 2, 6)),  # repeat
    ],
)
def test_2_3_rearrange_permutes_splits_merges_inserts_and_repeats(
    spec: str, made: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    """SPEC 2.3: "permute, split, merge, insert and drop size-1 axes, repeat"."""
    x = torch.arange(12.0).reshape(2, 6)
    sizes = {"b": 2} if "(b c)" in spec else {}
    assert torch.equal(rc.Rearrange(rc.Array(x), spec, **sizes).evaluate(), made(x))


@pytest.mark.parametrize(("shape", "spec"), [((2, 3), "a b -> a"), ((2, 3), "a 1 -> a"), ((2, 3), "a b ->")])
def test_2_3_rearrange_never_sums_or_drops(shape: tuple[int, ...], spec: str) -> None:
    """SPEC 2.3: "it never sums or drops"."""
    with pytest.raises(rc.ScrubError):
        rc.Rearrange(rc.Array(torch.ones(shape)), spec)


def test_2_4_index_one_entry_per_axis() -> None:
    """SPEC 2.4: int (removes the axis), slice, 1-d int64 tensor; missing trailing axes are taken whole."""
    x = torch.arange(60.0).reshape(3, 4, 5)
    expr = rc.Array(x, "x")
    assert torch.equal(rc.Index(expr, I[1]).evaluate(), x[1])
    assert torch.equal(rc.Index(expr, I[:, 1:3]).evaluate(), x[:, 1:3])
    assert torch.equal(rc.Index(expr, (torch.tensor([2, 0, 2]), 1, slice(None))).evaluate(), x[[2, 0, 2]][:, 1])
    for idx in (I[::2], I[torch.tensor([True, False, True])], I[torch.tensor([[0]])], I[torch.tensor([0.0])], I[True]):
        with pytest.raises(rc.ConstructionError):
            rc.Index(expr, idx)


def test_2_4_tensors_on_several_axes_are_independent() -> None:
    """SPEC 2.4: "`x[4, 5]` with `([0, 2], [1, 3, 4])` => shape `(2, 3)`"."""
    x = torch.arange(20.0).reshape(4, 5)
    made = rc.Index(rc.Array(x), (torch.tensor([0, 2]), torch.tensor([1, 3, 4])))
    assert made.shape == (2, 3)
    assert made.evaluate().tolist() == [[x[i, j].item() for j in (1, 3, 4)] for i in (0, 2)]


def test_2_4_slices_do_not_saturate() -> None:
    """SPEC 2.4: "`1:10` on size 5 is an error"."""
    with pytest.raises(rc.ShapeError, match="slice 1:10 does not fit axis 0 of size 5"):
        rc.Index(rc.Array(torch.ones(5)), I[1:10])


def test_2_4_i_and_s() -> None:
    """SPEC 2.4: "`I[...]` always returns a tuple, `S[...]` one slice (`S[2]`, `S[1:2, 3:4]` are errors)"."""
    assert I[2] == (2,)
    assert I[1:2] == (slice(1, 2),)
    assert I[1, 2:] == (1, slice(2, None))
    assert S[1:2] == slice(1, 2)
    with pytest.raises(rc.ConstructionError, match="makes one slice, not 2"):
        S[2]  # type: ignore[index]
    with pytest.raises(rc.ConstructionError, match="makes one slice"):
        S[1:2, 3:4]  # type: ignore[index]


def test_2_5_concat_and_stack() -> None:
    """SPEC 2.5: `Concat(*exprs, axis)`, `Concat.stack`."""
    x, y = torch.arange(6.0).reshape(2, 3), torch.ones(2, 1)
    assert torch.equal(rc.Concat(rc.Array(x), rc.Array(y), axis=1).evaluate(), torch.cat([x, y], 1))
    assert torch.equal(rc.Concat.stack(rc.Array(x), rc.Array(x), axis=1).evaluate(), torch.stack([x, x], 1))


def test_2_5_scatter() -> None:
    """SPEC 2.5: "`Scatter(expr, idx, shape)`: zeros of `shape` with `expr` at `idx`"."""
    expected = torch.zeros(3, 4)
    expected[1, 1:3] = torch.tensor([5.0, 7.0])
    made = Scatter(rc.Array(torch.tensor([5.0, 7.0])), I[1, 1:3], (3, 4))
    assert torch.equal(made.evaluate(), expected)


@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_2_5_conv(spatial: int) -> None:
    """SPEC 2.5: "`Conv(input, filter, stride, padding)`, channels last, 1 to 3 spatial dims", written out."""
    generator = torch.Generator().manual_seed(spatial)
    x = torch.randn(*[5] * spatial, 2, generator=generator, dtype=torch.float64)
    w = torch.randn(*[3] * spatial, 2, 4, generator=generator, dtype=torch.float64)
    made = Conv(rc.Array(x), rc.Array(w), stride=2, padding=1)
    padded = torch.zeros(*[7] * spatial, 2, dtype=torch.float64)
    padded[(slice(1, 6),) * spatial] = x
    expected = torch.zeros(*[3] * spatial, 4, dtype=torch.float64)
    for at in torch.cartesian_prod(*[torch.arange(3)] * spatial).reshape(-1, spatial).tolist():
        window = padded[tuple(slice(2 * p, 2 * p + 3) for p in at)]
        for o in range(4):
            expected[(*at, o)] = (window * w[..., o]).sum()
    assert_same(made.evaluate(), expected)


def test_2_5_conv_over_four_spatial_axes_is_an_error() -> None:
    """SPEC 2.5: 1 to 3 spatial dims."""
    with pytest.raises(rc.ShapeError, match="the filter has 6 axes"):
        Conv(rc.Scalar(1.0, (5, 5, 5, 5, 2)), rc.Scalar(1.0, (3, 3, 3, 3, 2, 4)))


# ---- 2.6 -----------------------------------------------------------------------------------------------------------

NORMAL = statistics.NormalDist()
CLOSED_FORMS: dict[str, Callable[[float], float]] = {
    "sin": math.sin,
    "cos": math.cos,
    "tanh": math.tanh,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "relu": lambda x: max(x, 0.0),
    "gelu": lambda x: x * NORMAL.cdf(x),
    "gelu_new": lambda x: x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "step": lambda x: float(x > 0),
    "exp": math.exp,
    "log": math.log,
    "abs": abs,
    "rsqrt": lambda x: 1 / math.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "logit": lambda x: math.log(x / (1 - x)),
    "gaussian_pdf": NORMAL.pdf,
    "gaussian_cdf": NORMAL.cdf,
    "log_exp_p_1": lambda x: math.log(math.exp(x) + 1),
}
DOMAINS = {"log": (0.01, 5.0), "rsqrt": (0.01, 5.0), "reciprocal": (0.01, 5.0), "logit": (0.01, 0.99)}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_2_6_every_elementwise_function_against_its_definition(name: str) -> None:
    """SPEC 2.6: the elementwise functions it lists."""
    assert name in ELEMENTWISE
    points = torch.linspace(*DOMAINS.get(name, (-3.0, 3.0)), 21, dtype=torch.float64)
    made = rc.elementwise(name, rc.Array(points.reshape(3, 7)))
    expected = torch.tensor([CLOSED_FORMS[name](float(x)) for x in points], dtype=torch.float64).reshape(3, 7)
    assert_same(made.evaluate(), expected, tolerance=1e-12)
    assert made.function_shape().num_opaque == 0


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "min", "max", "last_dim_size", "pow", "cast"])
def test_2_6_the_other_functions_are_registered(name: str) -> None:
    """SPEC 2.6: "one trailing axis: ...; reducing the last axis: ...; `pow` broadcasts; `cast`"."""
    assert name in FUNCTIONS


def test_2_6_softmax_and_log_softmax_over_one_trailing_axis() -> None:
    """SPEC 2.6: "one trailing axis: `softmax log_softmax`"."""
    x = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]], dtype=torch.float64)
    expected = torch.tensor([[0.25, 0.75], [0.5, 0.5]], dtype=torch.float64)
    assert_same(rc.softmax(rc.Array(x)).evaluate(), expected, tolerance=1e-12)
    assert_same(rc.log_softmax(rc.Array(x)).evaluate(), expected.log(), tolerance=1e-12)
    assert rc.softmax(rc.Array(x)).function_shape().num_opaque == 1


def test_2_6_extremes_reduce_the_last_axis() -> None:
    """SPEC 2.6: "reducing the last axis: `min max last_dim_size`"."""
    x = rc.Array(torch.tensor([[3.0, -1.0, 2.0], [0.0, 5.0, 5.0]]))
    assert GeneralFunction(x, spec=FUNCTIONS["min"]()).evaluate().tolist() == [-1.0, 0.0]
    assert GeneralFunction(x, spec=FUNCTIONS["max"]()).evaluate().tolist() == [3.0, 5.0]
    assert GeneralFunction(x, spec=FUNCTIONS["last_dim_size"]()).evaluate().tolist() == [3, 3]


def test_2_6_pow_broadcasts() -> None:
    """SPEC 2.6: "`pow` broadcasts"."""
    base, exponent = torch.tensor([[2.0], [3.0]]), torch.tensor([1.0, 2.0, 3.0])
    made = GeneralFunction(rc.Array(base), rc.Array(exponent), spec=FUNCTIONS["pow"]())
    assert made.evaluate().tolist() == [[2.0, 4.0, 8.0], [3.0, 9.0, 27.0]]


def test_2_6_users_register_their_own() -> None:
    """SPEC 2.6: "a rule giving (shape, number of trailing output axes that cannot be batched, which are batchable)"."""

    class SpecSortLast(Function):
        def infer_shape(self, shapes):  # type: ignore[no-untyped-def]
            (shape,) = shapes
            return FunctionShape(shape, num_opaque=1, is_batchable=(True,), own_ndims=(1,))

        def infer_dtype(self, dtypes):  # type: ignore[no-untyped-def]
            return dtypes[0]

        def compute(self, *values: torch.Tensor) -> torch.Tensor:
            return values[0].sort(dim=-1).values

        @classmethod
        def examples(cls):  # type: ignore[no-untyped-def]
            yield cls(), (torch.tensor([2.0, 1.0]),)

    registered = function(SpecSortLast)
    try:
        node = GeneralFunction(rc.Array(torch.tensor([3, 1, 2]), "x"), spec=registered(), name="sorted")
        assert node.evaluate().tolist() == [1, 2, 3]
        batched = rebuild_batched(node, [rc.Array(torch.tensor([[3, 1, 2], [9, 8, 7]]))])
        assert batched.evaluate().tolist() == [[1, 2, 3], [7, 8, 9]]
    finally:
        del FUNCTIONS["spec_sort_last"]


# ---- 2.7 -----------------------------------------------------------------------------------------------------------

J = torch.tensor([[[0, 1], [2, 3], [4, 0], [1, 1]]])
TABLE = torch.arange(35.0).reshape(5, 7)


@pytest.mark.parametrize(
    ("x_shape", "dim", "batch_x", "batch_index", "shape"),
    [
        ((5, 7), -1, False, True, (1, 4, 2, 5)),
        ((1, 4, 2, 5, 7), 0, True, True, (1, 4, 2, 7)),
        ((5, 7), -2, True, False, (1, 4, 2, 7)),
        ((5, 7), -2, False, False, (1, 4, 2, 7)),
    ],
)
def test_2_7_the_worked_shapes_and_every_entry(
    x_shape: tuple[int, ...], dim: int, batch_x: bool, batch_index: bool, shape: tuple[int, ...]
) -> None:
    """SPEC 2.7: the four examples with J = (1, 4, 2); each entry looked up by its own."""
    x = torch.arange(float(math.prod(x_shape))).reshape(x_shape)
    made = GeneralFunction.gen_index(rc.Array(x), rc.Array(J), dim, batch_x=batch_x, batch_index=batch_index)
    value = made.evaluate()
    assert made.shape == tuple(value.shape) == shape
    for i, j, k in torch.cartesian_prod(torch.arange(1), torch.arange(4), torch.arange(2)).tolist():
        at = int(J[i, j, k])
        expected = x[i, j, k, at] if batch_x and batch_index else x[:, at] if dim == -1 else x[at]
        assert torch.equal(value[i, j, k], expected)


def test_2_7_the_default_is_batch_index_only() -> None:
    """SPEC 2.7: `gen_index(x, index, index_dim, batch_x=False, batch_index=True)`."""
    x, index = rc.Array(TABLE), rc.Array(J)
    explicit = GeneralFunction.gen_index(x, index, -1, batch_x=False, batch_index=True)
    assert GeneralFunction.gen_index(x, index, -1) is explicit


def test_2_7_batch_x_only_counts_from_the_end() -> None:
    """SPEC 2.7: "`batch_x` only: `index_dim < 0`; result `X[:d] + J + X[d+1:]`"."""
    x, index = rc.Array(torch.zeros(5, 6, 7)), rc.Array(J)
    made = GeneralFunction.gen_index(x, index, -2, batch_x=True, batch_index=False)
    assert made.shape == (5, 1, 4, 2, 7)
    with pytest.raises(rc.ShapeError, match="index_dim counts from the end"):
        GeneralFunction.gen_index(x, index, 1, batch_x=True, batch_index=False)


@pytest.mark.parametrize(
    ("batch_x", "batch_index", "expected"),
    [
        (False, True, (False, True)),
        (True, True, (True, True)),
        (True, False, (True, False)),
        (False, False, (False, False)),
    ],
)
def test_2_7_what_is_batchable(batch_x: bool, batch_index: bool, expected: tuple[bool, bool]) -> None:
    """SPEC 2.7: what each mode lets be batched; "neither: the last rule's shapes, nothing batchable"."""
    x = rc.Array(torch.zeros(2, 5, 7) if batch_x and batch_index else TABLE)
    node = GeneralFunction.gen_index(x, rc.Array(torch.tensor([0, 1])), -2, batch_x=batch_x, batch_index=batch_index)
    assert node.function_shape().is_batchable == expected
    for child, is_batchable in enumerate(expected):
        children = list(node.children)
        children[child] = rc.Concat.stack(*[children[child]] * 3)
        if is_batchable:
            assert rebuild_batched(node, children).shape == (3, *node.shape)
        else:
            with pytest.raises(rc.BatchError, match=f"argument {child} .* takes no batch axes"):
                rebuild_batched(node, children)


def test_2_7_the_index_is_int64_and_in_range() -> None:
    """SPEC 2.7: "Index dtype is int64; values out of range are an error at evaluation"."""
    x = rc.Array(TABLE, "x")
    with pytest.raises(rc.DtypeError, match=r"must be int64, not torch\.int32"):
        GeneralFunction.gen_index(x, rc.Array(J.int()), 0)
    for bad in (5, -1):
        made = GeneralFunction.gen_index(x, rc.Array(torch.tensor([0, bad])), 0)  # no error yet
        with pytest.raises(rc.ShapeError, match=f"index {bad} is out of range for an axis of size 5"):
            made.evaluate()


# ---- 2.8 -----------------------------------------------------------------------------------------------------------


def test_2_8_tokens_masks_and_floats_in_one_expression() -> None:
    """SPEC 2.8: "One expression may mix int tokens, bool masks and floats as long as each rule allows it."""
    tokens = rc.Array(torch.tensor([2, 0, 1]), "tokens")
    mask = rc.Array(torch.tensor([True, False, True]), "mask")
    table = rc.Array(torch.tensor([1.5, 2.5, 4.5]), "table")
    embedded = GeneralFunction.gen_index(table, tokens, 0)
    expr = rc.Add(embedded.mul(mask), tokens, mask)
    assert expr.dtype == torch.float32
    assert expr.evaluate().tolist() == [4.5 + 2 + 1, 0.0, 2.5 + 1 + 1]
    assert {node.dtype for node in expr.get({"tokens", "mask", "table"})} == {torch.int64, torch.bool, torch.float32}


def test_2_8_a_function_that_does_not_take_a_dtype_says_so() -> None:
    """SPEC 2.8: "as long as each rule allows it."""
    for made in (rc.softmax, rc.log_softmax, lambda x: rc.elementwise("exp", x)):
        for value in (torch.tensor([1, 2]), torch.tensor([True])):
            with pytest.raises(rc.DtypeError, match="needs a floating dtype"):
                made(rc.Array(value))


@pytest.mark.parametrize("combine", [rc.Add, rc.Expr.mul], ids=["Add", "Einsum"])
@pytest.mark.parametrize("other", [torch.float16, torch.bfloat16, torch.float64])
def test_2_8_two_float_dtypes_meeting_is_an_error_that_names_both(
    combine: Callable[[rc.Expr, rc.Expr], rc.Expr], other: torch.dtype
) -> None:
    """SPEC 2.8: "two float dtypes meeting in `Add` or `Einsum` is an error that names both nodes"."""
    with pytest.raises(rc.DtypeError) as caught:
        combine(rc.Array(V, "one node"), rc.Array(V.to(other), "other node"))
    for part in ("'one node'", "'other node'", "torch.float32", str(other)):
        assert part in str(caught.value)


def test_2_8_cast_touches_floating_leaves_only() -> None:
    """SPEC 2.8: "`cast(expr, dtype=...)` touches floating-point leaves only (better: token arrays survive)"."""
    tokens, mask = rc.Array(torch.tensor([2, 0]), "tokens"), rc.Array(torch.tensor([True, False]), "mask")
    table = rc.Array(torch.tensor([1.5, 2.5, 4.5]), "table")
    expr = rc.Add(GeneralFunction.gen_index(table, tokens, 0), mask, name="sum")
    made = rc.cast(expr, dtype=torch.float64)
    assert made.get_unique("tokens") is tokens
    assert made.get_unique("mask") is mask
    assert made.get_unique("table") is rc.Array(table.value.double(), "table")
    assert (made.name, made.dtype, made.evaluate().tolist()) == ("sum", torch.float64, [5.5, 1.5])


def test_2_8_moving_device_moves_everything() -> None:
    """SPEC 2.8: "Moving device moves everything": floats, tokens and masks, below modules and random variables too."""
    s = rc.Symbol.new_from_name((2,), "s")
    tokens, mask = rc.Array(torch.tensor([2, 0]), "tokens"), rc.Array(torch.tensor([True, False]), "mask")
    table = rc.Array(torch.tensor([1.5, 2.5, 4.5]), "table")
    call = rc.Module(rc.ModuleSpec(rc.Add(s, mask), [s]), "call", s=GeneralFunction.gen_index(table, tokens, 0))
    picked = rc.Index(rc.Array(torch.ones(4), "picked from"), (torch.tensor([3, 0]),))
    expr = rc.Add(call, picked, rc.DiscreteVar(rc.Array(torch.ones(3, 2), "rows")))
    moved = rc.cast(expr, device="meta")
    assert moved.device == torch.device("meta")
    assert {node.name for node in moved.get(rc.Array)} == {"tokens", "mask", "table", "picked from", "rows"}
    assert {node.device for node in moved.get(rc.Array)} == {torch.device("meta")}
    assert [node.dtype for node in moved.get({"tokens", "mask"})] == [
        node.dtype for node in expr.get({"tokens", "mask"})
    ]
    with pytest.raises(rc.DeviceError, match="lie on cpu and meta"):
        rc.Add(rc.Array(V), rc.cast(rc.Array(V), device="meta"))


# ---- 2.9 -----------------------------------------------------------------------------------------------------------

N, M = symbolic_sizes("n m")


def test_2_9_sizes_are_ints_or_sympy_expressions() -> None:
    """SPEC 2.9: "Sizes: int or sympy expression": sums, products and quotients of them."""
    x = rc.Symbol.new_from_name((N, 2 * M), "x")
    assert x.shape == (N, 2 * M)
    assert rc.Concat(x, x, axis=0).shape == (2 * N, 2 * M)
    assert rc.Rearrange(x, "a b -> (a b)").shape == (2 * N * M,)
    assert rc.Rearrange(x, "a (b c) -> a b c", b=2).shape == (N, 2, M)
    assert rc.Einsum.from_string("ab,ab->b", x, x).shape == (2 * M,)
    with pytest.raises(rc.ShapeError):
        rc.Einsum.from_string("a,a->", rc.Symbol.new_from_name((N,), "u"), rc.Symbol.new_from_name((M,), "v"))


def test_2_9_binding_a_module_solves_for_the_symbols() -> None:
    """SPEC 2.9: "Binding a module solves for the symbols": from sums and products as well."""
    x, w = rc.Symbol.new_from_name((N,), "x"), rc.Symbol.new_from_name((N * M, N + M), "w")
    spec = rc.ModuleSpec(rc.Einsum.from_string("a,bc->abc", x, w), [x, w])
    call = rc.Module(spec, "call", x=rc.Array(torch.ones(3)), w=rc.Array(torch.ones(12, 7)))
    assert call.cast_module().solved_sizes() == {N: 3, M: 4}
    assert call.shape == tuple(call.evaluate().shape) == (3, 12, 7)


def test_2_9_an_unsatisfiable_binding_names_the_axis() -> None:
    """SPEC 2.9: "an unsatisfiable binding names the axis"."""
    x, w = rc.Symbol.new_from_name((N,), "x"), rc.Symbol.new_from_name((2 * N, M), "w")
    spec = rc.ModuleSpec(rc.Einsum.from_string("a,bc->abc", x, w), [x, w])
    with pytest.raises(rc.ModuleBindingError, match="axis -2 of parameter 'w' is 2\\*n") as caught:
        rc.Module(spec, "call", x=rc.Array(torch.ones(3)), w=rc.Array(torch.ones(7, 5)))
    assert caught.value.axis == -2


def test_2_9_set_symbolic_shape_asserts_sizes() -> None:
    """SPEC 2.9: "`SetSymbolicShape(expr, shape)` asserts sizes": at once where they are known, else when they are."""
    x = rc.Symbol.new_from_name((N, M), "x")
    same = SetSymbolicShape(x, (N, N))
    assert same.shape == (N, N)
    with pytest.raises(rc.ShapeError):
        SetSymbolicShape(rc.Array(torch.ones(2, 3)), (2, 2))
    spec = rc.ModuleSpec(rc.Einsum.from_string("aa->", same), [x])
    assert rc.Module(spec, "call", x=rc.Array(torch.eye(4))).evaluate().item() == 4
    with pytest.raises(rc.ScrubError):
        rc.Module(spec, "call", x=rc.Array(torch.ones(4, 5))).evaluate()


@pytest.mark.parametrize("size", [0, 1, 2, 7, 49, 10119, 99991, 2**31 - 1])
def test_2_9_no_size_an_actual_tensor_could_have_is_reserved(size: int) -> None:
    """SPEC 2.9 (better): primes, squares and large sizes are sizes like others, also where a symbol takes them."""
    zeros = rc.Scalar(0.0, (size,))
    assert zeros.shape == (size,)
    x = rc.Symbol.new_from_name((N,), "x")
    call = rc.Module(rc.ModuleSpec(rc.Add(x, rc.Scalar(1.0)), [x]), "call", x=zeros)
    assert call.shape == (size,)
    assert call.free_sizes == ()
    with pytest.raises(rc.ShapeError):
        rc.Einsum.from_string("a,a->", zeros, rc.Scalar(0.0, (size + 1,)))
