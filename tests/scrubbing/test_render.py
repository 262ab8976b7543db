"""Experiments as trees: the draws shown are those of the run, and parts have the marks of what they really read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import scrub as rc
from scrub.graph.text import COLORS as CODES
from scrub.hypothesis import (
    CondSampler,
    Correspondence,
    Dataset,
    ExactSampler,
    Experiment,
    FuncSampler,
    Hypothesis,
    InterpNode,
    Source,
    Stream,
    UncondSampler,
    corr_root_matcher,
)
from scrub.hypothesis.render.data import printable, shortened
from scrub.hypothesis.render.nodes import COLORS
from scrub.hypothesis.render.reads import draws_read
from scrub.hypothesis.render.tree import ExperimentTree, decoded, experiment_tree, inputs_text
from tests.strategies import expressions

X = torch.arange(12.0, dtype=torch.float64)
DATA = Dataset({"x": X, "y": -X, "z": X % 3}, inputs=["x", "y"])
ANSI = re.compile("\033\\[[0-9]+m")


def model() -> rc.Expr:
    """loss = left * (left + x), left = x * y: "left" is on two paths, "x" on four."""
    x, y = (rc.Symbol.new_from_name((), name) for name in "xy")
    left = x.mul(y, name="left")
    return left.mul(left.add(x, name="both"), name="loss")


def hypothesis(**choices: Any) -> Hypothesis:
    """Directly: "left" by z, below it x as it is. Through "both": everything as the reference's."""
    root = InterpNode(ExactSampler(), "root", other_inputs_sampler=UncondSampler(pool=4))
    direct = root.make_descendant(FuncSampler("z", few=1), "direct")
    same = direct.make_descendant(ExactSampler(), "same")
    both = root.make_descendant(ExactSampler(), "both")
    corr = Correspondence()
    corr.add(root, corr_root_matcher)
    corr.add(direct, rc.restrict("left", end_depth=2))
    corr.add(same, rc.restrict("left", end_depth=2).chain("x"))
    corr.add(both, "both")
    return Hypothesis(corr, **choices)


@pytest.mark.parametrize("unimportant", ["node", "term", "shared"])
@pytest.mark.parametrize("handed_down", ["drawn", "original"])
def test_draws_are_those_of_the_run(unimportant: str, handed_down: str) -> None:
    experiment = Experiment(model(), DATA, hypothesis(unimportant=unimportant, handed_down=handed_down))
    run = experiment.run(7, seed=3, keep_draws=True)
    assert run.draws is not None
    for reference in (0, 5):
        tree = experiment_tree(experiment, seed=3, reference=reference)
        assert {d.slot.label: d.row for d in tree.draws} == {k: int(v[reference]) for k, v in run.draws.items()}
        assert [d.number for d in tree.draws] == list(range(len(tree.draws)))
        for drawn in tree.draws:
            assert drawn.datum == f"x={drawn.row:.4g}, y={-float(drawn.row):.4g}"


def test_what_a_node_shows() -> None:
    tree = experiment_tree(Experiment(model(), DATA, hypothesis()))
    root, direct, same, both = tree.nodes
    assert [node.depth for node in tree.nodes] == [0, 1, 2, 1]
    assert root.own is both.own is tree.draws[0]
    assert root.others == ()  # all of the model's inputs are below a child
    assert direct.own is same.own
    assert [d.slot.label for d in direct.others] == ["direct/other"]
    assert direct.others[0].inputs == ("y",)
    assert direct.others[0].how == ("UncondSampler(pool=None)", direct.own.number if direct.own else -1)
    assert same.path == "loss > left > x"
    assert (same.num_places, both.num_places) == (1, 1)
    assert direct.own is not None
    assert direct.own.how == ("FuncSampler('z')", 0)
    assert direct.own.row % 3 == tree.draws[0].row % 3


def test_text_and_model() -> None:
    tree = experiment_tree(Experiment(model(), DATA, hypothesis()))
    marks = [d.datum for d in tree.draws]
    assert str(tree).split("\n")[1:] == [
        f"[0] the reference: {marks[0]}",
        f"'root' ExactSampler() [0] {marks[0]}  # the whole model",
        f"  'direct' FuncSampler('z') [1] {marks[1]}  # 1 place: loss > left",
        f"    other inputs UncondSampler(pool=None) [2] {marks[2]}  # y",
        f"    'same' ExactSampler() [1] {marks[1]}  # 1 place: loss > left > x",
        f"  'both' ExactSampler() [0] {marks[0]}  # 1 place: loss > both",
    ]
    assert [re.sub(" Symbol [0-9a-f]+", " Symbol", line) for line in tree.model_text().split("\n")] == [
        "'loss' [] Einsum ,->  # [0] [1] [2]",
        "  'left' [] Einsum ,->  # [1] [2]",
        "    'x' [] Symbol  # [1]",
        "    'y' [] Symbol  # [2]",
        "  'both' [] Add ...  # [0]",
    ]
    assert len(tree.model_text(whole=True).split("\n")) == 9
    assert tree.model_text(max_depth=1).split("\n")[1].endswith("'left' [] Einsum ,-> ...  # [1] [2]")


def test_a_draw_that_is_not_needed_and_shared_ones() -> None:
    root = InterpNode(FuncSampler("z", few=1), "root")
    corr = Correspondence()
    corr.add(root, corr_root_matcher)
    corr.add(root.make_descendant(UncondSampler(), "left"), rc.restrict("left", end_depth=2))
    tree = experiment_tree(Experiment(model(), DATA, Hypothesis(corr, unimportant="shared", handed_down="original")))
    assert "other inputs of all nodes UncondSampler(pool=None) [2]" in str(tree)
    exact = tree_of_exact_others("shared")
    assert [len(node.others) for node in exact.nodes] == [1, 0, 0]
    exact = tree_of_exact_others("node")
    assert [len(node.others) for node in exact.nodes] == [1, 1, 0]
    assert exact.nodes[1].others == (exact.nodes[1].own,)
    inner = root.make_descendant(ExactSampler(), "both")
    corr.add(inner, "both")
    tree = experiment_tree(Experiment(model(), DATA, Hypothesis(corr, handed_down="original")))
    assert "'root' FuncSampler('z') not drawn: nothing depends on it  # the whole model" in str(tree)


def tree_of_exact_others(unimportant: Any) -> ExperimentTree:
    root = InterpNode(ExactSampler(), "root")
    left = root.make_descendant(UncondSampler(), "left", other_inputs_sampler=ExactSampler())
    corr = Correspondence()
    corr.add(root, corr_root_matcher)
    corr.add(left, rc.restrict("left", end_depth=2))
    corr.add(left.make_descendant(ExactSampler(), "x"), rc.restrict("left", end_depth=2).chain("x"))
    return experiment_tree(Experiment(model(), DATA, Hypothesis(corr, unimportant=unimportant)))


def test_more_draws_than_colors() -> None:
    """Each term draws by itself: colors come again, numbers do not, and the text says how many were left out."""
    symbols = [rc.Symbol.new_from_name((), f"x{i}") for i in range(10)]
    total = rc.Add(*[symbol.scale(2.0, name=f"t{i}") for i, symbol in enumerate(symbols)], name="loss")
    root, corr = InterpNode(ExactSampler(), "root"), Correspondence()
    corr.add(root, corr_root_matcher)
    corr.add(root.make_descendant(ExactSampler(), "first"), "t0")
    data = Dataset({str(s.name): X for s in symbols})
    tree = experiment_tree(Experiment(total, data, Hypothesis(corr, unimportant="term")))
    assert len(tree.draws) == 10
    assert [drawn.shade for drawn in tree.draws] == list(range(10))
    text = tree.to_text(color=True)
    assert "other inputs of term 6" in text
    assert "… 3 more terms" in text
    by_color = {name: re.findall(f"\033\\[{code}m\\[([0-9]+)\\]", text) for name, code in CODES.items()}
    assert set(by_color[COLORS[0]]) == {"0", "6"}
    assert tree.marks(tree.experiment.scrubbed.expr) == "[0] [1] [2] [3] [4] … 10 draws"


def test_colors_only_on_terminals(capsys: Any, monkeypatch: Any) -> None:
    tree = experiment_tree(Experiment(model(), DATA, hypothesis()))
    tree.print()
    tree.print_model()
    plain = capsys.readouterr().out
    assert plain == f"{tree}\n{tree.model_text()}\n"
    assert not ANSI.search(plain)
    monkeypatch.setattr("scrub.hypothesis.render.tree.shows_color", lambda: True)
    tree.print()
    tree.print_model()
    colored = capsys.readouterr().out
    assert ANSI.sub("", colored) == plain
    lines = {line.split("'")[1]: line for line in tree.model_text(color=True).split("\n")}
    for name, number in (("x", 1), ("y", 2), ("both", 0)):
        shade = tree.draws[number].shade
        assert shade is not None
        assert f"\033[{CODES[COLORS[shade]]}m'{name}'" in lines[name]
    assert not ANSI.search(lines["loss"].split("#")[0].removesuffix("\033[90m  "))


class Odd(CondSampler):
    """A user's sampler with a name of several lines."""

    def draw(self, given: torch.Tensor, source: Source, stream: Stream) -> torch.Tensor:
        return given

    def __repr__(self) -> str:
        return "odd\n\033[31m" + "long " * 100


@given(st.text(), st.text(), st.text(min_size=1))
def test_nothing_a_user_names_breaks_lines(name: str, datum: str, array: str) -> None:
    x = rc.Symbol.new_from_name((), array)
    root, corr = InterpNode(Odd(), name), Correspondence()
    corr.add(root, corr_root_matcher)
    experiment = Experiment(x.scale(2.0), Dataset({array: X}), Hypothesis(corr, name=name))
    for shown in (None, lambda row: datum):  # pyright: ignore[reportUnknownLambdaType]
        tree = experiment_tree(experiment, datum=shown)
        text = str(tree)
        assert len(text.split("\n")) == 3
        assert all(drawn.datum.isprintable() for drawn in tree.draws)
        assert text.replace("\n", "").isprintable()
        assert "<script" not in tree._repr_html_().replace("&lt;", "")  # pyright: ignore[reportPrivateUsage]


def test_a_datum() -> None:
    row = Dataset({"a b": torch.tensor([True]), "w": torch.tensor([[0.1234567, 2.0]]), "m": torch.zeros(1, 3, 4)})
    assert inputs_text(row) == "'a b'=True, w=[0.1235 2], m=[3×4: 0 0 0 0 0 0 0 0 … 4 more]"
    assert inputs_text(Dataset({"x": torch.tensor([3]), "label": torch.tensor([1])}, inputs=["x"])) == "x=3"

    class Tokenizer:
        def decode(self, tokens: list[int]) -> str:
            assert all(type(token) is int for token in tokens)
            return " ".join(map(str, tokens))

    assert decoded("t", Tokenizer())(Dataset({"t": torch.tensor([[4, 5]])})) == "4 5"
    assert decoded("t", Tokenizer(), limit=5)(Dataset({"t": torch.tensor([[14, 15, 16]])})) == "14 1…"
    assert shortened("abc", 3) == "abc"
    assert printable("\ud800\x00é") == "\\ud800\\x00é"


def by_every_path(expr: rc.Expr, sources: dict[rc.Symbol, int]) -> dict[rc.Expr, set[int]]:
    """What each node reads on each way to come to it, by following all of them; the definition, exponentially slow."""
    found: dict[rc.Expr, set[int]] = {}

    def read(node: rc.Expr, scope: dict[rc.Symbol, int]) -> int:
        if isinstance(node, rc.Symbol):
            bits = scope.get(node, sources.get(node, 0))
        elif isinstance(node, rc.Module):
            body, *arguments = node.children
            values = [read(argument, scope) for argument in arguments]
            inner = {spec.symbol: bits for spec, bits in zip(node.params, values, strict=True)}
            bits = read(body, {**scope, **inner})
        else:
            bits = union(read(child, scope) for child in node.children)
        found.setdefault(node, set()).add(bits)
        return bits

    read(expr, {})
    return found


def union(bits: Iterable[int]) -> int:
    result = 0
    for each in bits:
        result |= each
    return result


@given(expressions(num_steps=6))
def test_reads_against_following_every_path(expr: rc.Expr) -> None:
    arrays = [node for node in rc.postorder([expr]) if isinstance(node, rc.Array)]
    sources: dict[rc.Symbol, int] = {}
    for i, array in enumerate(arrays):
        symbol = rc.Symbol.new_with_random_uuid(array.shape, array.name)
        sources[symbol] = 1 << i
        expr = expr.update(lambda node, array=array: node is array, lambda _, symbol=symbol: symbol)
    bits, varying = draws_read(expr, sources)
    expected = by_every_path(expr, sources)
    assert bits == {node: union(each) for node, each in expected.items()}
    assert {node for node, each in expected.items() if len(each) > 1} <= varying
    assert all(node.free_symbols - sources.keys() for node in varying)  # only what depends on a parameter


@pytest.mark.parametrize("other", ["y", "a constant"])
def test_a_body_that_is_called_with_two_draws(other: str) -> None:
    """The body's colors would be wrong for one of the calls, so it has none, and starts folded."""
    x, y, p = (rc.Symbol.new_from_name((), name) for name in "xyp")
    spec = rc.ModuleSpec(rc.elementwise("tanh", p, name="f"), [p])
    second = rc.Module(spec, "f of y", p=y if other == "y" else rc.Scalar(1.0))
    total = rc.Module(spec, "f of x", p=x).add(second, y, name="loss")
    root, corr = InterpNode(ExactSampler(), "root"), Correspondence()
    corr.add(root, corr_root_matcher)
    corr.add(root.make_descendant(ExactSampler(), "claimed"), "f of x")
    tree = experiment_tree(Experiment(total, DATA, corr))
    lines = {line.split("'")[1]: line for line in tree.model_text(whole=True, color=True).split("\n")}
    assert "# by call: [0]" in lines["f"]
    assert "[1]" in lines["f"] or other != "y"
    assert not ANSI.search(lines["f"].split("#")[0].removesuffix("\033[90m  "))
    assert "# [0]" in lines["f of x"]
    assert "# [1]" in lines["f of y"] or other != "y"


def test_a_shared_body_is_not_unfolded() -> None:
    """What a call with two draws reads, its arguments say; the body is that of another call too."""
    x, y, p = (rc.Symbol.new_from_name((), name) for name in "xyp")
    spec = rc.ModuleSpec(rc.elementwise("tanh", p, name="f"), [p])
    total = rc.Module(spec, "one", p=x.add(y, name="both")).add(rc.Module(spec, "two", p=y), name="loss")
    root, corr = InterpNode(ExactSampler(), "root"), Correspondence()
    corr.add(root, corr_root_matcher)
    corr.add(root.make_descendant(ExactSampler(), "claimed"), rc.IterativeMatcher("one").chain("x"))
    tree = experiment_tree(Experiment(total, DATA, corr))
    lines = [re.sub(" Symbol [0-9a-f]+", " Symbol", line) for line in tree.model_text().split("\n")]
    assert lines == [
        "'loss' [] Add  # [0] [1]",
        "  'one' [] Module  # [0] [1]",
        "    'f' [] GeneralFunction tanh ...  # by call: [0] [1]",
        "    'both' [] Add ! 'p'  # [0] [1]",
        "      'x' [] Symbol  # [0]",
        "      'y' [] Symbol  # [1]",
        "  'two' [] Module ...  # [1]",
    ]
