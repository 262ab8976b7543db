"""Nested sums as one, and the residual stream as each reader sees it."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import scrub as rc
from scrub.graph.errors import SplitError
from scrub.models.splits import components_per_reader, flatten_residual
from scrub.rewrite.testing import Maker
from tests.models.attn_oracle import Tiny, make, random_tokens
from tests.models.splits.cases import MANY, array, assert_equal_values, assert_same_in_batches


def random_stream(chance: random.Random, *, depth: int) -> tuple[rc.Expr, list[str]]:
    """A nested sum [3, 2] of named leaves, some of them a bias [2] or [3, 1], and their names in order."""
    terms: list[rc.Expr] = []
    names: list[str] = []
    for _ in range(chance.randint(1, 3)):
        if depth and chance.random() < 0.6:
            inner, below = random_stream(chance, depth=depth - 1)
            terms.append(inner)
            names += below
        else:
            shape = (3, 2) if not terms or chance.random() < 0.7 else chance.choice([(2,), (3, 1), ()])
            terms.append(array(f"x{chance.randint(0, 20)}_{len(shape)}{shape[-1:]}", *shape))
            names.append(str(terms[-1].name))
    return rc.Add(*terms, name=chance.choice([None, f"b{depth}"])), names


@given(st.integers(0, MANY))
def test_a_nested_sum_becomes_one_of_the_same_terms_in_order(seed: int) -> None:
    stream, names = random_stream(random.Random(seed), depth=3)
    whole = rc.elementwise("tanh", rc.Add(stream, array("last", 3, 2), name="act"))
    flat = whole.update("act", flatten_residual())
    assert [term.name for term in flat.children[0].children] == [*names, "last"]
    assert_equal_values(whole, flat)
    gathered = whole.update("act", flatten_residual(gather_biases=True)).children[0]
    assert_equal_values(whole.children[0], gathered)
    is_bias = {node.name: node.shape != (3, 2) for node in flat.children[0].children}
    biases = [name for name in names if is_bias[name]]
    assert [term.name for term in gathered.children if term.name != "act.biases"] == [
        name for name in [*names, "last"] if not is_bias[name]
    ]
    assert [[b.name for b in term.children] for term in gathered.children if term.name == "act.biases"] == (
        [biases] if biases else []
    )


@given(st.integers(0, MANY))
def test_any_sum_can_be_flattened(seed: int) -> None:
    """Also sums within functions, random ones, and those that another is shared with."""
    maker = Maker(seed)
    maker.preferred = ((rc.Add,),) * 3
    shape = maker.shape()
    terms = [maker.random_expr(shape) if maker.random.random() < 0.3 else maker.expr(shape) for _ in range(2)]
    whole = rc.Add(*terms, *terms[:1], name="act")
    assert_equal_values(whole, flatten_residual(gather_biases=bool(seed % 2))(whole))


def test_a_flat_stream_takes_batch_axes_as_before() -> None:
    x = rc.Symbol.new_from_name((3, 2), "x")
    stream = rc.Add(rc.Add(x, array("b", 2)), rc.Add(rc.elementwise("tanh", x), array("c", 1, 2)), name="act")
    for seed, gather in enumerate((False, True)):
        assert_same_in_batches(rc.softmax(stream), flatten_residual(gather_biases=gather), seed)


def test_sums_that_are_kept_or_broadcast_stay() -> None:
    a, b, c, row = array("a", 3, 2), array("b", 3, 2), array("c", 3, 2), array("row", 2)
    layer = rc.Add(b, c, name="a0")
    stream = rc.Add(rc.Add(a, layer, name="b0"), rc.Add(row, row, name="twice"), name="b1")
    assert [t.name for t in flatten_residual()(stream).children] == ["a", "b", "c", "twice"]
    assert [t.name for t in flatten_residual(keep={"a0", "m0"})(stream).children] == ["a", "a0", "twice"]
    assert flatten_residual(keep=True)(stream) is stream


def test_booleans_stay_apart_from_numbers() -> None:
    """A sum of booleans is "or", which has to come before it is counted."""
    yes = rc.Array(torch.tensor([True, False]), "yes")
    stream = rc.Add(rc.Add(yes, yes), rc.Array(torch.tensor([1, 2]), "n"), name="s")
    flat = flatten_residual()(stream)
    assert flat.evaluate().tolist() == [2, 2]
    assert len(flat.children) == 2


def test_sums_of_shared_sums_are_not_written_out_without_end() -> None:
    node: rc.Expr = array("x", 2)
    for _ in range(60):
        node = rc.Add(node, node)
    with pytest.raises(SplitError, match=f"is a sum of {2**60} terms when written out"):
        flatten_residual()(node)
    deep: rc.Expr = array("x", 2)
    for _ in range(10_000):
        deep = rc.Add(deep, array("y", 2))
    assert len(flatten_residual()(deep).children) == 10_001


def test_what_is_no_sum_is_an_error() -> None:
    with pytest.raises(SplitError, match="flatten_residual: 'x' is a Array, not an Add"):
        flatten_residual()(array("x", 2))


_READERS = rc.Regex(r"^(a\d+|final)\.norm$")


def _split(tiny: Tiny, *, flatten: bool) -> rc.Expr:
    groups = {layer: [(0, "one"), (rc.S[1:], "rest")] for layer in range(2)}
    return rc.configure_transformer(
        tiny.model, split_by_head_config=groups, use_pull_up_head_split=True, use_flatten_res=flatten
    )


def test_every_reader_of_a_model_has_its_components() -> None:
    tiny = make()
    tokens = random_tokens(3, 6)
    model = components_per_reader(_split(tiny, flatten=False), _READERS)
    torch.testing.assert_close(tiny.call(tokens, model).evaluate(), tiny.logits(tokens), rtol=1e-10, atol=1e-10)
    written = {"a0.norm": 0, "a1.norm": 1, "final.norm": 2}
    for reader, num_layers in written.items():
        names = [term.name for term in model.get_unique(f"{reader}.resid").children]
        assert names == ["t.input", *(f"a{layer}.{g}" for layer in range(num_layers) for g in ("one", "rest"))]
    assert model is _split(tiny, flatten=True)


def test_layers_may_stay_whole() -> None:
    tiny = make()
    tokens = random_tokens(3, 6)
    model = components_per_reader(_split(tiny, flatten=False), _READERS, input_name="ln.input", keep={"a0", "a1"})
    assert [term.name for term in model.get_unique("final.norm.resid").children] == ["t.input", "a0", "a1"]
    torch.testing.assert_close(tiny.call(tokens, model).evaluate(), tiny.logits(tokens), rtol=1e-10, atol=1e-10)


def test_each_reader_s_component_can_be_replaced_by_itself() -> None:
    """An edge: what `a0.one` writes is taken away from the final norm, and from no other reader."""
    x = rc.Symbol.new_from_name((3, 2), "ln.input")
    norm = rc.ModuleSpec(rc.softmax(x, name="ln.out"), [x])
    embed, head = array("embed", 3, 2), array("head", 3, 2)
    stream = rc.Add(embed, head, name="b0")
    first = rc.Module(norm, "m0.norm", **{"ln.input": stream})
    stream = rc.Add(stream, rc.elementwise("tanh", first, name="m0"), name="b1")
    final = rc.Module(norm, "final.norm", **{"ln.input": stream})
    model = components_per_reader(final, rc.Regex(r"\.norm$"))
    edge = rc.IterativeMatcher("final.norm").chain(rc.restrict("head", term_early_at="m0"))
    without = model.update(edge, lambda node: rc.Scalar(0.0, node.shape), see_through=True)
    m0 = (embed.value + head.value).softmax(-1).tanh()
    torch.testing.assert_close(without.evaluate(), (embed.value + m0).softmax(-1))


@pytest.mark.parametrize(
    ("reader", "options", "message"),
    [
        ("act", {}, "components_per_reader: 'act' is a GeneralFunction, not a call"),
        (
            "norm",
            {"input_name": "x"},
            r"(?s)has 0 parameters that fit, wanted is one parameter 'x'.*\['ln.input', 'w'\]",
        ),
        ("head", {}, "'head' has 2 parameters that fit, wanted is one parameter whose name ends with '.input'"),
    ],
)
def test_bad_readers(reader: str, options: dict[str, Any], message: str) -> None:
    x, w = rc.Symbol.new_from_name((2,), "ln.input"), rc.Symbol.new_from_name((2,), "w")
    q, k = rc.Symbol.new_from_name((2,), "a.q.input"), rc.Symbol.new_from_name((2,), "a.k.input")
    act = rc.elementwise("tanh", array("x", 2), name="act")
    norm = rc.Module(rc.ModuleSpec(x.mul(w), [x, w]), "norm", **{"ln.input": act, "w": array("w", 2)})
    head = rc.Module(rc.ModuleSpec(q.mul(k), [q, k]), "head", **{"a.q.input": norm, "a.k.input": norm})
    with pytest.raises(SplitError, match=message):
        components_per_reader(head, reader, **options)
    with pytest.raises(rc.MatchError, match="no node is named 'norms'"):
        components_per_reader(head, "norms")
