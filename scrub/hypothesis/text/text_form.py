"""Hypotheses as text that a reader can check and edit, one node a line, and back (SPEC 9, 10).

    hypothesis '1b', unimportant='node', handed_down='drawn'
    'loss': ExactSampler() <- new_traversal(end_depth=1)
      'head 2.0': FuncSampler(function='count') <- IterativeMatcher('a2.h0').chain('final.norm')
        'its input': ExactSampler(), other inputs UncondTogetherSampler() <- IterativeMatcher('a0')

Each line: the node's name, its sampler, that of its other inputs where it is not `UncondSampler()`, and its matcher.
A child is two spaces further in than its parent. Empty lines and lines that begin with # mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from scrub.graph import FileError, HypothesisError, ScrubError
from scrub.hypothesis.dataset import Dataset
from scrub.hypothesis.hypothesis import Hypothesis
from scrub.hypothesis.interpretation import InterpNode
from scrub.hypothesis.samplers import CondSampler, FuncSampler, UncondSampler
from scrub.hypothesis.text.calls import SamplerReader
from scrub.hypothesis.text.reader import read_hypothesis
from scrub.hypothesis.text.samplers import is_same_function, sampler_text
from scrub.rewrite.matcher_text import matcher_text

Functions = Mapping[str, Callable[[Dataset], Any]]
"""What conditions call by name: functions from a dataset to a value for each row."""


def hypothesis_text(hypothesis: Hypothesis) -> str:
    """The hypothesis as text, from which `parse_hypothesis` makes an equal one.

    Functions of samplers stand there by name: that of the `FuncSampler`.

    Raises:
        HypothesisError: samplers or matchers that text cannot say, or two functions of one name; all of them.

    >>> from scrub.hypothesis import Correspondence, ExactSampler, corr_root_matcher
    >>> root, corr = InterpNode(ExactSampler(), "loss"), Correspondence()
    >>> corr.add(root, corr_root_matcher)
    >>> corr.add(root.make_descendant(FuncSampler("count", pool=9), "head"), "a1.h0")
    >>> print(hypothesis_text(Hypothesis(corr, name="counts")))
    hypothesis 'counts', unimportant='node', handed_down='drawn'
    'loss': ExactSampler() <- new_traversal(end_depth=1)
      'head': FuncSampler(array='count', pool=9) <- IterativeMatcher('a1.h0')
    """
    choices = f"unimportant={hypothesis.unimportant!r}, handed_down={hypothesis.handed_down!r}"
    lines = [f"hypothesis {hypothesis.name!r}, {choices}"]
    problems: list[str] = []
    functions: dict[str, FuncSampler] = {}
    depth: dict[InterpNode | None, int] = {None: -1}
    for node in hypothesis.nodes:
        depth[node] = depth[node.parent] + 1
        try:
            for sampler in (node.cond_sampler, node.other_inputs_sampler):
                _check_name(sampler, functions)
            lines.append("  " * depth[node] + _node_text(hypothesis, node))
        except ScrubError as error:
            problems.append(f"node {node.name!r}: {error.problem}" + (f" ({error.hint})" if error.hint else ""))
    if problems:
        raise HypothesisError(
            f"hypothesis {hypothesis.name!r} cannot be written as text:\n" + "\n".join(problems), found=problems
        )
    return "\n".join(lines)


def _node_text(hypothesis: Hypothesis, node: InterpNode) -> str:
    other = node.other_inputs_sampler
    # == would take a sampler of a user's that is equal to anything for the default
    is_default = type(other) is UncondSampler and other.pool is None
    others = "" if is_default else f", other inputs {sampler_text(other)}"
    return f"{node.name!r}: {sampler_text(node.cond_sampler)}{others} <- {matcher_text(hypothesis.matcher(node))}"


def _check_name(sampler: CondSampler, functions: dict[str, FuncSampler]) -> None:
    """Raise if another function has the name of this sampler's."""
    if type(sampler) is not FuncSampler or isinstance(sampler.func, str):
        return
    first = functions.setdefault(str(sampler.name), sampler)
    if not is_same_function(first.func, sampler.func):
        raise HypothesisError(
            f"another function is called {sampler.name!r} too",
            found=[first.func, sampler.func],
            hint="FuncSampler(function, name='...') tells them apart",
        )


def parse_hypothesis(
    text: str,
    *,
    functions: Functions | None = None,
    datasets: Mapping[str, Dataset] | None = None,
    samplers: Iterable[type[CondSampler]] = (),
) -> Hypothesis:
    """Inverse of `hypothesis_text`. Nothing in the text is executed: it can only name what is handed over.

    Args:
        text: as `hypothesis_text` writes it, or by hand.
        functions: name -> function of a dataset, for `FuncSampler(function='name')`.
        datasets: for `FixedOtherSampler`; found by content where the text has a digest, else by name.
        samplers: classes of your own samplers, frozen dataclasses of plain values.

    Raises:
        ParseError: text that is no hypothesis, with line and what was expected; or all that was not handed over.

    >>> text = '''
    ... hypothesis 'even'
    ... 'loss': FuncSampler(function='parity') <- new_traversal(end_depth=1)
    ...   'left': ExactSampler() <- IterativeMatcher('x')
    ... '''
    >>> parse_hypothesis(text, functions={"parity": lambda data: data["x"] % 2}).root
    InterpNode 'loss': FuncSampler('parity'), other inputs UncondSampler(pool=None)
      InterpNode 'left': ExactSampler()
    >>> parse_hypothesis(text)
    Traceback (most recent call last):
        ...
    scrub.graph.errors.ParseError: line 3: the hypothesis needs what was not handed over: the function 'parity'
        'loss': FuncSampler(function='parity') <- new_traversal(end_depth=1)
    hint: parse_hypothesis(text, functions={'parity': ...})
    """
    return read_hypothesis(text, SamplerReader(functions or {}, datasets or {}, samplers))


def save_hypothesis(hypothesis: Hypothesis, path: str | Path) -> None:
    """Write the hypothesis to a text file (UTF-8)."""
    Path(path).write_text(hypothesis_text(hypothesis) + "\n", encoding="utf-8", newline="\n")


def load_hypothesis(
    path: str | Path,
    *,
    functions: Functions | None = None,
    datasets: Mapping[str, Dataset] | None = None,
    samplers: Iterable[type[CondSampler]] = (),
) -> Hypothesis:
    """The hypothesis in a text file; arguments and errors as for `parse_hypothesis`.

    Raises:
        FileError: it is no text.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FileError(
            f"{str(path)!r} holds no text", expected="UTF-8", found=str(error), hint="save_hypothesis writes it"
        ) from error
    return parse_hypothesis(text, functions=functions, datasets=datasets, samplers=samplers)
