"""What every registered node type promises, checked on its examples: registering a type is all it takes to be here."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
import torch

import scrub as rc
from scrub.graph import NODES, rebuild_batched
from scrub.graph.axis_names import shape_text
from tests.independent import assert_same, loop_and_stack, value_of

EXAMPLES = [
    pytest.param(node, id=f"{kind}-{i}") for kind, cls in sorted(NODES.items()) for i, node in enumerate(cls.examples())
]
COMPUTABLE = [p for p in EXAMPLES if p.values[0].is_explicitly_computable]
TOLERANCE = 2e-5  # examples are float32


def batched_like(child: rc.Expr, axes: tuple[int, ...], seed: int) -> torch.Tensor:
    """Random values of that dtype and range, with more axes in front."""
    value = child.evaluate()
    generator = torch.Generator().manual_seed(seed)
    count = int(torch.tensor(axes).prod()) if axes else 1
    order = torch.stack([torch.randperm(value.numel(), generator=generator) for _ in range(count)])
    return value.reshape(-1)[order].reshape((*axes, *value.shape))  # the same values, so of the range it accepts


@pytest.mark.parametrize("kind", sorted(NODES))
def test_every_type_gives_examples_of_itself(kind: str) -> None:
    examples = list(NODES[kind].examples())
    assert examples
    assert all(type(node) is NODES[kind] for node in examples)


@pytest.mark.parametrize("node", EXAMPLES)
def test_equal_parts_give_the_same_object(node: rc.Expr) -> None:
    assert type(node).make(node.children, node.params, node.name) is node
    assert node.with_children(node.children) is node
    assert NODES[type(node).__name__] is type(node)


@pytest.mark.parametrize("node", EXAMPLES)
def test_the_name_is_part_of_identity_and_not_of_the_value(node: rc.Expr) -> None:
    renamed = node.rename("another name")
    assert renamed is not node
    assert renamed.digest != node.digest
    assert renamed.rename(node.name) is node
    assert (renamed.shape, renamed.dtype, renamed.params) == (node.shape, node.dtype, node.params)
    assert renamed.children == node.children
    if node.is_explicitly_computable:
        assert_same(renamed.evaluate(), node.evaluate(), tolerance=0)


@pytest.mark.parametrize("node", EXAMPLES)
def test_copies_and_files_give_the_same_object(node: rc.Expr, tmp_path: Path) -> None:
    assert copy.copy(node) is node
    assert copy.deepcopy([node, node])[1] is node
    assert pickle.loads(pickle.dumps(node)) is node
    rc.save(node, tmp_path / "node.safetensors")
    assert rc.load(tmp_path / "node.safetensors") is node
    rc.save({"a": node, "b": node}, tmp_path / "two.safetensors")
    assert rc.load_many(tmp_path / "two.safetensors") == {"a": node, "b": node}


@pytest.mark.parametrize("node", COMPUTABLE)
def test_shape_and_dtype_are_those_of_the_value(node: rc.Expr) -> None:
    value = node.evaluate()
    assert tuple(value.shape) == node.shape
    if not isinstance(node, rc.Module):  # the parameters of a body have no dtype until it is inlined
        assert value.dtype == (torch.float64 if node.dtype is None else node.dtype)
    assert (node.ndim, node.numel) == (value.ndim, value.numel())
    assert_same(value_of(node), value, tolerance=0)


@pytest.mark.parametrize("node", EXAMPLES)
def test_it_prints_on_one_line(node: rc.Expr) -> None:
    text = repr(node)
    assert "\n" not in text
    assert type(node).__name__ in text
    assert shape_text(node) in text
    assert repr(node.rename("its name")).startswith("'its name'")
    assert rc.to_text(node).splitlines()[0].startswith(text)  # it may add what is needed to read it back
    assert rc.display_name(node.rename(None))


@pytest.mark.parametrize("node", EXAMPLES)
def test_the_axis_map_covers_every_axis_of_every_child(node: rc.Expr) -> None:
    axis_map = node.axis_map()
    assert [len(uses) for uses in axis_map] == [child.ndim for child in node.children]
    for uses in axis_map:
        carried = [use for use in uses if isinstance(use, int)]
        assert len(carried) == len(set(carried))
        assert all(0 <= axis < node.ndim for axis in carried)


@pytest.mark.parametrize("node", COMPUTABLE)
def test_the_axis_map_is_true(node: rc.Expr) -> None:
    """One position of an output axis needs only that position of the child axes that are carried to it."""
    expected = node.evaluate()
    axis_map = node.axis_map()
    for axis in range(node.ndim):
        for position in range(node.shape[axis]):
            children: list[rc.Expr] = []
            for child, uses in zip(node.children, axis_map, strict=True):
                cut = slice(position, position + 1)
                idx = [cut if use == axis else slice(None) for use in uses]
                children.append(child.index(idx) if axis in uses else child)
            if tuple(children) == node.children:
                continue
            if all(
                axis not in uses or child.shape[uses.index(axis)] == 1
                for child, uses in zip(node.children, axis_map, strict=True)
            ):
                continue
            if not all(axis in uses for uses in axis_map) and not isinstance(
                node, rc.Add | rc.Einsum | rc.GeneralFunction
            ):
                continue  # the other children would keep the old size
            assert_same(
                rebuild_batched(node, children).evaluate(), expected.narrow(axis, position, 1), tolerance=TOLERANCE
            )


def with_values(node: rc.Expr, chosen: Iterable[int], values: Sequence[torch.Tensor]) -> list[rc.Expr]:
    """The children, with these values in place of the chosen ones."""
    new = dict(zip(chosen, values, strict=True))
    return [rc.Array(new[i]) if i in new else child for i, child in enumerate(node.children)]


@pytest.mark.parametrize("axes", [(3,), (2, 3)], ids=str)
@pytest.mark.parametrize("node", COMPUTABLE)
def test_batching_equals_a_loop(node: rc.Expr, axes: tuple[int, ...]) -> None:
    """Each child alone, all of them, and the first with more axes than the others."""
    if not node.children:
        return
    indices = range(1 if isinstance(node, rc.Module) else 0, len(node.children))
    choices = [{i: axes} for i in indices] + [dict.fromkeys(indices, axes)]
    choices += [{i: axes if i == indices[0] else axes[1:] for i in indices}]
    fired = 0
    for chosen in choices:
        values = [batched_like(node.children[i], own, seed=i) for i, own in chosen.items()]
        if node.dtype is not None:  # a scalar takes the dtype of its neighbours, an array must have it
            values = [
                v.to(node.dtype) if node.children[i].dtype is None else v for i, v in zip(chosen, values, strict=True)
            ]
        try:
            batched = rebuild_batched(node, with_values(node, chosen, values))
        except rc.BatchError as error:
            assert_batch_error_is_declared(node, chosen, error)
            continue

        def call(*entries: torch.Tensor, chosen: Iterable[int] = tuple(chosen)) -> torch.Tensor:
            return value_of(node.with_children(with_values(node, chosen, entries)))

        expected = loop_and_stack(call, values, [node.children[i].ndim for i in chosen])
        assert batched.shape == tuple(expected.shape)
        assert batched.name == node.name
        assert_same(batched.evaluate(), expected, tolerance=TOLERANCE)
        fired += 1
    assert fired or not any(is_declared_batchable(node, i) for i in indices)


def is_declared_batchable(node: rc.Expr, child: int) -> bool:
    if isinstance(node, rc.GeneralFunction):
        return node.function_shape().is_batchable[child]
    if isinstance(node, rc.Cumulant):
        return child == 0
    return not isinstance(node, rc.DiscreteVar)


def assert_batch_error_is_declared(node: rc.Expr, chosen: dict[int, tuple[int, ...]], error: rc.BatchError) -> None:
    refused = [i for i, axes in chosen.items() if axes and not is_declared_batchable(node, i)]
    assert refused, error
    assert repr(node.name) in str(error)


def test_most_examples_are_checked_by_value() -> None:
    assert len(COMPUTABLE) >= 50
    assert len(EXAMPLES) - len(COMPUTABLE) <= 8  # symbols, random variables and their cumulants
    kinds = {type(p.values[0]).__name__ for p in COMPUTABLE}
    assert set(NODES) - kinds == {"Symbol", "DiscreteVar", "StoredCumulantVar"}


def test_random_nodes_say_that_they_take_no_batch_axes() -> None:
    dice = next(iter(rc.DiscreteVar.examples()))
    for child in range(2):
        children = list(dice.children)
        children[child] = rc.Scalar(1.0, (5, *children[child].shape))
        with pytest.raises(rc.BatchError, match=r"'dice'.*no batch axes"):
            rebuild_batched(dice, children)


def test_only_the_first_argument_of_a_cumulant_gains_axes() -> None:
    dice = next(iter(rc.DiscreteVar.examples()))
    covariance = rc.Cumulant(dice, dice, name="covariance")
    many = rc.DiscreteVar(rc.Array(torch.zeros(6, 5)), dice.probs_and_group)
    assert rebuild_batched(covariance, [many, dice]).shape == (5,)
    with pytest.raises(rc.BatchError, match="'covariance': only its first argument"):
        rebuild_batched(covariance, [dice, many])


def test_registering_two_types_of_one_name_is_an_error() -> None:
    with pytest.raises(TypeError, match="registered already"):
        rc.graph.node(type("Add", (rc.Expr,), {"__slots__": ()}))
    assert list(itertools.islice(NODES, 1))
