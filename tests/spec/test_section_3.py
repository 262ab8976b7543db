"""Section 3 of the specification, sentence by sentence: the one batching rule."""

from __future__ import annotations

import pytest
import torch

import scrub as rc
from scrub import Expander, I
from scrub.graph import GeneralFunction, rebuild_batched
from tests.independent import assert_same, loop_and_stack

Shapes = list[tuple[int, ...]]


def random(*shape: int, name: str | None = None) -> rc.Array:
    generator = torch.Generator().manual_seed(len(shape) + 10 * sum(shape))
    return rc.Array(torch.randn(shape, generator=generator, dtype=torch.float64), name)


def einsum() -> rc.Expr:
    return rc.Einsum.from_string("ab,bc->ac", random(2, 3), random(3, 5), name="product")


def add() -> rc.Expr:
    return rc.Add(random(2, 3, 1), random(2, 1, 5), name="sum")


def batched_values(node: rc.Expr, shapes: Shapes) -> tuple[rc.Expr, torch.Tensor]:
    """The node on new children of these shapes, and its value computed batch entry by batch entry."""
    new = [random(*shape) for shape in shapes]

    def call(*entries: torch.Tensor) -> torch.Tensor:
        return node.with_children([rc.Array(entry) for entry in entries]).evaluate()

    return rebuild_batched(node, new), loop_and_stack(call, [n.value for n in new], [c.ndim for c in node.children])


def test_3_batch_axes_come_in_front() -> None:
    """SPEC 3: "When a child gains leading ("batch") axes, the node gains them in front"."""
    for shapes in ([(7, 2, 3), (3, 5)], [(2, 3), (7, 3, 5)], [(7, 2, 3), (7, 3, 5)]):
        made, expected = batched_values(einsum(), shapes)
        assert made.shape == (7, 2, 5)
        assert_same(made.evaluate(), expected)


def test_3_batch_axes_are_aligned_from_the_right_equal_or_absent() -> None:
    """SPEC 3: "children (5,7,2,3),(7,3,5) => (5,7,2,5)"."""
    made, expected = batched_values(einsum(), [(5, 7, 2, 3), (7, 3, 5)])
    assert made.shape == (5, 7, 2, 5)
    assert_same(made.evaluate(), expected)


@pytest.mark.parametrize(
    ("make", "shapes"),
    [
        (einsum, [(5, 3, 2, 3), (5, 2, 3, 5)]),
        (einsum, [(1, 2, 3), (4, 3, 5)]),
        (einsum, [(4, 2, 3), (1, 3, 5)]),
        (add, [(13, 7, 3, 1), (1, 7, 1, 11)]),
        (add, [(1, 2, 3, 1), (4, 2, 1, 5)]),
    ],
)
def test_3_one_is_never_broadcast_and_unequal_batch_axes_are_an_error(make, shapes: Shapes) -> None:  # type: ignore[no-untyped-def]
    """SPEC 3: "(5,3,2,3),(5,2,3,5) => error", "(13,7,3,1),(1,7,1,11) => error"; "1 is never broadcast against n"."""
    node = make()
    with pytest.raises(rc.BatchError, match=f"{type(node).__name__} '{node.name}': batch axes .* do not fit"):
        rebuild_batched(node, [random(*shape) for shape in shapes])


def test_3_add_with_axes_that_broadcast() -> None:
    """SPEC 3: "Add of (2,3,1),(2,1,5): (13,7,3,1),(7,1,11) => (13,7,3,11)": sizes 2 -> 7 and 5 -> 11, batch 13."""
    made = rebuild_batched(add(), [random(13, 7, 3, 1), random(7, 1, 11)])
    assert made.shape == (13, 7, 3, 11)
    assert_same(made.evaluate(), random(13, 7, 3, 1).value + random(7, 1, 11).value)


def test_3_add_of_terms_of_unequal_rank() -> None:
    """SPEC 3: "Add of (7,),(2,7): (7,7),(7,7,7) => (7,7,7)": the first axis of both is batch, so it is one axis."""
    node = rc.Add(random(7), random(2, 7))
    made = rebuild_batched(node, [random(7, 7), random(7, 7, 7)])
    assert made.shape == (7, 7, 7)
    x, y = random(7, 7).value, random(7, 7, 7).value
    assert_same(made.evaluate(), torch.stack([x[i] + y[i] for i in range(7)]))


def test_3_sizes_that_are_not_batch_may_change_consistently() -> None:
    """SPEC 3: "Non-batch sizes may change when the change is consistent"."""
    made = rebuild_batched(einsum(), [random(4, 9), random(9, 6)])
    assert_same(made.evaluate(), random(4, 9).value @ random(9, 6).value)
    with pytest.raises(rc.ShapeError, match=r"axis 'b' of 'ab,bc->ac' is 9 in argument 0 .* but 3 in argument 1"):
        rebuild_batched(einsum(), [random(2, 9), random(3, 5)])


def test_3_index_axes_cut_by_a_slice_cannot_change_size_whole_ones_may() -> None:
    """SPEC 3: "Index: an axis cut by a real slice cannot change size; `[:,0]` may on axis 0"."""
    x = random(4, 3)
    whole = rebuild_batched(rc.Index(x, I[:, 0]), [random(6, 3)])
    assert torch.equal(whole.evaluate(), random(6, 3).value[:, 0])
    both = rebuild_batched(rc.Index(x, I[:, 0]), [random(5, 6, 3)])
    assert torch.equal(both.evaluate(), random(5, 6, 3).value[:, :, 0])
    for idx, new in [(I[0:2], (6, 3)), (I[:, 0:2], (4, 5)), (I[:, 0], (4, 5)), (I[torch.tensor([0])], (6, 3))]:
        with pytest.raises(rc.BatchError, match=r"the size of axis . .* cannot change"):
            rebuild_batched(rc.Index(x, idx), [random(*new)])


def test_3_the_concat_axis_cannot_change() -> None:
    """SPEC 3: "The Concat axis cannot change"; others may; and what has no batch axes is repeated along them."""
    node = rc.Concat(random(2, 3), random(2, 4), axis=1)
    with pytest.raises(rc.BatchError, match=r"the size of axis 1 .* cannot change"):
        rebuild_batched(node, [random(2, 5), random(2, 4)])
    made = rebuild_batched(node, [random(6, 3), random(6, 4)])
    assert torch.equal(made.evaluate(), torch.cat([random(6, 3).value, random(6, 4).value], 1))
    made, expected = batched_values(node, [(5, 2, 3), (2, 4)])
    assert made.shape == (5, 2, 7)
    assert_same(made.evaluate(), expected)


def test_3_rearrange_gets_the_batch_axes_in_front() -> None:
    """SPEC 3: "Rearrange gets the batch axes in front"."""
    node = rc.Rearrange(random(2, 6), "a (b c) -> c b a", b=2)
    made, expected = batched_values(node, [(8, 9, 2, 6)])
    assert made.shape == (8, 9, 3, 2, 2)
    assert_same(made.evaluate(), expected)


def test_3_gen_index_with_only_the_index_batched_repeats_x() -> None:
    """SPEC 3: "`gen_index(batch_x=True)` with only the index batched repeats x"."""
    x, index = random(2, 4, 3), torch.tensor([3, 0])
    node = GeneralFunction.gen_index(x, rc.Array(index), 0, batch_x=True)
    many = torch.tensor([[3, 0], [1, 1], [2, 3]])
    made = rebuild_batched(node, [x, rc.Array(many)])
    assert made.shape == (3, 2, 3)
    for sample in range(3):
        for position in range(2):
            assert torch.equal(made.evaluate()[sample, position], x.value[position, many[sample, position]])


def test_3_only_the_first_argument_of_a_cumulant_may_gain_axes() -> None:
    """SPEC 3: "Only the first argument of a Cumulant may gain axes"."""
    dice = rc.DiscreteVar(rc.Array(torch.arange(6.0)), name="dice")
    many = rc.DiscreteVar(rc.Array(torch.arange(24.0).reshape(6, 4)), dice.probs_and_group)
    covariance = rc.Cumulant(dice, dice, name="covariance")
    assert rebuild_batched(covariance, [many, dice]).shape == (4,)
    with pytest.raises(rc.BatchError, match="Cumulant 'covariance': only its first argument may gain batch axes"):
        rebuild_batched(covariance, [dice, many])


def test_3_the_expander_replaces_from_the_top_down() -> None:
    """SPEC 3: "`Expander((matcher, replacement)...)` replaces from the top down": what is replaced is not entered."""
    x = random(2, name="x")
    below = rc.elementwise("exp", rc.Array(x.value + 1, "x"), name="inner")
    expr = rc.Add(below, x, name="outer")
    replaced: list[rc.Expr] = []

    def many(node: rc.Expr) -> rc.Expr:
        replaced.append(node)
        return random(4, *node.shape)

    made = Expander(({"inner", "x"}, many)).run(expr)
    assert set(replaced) == {below, x}  # the x beside it, not the one below
    assert made.shape == (4, 2)
    assert not made.are_any_found("inner")


def test_3_the_expander_rebuilds_parents_by_this_rule() -> None:
    """SPEC 3: "and rebuilds parents by this rule"."""
    x, y = random(3, name="x"), random(3, name="y")
    expr = rc.elementwise("tanh", rc.Einsum.from_string("a,a->", x, y), name="t")
    xs = random(4, 3)
    made = Expander(("x", xs)).run(expr)
    assert (made.shape, made.name) == ((4,), "t")
    assert_same(made.evaluate(), torch.tanh(xs.value @ y.value))


def test_3_one_call_shares_a_batch_axis_and_two_calls_give_two() -> None:
    """SPEC 3: "things that share a batch axis are replaced in one call", "two calls give two independent axes"."""
    x, y = random(3, name="x"), random(3, name="y")
    xs, ys = random(4, 3), rc.Array(random(4, 3).value.flip(0))
    expr = rc.Einsum.from_string("a,a->", x, y)
    together = Expander(("x", xs), ("y", ys)).run(expr)
    assert_same(together.evaluate(), torch.stack([xs.value[i] @ ys.value[i] for i in range(4)]))
    apart = Expander(("y", ys)).run(Expander(("x", xs)).run(expr))
    rows = [torch.stack([xs.value[i] @ ys.value[j] for i in range(4)]) for j in range(4)]
    assert_same(apart.evaluate(), torch.stack(rows))
