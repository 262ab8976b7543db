"""SPEC 9.5: each distinct pair of a subexpression and what it reads is computed once, and batches change nothing."""

from __future__ import annotations

import pytest
import torch

import scrub as rc
from scrub import IterativeMatcher, Symbol
from scrub.hypothesis import (
    CondSampler,
    Correspondence,
    Dataset,
    ExactSampler,
    Experiment,
    FuncSampler,
    Hypothesis,
    InterpNode,
    UncondSampler,
    corr_root_matcher,
    scrub,
)
from scrub.hypothesis.evaluation.distinct import distinct, distinct_tuples, taken
from scrub.hypothesis.evaluation.evaluator import Evaluator
from scrub.hypothesis.evaluation.stages import Rows

NUM_ROWS, WIDTH = 60, 3


def data(dtype: torch.dtype = torch.float64) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(NUM_ROWS, WIDTH, dtype=dtype, generator=generator)
    return Dataset({"x": x, "sign": (x[:, 0] > 0).long(), "group": torch.arange(NUM_ROWS) % 5}, inputs=["x"])


def model(dtype: torch.dtype = torch.float64, num_parts: int = 4) -> rc.Expr:
    """A sum of 'p0', 'p1', ...: functions of x, each half of which is called 'q0', ...; squared."""
    x = Symbol.new_from_name((WIDTH,), "x")
    parts: list[rc.Expr] = []
    for i in range(num_parts):
        generator = torch.Generator().manual_seed(i)
        weight = rc.Array(torch.randn(WIDTH, WIDTH, dtype=dtype, generator=generator), f"w{i}")
        inner = rc.elementwise("tanh", rc.Einsum.from_string("a, a b -> b", x, weight), name=f"q{i}")
        parts.append(rc.Add(inner, rc.elementwise("sigmoid", x, name=f"s{i}"), name=f"p{i}"))
    total = rc.Add(*parts, name="sum")
    return rc.Einsum.from_string("a, a -> ", total, total, name="loss")


def correspondence(sampler: CondSampler | None = None, num_parts: int = 4, order: int = 1) -> Correspondence:
    root, corr = InterpNode(FuncSampler("sign", few=1), "loss"), Correspondence()
    corr.add(root, corr_root_matcher)
    for i in list(range(num_parts))[::order]:
        own = sampler or (FuncSampler("group", few=1) if i % 2 else UncondSampler())
        node = root.make_descendant(own, f"p{i}")
        corr.add(node, f"p{i}")
        if i < 2:
            corr.add(node.make_descendant(ExactSampler(), f"q{i}"), IterativeMatcher(f"p{i}").chain(f"q{i}"))
    return corr


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_batches_change_nothing(dtype: torch.dtype, rtol: float) -> None:
    found = Experiment(model(dtype), data(dtype), correspondence())
    n = 500
    references = found.references(0, n, seed=0)
    rows = found.draw(references, seed=0)
    for step in (9, 77, 499):
        for start in range(0, n, step):
            stop = min(start + step, n)
            assert torch.equal(found.references(start, stop, seed=0), references[start:stop])
            for slot, part in found.draw(references[start:stop], seed=0, start=start).items():
                assert torch.equal(part, rows[slot][start:stop])
    whole = Evaluator(found.scrubbed, found.source.data, rows, num_references=n).run(rows)
    assert whole.shape == (n,)
    for batch_size, max_bytes in ((1, 2**30), (13, 2**30), (512, 2**30), (7, 1000), (1, 0)):
        evaluator = Evaluator(
            found.scrubbed,
            found.source.data,
            rows,
            num_references=n,
            batch_size=batch_size,
            batch_bytes=0,
            max_bytes=max_bytes,
        )
        torch.testing.assert_close(evaluator.run(rows), whole, rtol=rtol, atol=0)
    for step in (64, 499):
        values = found.run(n, step=step).values["loss"]
        torch.testing.assert_close(values, whole.double(), rtol=rtol, atol=0)


def test_the_value_is_that_of_the_model_on_the_rows_drawn() -> None:
    """By hand: parts on their own rows."""
    found = Experiment(model(), data(), correspondence())
    rows = {slot.label: drawn for slot, drawn in found.draw(torch.arange(NUM_ROWS), seed=3).items()}
    x = data()["x"]
    total = torch.zeros(NUM_ROWS, WIDTH, dtype=torch.float64)
    for i in range(4):
        weight = model().get_unique(f"w{i}").cast(rc.Array).value
        own, other = rows[f"p{i}"], rows.get(f"p{i}/other", rows[f"p{i}"])  # q reads p's datum, as it is exact
        total = total + (x[own] @ weight).tanh() + x[other].sigmoid()
    values = found.run(NUM_ROWS, seed=3, draws={"reference": torch.arange(NUM_ROWS)}).values["loss"]
    torch.testing.assert_close(values, (total * total).sum(1), rtol=1e-12, atol=0)


def test_nothing_depends_on_the_order_of_nodes() -> None:
    a = Experiment(model(), data(), correspondence()).run(200, seed=5)
    b = Experiment(model(), data(), correspondence(order=-1)).run(200, seed=5)
    torch.testing.assert_close(a.values["loss"], b.values["loss"], rtol=1e-12, atol=0)
    assert not torch.equal(
        a.values["loss"], Experiment(model(), data(), correspondence()).run(200, seed=6).values["loss"]
    )


def work(found: Experiment, n: int, **options: int) -> dict[str, int]:
    """Pairs computed, by stage."""
    references = found.references(0, n, seed=0)
    rows: Rows = found.draw(references, seed=0)
    evaluator = Evaluator(found.scrubbed, found.source.data, rows, num_references=n, **options)
    evaluator.run(rows)
    assert evaluator.work.references == n
    return evaluator.work.pairs


def test_a_row_is_computed_once_whatever_draws_and_references_read_it() -> None:
    found = Experiment(model(), data(), correspondence())
    pairs = work(found, 3000)
    for name, computed in pairs.items():
        slots = [label for label in name.split(", ") for label in label.split(" and ")]
        if " and " not in name:
            assert len(slots) > 1
            assert computed <= NUM_ROWS
    references = found.references(0, 3000, seed=0)
    rows = {slot.label: drawn.tolist() for slot, drawn in found.draw(references, seed=0).items()}
    for name in ("p0", "p1"):
        both = set(zip(rows[name], rows[f"{name}/other"], strict=True))
        assert pairs[f"{name} and {name}/other"] == len(both) < 0.8 * 3000


def test_later_batches_use_what_earlier_ones_computed() -> None:
    found = Experiment(model(), data(), correspondence())
    rows = found.draw(found.references(0, 2000, seed=0), seed=0)
    evaluator = Evaluator(found.scrubbed, found.source.data, rows, num_references=2000)
    first = evaluator.run(rows)
    before = {name: pairs for name, pairs in evaluator.work.pairs.items() if " and " not in name}
    assert before
    assert torch.equal(evaluator.run(rows), first)
    for name, pairs in before.items():
        assert evaluator.work.pairs[name] == pairs
        assert evaluator.work.reads[name] >= 4000


@pytest.mark.parametrize("pool", [1, 2, 4])
def test_pools_bound_what_is_computed(pool: int) -> None:
    root, corr = InterpNode(UncondSampler(pool=pool), "loss"), Correspondence()
    corr.add(root, corr_root_matcher)
    assert sum(work(Experiment(model(), data(), corr), 2000).values()) == pool
    root, corr = InterpNode(FuncSampler("group", pool=pool, few=1), "loss"), Correspondence()
    corr.add(root, corr_root_matcher)
    assert sum(work(Experiment(model(), data(), corr), 2000).values()) == 5 * pool
    root = InterpNode(UncondSampler(pool=pool), "loss", other_inputs_sampler=UncondSampler(pool=pool))
    corr = Correspondence()
    corr.add(root, corr_root_matcher)
    corr.add(root.make_descendant(ExactSampler(), "p0"), "p0")
    *_, last = work(Experiment(model(), data(), corr), 2000).values()
    assert last == pool**2  # each pair of rows once


def test_equal_tuples_are_computed_once_where_several_nodes_read_the_same_draws() -> None:
    """'a' and 'b' both read two draws, and the whole reads a third: both are computed once for every pair of rows."""
    x = [Symbol.new_from_name((), name) for name in "xyz"]
    inner = rc.elementwise("tanh", rc.Add(x[0], x[1]), name="inner")
    a, b = rc.elementwise("exp", inner, name="a"), rc.elementwise("sigmoid", inner.scale(2.0), name="b")
    whole = rc.Add(rc.Einsum.from_string(",->", a, x[2]), rc.Einsum.from_string(",->", b, x[2].scale(3.0)), inner)
    root, corr = InterpNode(UncondSampler(), "root"), Correspondence()
    corr.add(root, corr_root_matcher)
    for name, pool in (("x", 3), ("y", 2), ("z", 40)):
        corr.add(root.make_descendant(UncondSampler(pool=pool), f"node {name}"), name)
    arrays = {name: torch.linspace(-1, 1, 50, dtype=torch.float64) * (i + 1) for i, name in enumerate("xyz")}
    found = Experiment(whole, Dataset(arrays), corr)
    pairs = work(found, 1000)
    assert pairs["node x and node y"] == 6
    rows = {slot.label: drawn for slot, drawn in found.draw(found.references(0, 50, seed=0), seed=0).items()}
    tanh = (arrays["x"][rows["node x"]] + arrays["y"][rows["node y"]]).tanh()
    z = arrays["z"][rows["node z"]]
    expected = tanh.exp() * z + (2 * tanh).sigmoid() * 3 * z + tanh
    torch.testing.assert_close(found.run(50).values["loss"], expected, rtol=1e-12, atol=0)


def test_models_of_any_shape_and_constant_outputs() -> None:
    vector = model().children[0]
    found = Experiment(vector, data(), correspondence(), metrics={"first": lambda out, _: out[:, 0]})
    rows = found.draw(torch.arange(NUM_ROWS), seed=0)
    evaluator = Evaluator(found.scrubbed, found.source.data, rows, num_references=NUM_ROWS, max_bytes=500)
    assert evaluator.run(rows).shape == (NUM_ROWS, WIDTH)
    whole = Evaluator(found.scrubbed, found.source.data, rows, num_references=NUM_ROWS).run(rows)
    torch.testing.assert_close(evaluator.run(rows), whole, rtol=1e-12, atol=1e-15)


def test_inputs_may_be_arrays_or_random_variables_of_the_model() -> None:
    x = data()["x"]
    expected = Experiment(model(), data(), correspondence()).run(100).values["loss"]
    array = model().update("x", lambda leaf: rc.Array(torch.zeros(WIDTH, dtype=torch.float64), "x"))
    variable = model().update("x", lambda leaf: rc.DiscreteVar(rc.Array(x, "rows"), None, "x"))
    for other in (array, variable):
        assert torch.equal(Experiment(other, data(), correspondence()).run(100).values["loss"], expected)


def test_numbers_and_tuples_that_are_distinct() -> None:
    generator = torch.Generator().manual_seed(0)
    for top in (3, 50, 10**6, 2**40):
        columns = [torch.randint(0, top, (200,), generator=generator) for _ in range(5)]
        values, inverse, first = distinct(columns[0])
        assert values.tolist() == sorted(set(columns[0].tolist()))
        assert torch.equal(values[inverse], columns[0])
        assert first.tolist() == [columns[0].tolist().index(value) for value in values.tolist()]
        tuples = list(zip(*(column.tolist() for column in columns), strict=True))
        _, inverse, first = distinct_tuples(columns)
        assert len(first) == len(set(tuples))
        assert [tuples[i] for i in first[inverse].tolist()] == tuples
        assert all(tuples.index(tuples[i]) == i for i in first.tolist())
    assert distinct(torch.tensor([3, -2, 3, 0])).values.tolist() == [-2, 0, 3]
    assert distinct(torch.tensor([], dtype=torch.int64)).first.tolist() == []
    for dtype in (torch.float64, torch.bfloat16, torch.bool):
        values = torch.randint(0, 2, (7, 3), generator=generator).to(dtype)
        index = torch.tensor([6, 0, 0])
        assert torch.equal(taken(values, index), values[index])


def test_read_slots_are_those_that_are_drawn() -> None:
    found = scrub(model(), Hypothesis(correspondence(ExactSampler())), data())
    assert [slot.label for slot in found.read_slots] == ["loss", "p0/other", "p1/other"]
