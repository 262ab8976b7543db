"""Hypotheses as text: what is read back is the same hypothesis, draws and all; what is not readable says why."""

from __future__ import annotations

import functools
import itertools
import types
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import scrub as rc
from scrub.graph import FileError, HypothesisError, ParseError
from scrub.hypothesis import (
    CondSampler,
    Correspondence,
    Dataset,
    ExactSampler,
    Experiment,
    FixedOtherSampler,
    FuncSampler,
    Hypothesis,
    InterpNode,
    Source,
    Stream,
    UncondSampler,
    UncondTogetherSampler,
    corr_root_matcher,
)
from scrub.hypothesis.text.text_form import hypothesis_text, load_hypothesis, parse_hypothesis, save_hypothesis

ROOT = "'r': ExactSampler() <- new_traversal(end_depth=1)"


@dataclass(frozen=True)
class Shifted(CondSampler):
    """A user's sampler: the row some rows further on."""

    by: int
    label: str = ""
    weights: tuple[float, ...] = ()

    def draw(self, given: torch.Tensor, source: Source, stream: Stream) -> torch.Tensor:
        return (given + self.by) % source.size


@dataclass(frozen=True)
class Holding(CondSampler):
    """A user's sampler that text cannot say."""

    held: Any

    def draw(self, given: torch.Tensor, source: Source, stream: Stream) -> torch.Tensor:
        return given


def parity(data: Dataset) -> torch.Tensor:
    return data["x"] % 2


def is_large(data: Dataset) -> torch.Tensor:
    return data["x"] > 3


X = torch.arange(6.0, dtype=torch.float64)
DATA = Dataset({"x": X.repeat(2), "y": X.repeat_interleave(2), "two\nlines #": X.repeat(2) % 3}, inputs=["x", "y"])
OTHER = Dataset({"x": X + 10, "y": -X, "two\nlines #": X}, inputs=["x", "y"], name="the 'other' # one")
HANDED: dict[str, Any] = {
    "functions": {"parity": parity, "odd 'name' # \n": is_large},
    "datasets": {"any": OTHER},
    "samplers": [Shifted],
}


def model() -> rc.Expr:
    x, y = (rc.Symbol.new_from_name((), name) for name in "xy")
    left, right = x.mul(y, name="left"), x.add(y, name="right")
    return left.mul(right, name="both").add(left, name="loss")


PLACES = ["left", "right", "both", rc.IterativeMatcher("both").chain(rc.restrict({"x", "y"}, end_depth=4))]
samplers = st.one_of(
    st.just(ExactSampler()),
    st.just(UncondTogetherSampler()),
    st.just(FixedOtherSampler(OTHER)),
    st.builds(UncondSampler, st.none() | st.integers(1, 5)),
    st.builds(FuncSampler, st.sampled_from(["x", "two\nlines #"]), st.none() | st.text(max_size=5), few=st.just(0)),
    st.builds(FuncSampler, st.just(parity), st.none(), st.none() | st.integers(1, 3), few=st.integers(0, 1)),
    st.just(FuncSampler(is_large, name="odd 'name' # \n", few=0)),
    st.builds(Shifted, st.integers(0, 20), st.text(max_size=8), st.lists(st.floats(), max_size=3).map(tuple)),
)
names = st.text(max_size=12)
choices = st.fixed_dictionaries(
    {
        "unimportant": st.sampled_from(["node", "term", "shared"]),
        "handed_down": st.sampled_from(["drawn", "original"]),
        "name": names,
    }
)


@st.composite
def any_hypotheses(draw: Any) -> Hypothesis:
    """Any tree, whether or not it fits a model."""
    corr = Correspondence()
    nodes: list[InterpNode] = []
    for name in draw(st.lists(names, min_size=1, max_size=8, unique=True)):
        sampler, others = draw(samplers), draw(st.none() | samplers)
        if nodes:
            parent = draw(st.sampled_from(nodes))
            node = parent.make_descendant(sampler, name, other_inputs_sampler=others)
        else:
            node = InterpNode(sampler, name, other_inputs_sampler=others)
        corr.add(node, draw(st.sampled_from(PLACES) | names.map(rc.IterativeMatcher)) if nodes else corr_root_matcher)
        nodes.append(node)
    return Hypothesis(corr, **draw(choices))


def described(hypothesis: Hypothesis) -> list[Any]:
    """All that a hypothesis says, without comparing texts; repr tells nan from nan and 0.0 from -0.0 as == does not."""
    said: list[Any] = [hypothesis.name, hypothesis.unimportant, hypothesis.handed_down]
    for node in hypothesis.nodes:
        parts = (node.cond_sampler, node.other_inputs_sampler)
        own = [vars(s) if isinstance(s, FuncSampler) else repr(s) for s in parts]
        said.append([node.name, node.parent and node.parent.name, *own, hypothesis.matcher(node)])
    return said


@given(any_hypotheses())
def test_reading_back_gives_the_same(hypothesis: Hypothesis) -> None:
    text = hypothesis_text(hypothesis)
    back = parse_hypothesis(text, **HANDED)
    assert described(back) == described(hypothesis)
    assert hypothesis_text(back) == text
    assert len(text.splitlines()) == 1 + len(hypothesis.nodes)
    text.encode()


@given(st.lists(samplers, min_size=8, max_size=8), st.lists(names, min_size=4, max_size=4, unique=True), choices)
@settings(max_examples=25)
def test_the_same_draws_and_results(given: list[CondSampler], nodes: list[str], said: dict[str, Any]) -> None:
    """The two are run in experiments of their own; draws depend on names, so names must come back exactly."""
    root = InterpNode(given[0], nodes[0], other_inputs_sampler=given[1])
    both = root.make_descendant(given[2], nodes[1], other_inputs_sampler=given[3])
    inner = both.make_descendant(given[4], nodes[2], other_inputs_sampler=given[5])
    direct = root.make_descendant(given[6], nodes[3], other_inputs_sampler=given[7])
    corr = Correspondence()
    matchers = [
        corr_root_matcher,
        rc.IterativeMatcher("both"),
        rc.IterativeMatcher("both").chain("left"),
        rc.restrict("left", end_depth=2),
    ]
    for node, matcher in zip((root, both, inner, direct), matchers, strict=True):
        corr.add(node, matcher)
    hypothesis = Hypothesis(corr, **said)
    back = parse_hypothesis(hypothesis_text(hypothesis), **HANDED)
    assert results(back) == results(hypothesis)


def results(hypothesis: Hypothesis) -> Any:
    """All draws and the loss; or the error, where a row of another dataset is in a class without rows."""
    try:
        found = Experiment(model(), DATA, hypothesis).run(40, keep_draws=True)
    except HypothesisError as error:
        return str(error)
    return {label: rows.tolist() for label, rows in (found.draws or {}).items()}, found.values["loss"].tolist()


def simple(*samplers: CondSampler, matcher: Any = "left") -> Hypothesis:
    root, corr = InterpNode(ExactSampler(), "r"), Correspondence()
    corr.add(root, corr_root_matcher)
    for i, sampler in enumerate(samplers):
        corr.add(root.make_descendant(sampler, f"n{i}"), matcher)
    return Hypothesis(corr)


def test_text_is_as_documented() -> None:
    hypothesis = simple(FuncSampler("parity"), FuncSampler(parity), FuncSampler("x", "y"), Shifted(2, "it's"))
    assert hypothesis_text(hypothesis).split("\n") == [
        "hypothesis 'hypothesis', unimportant='node', handed_down='drawn'",
        "'r': ExactSampler() <- new_traversal(end_depth=1)",
        "  'n0': FuncSampler(array='parity') <- IterativeMatcher('left')",
        "  'n1': FuncSampler(function='parity') <- IterativeMatcher('left')",
        "  'n2': FuncSampler(array='x', name='y') <- IterativeMatcher('left')",
        "  'n3': Shifted(by=2, label=\"it's\", weights=()) <- IterativeMatcher('left')",
    ]


def test_text_by_hand() -> None:
    """Comments, empty lines, line ends of Windows, blanks, and choices that are left out."""
    text = (
        "\n# why\nhypothesis \"a\"\r\n\n'r' :ExactSampler( ), other inputs UncondSampler( pool = 3 )<-restrict(True, "
        "end_depth=1)  # the root\r\n    # deeper\n  'n': Shifted(weights=(1, (2)), by=1) <- 'left'\n"
    )
    hypothesis = parse_hypothesis(text, **HANDED)
    assert (hypothesis.name, hypothesis.unimportant, hypothesis.handed_down) == ("a", "node", "drawn")
    root, below = hypothesis.nodes
    assert root.other_inputs_sampler == UncondSampler(pool=3)
    assert hypothesis.matcher(root) == corr_root_matcher
    assert below.cond_sampler == Shifted(1, weights=(1, (2,)))  # pyright: ignore[reportArgumentType]
    assert hypothesis.matcher(below) == rc.IterativeMatcher("left")


@pytest.mark.parametrize(
    ("lines", "number", "says"),
    [
        ([""], None, "empty"),
        (["nonsense"], 1, "expected hypothesis 'name', unimportant='node'"),
        (["hypothesis 'a', unimportant='never'"], 1, "expected unimportant='node' or"),
        (["hypothesis 'a', other=1"], 1, "handed_down='drawn'"),
        (["hypothesis 'a', unimportant='node', unimportant='node'"], 1, "twice"),
        (["hypothesis 'a',"], 1, "no node"),
        (["hypothesis 'a')"], 1, "expected hypothesis 'name'"),
        (["hypothesis 'a', handed_down='drawn')"], 1, "parenthesis"),
        (["hypothesis 'a'"], 1, "no node follows"),
        (["hypothesis '\\q'", ROOT], 1, "unknown escape"),
        (["hypothesis 'a'", "r: ExactSampler() <- 'x'"], 2, "expected 'name': ExactSampler()"),
        (
            ["hypothesis 'a'", "", "'r': ExactSampler()"],
            3,
            "expected , other inputs and a sampler, or <- and a matcher",
        ),
        (["hypothesis 'a'", "'r': ExactSampler() <-"], 2, "expected a matcher"),
        (["hypothesis 'a'", "'r': ExactSampler <- 'x'"], 2, "expected a sampler, such as ExactSampler()"),
        (["hypothesis 'a'", "'r': ExactSampler( <- 'x'"], 2, "parenthesis is not closed"),
        (["hypothesis 'a'", "'r': FuncSampler('x) <- x"], 2, "quote is not closed"),
        (["hypothesis 'a'", "'r': FuncSampler('x') <- 'x'"], 2, "array is FuncSampler(array='...')"),
        (["hypothesis 'a'", "'r': FuncSampler() <- 'x'"], 2, "expected array='...'"),
        (["hypothesis 'a'", "'r': FuncSampler(array='x', function='parity') <- 'x'"], 2, "expected array='...'"),
        (["hypothesis 'a'", "'r': FuncSampler(function='parity', name='x') <- 'x'"], 2, "expected array='...'"),
        (["hypothesis 'a'", "'r': FuncSampler(array='x', few='x') <- 'x'"], 2, "expected few= and a int"),
        (["hypothesis 'a'", "'r': FixedOtherSampler() <- 'x'"], 2, "expected dataset='...'"),
        (["hypothesis 'a'", "'r': UncondSampler(few=1) <- 'x'"], 2, "no option 'few'; options: pool"),
        (["hypothesis 'a'", "'r': UncondSampler(pool=0) <- 'x'"], 2, "a pool of 0 rows"),
        (["hypothesis 'a'", "'r': UncondSampler(pool=print(1)) <- 'x'"], 2, "unknown function 'print'"),
        (["hypothesis 'a'", "'r': UncondSampler(pool=gen_index(-1, False, True)) <- 'x'"], 2, "is no number"),
        (["hypothesis 'a'", "'r': UncondSampler(pool=:tensor('a')) <- 'x'"], 2, "it is a tensor"),
        (["hypothesis 'a'", "'r': Shifted() <- 'x'"], 2, "missing 1 required positional argument: 'by'"),
        (["hypothesis 'a'", "  " + ROOT], 2, "expected no spaces in front of the root"),
        (["hypothesis 'a'", ROOT, ROOT.replace("r'", "s'", 1)], 3, "expected 2 spaces in front of a node below"),
        (["hypothesis 'a'", ROOT, "   'n': ExactSampler() <- 'x'"], 3, "found 3"),
        (["hypothesis 'a'", ROOT, "    'n': ExactSampler() <- 'x'"], 3, "found 4"),
        (["hypothesis 'a'", ROOT, "  'r': ExactSampler() <- 'x'"], 3, "there is a node 'r' already"),
        (["hypothesis 'a'", ROOT, "", "  'n': ExactSampler() <- lambda: 0"], 4, "line 4, column 26"),
        (["hypothesis 'a'", ROOT, "  'n': ExactSampler() <- __import__('os')"], 3, "line 3, column 26"),
    ],
)
def test_errors_say_where_and_what(lines: list[str], number: int | None, says: str) -> None:
    with pytest.raises(ParseError) as error:
        parse_hypothesis("\n".join(lines), **HANDED)
    assert says in str(error.value)
    assert error.value.line_number == number
    if number is not None:
        assert f"line {number}" in str(error.value)
        assert error.value.line is not None
        assert error.value.line.strip() == lines[number - 1].strip()


def test_all_that_is_missing_is_said_at_once() -> None:
    text = hypothesis_text(simple(FuncSampler(parity), FuncSampler(is_large), FixedOtherSampler(OTHER), Shifted(1)))
    with pytest.raises(ParseError) as error:
        parse_hypothesis(text, functions={"paritty": parity}, datasets={OTHER.name or "": DATA})
    for part in ("function 'parity' (similar: 'paritty')", "function 'is_large'", "class Shifted", OTHER.digest):
        assert part in str(error.value)
    assert "has other content" in str(error.value)
    assert "samplers=[Shifted]" in (error.value.hint or "")
    assert error.value.line_number == 3
    assert len(error.value.expected) == 4  # pyright: ignore[reportArgumentType]


def test_a_dataset_is_found_by_content_else_by_name() -> None:
    text = hypothesis_text(simple(FixedOtherSampler(OTHER)))
    renamed = Dataset(OTHER.arrays, inputs=OTHER.inputs, name="called otherwise")
    back = parse_hypothesis(text, datasets={"something": renamed, str(OTHER.name): DATA})
    assert back.nodes[1].cond_sampler == FixedOtherSampler(OTHER)
    by_hand = f"hypothesis 'a'\n{ROOT}\n  'n': FixedOtherSampler(dataset='any') <- 'x'"
    assert parse_hypothesis(by_hand, datasets={"any": DATA}).nodes[1].cond_sampler == FixedOtherSampler(DATA)


def test_what_text_cannot_say_is_listed() -> None:
    class Own(CondSampler):
        def draw(self, given: torch.Tensor, source: Source, stream: Stream) -> torch.Tensor:
            return given

    hypothesis = simple(Own(), Holding([1]), FuncSampler(functools.partial(parity)))
    hypothesis.correspondence.add(
        hypothesis.root.make_descendant(ExactSampler(), "f"), rc.IterativeMatcher(lambda node: True)
    )
    with pytest.raises(HypothesisError) as error:
        hypothesis_text(hypothesis)
    assert [str(problem).split(":")[0] for problem in error.value.found] == [  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
        "node 'n0'",
        "node 'n1'",
        "node 'n2'",
        "node 'f'",
    ]
    for part in ("frozen", "field 'held'", "has no name of its own", "function"):
        assert part in str(error.value)


def test_a_sampler_called_like_the_library_s() -> None:
    false_friend = dataclass(frozen=True)(type("ExactSampler", (Shifted,), {}))
    with pytest.raises(HypothesisError, match="give your class a name of its own"):
        hypothesis_text(simple(false_friend(3)))
    with pytest.raises(HypothesisError, match="two classes of samplers are called 'ExactSampler'"):
        parse_hypothesis(f"hypothesis 'a'\n{ROOT}", samplers=[false_friend])
    with pytest.raises(HypothesisError, match="takes classes"):
        parse_hypothesis(f"hypothesis 'a'\n{ROOT}", samplers=[Shifted(1)])  # pyright: ignore[reportArgumentType]
    with pytest.raises(HypothesisError, match="is no function"):
        parse_hypothesis(f"hypothesis 'a'\n{ROOT}", functions={"x": 3})  # pyright: ignore[reportArgumentType]


def test_functions_of_one_name() -> None:
    """Alike if one piece of code made them with equal variables; else the text would merge two conditions."""

    def first_is(value: float) -> FuncSampler:
        return FuncSampler(lambda data: data["x"] == value, name="first")

    assert hypothesis_text(simple(first_is(1.0), first_is(1.0))).count("function='first'") == 2
    with pytest.raises(HypothesisError, match="another function is called 'first' too"):
        hypothesis_text(simple(first_is(1.0), first_is(2.0)))
    with pytest.raises(HypothesisError, match="another function is called 'parity' too"):
        hypothesis_text(simple(FuncSampler(parity), FuncSampler(is_large, name="parity")))
    elsewhere = types.FunctionType(parity.__code__, {"other": "globals"}, "parity")
    with pytest.raises(HypothesisError, match="another function is called 'parity' too"):
        hypothesis_text(simple(FuncSampler(parity), FuncSampler(elsewhere)))
    others = InterpNode(FuncSampler(parity), "r", other_inputs_sampler=FuncSampler(is_large, name="parity"))
    corr = Correspondence()
    corr.add(others, corr_root_matcher)
    with pytest.raises(HypothesisError, match="another function is called 'parity' too"):
        hypothesis_text(Hypothesis(corr))


@given(any_hypotheses(), st.data())
def test_changed_text_is_read_or_refused(hypothesis: Hypothesis, data: Any) -> None:
    """Whatever the text: a hypothesis, or an error on purpose, never another exception."""
    text = hypothesis_text(hypothesis)
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, min(len(text), start + 6)))
    piece = data.draw(st.text(max_size=4) | st.sampled_from(["'", "(", ")", ",", " ", "\n", "=", ":size('a')", "<-"]))
    try:
        back = parse_hypothesis(text[:start] + piece + text[stop:], **HANDED)
    except ParseError:
        return
    assert described(parse_hypothesis(hypothesis_text(back), **HANDED)) == described(back)


def test_files(tmp_path: Any) -> None:
    hypothesis = simple(FuncSampler(parity), matcher="naïve \ud800 \r\n")
    save_hypothesis(hypothesis, tmp_path / "h.txt")
    assert described(load_hypothesis(tmp_path / "h.txt", **HANDED)) == described(hypothesis)
    (tmp_path / "b").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileError, match="holds no text"):
        load_hypothesis(tmp_path / "b")


def test_deep_and_wide_trees() -> None:
    """Neither depth nor number of nodes is limited by the interpreter's stack."""
    lines = ["hypothesis 'deep'", ROOT]
    lines += ["  " * depth + f"'n{depth}': ExactSampler() <- 'x'" for depth in range(1, 400)]
    deep = parse_hypothesis("\n".join(lines))
    assert deep.nodes[-1].depth == 399
    text = hypothesis_text(deep)
    assert [len(line) - len(line.lstrip()) for line in text.split("\n")[1:]] == [2 * k for k in range(400)]
    assert all(a.parent is b for a, b in itertools.pairwise(reversed(deep.nodes)))
