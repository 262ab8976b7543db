"""`Trace`: what was done is written down, can be read, saved and done again."""

from __future__ import annotations

import json

import pytest
import torch

import scrub as rc
from scrub.graph import Expr, FileError, RewriteError
from scrub.rewrite import Trace, simplify
from scrub.rewrite.rules import distribute, flatten_sum, fold_constants
from scrub.rewrite.testing import Maker


def leaf(name: str) -> rc.Array:
    return rc.Array(torch.full((2,), float(ord(name[0])), dtype=torch.float64), name)


A, B, C = leaf("a"), leaf("b"), leaf("c")


def nested(first: Expr = A) -> Expr:
    return rc.Concat(
        rc.Add(rc.Add(first, B), C, name="left"), rc.Add(rc.Add(rc.Add(first, B)), B, name="right"), axis=0
    )


def test_steps_of_simplify_replay_to_the_identical_result() -> None:
    recorded = 0
    for number in range(120):
        maker = Maker(f"trace {number}")
        expr = maker.random_expr(maker.shape(), 4) if number % 3 == 0 else maker.expr(maker.shape(), 5)
        trace = Trace()
        result = simplify(expr, trace=trace)
        assert trace.replay(expr) is result
        assert Trace.from_json(trace.to_json()).replay(expr) is result
        assert (len(trace) == 0) == (result is expr)
        recorded += len(trace)
    assert recorded >= 60


def test_one_readable_line_a_step() -> None:
    trace = Trace()
    simplify(nested(), [flatten_sum], trace=trace)
    lines = str(trace).splitlines()
    assert lines[0].startswith("1. flatten_sum() at 0: 'left' [2] Add ")
    assert [step.place for step in trace] == [(0,), (1, 0), (1,)]
    assert all(step.rule == "flatten_sum" for step in trace)


def test_a_step_at_a_place_everywhere_and_options() -> None:
    trace = Trace()
    first = trace.apply(flatten_sum, nested(), "left", dissolve=True)
    assert first.get_unique("left") is rc.Add(A, B, C, name="left")
    assert first.get_unique("right") is nested().get_unique("right")
    second = flatten_sum.everywhere(first, "right", trace=trace)
    assert second.get_unique("right") is rc.Add(rc.Add(A, B), B, name="right")
    third = trace.apply(fold_constants, second, "left", max_elements=2)
    assert third.get_unique("left").cast(rc.Array).value.tolist() == (A.value + B.value + C.value).tolist()
    again = Trace.from_json(trace.to_json())
    assert again.replay(nested()) is third
    assert "fold_constants(max_elements=2) at 0: 'left' [2] Add" in str(again)
    assert "flatten_sum() everywhere(" in str(again)


def test_replay_on_another_expression_of_the_same_structure() -> None:
    trace = Trace()
    simplify(nested(), [flatten_sum], trace=trace)
    other = nested(leaf("other"))
    assert trace.replay(other) is simplify(other, [flatten_sum])


def test_the_step_that_does_not_apply_is_named() -> None:
    trace = Trace()
    simplify(nested(), [flatten_sum], trace=trace)
    flat = rc.Concat(rc.Add(A, B), rc.Add(A, C), axis=0)
    with pytest.raises(
        RewriteError, match=r"step 1 of \d, flatten_sum\(\) at 0: .* cannot be repeated: .* no term is a sum"
    ):
        trace.replay(flat)
    with pytest.raises(RewriteError, match=r"there is no place 0: 'a' \[2\] Array .* has no child 0"):
        trace.replay(A)


def test_a_rule_that_does_something_else_by_now_is_noticed() -> None:
    trace = Trace()
    simplify(nested(), [flatten_sum], trace=trace)
    text = trace.to_json().replace(trace.steps[0].after, "0" * 32)
    with pytest.raises(RewriteError, match="starts from the same node but makes another one"):
        Trace.from_json(text).replay(nested())


def test_deep_places_are_short_in_the_file() -> None:
    x: Expr = rc.Add(rc.Add(A, B), C)
    for _ in range(10_000):
        x = rc.elementwise("tanh", x)
    trace = Trace()
    result = simplify(x, [flatten_sum], trace=trace)
    assert json.loads(trace.to_json())["steps"][0]["place"] == "0x10000"
    assert Trace.from_json(trace.to_json()).replay(x) is result


def test_expressions_matchers_and_slices_as_options_survive() -> None:
    trace = Trace()
    matcher = rc.Matcher({"left", "right"}, rc.Regex("^in")) & ~rc.Matcher(rc.Einsum)
    flatten_sum.everywhere(nested(), matcher, trace=trace)
    step = Trace.from_json(trace.to_json()).steps[0]
    assert step.matcher == matcher
    by_predicate = Trace()
    flatten_sum.everywhere(nested(), lambda node: node.name == "left", trace=by_predicate)
    with pytest.raises(RewriteError, match="matcher of flatten_sum cannot be written down"):
        by_predicate.to_json()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "scrub trace 1"}', '{"format": "scrub trace 1", "steps": [{"rule": 1}]}']
)
def test_what_is_no_trace_is_refused(text: str) -> None:
    with pytest.raises(FileError, match="not a trace"):
        Trace.from_json(text)


def test_an_unknown_rule_and_a_path_dependent_traversal() -> None:
    trace = Trace()
    simplify(nested(), [flatten_sum], trace=trace)
    with pytest.raises(RewriteError, match="no rule named 'no_such_rule' is registered"):
        Trace.from_json(trace.to_json().replace("flatten_sum", "no_such_rule")).replay(nested())
    with pytest.raises(RewriteError, match="cannot be written down"):
        simplify(nested(), traversal="left", trace=Trace())


def test_explicit_steps_that_do_not_simplify() -> None:
    product = rc.Einsum((rc.Add(A, B, name="sum"), (0,)), (C, (0,)), out_axes=(0,), name="p")
    trace = Trace()
    expanded = trace.apply(distribute, product)
    assert trace.replay(product) is expanded
    torch.testing.assert_close(expanded.evaluate(), product.evaluate())
