"""SPEC 3: the one batching rule, on the worked examples and on generated shapes against a loop."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import scrub as rc
from scrub import I
from scrub.graph import rebuild_batched
from tests.independent import assert_same, loop_and_stack


def ones(*shape: int) -> rc.Expr:
    return rc.Scalar(1.0, shape)


def named(name: str, *shape: int) -> rc.Expr:
    return rc.Array(torch.ones(shape), name)


EINSUM = rc.Einsum.from_string("ab,bc->ac", named("x", 2, 3), named("y", 3, 5), name="e")


@pytest.mark.parametrize(
    ("node", "new", "shape"),
    [
        (EINSUM, [(5, 7, 2, 3), (7, 3, 5)], (5, 7, 2, 5)),
        (EINSUM, [(5, 3, 2, 3), (5, 2, 3, 5)], None),
        (rc.Add(ones(2, 3, 1), ones(2, 1, 5)), [(13, 7, 3, 1), (7, 1, 11)], (13, 7, 3, 11)),
        (rc.Add(ones(2, 3, 1), ones(2, 1, 5)), [(13, 7, 3, 1), (1, 7, 1, 11)], None),
        (rc.Add(ones(7), ones(2, 7)), [(7, 7), (7, 7, 7)], (7, 7, 7)),
        (EINSUM, [(4, 3), (3, 6)], (4, 6)),
        (EINSUM, [(2, 9), (9, 5)], (2, 5)),
        (rc.Index(ones(2, 3), I[:, 0]), [(5, 3)], (5,)),
        (rc.Index(ones(2, 3), I[:, 0]), [(9, 5, 3)], (9, 5)),
        (rc.Index(ones(2, 3), I[:, 0]), [(2, 4)], None),
        (rc.Index(ones(2, 3), I[0:1]), [(4, 3)], None),
        (rc.Concat(ones(2, 3), ones(2, 4), axis=1), [(5, 2, 3), (2, 4)], (5, 2, 7)),
        (rc.Concat(ones(2, 3), ones(2, 4), axis=1), [(6, 3), (6, 4)], (6, 7)),
        (rc.Concat(ones(2, 3), ones(2, 4), axis=1), [(2, 5), (2, 4)], None),
        (rc.Rearrange(ones(2, 6), "a (b c) -> c b a", b=2), [(8, 9, 2, 6)], (8, 9, 3, 2, 2)),
        (EINSUM, [(1, 2, 3), (4, 3, 5)], None),
    ],
)
def test_3_examples(node: rc.Expr, new: list[tuple[int, ...]], shape: tuple[int, ...] | None) -> None:
    children = [ones(*s) for s in new]
    # Add's example counts the first axis as batch: (2, 3, 1) becomes (13, 7, 3, 1)
    if shape is None:
        with pytest.raises(rc.BatchError) as caught:
            rebuild_batched(node, children)
        assert type(node).__name__ in str(caught.value)
        assert "hint: " in str(caught.value)
        return
    assert rebuild_batched(node, children).shape == shape
    assert tuple(rebuild_batched(node, children).evaluate().shape) == shape


def test_3_batch_errors_name_node_sizes_and_what_to_do() -> None:
    with pytest.raises(rc.BatchError) as caught:
        rebuild_batched(EINSUM, [named("left", 5, 3, 2, 3), named("right", 5, 2, 3, 5)])
    message = str(caught.value)
    assert message.startswith("Einsum 'e': batch axes (5, 2) of 'right' [5, 2, 3, 5] Array")
    assert "do not fit (5, 3) of another child" in message
    assert "in one Expander call" in message
    assert (caught.value.expected, caught.value.found) == ((5, 3), (5, 2))
    with pytest.raises(rc.BatchError, match=r"Einsum 'e': 'x' .* cannot be replaced by something with fewer axes"):
        rebuild_batched(EINSUM, [ones(3), ones(3, 5)])
    cut = rc.Index(named("x", 2, 3), I[:, 0], name="cut")
    with pytest.raises(
        rc.BatchError, match=r"Index 'cut': the size of axis 1 of 'x' \[2, 3\] .* cannot change"
    ) as caught:
        rebuild_batched(cut, [ones(2, 4)])
    assert (caught.value.axis, caught.value.expected, caught.value.found) == (1, 3, 4)


def test_3_nothing_changed_gives_the_same_object() -> None:
    assert rebuild_batched(EINSUM, EINSUM.children) is EINSUM


OPERATIONS = {
    "ab,bc->ac": ((2, 3), (3, 2)),
    "a,a->": ((3,), (3,)),
    "a,b->ba": ((2,), (3,)),
    "ab,ab->ab": ((2, 3), (2, 3)),
    "aa,ab->aab": ((2, 2), (2, 3)),
}


@given(st.sampled_from(sorted(OPERATIONS)), st.lists(st.integers(1, 3), max_size=3), st.data())
def test_3_generated_batches_of_einsums_against_a_loop(spec: str, batch: list[int], data: st.DataObject) -> None:
    shapes = OPERATIONS[spec]
    ranks = [data.draw(st.integers(0, len(batch))) for _ in shapes]
    node = rc.Einsum.from_string(spec, *(ones(*s) for s in shapes))
    values = [
        torch.randn((*batch[len(batch) - r :], *s), dtype=torch.float64) for r, s in zip(ranks, shapes, strict=True)
    ]
    result = rebuild_batched(node, [rc.Array(v) for v in values]).evaluate()
    expected = loop_and_stack(lambda x, y: einsum_by_torch(spec, x, y), values, [len(s) for s in shapes])
    assert_same(result, expected)


def einsum_by_torch(spec: str, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    if spec != "aa,ab->aab":
        return torch.einsum(spec, x, y)
    return torch.diag_embed(torch.einsum("aa,ab->ba", x, y)).permute(1, 2, 0)


@given(st.lists(st.integers(1, 3), max_size=3), st.data())
def test_3_generated_batches_of_sums_against_a_loop(batch: list[int], data: st.DataObject) -> None:
    shapes = [data.draw(st.sampled_from([(), (3,), (1,), (2, 3), (2, 1), (1, 3)])) for _ in range(3)]
    ranks = [data.draw(st.integers(0, len(batch))) for _ in shapes]
    node = rc.Add(*(ones(*s) for s in shapes))
    values = [
        torch.randn((*batch[len(batch) - r :], *s), dtype=torch.float64) for r, s in zip(ranks, shapes, strict=True)
    ]
    result = rebuild_batched(node, [rc.Array(v) for v in values]).evaluate()
    assert_same(result, loop_and_stack(lambda *v: sum(v, torch.zeros(())), values, [len(s) for s in shapes]))
