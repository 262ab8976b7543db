"""SPEC 4.1 and 4.2: modules as calls. Values are checked against an evaluator that loops over the batch."""

from __future__ import annotations

import pytest
import torch

import scrub as rc
from scrub.graph import rebuild_batched
from tests.independent import assert_same, loop_and_stack, value_of


def symbol(name: str, *shape: int) -> rc.Symbol:
    return rc.Symbol.new_from_name(shape, name)


def array(name: str, *shape: int) -> rc.Array:
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    return rc.Array(torch.randn(shape, generator=generator, dtype=torch.float64), name)


A, B = symbol("a", 2), symbol("b", 2)
PRODUCT = rc.ModuleSpec(A.mul(B, name="a b").add(A), [A, B])


def test_4_1_children_are_the_body_and_the_arguments() -> None:
    x, y = array("x", 2), array("y", 2)
    call = rc.Module(PRODUCT, "call", b=y, a=x)
    assert call.children == (PRODUCT.expr, x, y)
    assert (call.body, call.args, call.bindings, call.spec) == (PRODUCT.expr, (x, y), {A: x, B: y}, PRODUCT)
    assert call is rc.Module(PRODUCT, "call", a=x, b=y)
    assert_same(call.evaluate(), x.value * y.value + x.value)


def test_4_1_binding_errors_name_the_parameters() -> None:
    x = array("x", 2)
    for arguments, message in [
        ({"a": x}, r"nothing is bound to \['b'\]"),
        ({"a": x, "b": x, "c": x}, r"no parameter named \['c'\]"),
    ]:
        with pytest.raises(
            rc.ModuleBindingError, match=rf"(?s)Module 'call': {message}.*hint: the parameters are \['a', 'b'\]"
        ):
            rc.Module(PRODUCT, "call", **arguments)
    with pytest.raises(rc.ModuleBindingError, match="two parameters are named 'a'"):
        rc.ModuleSpec(A, [A, rc.Symbol.new_with_random_uuid((2,), "a")])
    with pytest.raises(rc.ModuleBindingError, match="a parameter has no name"):
        rc.ModuleSpec(A, [rc.Symbol.new_with_random_uuid((2,))])
    with pytest.raises(rc.ModuleBindingError, match=r"(?s)body does not use parameter 'b'.*allow_unused=True"):
        rc.ModuleSpec(A.scale(2.0), [A, B])
    with pytest.raises(
        rc.ModuleBindingError, match=r"(?s)'x' \[2\] .*does not fit parameter 'a' of shape \(3,\).*hint"
    ) as caught:
        rc.Module(rc.ModuleSpec(symbol("a", 3), [symbol("a", 3)]), "call", a=x)
    assert (caught.value.axis, caught.value.expected, caught.value.found) == (-1, (3,), (2,))


def test_4_2_axes_beyond_the_symbols_rank_are_batch_axes() -> None:
    x, y = array("x", 5, 3, 2), array("y", 3, 2)
    call = rc.Module(PRODUCT, "call", a=x, b=y)
    assert call.shape == (5, 3, 2)
    assert_same(call.evaluate(), x.value * y.value + x.value)
    with pytest.raises(rc.BatchError, match=r"(?s)Module 'call': batch axes \(5,\) of 'y'.*\(3,\) of another"):
        rc.Module(PRODUCT, "call", a=array("x", 3, 2), b=array("y", 5, 2))
    closed = rc.ModuleSpec(A.scale(2.0), [rc.ModuleArgSpec(A, batchable=False)])
    with pytest.raises(rc.BatchError, match=r"(?s)Module 'call': parameter 'a' takes no batch axes.*'x' \[5, 3, 2\]"):
        rc.Module(closed, "call", a=x)


def test_4_2_unused_arguments_batch_the_result() -> None:
    s = 3
    a, b = symbol("a", s), symbol("b", s)
    body = array("body", 2)
    call = rc.Module(rc.ModuleSpec(body, [a, b], allow_unused=True), "c", a=array("x", 4, 5, 6, s), b=array("y", 6, s))
    assert call.shape == (4, 5, 6, 2)
    assert_same(call.evaluate(), body.value.expand(4, 5, 6, 2))
    assert_same(call.substitute().evaluate(), body.value.expand(4, 5, 6, 2))
    unequal = rc.ModuleSpec(body, [a, symbol("b", 7)], allow_unused=True)
    assert rc.Module(unequal, a=array("x", 4, 5, 6, s), b=array("y", 6, 7)).shape == (4, 5, 6, 2)


@pytest.mark.parametrize("gained", [{1}, {0}, {0, 1}, {0, 1, 2}])
@pytest.mark.parametrize("samples", [(8,), (4,), (2, 8)])
def test_3_heads_and_samples(gained: set[int], samples: tuple[int, ...]) -> None:
    """A module that has batch axes already (8 heads), whose arguments gain sample axes, of that same size too."""
    x, w, v = symbol("x", 3), symbol("w", 4, 3), symbol("v", 4)
    body = rc.Einsum.from_string("d,ed->e", x, w).mul(v).add(rc.softmax(v))
    module = rc.Module(
        rc.ModuleSpec(body, [x, w, v]), "attn", x=array("x", 3), w=array("w", 8, 4, 3), v=array("v", 8, 4)
    )
    values = [array(f"new{i}", *(samples if i in gained else ()), *c.shape) for i, c in enumerate(module.args)]
    batched = rebuild_batched(
        module,
        [module.body, *(v if i in gained else a for i, (v, a) in enumerate(zip(values, module.args, strict=True)))],
    )
    chosen = sorted(gained)

    def one(*entries: torch.Tensor) -> torch.Tensor:
        args = list(module.args)
        for i, entry in zip(chosen, entries, strict=True):
            args[i] = rc.Array(entry)
        return value_of(module.with_children([module.body, *args]))

    expected = loop_and_stack(one, [values[i].value for i in chosen], [module.args[i].ndim for i in chosen])
    assert expected.shape == (*samples, 8, 4)
    assert_same(batched.evaluate(), expected)


def test_3_batch_axes_may_change_size_while_others_gain_axes() -> None:
    x, w = symbol("x", 3), symbol("w", 3)
    spec = rc.ModuleSpec(rc.Einsum.from_string("a,a->", x, w), [x, w])
    module = rc.Module(spec, "heads", x=array("x", 3), w=array("w", 8, 3))
    new = [array("xs", 5, 3), array("fewer heads", 4, 3)]
    batched = rebuild_batched(module, [module.body, *new])
    assert_same(batched.evaluate(), torch.einsum("sa,ha->sh", new[0].value, new[1].value))


def test_a_body_never_gains_axes_by_itself() -> None:
    call = rc.Module(PRODUCT, "call", a=array("x", 2), b=array("y", 2))
    with pytest.raises(rc.BatchError, match=r"(?s)Module 'call': its body gained batch axes.*substitute"):
        rebuild_batched(call, [array("body", 9, 2), *call.args])


def test_module_new_bind() -> None:
    x, y = array("x", 2), array("y", 2)
    call = rc.module_new_bind(PRODUCT.expr, ("a", x), (B, y), name="call")
    assert_same(call.evaluate(), x.value * y.value + x.value)
    assert rc.module_new_bind(PRODUCT.expr, ("a", x)).free_symbols == (B,)
    with pytest.raises(rc.ModuleBindingError, match=r"(?s)has no free symbol 'z'.*its free symbols are \['a', 'b'\]"):
        rc.module_new_bind(PRODUCT.expr, ("z", x))
    with pytest.raises(rc.ModuleBindingError, match="'a' is bound twice"):
        rc.module_new_bind(PRODUCT.expr, ("a", x), ("a", y))
    twins = rc.Add(A, rc.Symbol.new_with_random_uuid((2,), "a"))
    with pytest.raises(rc.ModuleBindingError, match="has 2 free symbols 'a'"):
        rc.module_new_bind(twins, ("a", x))
