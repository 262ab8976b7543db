"""SPEC 9.2 on models so small that all draws can be gone through: what is handed down, and what shares a draw.

Expected values are written out here by hand, as sums over rows; the library's are the exact law of its samplers, or
means over many references.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch

import scrub as rc
from scrub import Symbol
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
)

X = torch.tensor([1.0, 2.0, 4.0, 7.0], dtype=torch.float64)
U = torch.tensor([0, 0, 1, 1])  # two rows of each
V = torch.tensor([0, 1, 1, 1])  # splits them in another way
DATA = Dataset({"x": X, "u": U, "v": V}, inputs=["x"])
ROWS = range(4)


def leaf() -> rc.Expr:
    return Symbol.new_from_name((), "x")


def experiment(model: rc.Expr, nodes: dict[str, tuple[str | None, CondSampler]], **options: str) -> Experiment:
    """Each node is about the place of its name, the first about the whole model."""
    made: dict[str, InterpNode] = {}
    corr = Correspondence()
    for name, (parent, sampler) in nodes.items():
        made[name] = InterpNode(sampler, name) if parent is None else made[parent].make_descendant(sampler, name)
        corr.add(made[name], corr_root_matcher if parent is None else name)
    return Experiment(model, DATA, Hypothesis(corr, **options))  # type: ignore[arg-type]


def assert_mean(found: Experiment, expected: float) -> None:
    """Within five standard errors, and these small enough to tell the expected values of the tests apart."""
    estimate = found.run(150_000, step=50_000).values["loss"]
    stderr = float(estimate.std()) / len(estimate) ** 0.5
    assert abs(float(estimate.mean()) - expected) < 5 * stderr, (float(estimate.mean()), expected)


def same(feature: torch.Tensor, row: int) -> list[int]:
    """Rows that agree with a row."""
    return [other for other in ROWS if feature[other] == feature[row]]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def by_u(name: str = "u") -> FuncSampler:
    return FuncSampler(name, few=1)


@pytest.mark.parametrize("handed_down", ["drawn", "original"])
def test_a_child_is_given_the_newly_drawn_datum(handed_down: str) -> None:
    """E[x of the reference times x of the child]: the child keeps v of its parent's datum, the parent u only."""
    a = rc.Add(leaf(), name="a")
    b = rc.Add(a, name="b")
    model = rc.Einsum.from_string(",->", b, rc.Add(leaf(), name="r"))
    nodes: dict[str, tuple[str | None, CondSampler]] = {
        "top": (None, ExactSampler()),
        "r": ("top", ExactSampler()),
        "b": ("top", by_u("u")),
        "a": ("b", by_u("v")),
    }
    expected: list[float] = []
    for reference in ROWS:
        for parent in same(U, reference):
            given = parent if handed_down == "drawn" else reference
            rows = same(V, given)
            expected.append(float(X[reference]) * mean([float(X[row]) for row in rows]))
    assert_mean(experiment(model, nodes, handed_down=handed_down), mean(expected))
    other = {"drawn": "original", "original": "drawn"}[handed_down]
    with pytest.raises(AssertionError):  # the two differ by more than the test's tolerance
        assert_mean(experiment(model, nodes, handed_down=other), mean(expected))


def products(model_of: Callable[[], rc.Expr]) -> rc.Expr:
    """(x + left) (x + right): 'left' and 'right' are claimed, the two other x are unimportant, in two terms."""
    left = rc.Add(leaf(), rc.Add(model_of(), name="left"), name="P")
    right = rc.Add(leaf().scale(1.0), rc.Add(model_of(), name="right"), name="Q")
    return rc.Einsum.from_string(",->", left, right, name="model")


@pytest.mark.parametrize("unimportant", ["node", "term", "shared"])
def test_what_is_unimportant_below_one_node_shares_a_draw(unimportant: str) -> None:
    nodes: dict[str, tuple[str | None, CondSampler]] = {
        "model": (None, ExactSampler()),
        "left": ("model", ExactSampler()),
        "right": ("model", ExactSampler()),
    }
    values = [float(value) for value in X]
    if unimportant == "term":
        expected = mean([(r + p) * (r + q) for r, p, q in itertools.product(values, repeat=3)])
    else:  # one node, so "shared" is the same
        expected = mean([(r + p) * (r + p) for r, p in itertools.product(values, repeat=2)])
    found = experiment(products(leaf), nodes, unimportant=unimportant)
    assert_mean(found, expected)
    assert len(found.slots) == (2 if unimportant == "term" else 1)


@pytest.mark.parametrize("unimportant", ["node", "term", "shared"])
def test_different_nodes_draw_separately(unimportant: str) -> None:
    """P and Q are nodes with a child each, so what is unimportant below P is another draw than below Q."""
    nodes: dict[str, tuple[str | None, CondSampler]] = {
        "model": (None, ExactSampler()),
        "P": ("model", ExactSampler()),
        "left": ("P", ExactSampler()),
        "Q": ("model", ExactSampler()),
        "right": ("Q", ExactSampler()),
    }
    values = [float(value) for value in X]
    if unimportant == "shared":
        expected = mean([(r + p) * (r + p) for r, p in itertools.product(values, repeat=2)])
    else:
        expected = mean([(r + p) * (r + q) for r, p, q in itertools.product(values, repeat=3)])
    assert_mean(experiment(products(leaf), nodes, unimportant=unimportant), expected)


def test_one_draw_for_all_nodes_is_that_of_the_root() -> None:
    model = products(lambda: rc.Add(leaf(), rc.Add(leaf(), name="deep")))
    left = rc.IterativeMatcher("left")
    root, corr = InterpNode(ExactSampler(), "model"), Correspondence()
    corr.add(root, corr_root_matcher)
    node = root
    for name, matcher in (("P", rc.IterativeMatcher("P")), ("left", left), ("deep", left.chain("deep"))):
        node = node.make_descendant(by_u(), name)
        corr.add(node, matcher)
    found = Experiment(model, DATA, Hypothesis(corr, unimportant="shared"))
    assert {read.slot.label for read in found.scrubbed.reads.values()} == {"model/other", "deep"}
    apart = Experiment(model, DATA, Hypothesis(corr))
    labels = {read.slot.label for read in apart.scrubbed.reads.values()}
    assert labels == {"model/other", "P/other", "left/other", "deep"}


@pytest.mark.parametrize("handed_down", ["drawn", "original"])
def test_the_other_draw_is_given_the_node_s_own_datum(handed_down: str) -> None:
    """What is unimportant below b keeps v of b's datum in either case; only what a is given is a choice."""
    b = rc.Einsum.from_string(",->", leaf(), rc.Add(leaf(), name="a"), name="b")
    root, corr = InterpNode(ExactSampler(), "model"), Correspondence()
    corr.add(root, corr_root_matcher)
    node = root.make_descendant(by_u("u"), "b", other_inputs_sampler=by_u("v"))
    corr.add(node, "b")
    corr.add(node.make_descendant(ExactSampler(), "a"), "a")
    expected: list[float] = []
    for reference in ROWS:
        for drawn in same(U, reference):
            given = drawn if handed_down == "drawn" else reference
            expected.append(float(X[given]) * mean([float(X[other]) for other in same(V, drawn)]))
    hypothesis = Hypothesis(corr, handed_down=handed_down)  # type: ignore[arg-type]
    assert_mean(Experiment(rc.Add(b, name="model"), DATA, hypothesis), mean(expected))


def test_a_place_without_children_of_a_node_with_children_reads_the_other_draw() -> None:
    """'n' claims P and Q, its child is below P only: all of Q is unimportant to it (SPEC 9.2)."""
    model = products(leaf)
    root, corr = InterpNode(ExactSampler(), "model"), Correspondence()
    corr.add(root, corr_root_matcher)
    node = root.make_descendant(ExactSampler(), "n")
    corr.add(node, {"P", "Q"})
    corr.add(node.make_descendant(ExactSampler(), "left"), "left")
    values = [float(value) for value in X]
    assert_mean(
        Experiment(model, DATA, corr), mean([(p + r) * (p + p) for r, p in itertools.product(values, repeat=2)])
    )


def test_exact_everywhere_is_the_model_and_an_unconditioned_root_is_another_datum() -> None:
    exact, corr = InterpNode(ExactSampler(), "model", other_inputs_sampler=ExactSampler()), Correspondence()
    corr.add(exact, corr_root_matcher)
    corr.add(exact.make_descendant(ExactSampler(), "P"), "P")
    result = Experiment(products(leaf), DATA, corr).run(50)
    torch.testing.assert_close(result.values["loss"], (2 * X[result.references]) ** 2, rtol=1e-12, atol=0)
    root = Correspondence()
    root.add(InterpNode(UncondSampler(), "model"), corr_root_matcher)
    result = Experiment(products(leaf), DATA, root).run(50, keep_draws=True)
    assert result.draws is not None
    torch.testing.assert_close(result.values["loss"], (2 * X[result.draws["model"]]) ** 2, rtol=1e-12, atol=0)


def test_draws_depend_on_names_not_on_order_or_on_other_nodes() -> None:
    def rows(order: list[str], seed: int = 0) -> dict[str, torch.Tensor]:
        nodes: dict[str, tuple[str | None, CondSampler]] = {"model": (None, ExactSampler())}
        nodes |= {name: ("model", by_u()) for name in order}
        found = experiment(products(leaf), nodes)
        return {slot.label: drawn for slot, drawn in found.draw(torch.arange(4).repeat(8), seed=seed).items()}

    both, turned, alone = rows(["left", "right"]), rows(["right", "left"]), rows(["left"])
    for label in ("left", "right", "model/other"):
        assert torch.equal(both[label], turned[label])
    assert torch.equal(both["left"], alone["left"])
    assert not torch.equal(both["left"], both["right"])
    assert not torch.equal(both["left"], rows(["left", "right"], seed=1)["left"])


def test_terms_are_numbered_for_each_node() -> None:
    nodes: dict[str, tuple[str | None, CondSampler]] = {
        "model": (None, ExactSampler()),
        "Q": ("model", ExactSampler()),
        "right": ("Q", ExactSampler()),
    }
    found = experiment(products(leaf), nodes, unimportant="term")
    assert [slot.label for slot in found.slots] == ["model/other/1", "Q/other/1"]


def test_two_unclaimed_arguments_of_one_node_are_two_terms() -> None:
    left = rc.Add(leaf(), name="left")
    model = rc.Einsum.from_string(",,->", rc.Add(leaf(), name="right"), left, leaf().scale(1.0), name="model")
    nodes: dict[str, tuple[str | None, CondSampler]] = {
        "model": (None, ExactSampler()),
        "left": ("model", ExactSampler()),
    }
    found = experiment(model, nodes, unimportant="term")
    assert [slot.label for slot in found.slots] == ["model/other/1", "model/other/2"]
    assert_mean(found, mean([r * p * q for r, p, q in itertools.product(map(float, X), repeat=3)]))
    assert_mean(experiment(model, nodes), mean([r * p * p for r, p in itertools.product(map(float, X), repeat=2)]))


def test_a_term_does_not_depend_on_how_matchers_are_written() -> None:
    """The same unclaimed argument, come to on two paths that a window of depth tells apart, is one term."""
    shared = rc.Add(leaf(), rc.Add(leaf(), name="c"), name="shared")
    model = rc.Einsum.from_string(",->", shared, rc.Add(shared, name="on"), name="model")
    for matcher in (rc.IterativeMatcher("c"), rc.restrict("c", end_depth=9)):
        root, corr = InterpNode(ExactSampler(), "model"), Correspondence()
        corr.add(root, corr_root_matcher)
        corr.add(root.make_descendant(ExactSampler(), "c"), matcher)
        found = Experiment(model, DATA, Hypothesis(corr, unimportant="term"))
        assert [slot.label for slot in found.slots] == ["model/other/1"]


def test_a_sampler_that_is_no_sampler_of_rows_is_found() -> None:
    class Wrong(CondSampler):
        def draw(self, given: torch.Tensor, source: object, stream: object) -> torch.Tensor:
            return given + 100

    nodes: dict[str, tuple[str | None, CondSampler]] = {"model": (None, Wrong())}
    with pytest.raises(rc.HypothesisError, match=r"'model': .*Wrong.* gave no rows of the dataset"):
        experiment(products(leaf), nodes).run(3)


def test_a_subclass_of_the_exact_sampler_draws_for_itself() -> None:
    class First(ExactSampler):
        def draw(self, given: torch.Tensor, source: object, stream: object) -> torch.Tensor:
            return torch.zeros_like(given)

    nodes: dict[str, tuple[str | None, CondSampler]] = {"model": (None, First())}
    assert experiment(products(leaf), nodes).run(5).values["loss"].tolist() == [4.0] * 5
