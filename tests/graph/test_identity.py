"""SPEC 1: identity, names, flags."""

from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest
import torch

import scrub as rc
from scrub.graph import FrozenTensor, tensor_digest

T = torch.tensor([1.0, 2.0])


def test_1_1_equality_includes_names_recursively() -> None:
    a, b = rc.Array(T, "a"), rc.Array(T + 1, "b")
    assert rc.Add(a, b, name="s") != rc.Add(a, b, name="t")
    assert rc.Add(a, b) != rc.Add(b, a)
    assert rc.Add(a, b) is rc.Add(a, b)
    assert rc.Add(a.rename("c"), b) != rc.Add(a, b)
    assert rc.Array(T, "u") != rc.Array(T, "v")
    assert rc.Array(T, "u") is rc.Array(T.clone(), "u")
    assert rc.Array(T) != rc.Array(T.half())


def test_1_1_bits_and_types_tell_numbers_apart() -> None:
    assert rc.Scalar(0.0) != rc.Scalar(-0.0)
    assert rc.Scalar(1) != rc.Scalar(True)
    assert rc.Scalar(1) != rc.Scalar(1.0)
    assert rc.Scalar(float("nan")) is rc.Scalar(float("nan"))
    assert rc.Array(torch.tensor(0.0)) != rc.Array(torch.tensor(-0.0))
    assert rc.Array(torch.tensor([1])) != rc.Array(torch.tensor([True]))
    assert rc.Array(torch.zeros(2, 3)) != rc.Array(torch.zeros(3, 2))
    assert rc.Array(torch.zeros(0, 3)) != rc.Array(torch.zeros(3, 0))
    assert rc.Scalar(1.0, (2,)) != rc.Scalar(1.0, (2, 1))
    assert rc.Array(torch.zeros(2)) != rc.Array(torch.zeros(2, dtype=torch.int32))


def test_1_1_numbers_from_numpy_are_the_same_numbers() -> None:
    assert rc.Scalar(np.float64(0.5)) is rc.Scalar(0.5)
    x = rc.Array(torch.zeros(2, 6))
    assert rc.Concat(x, x, axis=np.int64(1)) is rc.Concat(x, x, axis=1)
    assert rc.Rearrange(x, "a (b c) -> c b a", b=np.int64(2)) is rc.Rearrange(x, "a (b c) -> c b a", b=2)
    assert pickle.loads(pickle.dumps(rc.Scalar(np.float64(0.1)))) is rc.Scalar(0.1)


def test_1_1_einsum_axes_compare_after_renumbering() -> None:
    x, y = rc.Array(torch.ones(2, 3)), rc.Array(torch.ones(3, 4))
    product = rc.Einsum.from_string("ab,bc->ac", x, y)
    assert rc.Einsum((x, (7, 3)), (y, (3, 100)), out_axes=(7, 100)) is product
    assert rc.Einsum.from_string("row mid, mid col -> row col", x, y) is product
    assert rc.Einsum.from_string("ab,bc->ca", x, y) is not product


def test_1_1_identity_survives_threads() -> None:
    made: list[rc.Expr] = []
    barrier = threading.Barrier(8)

    def make() -> None:
        barrier.wait()
        made.append(rc.Add(rc.Scalar(123.25), rc.Scalar(7.5), name="from many threads"))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert len(set(map(id, made))) == 1


def test_1_1_unused_nodes_are_freed() -> None:
    node = rc.Add(rc.Scalar(9876.5), name="short-lived")
    reference = weakref.ref(node)
    del node
    gc.collect()
    assert reference() is None


PROGRAM = """
import torch, scrub as rc
x = rc.Array(torch.arange(6.0).reshape(2, 3), "x")
s = rc.Symbol.new_from_name((3,), "s")
body = rc.elementwise("gelu", rc.Add(s, rc.Scalar(-0.0)))
call = rc.Module(rc.ModuleSpec(body, [s]), "call", s=x)
dice = rc.DiscreteVar(rc.Array(torch.arange(6.0)), rc.Tag.new_from_name(rc.uniform(6), "dice"), "dice")
print(rc.Add(call, rc.Cumulant(dice), rc.Index(x, (torch.tensor([1, 0]),)), name="é '|\\"").digest)
"""


def test_1_2_digests_are_the_same_in_every_process() -> None:
    run = [sys.executable, "-c", PROGRAM]
    digests = {subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip() for _ in range(2)}
    here: dict[str, object] = {}
    exec(
        PROGRAM.replace("print(", "digest = (").replace("import torch, scrub as rc", ""),
        {"torch": torch, "rc": rc},
        here,
    )
    assert digests == {here["digest"]}


def test_1_2_digests_cover_shape_dtype_and_bytes_only() -> None:
    x = torch.arange(12.0).reshape(3, 4)
    assert tensor_digest(x) == tensor_digest(x.t().contiguous().t())  # other strides, same content
    assert tensor_digest(x) == tensor_digest(x.clone().requires_grad_())
    assert len(tensor_digest(x)) == 32
    for other in (x.reshape(4, 3), x.double(), x + 0.0001, x.int(), x[:2]):
        assert tensor_digest(other) != tensor_digest(x)
    assert tensor_digest(torch.tensor([1 + 2j]).conj()) == tensor_digest(torch.tensor([1 - 2j]))
    assert tensor_digest(torch.tensor(3.0)) != tensor_digest(torch.tensor([3.0]))
    for dtype in (torch.bfloat16, torch.float16, torch.bool, torch.int8, torch.complex64):
        assert tensor_digest(torch.ones(3).to(dtype)) == tensor_digest(torch.ones(3).to(dtype))


def test_1_2_meta_tensors_are_told_apart() -> None:
    meta = torch.empty(2, 3, device="meta")
    one, two = rc.Array(meta, "w"), rc.Array(meta, "w")
    assert one != two
    assert one.shape == (2, 3)
    assert copy.deepcopy(one) is one
    assert pickle.loads(pickle.dumps(one)) is one  # by the uuid that stands in for a digest


def test_1_3_names_and_derived_names() -> None:
    a, b, c = (rc.Array(T + i, name) for i, name in enumerate("abc"))
    assert rc.Add(a, b).name is None
    assert rc.display_name(rc.Add(a, b)) == "a + b"
    assert rc.display_name(a.mul(b)) == "a * b"
    assert rc.display_name(rc.Add(a, b).mul(c)) == "(a + b) * c"
    assert rc.display_name(rc.softmax(a)) == "softmax(a)"
    assert rc.display_name(rc.Add(a, b, name="sum").mul(c)) == "sum * c"
    assert rc.display_name(rc.Add(a, b, name="sum")) == "'sum'"
    renamed = rc.Add(a, b).update("a", lambda n: n.rename("z"))
    assert rc.display_name(renamed) == "z + b"
    with pytest.raises(rc.ConstructionError, match="a name is a str or None, not 3"):
        rc.Add(a, name=3)  # type: ignore[arg-type]


def test_1_3_matchers_see_given_names_only() -> None:
    total = rc.Add(rc.Array(T, "a"), rc.Array(T, "b"))
    assert not total.are_any_found("a + b")
    assert not total.are_any_found(rc.Regex("."))  # a literal dot
    assert total.are_any_found(rc.Regex("a"))


def test_1_5_flags() -> None:
    x = rc.Array(torch.ones(3, 2), "x")
    s = rc.Symbol.new_from_name((2,), "s")
    dice = rc.DiscreteVar(x, name="dice")
    assert (x.is_constant, x.is_explicitly_computable, x.can_be_sampled) == (True, True, True)
    assert (s.is_constant, s.is_explicitly_computable, s.free_symbols) == (True, False, (s,))
    assert (dice.is_constant, dice.is_explicitly_computable, dice.can_be_sampled) == (False, False, True)
    mean = rc.Cumulant(dice.add(dice))
    assert (mean.is_constant, mean.is_explicitly_computable) == (True, False)
    assert not rc.Add(mean, dice).is_constant
    assert (x.shape, x.ndim, x.numel, x.dtype, x.device) == ((3, 2), 2, 6, torch.float32, torch.device("cpu"))
    assert (rc.Scalar(1.0).dtype, rc.Scalar(1.0).device, rc.Scalar(1.0).numel) == (None, None, 1)


def test_1_5_free_symbols_in_order_of_first_visit_without_bound_ones() -> None:
    a, b, c = (rc.Symbol.new_from_name((), name) for name in "abc")
    expr = rc.Add(rc.Add(b, a), rc.Add(a, c))
    assert expr.free_symbols == (b, a, c)
    call = rc.Module(rc.ModuleSpec(expr, [a]), "call", a=c)
    assert call.free_symbols == (b, c)
    assert rc.get_free_symbols(rc.Add(call, a)) == (b, c, a)


def test_frozen_attributes() -> None:
    x = rc.Array(T, "x")
    for attribute in ("name", "children", "shape", "anything"):
        with pytest.raises(
            rc.FrozenError, match=rf"(?s)immutable: cannot set '{attribute}'.*'x' \[2\] Array.*hint: .*rename"
        ):
            setattr(x, attribute, None)
    with pytest.raises(rc.FrozenError, match="cannot delete 'name'"):
        del x.name
    with pytest.raises(AttributeError):
        x.name = "y"  # type: ignore[misc]
    assert x.name == "x"


def test_a_tensor_changed_in_place_is_detected() -> None:
    mine = torch.arange(4.0) + 0.125
    x = rc.Array(mine, "x")
    doubled = x.scale(2.0)
    mine[0] = 100
    for use in (lambda: x.value, x.evaluate, doubled.evaluate, lambda: rc.cast(doubled, dtype=torch.float64)):
        with pytest.raises(rc.FrozenError, match=r"(?s)was changed in place.*hint: .*clone\(\)"):
            use()


def test_a_view_changed_in_place_is_detected() -> None:
    mine = torch.arange(4.0) + 0.375
    x = rc.Array(mine[1:], "x")
    mine.mul_(2)
    with pytest.raises(rc.FrozenError):
        x.evaluate()


def test_an_equal_tensor_takes_the_place_of_a_changed_one() -> None:
    mine = torch.arange(4.0) + 0.625
    good = mine.clone()
    x = rc.Array(mine, "x")
    stored = pickle.dumps(x)
    mine[0] = 100
    assert rc.Array(good, "x") is x
    assert torch.equal(x.evaluate(), good)
    good[0] = 7
    assert pickle.loads(stored) is x
    assert x.evaluate()[0] == 0.625


def test_inference_tensors_keep_no_count_of_writes_so_they_are_copied() -> None:
    with torch.inference_mode():
        mine = torch.arange(4.0) + 0.875
        x = rc.Array(mine, "x")
        mine[0] = 100
    assert x.evaluate()[0] == 0.875


def test_only_dense_tensors_are_arrays() -> None:
    with pytest.raises(rc.ConstructionError, match=r"(?s)Array 'x': expected a torch.Tensor, found list.*torch.tensor"):
        rc.Array([1.0], "x")  # type: ignore[arg-type]
    with pytest.raises(rc.ConstructionError, match=r"(?s)Array 'x': expected a dense tensor.*to_dense"):
        rc.Array(torch.eye(2).to_sparse(), "x")


def test_frozen_tensors_compare_by_content() -> None:
    assert FrozenTensor(T) == FrozenTensor(T.clone())
    assert FrozenTensor(T) != FrozenTensor(T + 1)
    assert hash(FrozenTensor(T)) == hash(FrozenTensor(T.clone()))


def test_the_digest_of_one_element_does_not_depend_on_its_strides() -> None:
    strided = torch.arange(6.0).reshape(3, 2)[:1, :1].t()
    assert rc.Array(strided, "x") is rc.Array(torch.zeros(1, 1), "x")
