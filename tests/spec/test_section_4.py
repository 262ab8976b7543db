"""Section 4 of the specification, sentence by sentence: modules."""

from __future__ import annotations

import itertools

import pytest
import torch

import scrub as rc
from scrub import IterativeMatcher
from scrub.graph import symbolic_sizes
from scrub.rewrite import (
    conform_all_modules,
    extract_symbols,
    fuse,
    push_down_modules,
    remove_unused_inputs,
    rename_on_replaced_path,
)
from tests.independent import assert_same, value_of


def symbol(name: str, *shape: int) -> rc.Symbol:
    return rc.Symbol.new_from_name(shape, name)


def array(name: str, *shape: int) -> rc.Array:
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    return rc.Array(torch.randn(shape, generator=generator, dtype=torch.float64), name)


A, B = symbol("a", 2), symbol("b", 2)
X, Y = array("x", 2), array("y", 2)


# ---- 4.1 and 4.2 ---------------------------------------------------------------------------------------------------


def test_4_1_a_spec_is_a_function_and_a_module_a_call() -> None:
    """SPEC 4.1: `ModuleSpec(expr, arg_specs)`, `ModuleArgSpec(symbol, batchable=True, expandable=True)`, `Module`."""
    parameter = rc.ModuleArgSpec(A)
    assert (parameter.symbol, parameter.batchable, parameter.expandable) == (A, True, True)
    spec = rc.ModuleSpec(A.mul(B).add(A), [rc.ModuleArgSpec(A), rc.ModuleArgSpec(B)])
    call = rc.Module(spec, "call", **{"b": Y, "a": X})
    assert call.name == "call"
    assert call.children == (spec.expr, X, Y)  # "Children are [spec.expr, *args]", in the order of the parameters
    assert_same(call.evaluate(), X.value * Y.value + X.value)


def test_4_1_argument_names_are_unique() -> None:
    """SPEC 4.1: "Argument names are unique within a spec"."""
    twin = rc.Symbol.new_with_random_uuid((2,), "a")
    with pytest.raises(rc.ModuleBindingError, match="two parameters are named 'a'"):
        rc.ModuleSpec(rc.Add(A, twin), [A, twin])


def test_4_1_an_unused_argument_is_an_error_unless_asked_for() -> None:
    """SPEC 4.1: "an argument that the body does not use is an error unless asked for"."""
    with pytest.raises(rc.ModuleBindingError, match="body does not use parameter 'b'"):
        rc.ModuleSpec(A.scale(2.0), [A, B])
    spec = rc.ModuleSpec(A.scale(2.0), [A, B], allow_unused=True)
    assert_same(rc.Module(spec, "call", a=X, b=Y).evaluate(), 2 * X.value)


def test_4_2_axes_beyond_the_rank_of_the_symbol_are_batch_axes() -> None:
    """SPEC 4.2: "axes beyond the symbol's rank are batch axes (needs `batchable`)"."""
    many = array("many", 5, 2)
    spec = rc.ModuleSpec(rc.softmax(A), [A])
    assert_same(rc.Module(spec, "call", a=many).evaluate(), torch.softmax(many.value, -1))
    closed = rc.ModuleSpec(rc.softmax(A), [rc.ModuleArgSpec(A, batchable=False)])
    with pytest.raises(rc.BatchError, match="parameter 'a' takes no batch axes"):
        rc.Module(closed, "call", a=many)
    assert rc.Module(closed, "call", a=X).shape == (2,)


def test_4_2_batch_axes_of_all_arguments_follow_section_3() -> None:
    """SPEC 4.2: "Batch axes of all arguments follow section 3; the output is batch + body shape"."""
    spec = rc.ModuleSpec(rc.Einsum.from_string("i,j->ij", A, B), [A, B])
    x, y = array("x", 5, 3, 2), array("y", 3, 2)
    call = rc.Module(spec, "call", a=x, b=y)
    assert call.shape == (5, 3, 2, 2)
    assert_same(call.evaluate(), value_of(call))
    assert_same(call.evaluate(), x.value[..., :, None] * y.value[..., None, :])
    with pytest.raises(rc.BatchError, match=r"batch axes \(4, 3\) of .* do not fit \(5, 3\) of another"):
        rc.Module(spec, "call", a=x, b=array("z", 4, 3, 2))


def test_4_2_the_batch_of_an_unused_argument_is_in_front_too() -> None:
    """SPEC 4.2: "body ignoring `a:[s]`, `b:[s]`, called with (4,5,6,7) and (6,4) => (4,5,6) in front".

    7 and 4 are not one size, so each parameter has a size variable of its own; with one `s` for both it is an error.
    """
    body = array("body", 3)
    s, t = symbolic_sizes("s t")
    x, y = array("x", 4, 5, 6, 7), array("y", 6, 4)
    spec = rc.ModuleSpec(body, [symbol("a", s), symbol("b", t)], allow_unused=True)
    call = rc.Module(spec, "call", a=x, b=y)
    assert call.shape == (4, 5, 6, 3)
    for value in (call.evaluate(), call.substitute().evaluate()):
        assert_same(value, body.value.expand(4, 5, 6, 3))
    one_size = rc.ModuleSpec(body, [symbol("a", s), symbol("b", s)], allow_unused=True)
    assert rc.Module(one_size, "call", a=x, b=array("z", 6, 7)).shape == (4, 5, 6, 3)
    with pytest.raises(rc.ModuleBindingError, match="axis -1 of parameter 'b' is s"):
        rc.Module(one_size, "call", a=x, b=y)


def test_4_2_trailing_sizes_may_differ_where_they_are_symbolic() -> None:
    """SPEC 4.2: "trailing sizes may differ from the symbol's where its size is symbolic (`expandable`)"."""
    (s,) = symbolic_sizes("s")
    a = symbol("a", s, 2)
    spec = rc.ModuleSpec(a.sum(0), [a])
    for size in (0, 1, 5):
        value = array("rows", size, 2)
        assert_same(rc.Module(spec, "call", a=value).evaluate(), value.value.sum(0))
    with pytest.raises(rc.ModuleBindingError, match=r"does not fit|axis -1"):
        rc.Module(spec, "call", a=array("rows", 5, 3))  # this size is a number
    fixed = rc.ModuleSpec(a.sum(0), [rc.ModuleArgSpec(a, expandable=False)])
    with pytest.raises(rc.ModuleBindingError):
        rc.Module(fixed, "call", a=array("rows", 5, 2))


# ---- 4.3 -----------------------------------------------------------------------------------------------------------


def test_4_3_substitute_inlines_under_the_name_of_the_module() -> None:
    """SPEC 4.3: "symbols replaced by what is bound"; "Otherwise the result takes the module's name"."""
    call = rc.Module(rc.ModuleSpec(rc.Add(A, B, name="body"), [A, B]), "call", a=X, b=Y)
    assert call.substitute() is rc.Add(X, Y, name="call")


def test_4_3_a_body_that_is_just_the_symbol_gives_the_argument() -> None:
    """SPEC 4.3: "A body that is just the symbol gives the argument, with the argument's name"."""
    assert rc.Module(rc.ModuleSpec(A, [A]), "call", a=X).substitute() is X


def test_4_3_innermost_binding_wins() -> None:
    """SPEC 4.3: "Innermost binding wins"."""
    inner = rc.Module(rc.ModuleSpec(A.scale(3.0), [A]), "inner", a=Y)
    outer = rc.Module(rc.ModuleSpec(rc.Add(inner, A), [A]), "outer", a=X)
    assert_same(outer.evaluate(), 3 * Y.value + X.value)
    assert_same(outer.substitute().evaluate(), 3 * Y.value + X.value)
    inside = rc.Module(rc.ModuleSpec(A.scale(3.0), [A]), "inner", a=A.scale(5.0))  # in an argument: bound by the outer
    assert_same(rc.Module(rc.ModuleSpec(inside, [A]), "outer", a=X).evaluate(), 15 * X.value)


def test_4_3_no_capture() -> None:
    """SPEC 4.3: "Binding an expression that contains a symbol bound by a module *inside* the body ... is an error"."""
    s = symbol("s", 2)
    inner = rc.Module(rc.ModuleSpec(rc.Add(A, s), [A]), "inner", a=X)
    call = rc.Module(rc.ModuleSpec(inner, [s]), "call", s=A.scale(2.0))
    with pytest.raises(rc.ModuleBindingError, match="would let module 'inner' capture its free symbol 'a'"):
        call.substitute()
    aside = rc.Module(rc.ModuleSpec(A.scale(7.0), [A]), "aside", a=X)  # not on the path to s: no capture
    free = rc.Module(rc.ModuleSpec(rc.Add(aside, s), [s]), "call", s=A.scale(2.0)).substitute()
    assert free.free_symbols == (A,)
    assert_same(rc.module_new_bind(free, (A, Y)).evaluate(), 7 * X.value + 2 * Y.value)


def test_4_3_nested_modules_in_any_order() -> None:
    """SPEC 4.3: "Substituting nested modules in any order gives the same value": all orders of three."""
    deep = rc.Module(rc.ModuleSpec(rc.softmax(A.mul(B)), [A, B]), "deep", a=A, b=B.scale(2.0))
    middle = rc.Module(rc.ModuleSpec(rc.Add(deep, A), [A]), "middle", a=B)
    top = rc.Module(rc.ModuleSpec(rc.Add(middle, B.scale(3.0)), [B]), "top", b=array("many", 4, 2))
    many = array("many", 4, 2).value
    expected = torch.softmax(many * 2 * many, -1) + many + 3 * many
    for order in itertools.permutations(["deep", "middle", "top"]):
        expr: rc.Expr = top
        for name in order:
            found = expr.get(rc.Matcher(name) & rc.Module)
            expr = expr.update(set(found), rc.Expr.substitute) if found else expr
        assert_same(expr.evaluate(), expected, tolerance=1e-12)
        assert not expr.get(rc.Module)
        assert expr.name == "top"


# ---- 4.4 and 4.5 ---------------------------------------------------------------------------------------------------


def two_calls() -> tuple[rc.ModuleSpec, rc.Module, rc.Module]:
    spec = rc.ModuleSpec(rc.Add(rc.Add(A, name="left"), rc.Add(A, name="right")), [A])
    return spec, rc.Module(spec, "one", a=X), rc.Module(spec, "two", a=X)


def test_4_4_matchers_do_not_cross_from_a_symbol_to_what_is_bound_unless_asked() -> None:
    """SPEC 4.4: "Matchers do not cross from a symbol in a body to what is bound to it, unless asked"."""
    _, one, _ = two_calls()
    below = IterativeMatcher("left").chain("x")
    assert one.get(below) == ()
    assert one.get(IterativeMatcher("left").chain("a")) == (A,)
    assert one.get(below, see_through=True) == (X,)
    assert rc.substitute_all_modules(one).get(below) == (X,)  # "walks as if every module were inlined"


def test_4_4_an_update_inlines_exactly_the_modules_it_must() -> None:
    """SPEC 4.4: "an update then inlines exactly the modules it must, no more"."""
    spec, one, two = two_calls()
    expr = rc.Add(one, two, name="top")

    def doubled(node: rc.Expr) -> rc.Expr:
        return node.scale(2.0, name="doubled")

    nothing = expr.update(IterativeMatcher("one").chain("x"), doubled, see_through=True)
    assert nothing.children == (rc.Module(spec, "one", a=doubled(X)), two)
    left = expr.update(IterativeMatcher("one").chain("left").chain("x"), doubled, see_through=True)
    inlined = rc.Add(rc.Add(doubled(X), name="left"), rc.Add(X, name="right"), name="one")
    assert left.children == (inlined, two)
    body = expr.update(IterativeMatcher("one").chain("left"), doubled, see_through=True)
    changed = rc.ModuleSpec(spec.expr.update("left", doubled), [A])
    assert body.children == (rc.Module(changed, "one", a=X), two)


def test_4_4_an_update_that_sees_through_has_the_value_of_one_on_the_inlined_expression() -> None:
    """SPEC 4.4: "walks as if every module were inlined"."""
    _, one, two = two_calls()
    expr = rc.Add(one, two, name="top")
    for matcher in ("x", IterativeMatcher("two").chain("right", "x"), IterativeMatcher("left"), "one"):
        seen = expr.update(matcher, lambda node: node.scale(3.0), see_through=True)
        inlined = rc.substitute_all_modules(expr).update(matcher, lambda node: node.scale(3.0))
        assert_same(seen.evaluate(), inlined.evaluate())


def test_4_5_substitute_all_modules() -> None:
    """SPEC 4.5."""
    _, one, two = two_calls()
    outer = rc.Module(rc.ModuleSpec(rc.Add(one, B), [B]), "outer", b=two)
    plain = rc.substitute_all_modules(outer)
    assert not plain.get(rc.Module)
    assert_same(plain.evaluate(), 4 * X.value)


def test_4_5_conform_all_modules() -> None:
    """SPEC 4.5: "`conform_all_modules` (symbolic sizes to concrete)"."""
    (s,) = symbolic_sizes("s")
    a = symbol("a", s)
    spec = rc.ModuleSpec(rc.softmax(a, name="p"), [a])
    expr = rc.Concat(rc.Module(spec, "two", a=array("x", 2)), rc.Module(spec, "three", a=array("y", 3)), axis=0)
    made = conform_all_modules(expr)
    assert [module.cast_module().body.shape for module in made.get(rc.Module)] == [(2,), (3,)]
    assert [module.name for module in made.get(rc.Module)] == ["two", "three"]
    assert_same(made.evaluate(), expr.evaluate())


def test_4_5_module_new_bind() -> None:
    """SPEC 4.5: `module_new_bind` binds free symbols of an expression, given or by name."""
    call = rc.module_new_bind(rc.Add(A, B.scale(2.0)), ("a", X), (B, Y), name="call")
    assert call.bindings == {A: X, B: Y}
    assert_same(call.evaluate(), X.value + 2 * Y.value)


def test_4_5_extract_symbols() -> None:
    """SPEC 4.5: `extract_symbols` binds once, at the top, what modules inside bind."""
    _, one, two = two_calls()
    expr = rc.Add(one, two, name="top")
    made = extract_symbols(expr, "a")
    assert isinstance(made, rc.Module)
    assert set(made.args) == {X}
    assert not made.body.get(rc.Module)
    assert_same(made.evaluate(), 4 * X.value)


def test_4_5_push_down_modules() -> None:
    """SPEC 4.5: `push_down_modules(traversal, skip, namer)`."""
    spec = rc.ModuleSpec(rc.Add(A.scale(2.0, name="f"), A.scale(3.0, name="g"), name="body"), [A])
    call = rc.Module(spec, "call", a=X)
    pushed = push_down_modules(
        call, rc.new_traversal(end_depth=2), skip="g", namer=lambda module, node: f"<{node.name}>"
    )
    assert isinstance(pushed, rc.Add)
    assert [child.name for child in pushed.get(rc.Module)] == ["<f>", "<g>"]
    assert_same(pushed.evaluate(), 5 * X.value)


def test_4_5_fuse() -> None:
    """SPEC 4.5: `fuse` makes one call of a call of a call."""
    inner = rc.Module(rc.ModuleSpec(rc.Add(A, B), [A]), "inner", a=B.scale(2.0))
    made = fuse(rc.Module(rc.ModuleSpec(inner, [B]), "outer", b=X))
    assert len(made.get(rc.Module)) == 1
    assert_same(made.evaluate(), 3 * X.value)


def test_4_5_remove_unused_inputs() -> None:
    """SPEC 4.5: `remove_unused_inputs` drops what the body does not use."""
    call = rc.Module(rc.ModuleSpec(A.scale(2.0), [A, B], allow_unused=True), "call", a=X, b=Y)
    assert remove_unused_inputs(call) is rc.Module(rc.ModuleSpec(A.scale(2.0), [A]), "call", a=X)


def test_4_5_rename_on_replaced_path() -> None:
    """SPEC 4.5: `rename_on_replaced_path` renames from the root down to what is found, there only."""
    shared = rc.Add(X, name="shared")
    whole = rc.Add(rc.Add(shared, name="left"), rc.Add(shared, name="right"), name="sum")
    made = rename_on_replaced_path(whole, IterativeMatcher("left").chain("shared"), lambda node: f"{node.name}!")
    left = rc.Add(rc.Add(X, name="shared!"), name="left!")
    assert made is rc.Add(left, rc.Add(shared, name="right"), name="sum!")
