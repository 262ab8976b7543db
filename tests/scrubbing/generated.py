"""Generated models and hypotheses about them, for tests that compare ways to evaluate them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch

import scrub as rc
from scrub import IterativeMatcher, Regex, directly_below, not_through, restrict
from scrub.hypothesis import (
    CondSampler,
    Correspondence,
    Dataset,
    ExactSampler,
    FixedOtherSampler,
    FuncSampler,
    Hypothesis,
    InterpNode,
    UncondSampler,
    UncondTogetherSampler,
    corr_root_matcher,
)
from scrub.rewrite import children_matcher, module_arg_matcher
from tests.strategies import Builder

NUM_ROWS = 6


@dataclass(frozen=True)
class Claim:
    """A node of an interpretation before it is made: number of its parent, matcher, samplers."""

    parent: int
    matcher: IterativeMatcher
    sampler: CondSampler
    other: CondSampler


def hypothesis_of(claims: Sequence[Claim], **options: str) -> Hypothesis:
    """A hypothesis with a root and these nodes, "k0", "k1", ..."""
    corr = Correspondence()
    nodes = [InterpNode(claims[0].sampler, "k0", other_inputs_sampler=claims[0].other)]
    corr.add(nodes[0], claims[0].matcher)
    for i, claim in enumerate(claims[1:], 1):
        nodes.append(nodes[claim.parent].make_descendant(claim.sampler, f"k{i}", other_inputs_sampler=claim.other))
        corr.add(nodes[-1], claim.matcher)
    return Hypothesis(corr, **options)  # type: ignore[arg-type]


class Case:
    """A model, data for some of its leaves, and proposals of what to claim, all from one seed."""

    def __init__(self, seed: int, *, num_steps: int = 7) -> None:
        self.random = random.Random(seed)
        model = Builder(seed, num_steps, with_modules=True).expression([], 0)
        self.model, self.data = self._with_inputs(model)
        self.other_data = self._rows(self.data.inputs, self._shapes, 3)
        named = [node for node in rc.postorder([self.model]) if node.name]
        self.names = sorted({str(node.name) for node in named if not isinstance(node, rc.Symbol)} | {*self.data.inputs})
        self.parameters = sorted({str(s.name) for m in self.model.get(rc.Module) for s in m.cast(rc.Module).bindings})

    def _with_inputs(self, model: rc.Expr) -> tuple[rc.Expr, Dataset]:
        """Leaves of one name and shape as one input each; some of them symbols, some left as they are."""
        leaves = sorted(model.get(rc.Array), key=lambda leaf: (str(leaf.name), leaf.shape))
        chosen = [leaf for leaf in leaves if self.random.random() < 0.8] or leaves[:1]
        values: dict[rc.Expr, rc.Expr] = {}
        for leaf in chosen:
            name = f"{leaf.name}_{len(leaf.shape)}" + "".join(map(str, leaf.shape))
            symbol = rc.Symbol.new_from_name(leaf.shape, name)
            values[leaf] = symbol if self.random.random() < 0.5 else leaf.rename(name)
        model = model.update(rc.Matcher(*values), lambda leaf: values[leaf])
        self._shapes = {str(value.name): tuple(value.shape) for value in values.values()}
        return model, self._rows(list(self._shapes), self._shapes, NUM_ROWS)

    def _rows(self, inputs: Sequence[str], shapes: dict[str, tuple[int, ...]], n: int) -> Dataset:
        generator = torch.Generator().manual_seed(self.random.getrandbits(32))
        arrays = {name: torch.randn(n, *shapes[name], dtype=torch.float64, generator=generator) for name in inputs}
        return Dataset({**arrays, "kind": torch.arange(n) % 2}, inputs=list(inputs))

    def sampler(self) -> CondSampler:
        """Any of the package's samplers."""
        made: list[CondSampler] = [
            ExactSampler(),
            UncondSampler(),
            UncondSampler(pool=2),
            UncondTogetherSampler(),
            FixedOtherSampler(self.other_data),
            FuncSampler("kind", few=1),
            FuncSampler("kind", few=1, pool=1),
        ]
        return self.random.choice(made)

    def name(self) -> str:
        return self.random.choice(self.names)

    def matcher(self) -> IterativeMatcher:
        """Some paths, mostly in terms of names in the model."""
        kind = self.random.randrange(12)
        a, b = IterativeMatcher(self.name()), IterativeMatcher(self.name())
        if kind == 0:
            return a.chain(b)
        if kind == 1:
            return a.directly_below(Regex("^n|^x"))
        if kind == 2:
            return a.not_through(b)
        if kind == 3:
            return a.chain(children_matcher({self.random.randrange(3)}))
        if kind == 4 and self.parameters:
            return IterativeMatcher(rc.Module).chain(module_arg_matcher(self.random.choice(self.parameters)))
        if kind == 5 and self.parameters:
            return a.chain(IterativeMatcher(self.random.choice(self.parameters)))
        if kind == 6:
            return a | b
        if kind == 7:
            return a & not_through(b)
        if kind == 8:
            return restrict(self.random.choice([rc.Module, rc.Add, True]), start_depth=1, end_depth=4)
        if kind == 9:
            return directly_below(self.name())
        return IterativeMatcher(self.random.choice([*self.names, *self.parameters]))

    def claim(self, claims: Sequence[Claim]) -> Claim:
        """A further node below one of these, or beside them."""
        parent = self.random.randrange(len(claims))
        matcher = self.matcher()
        if self.random.random() < 0.7:
            matcher = restrict(matcher, term_if_matches=True)
        if parent and self.random.random() < 0.8:
            matcher = claims[parent].matcher.chain(matcher, must_be_sub=self.random.random() < 0.9)
        return Claim(parent, matcher, self.sampler(), self.sampler())

    def root(self) -> Claim:
        """The claim of the whole model."""
        return Claim(0, IterativeMatcher(corr_root_matcher), self.sampler(), self.sampler())

    def options(self) -> dict[str, str]:
        """Choices of a hypothesis."""
        return {
            "unimportant": self.random.choice(["node", "node", "term", "term", "shared"]),
            "handed_down": self.random.choice(["drawn", "original"]),
        }
