"""`simplify` and `canonicalize` on generated expressions of all kinds, and by hand where the result is known."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest
import torch

import scrub as rc
from scrub.graph import Expr, RewriteError, rebuild
from scrub.rewrite import NoMatch, canonicalize, simplify
from scrub.rewrite.compare import value_problem
from scrub.rewrite.names import lost_name, names_to_keep
from scrub.rewrite.rule import Rule
from scrub.rewrite.rules import flatten_sum, weight
from scrub.rewrite.simplify import MAX_CHILDREN, default_rules
from scrub.rewrite.testing import Maker, groups_of, value_of
from tests.steps import num_steps


def made(number: int) -> Expr:
    maker = Maker(f"simplify {number}")
    return maker.random_expr(maker.shape(), 4) if number % 3 == 0 else maker.expr(maker.shape(), 5)


def assert_same_value(before: Expr, after: Expr) -> None:
    assert after.shape == before.shape
    groups = groups_of([before, after])
    problem = value_problem(value_of(before, groups=groups), value_of(after, groups=groups), rtol=1e-9, atol=1e-9)
    assert problem is None, problem


def names(expr: Expr) -> set[str | None]:
    return {node.name for node in rc.postorder([expr])} - {None}


def leaf(name: str | None, *shape: int) -> rc.Array:
    generator = torch.Generator().manual_seed(len(name or "") + sum(map(ord, name or "")))
    return rc.Array(torch.randn(shape, dtype=torch.float64, generator=generator), name)


@pytest.mark.parametrize("keep_names", [True, False])
def test_value_shape_and_names_are_kept_and_it_is_idempotent(keep_names: bool) -> None:
    changed = 0
    for number in range(150):
        before = made(number)
        after = simplify(before, keep_names=keep_names)
        assert_same_value(before, after)
        assert simplify(after, keep_names=keep_names) is after
        assert weight(after) <= weight(before)
        assert not keep_names or names(before) == names(after)
        changed += after is not before
    assert changed >= 60


def test_no_rule_applies_to_the_result_without_losing_a_name() -> None:
    keep = names_to_keep(True)
    tried = 0
    for number in range(60):
        after = simplify(made(number))
        for node in rc.postorder([after], descend=lambda node: not isinstance(node, rc.DiscreteVar)):
            for rule in default_rules():
                options = {"dissolve": lambda inner: inner.name is None} if rule.can_dissolve else {}
                result = rule.attempt(node, **options)
                if isinstance(result, NoMatch):
                    continue
                is_too_heavy = not rule.is_simplifying and weight(result) >= weight(node)
                assert is_too_heavy or lost_name(node, result, keep, {}) is not None, (rule, node)
            tried += 1
    assert tried >= 200


def test_a_known_result() -> None:
    x, y, z = leaf("x", 2, 3), leaf("y", 2, 3), leaf("z", 2, 3)
    zeros = rc.Scalar(0.0, (2, 3))
    same = rc.elementwise("log", rc.elementwise("exp", z))
    expr = rc.Add(rc.Add(x, zeros), rc.Rearrange(y, "a b -> a b"), same, name="s")
    assert simplify(expr) is rc.Add(x, y, z, name="s")
    assert simplify(expr, [flatten_sum]) is rc.Add(x, zeros, *expr.children[1:], name="s")


def test_names_decide_what_is_taken_apart() -> None:
    """SPEC 1.4: named sums inside, and names of what would collapse, stay; what need not be kept goes."""
    a, b, c = leaf("a", 2), leaf("b", 2), leaf("c", 2)
    inner = rc.Add(a, b, name="inner")
    outer = rc.Add(inner, c, name="outer")
    assert simplify(outer) is outer
    assert simplify(outer, keep_names="elsewhere") is rc.Add(a, b, c, name="outer")
    assert simplify(outer, keep_names=False) is rc.Add(a, b, c, name="outer")
    assert simplify(outer, keep_names=rc.Regex("^inn")) is outer
    alone = rc.Add(inner, name="alone")
    assert simplify(alone) is alone  # one of the two names would be lost
    assert simplify(alone.rename(None)) is inner
    assert simplify(alone, keep_names=False) is inner.rename("alone")
    assert simplify(rc.Add(a, name="alias")) is rc.Add(a, name="alias")


def test_a_traversal_limits_where_rules_apply() -> None:
    a, b, c = leaf("a", 2), leaf("b", 2), leaf("c", 2)
    nested = rc.Add(rc.Add(a, b), c)
    expr = rc.Concat(rc.Index(nested, (slice(0, 1),), name="here"), nested, axis=0)
    limited = simplify(expr, [flatten_sum], traversal=rc.IterativeMatcher("here").chain(True))
    assert limited.children == (rc.Index(rc.Add(a, b, c), (slice(0, 1),), name="here"), nested)


def test_the_group_of_a_random_variable_is_left_alone() -> None:
    probs = rc.Tag.new_from_name(
        rc.Add(rc.Add(rc.Scalar(0.25, (2,)), rc.Scalar(0.125, (2,))), rc.Scalar(0.125, (2,))), "g"
    )
    table = rc.Add(rc.Add(leaf("t", 2), leaf("u", 2)), leaf("v", 2))
    variable = rc.DiscreteVar(table, probs)
    for result in (simplify(variable), canonicalize(variable), flatten_sum.everywhere(variable)):
        assert result is not variable
        assert result.cast(rc.DiscreteVar).probs_and_group is probs


def growing(expr: Expr) -> Rule[...]:
    """A rule, not registered, that for ever wraps a sum in another."""

    def wrap(add: rc.Add) -> Expr | NoMatch:
        return rc.Add(rc.elementwise("tanh", add.children[0]), *add.children[1:])

    return _rule(wrap)


def _rule(function: object, *, is_simplifying: bool = False) -> Rule[...]:
    function.__globals__.setdefault("Expr", Expr)  # type: ignore[attr-defined]
    return Rule(
        function,  # type: ignore[arg-type]
        keeps="value",
        pattern=(),
        cases=None,
        choices=None,
        is_simplifying=is_simplifying,
        is_simplifying_at_times=False,
        is_idempotent=False,
    )


def test_rules_that_go_round_in_a_circle_are_named() -> None:
    def to_product(add: rc.Add) -> Expr | NoMatch:
        return rc.Einsum((add.children[0], (0,)), (rc.Scalar(2.0), ()), out_axes=(0,))

    def to_sum(einsum: rc.Einsum) -> Expr | NoMatch:
        return rc.Add(einsum.children[0], einsum.children[0])

    x = leaf("x", 2)
    with pytest.raises(RewriteError, match=r"to_\w+ and to_\w+ go round in a circle"):
        simplify(rc.elementwise("tanh", rc.Add(x, x)), [_rule(to_product), _rule(to_sum)])


def test_rules_without_an_end_are_named() -> None:
    with pytest.raises(RewriteError, match="no end after 100 steps; the last were of wrap"):
        simplify(rc.Add(leaf("x", 2), leaf("y", 2)), [growing(leaf("x", 2))], max_steps=100)


def test_a_rule_that_does_not_simplify_though_it_says_so_is_found_out() -> None:
    def swap(add: rc.Add) -> Expr | NoMatch:
        return rc.Add(*reversed(add.children))

    with pytest.raises(RewriteError, match=r"swap says that it simplifies, but made .* no lighter"):
        simplify(rc.Add(leaf("x", 2), leaf("y", 2)), [_rule(swap, is_simplifying=True)])


def test_options_that_a_rule_needs_are_asked_for() -> None:
    from scrub.rewrite.rules import fold_constants

    expr = rc.Add(leaf("x", 2), leaf("y", 2), name="s")
    with pytest.raises(RewriteError, match="rule fold_constants needs the option 'max_elements'"):
        simplify(expr, [fold_constants])
    folded = simplify(expr, [(fold_constants, {"max_elements": 2})], keep_names=False)
    torch.testing.assert_close(folded.cast(rc.Array).value, expr.evaluate())
    assert folded.name == "s"
    assert simplify(expr, [(fold_constants, {"max_elements": 2})]) is expr  # it would lose the names of x and y


def test_flattening_shared_sums_does_not_write_out_every_path() -> None:
    x: Expr = leaf("x", 2)
    before: Expr = leaf("y", 2)
    for _ in range(60):
        x, before = rc.Add(x, before), x
    result = simplify(x)
    assert max(len(node.children) for node in rc.postorder([result])) <= MAX_CHILDREN
    torch.testing.assert_close(result.evaluate(), x.evaluate(), rtol=1e-12, atol=0.0)


def _chain(depth: int) -> Expr:
    x: Expr = leaf("x", 2)
    for _ in range(depth):
        x = rc.Add(rc.elementwise("tanh", x), rc.Scalar(0.0, (2,)), rc.Scalar(1.0))
    return x


def test_deep_chains_and_2_to_the_60_paths() -> None:
    small, large = _chain(100), _chain(1_000)
    assert num_steps(lambda: simplify(large)) < 11 * num_steps(lambda: simplify(small))
    depth = 5_000
    assert len(list(rc.postorder([simplify(_chain(depth))]))) == 2 * depth + 2
    shared: Expr = leaf("x", 2)
    for _ in range(60):
        shared = rc.elementwise("tanh", rc.Add(shared, rc.Add(shared, rc.Scalar(0.0))))
    result = simplify(shared)
    assert weight(shared) > 2**60
    assert len(list(rc.postorder([result]))) == 122  # the array, the scalar 2, and 60 doubled functions
    torch.testing.assert_close(result.evaluate(), shared.evaluate())


def shuffled(expr: Expr, rng: random.Random) -> Expr:
    """The expression with terms and operands in another order."""

    def transform(node: Expr, children: tuple[Expr, ...]) -> Expr:
        if isinstance(node, rc.Add):
            return node.with_children(rng.sample(children, len(children)))
        node = node.with_children(children)
        if isinstance(node, rc.Einsum):
            operands = rng.sample(node.operands, len(node.operands))
            return rc.Einsum(*operands, out_axes=node.out_axes, name=node.name)
        return node

    return rebuild([expr], transform)[expr]


def test_equal_up_to_order_is_identical_once_canonical() -> None:
    counts: Counter[str] = Counter()
    for number in range(100):
        before = made(number)
        other = shuffled(before, random.Random(number))
        result = canonicalize(before)
        assert canonicalize(other) is result
        assert canonicalize(result) is result
        assert_same_value(before, result)
        assert names(result) == names(before)
        counts["shuffled"] += other is not before
    assert counts["shuffled"] >= 20


def test_operands_that_are_equal_are_put_in_order_by_their_axes() -> None:
    """A triangle of one matrix: which operand is which shows only in how their axes are joined."""
    w = leaf("w", 3, 3)
    one = rc.Einsum.from_string("ab,bc,ca,a->c", w, w, w, leaf("v", 3))
    other = rc.Einsum.from_string("p,rp,qr,pq->r", leaf("v", 3), w, w, w)
    assert one is not other
    torch.testing.assert_close(one.evaluate(), other.evaluate())
    assert canonicalize(one) is canonicalize(other)
    parts = ["ab", "bc", "cd", "da"]  # a cycle: nothing tells the operands apart, so orders are tried
    cycles = [rc.Einsum.from_string(f"{','.join(order)}->", *[w] * 4) for order in itertools.permutations(parts)]
    assert len(set(cycles)) > 1
    assert len({canonicalize(cycle) for cycle in cycles}) == 1
    transposed = rc.Einsum.from_string("ba,cb,ac,a->c", w, w, w, leaf("v", 3))
    assert canonicalize(one) is not canonicalize(transposed)


def test_scalar_arguments_of_cumulants_are_put_in_order() -> None:
    x, y = (rc.DiscreteVar(leaf(name, 3), name=name) for name in "xy")
    assert canonicalize(rc.Cumulant(x, y, x)) is canonicalize(rc.Cumulant(x, x, y))
