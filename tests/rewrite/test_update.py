"""SPEC 4.3, 4.4 and 5.7: update, substitution, seeing through modules, and the Expander."""

from __future__ import annotations

import pytest
import torch

import scrub as rc
from scrub import IterativeMatcher
from tests.independent import assert_same


def symbol(name: str, *shape: int) -> rc.Symbol:
    return rc.Symbol.new_from_name(shape, name)


X = rc.Array(torch.tensor([1.0, 2.0]), "x")
Y = rc.Array(torch.tensor([5.0, 7.0]), "y")


def doubled(node: rc.Expr) -> rc.Expr:
    return node.scale(2.0, name="doubled")


def test_5_7_examples() -> None:
    a, b = rc.Add(X, name="A"), rc.Add(X, name="B")
    c = rc.Add(a, b, name="C")
    both = c.update("x", doubled)
    assert both is rc.Add(rc.Add(doubled(X), name="A"), rc.Add(doubled(X), name="B"), name="C")
    one = c.update(IterativeMatcher("A").chain("x"), doubled)
    assert one is rc.Add(rc.Add(doubled(X), name="A"), b, name="C")
    assert set(one.get({"x", "doubled"})) == {X, doubled(X)}
    p = rc.Add(rc.Add(X, name="Q"), name="P")
    renamed = p.update(rc.Add, lambda n: n.rename(f"{n.name}!"))
    assert renamed is rc.Add(rc.Add(X, name="Q!"), name="P!")


def test_5_7_f_runs_once_per_distinct_rebuilt_node() -> None:
    seen: list[rc.Expr] = []
    expr = rc.Add(rc.Add(X, name="A"), rc.Add(X, name="B"))
    tagged = expr.update("x", lambda n: seen.append(n) or rc.Tag.new_with_random_uuid(n))
    assert seen == [X]
    assert len(tagged.get(rc.Tag)) == 1


def test_5_7_results_are_not_matched_again_and_nothing_changed_is_the_same_object() -> None:
    expr = rc.Add(X, Y)
    assert expr.update("x", lambda n: rc.Add(n, n)).get("x") == (X,)
    assert expr.update("x", lambda n: n) is expr
    with pytest.raises(rc.ConstructionError, match="the transform returned NoneType, not an Expr"):
        expr.update("x", lambda n: None)  # type: ignore[arg-type, return-value]


def test_4_3_substitution() -> None:
    a = symbol("a", 2)
    call = rc.Module(rc.ModuleSpec(rc.Add(a, Y, name="body"), [a]), "call", a=X)
    assert call.substitute() is rc.Add(X, Y, name="call")
    assert rc.Module(rc.ModuleSpec(a, [a]), "call", a=X).substitute() is X
    inner = rc.Module(rc.ModuleSpec(a.scale(3.0), [a]), "inner", a=a.add(Y))  # binds "a" itself: innermost wins
    outer = rc.Module(rc.ModuleSpec(inner, [a]), "outer", a=X)
    assert_same(outer.substitute().evaluate(), (X.value + Y.value) * 3)
    with pytest.raises(rc.ConstructionError, match="expected a Module, found a Array"):
        rc.substitute(X)


def test_4_3_a_symbol_behind_two_modules_is_not_renamed() -> None:
    s, a, b = symbol("s", 2), symbol("a", 2), symbol("b", 2)
    inner = rc.Module(rc.ModuleSpec(s, [a], allow_unused=True), "inner", a=X)
    outer = rc.Module(rc.ModuleSpec(inner, [b], allow_unused=True), "outer", b=X)
    whole = rc.module_new_bind(outer, (s, rc.Array(torch.ones(3, 2), "samples")), name="whole")
    assert rc.substitute_all_modules(whole).free_symbols == ()
    assert_same(whole.evaluate(), torch.ones(3, 2))


def test_4_3_capture_is_an_error() -> None:
    a, s = symbol("a", 2), symbol("s", 2)
    inner = rc.Module(rc.ModuleSpec(rc.Add(a, s), [a]), "inner", a=X)
    outer = rc.Module(rc.ModuleSpec(inner, [s]), "outer", s=a.scale(2.0))
    with pytest.raises(
        rc.ModuleBindingError, match=r"(?s)to 's' would let module 'inner' capture its free symbol 'a'.*hint"
    ) as e:
        outer.substitute()
    assert e.value.found is a
    two = rc.Module(rc.ModuleSpec(rc.Add(a, s), [a, s]), "two", a=s.scale(2.0), s=X)
    with pytest.raises(rc.ModuleBindingError, match="would let module 'two' capture its free symbol 's'"):
        rc.partially_substitute(two, {"a"})


def test_partial_substitution_shares_batch_axes() -> None:
    a, b = symbol("a", 2), symbol("b", 2)
    many = [rc.Array(torch.randn(5, 2), n) for n in "mn"]
    call = rc.Module(rc.ModuleSpec(a.mul(b), [a, b]), "call", a=many[0], b=many[1])
    for chosen in ({"a"}, {"b"}, {"a", "b"}, set[str]()):
        partly = rc.partially_substitute(call, chosen)
        assert partly.shape == (5, 2)
        assert_same(partly.evaluate(), many[0].value * many[1].value)


def two_calls() -> tuple[rc.Expr, rc.ModuleSpec]:
    a = symbol("a", 2)
    spec = rc.ModuleSpec(rc.Add(rc.Add(a, name="left"), rc.Add(a, name="right")), [a])
    return rc.Add(rc.Module(spec, "one", a=X), rc.Module(spec, "two", a=X), name="top"), spec


def test_4_4_see_through_keeps_modules_it_need_not_inline() -> None:
    expr, spec = two_calls()
    assert not expr.are_any_found(IterativeMatcher("left").chain("x"))
    assert expr.get(IterativeMatcher("left").chain("x"), see_through=True) == (X,)
    arguments = expr.update(IterativeMatcher("one").chain("x"), doubled, see_through=True)
    one, two = arguments.get(rc.Module)
    assert one is rc.Module(spec, "one", a=doubled(X))
    assert two is rc.Module(spec, "two", a=X)


def test_4_4_see_through_inlines_exactly_what_it_must() -> None:
    expr, spec = two_calls()
    changed = expr.update(IterativeMatcher("one").chain("left").chain("x"), doubled, see_through=True)
    assert changed.get(rc.Module) == (rc.Module(spec, "two", a=X),)
    one = rc.Add(rc.Add(doubled(X), name="left"), rc.Add(X, name="right"), name="one")
    assert changed.children == (one, rc.Module(spec, "two", a=X))


def test_5_7_the_same_child_in_two_positions_is_two_places() -> None:
    twice = rc.Add(X, X, name="twice")
    first = twice.update(IterativeMatcher("twice").children_matcher({0}), doubled)
    assert first is rc.Add(doubled(X), X, name="twice")
    inner = rc.Add(X, X, name="inner")
    expr = rc.Add(inner, inner, name="outer")
    second_of_first = rc.children_matcher({0}).chain(rc.children_matcher({1}))
    changed = expr.update(second_of_first, doubled)
    assert changed is rc.Add(rc.Add(X, doubled(X), name="inner"), inner, name="outer")


def test_4_4_modules_on_no_changed_path_stay_the_same_objects() -> None:
    expr, _ = two_calls()
    s = symbol("s", 2)
    around = rc.Module(rc.ModuleSpec(rc.Add(expr, s, name="body"), [s]), "around", s=rc.Add(X, name="argument"))
    one, two = expr.get(rc.Module)
    changed = around.update(IterativeMatcher("argument").chain("x"), doubled, see_through=True)
    assert changed.cast(rc.Module).body is around.body
    changed = around.update(IterativeMatcher("two").chain("right"), doubled, see_through=True)
    new_one, new_two = changed.children[0].get(rc.Module)
    assert new_one is one
    assert new_two is not two
    assert new_two.cast(rc.Module).bindings == two.cast(rc.Module).bindings
    assert changed.cast(rc.Module).args == around.args


def test_4_4_one_call_of_two_changes_and_is_not_inlined_where_its_body_has_one_variant() -> None:
    expr, spec = two_calls()
    changed = expr.update(IterativeMatcher("two").chain("left"), doubled, see_through=True)
    one, two = changed.children
    assert one is rc.Module(spec, "one", a=X)
    body = spec.expr.update("left", doubled)
    assert two is rc.Module(rc.ModuleSpec(body, spec.arg_specs), "two", a=X)


def test_4_4_only_the_module_whose_parameter_splits_is_inlined() -> None:
    a, b = symbol("a", 2), symbol("b", 2)
    inner = rc.Module(rc.ModuleSpec(rc.Add(rc.Add(a, name="left"), a), [a]), "inner", a=b)
    outer = rc.Module(rc.ModuleSpec(rc.Add(inner, name="body"), [b]), "outer", b=X)
    side = rc.Module(rc.ModuleSpec(rc.Add(b, name="aside"), [b]), "side", b=X)
    expr = rc.Add(outer, side, name="top")
    changed = expr.update(IterativeMatcher("left").chain("x"), doubled, see_through=True)
    assert changed.get(rc.Module) == (side,)  # the parameter of inner splits, and so does that of outer
    assert_same(changed.evaluate(), 4 * X.value)
    whole = expr.update(IterativeMatcher("inner").chain("x"), doubled, see_through=True)
    assert [m.name for m in whole.get(rc.Module)] == ["outer", "inner", "side"]
    assert whole.get_unique("outer").cast(rc.Module).args == (doubled(X),)


def test_4_4_fresh_randomness_is_fresh_in_each_call_as_if_inlined() -> None:
    a = symbol("a", 2)
    spec = rc.ModuleSpec(rc.Add(rc.Add(a, name="part"), name="body"), [a])
    expr = rc.Add(rc.Module(spec, "one", a=X), rc.Module(spec, "two", a=Y), rc.Module(spec, "three", a=X))

    def count(expression: rc.Expr, *, see_through: bool) -> int:
        tagged = expression.update("part", rc.Tag.new_with_random_uuid, see_through=see_through)
        assert_same(tagged.evaluate(), expression.evaluate())
        return len(tagged.get(rc.Tag))

    assert count(expr, see_through=True) == 2  # with x and with y
    either = IterativeMatcher("one").chain("part") | IterativeMatcher("three").chain("part")  # in two states
    assert len(expr.update(either, rc.Tag.new_with_random_uuid, see_through=True).get(rc.Tag)) == 1
    assert count(rc.substitute_all_modules(expr), see_through=False) == 2
    assert count(expr, see_through=False) == 1  # the body is one node
    tagged = expr.update("part", rc.Tag.new_with_random_uuid, see_through=True)
    assert len(tagged.get(rc.Module)) == 3


def test_4_4_a_transform_receives_what_a_symbol_stands_for_in_the_end() -> None:
    a, b = symbol("a", 2), symbol("b", 2)
    inner = rc.Module(rc.ModuleSpec(rc.Add(a, name="in"), [a]), "inner", a=b)
    outer = rc.Module(rc.ModuleSpec(rc.Add(inner, b, name="out"), [b]), "outer", b=X)
    seen: list[rc.Expr] = []

    def replaced(node: rc.Expr) -> rc.Expr:
        seen.append(node)
        return Y

    changed = outer.update(a, replaced, see_through=True)
    assert seen == [X]
    assert_same(changed.evaluate(), X.value + Y.value)
    everywhere = outer.update({a, b}, replaced, see_through=True)
    assert seen == [X, X]
    assert_same(everywhere.evaluate(), 2 * Y.value)
    assert [m.name for m in everywhere.get(rc.Module)] == ["outer", "inner"]
    assert outer.update(a, lambda node: node, see_through=True) is outer


def test_4_4_unused_batched_arguments_keep_their_batch() -> None:
    a, b = symbol("a", 2), symbol("b", 2)
    many = rc.Array(torch.ones(4, 2), "many")
    call = rc.Module(rc.ModuleSpec(rc.Add(rc.Add(b, name="n"), a), [a, b]), "call", a=many, b=X)
    gone = call.update("n", lambda n: rc.Scalar(0.0, n.shape), see_through=True)
    assert gone.shape == (4, 2)
    assert_same(gone.evaluate(), many.value)
    spec = rc.ModuleSpec(rc.Add(b, name="n"), [a, b], allow_unused=True)
    unused = rc.Module(spec, "call", a=many, b=X).update("n", doubled, see_through=True)
    assert_same(unused.evaluate(), (X.value * 2).expand(4, 2))


def test_expander_replaces_from_the_top_down() -> None:
    expr = rc.Add(rc.Add(X, name="A"), Y, name="top")
    seen: list[rc.Expr] = []

    def five(node: rc.Expr) -> rc.Expr:
        seen.append(node)
        return rc.Scalar(1.0, (5, *node.shape))

    assert rc.Expander(({"A", "x"}, five)).run(expr).shape == (5, 2)
    assert seen == [rc.Add(X, name="A")]
    seen.clear()
    assert rc.Expander(("x", five), ("A", five)).run(expr).free_symbols == ()
    assert seen[-1] is rc.Add(X, name="A")
    assert rc.Expander(("nobody", five)).run(expr) is expr


def test_expander_shares_a_batch_axis_within_one_call() -> None:
    expr = rc.Einsum.from_string("a,a->", X, Y)
    xs, ys = rc.Array(torch.randn(4, 2)), rc.Array(torch.randn(4, 2))
    shared = rc.Expander(("x", xs), ("y", ys)).run(expr)
    assert_same(shared.evaluate(), (xs.value * ys.value).sum(-1), tolerance=1e-6)
    once = rc.Expander(("x", xs)).run(expr)
    twice = rc.Expander(("y", ys)).run(once)  # the first call's axis belongs to the node now
    assert_same(twice.evaluate(), torch.einsum("xa,ya->yx", xs.value, ys.value), tolerance=1e-6)


def test_expander_inside_a_body_that_uses_the_parameter() -> None:
    a = symbol("a", 2)
    call = rc.Module(rc.ModuleSpec(rc.Add(rc.Add(a, name="n"), Y), [a]), "call", a=X)
    with pytest.raises(rc.ModuleBindingError, match=r"(?s)hint: .*substitute"):
        rc.Expander(("n", lambda n: rc.Concat.stack(n, n))).run(call)
