"""Generated hypotheses, with all that they allow listed by brute force in plain Python: for tests of the adversary."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

import scrub as rc
from scrub.graph import Add, Expr, Symbol
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
    UncondTogetherSampler,
    corr_root_matcher,
)

NUM_ROWS = 4
SAMPLERS: dict[str, CondSampler] = {
    "exact": ExactSampler(),
    "any": UncondSampler(),
    "f": FuncSampler("f", few=1),
    "k": FuncSampler("k", few=1),
    "together": UncondTogetherSampler(),
}
PLACES = ("root", "root/other", "h", "h/other", "h.x", "g")


@dataclass(frozen=True)
class Generated:
    """A hypothesis on out = h w + g g - x with h = x y + a z and g = z + c w.

    The root has the children h and g; h has the child x, below h. So x, directly below out, and w read "root/other",
    and y and z below h read "h/other".
    """

    data: Dataset
    a: float
    c: float
    samplers: dict[str, str]
    unimportant: Any
    handed_down: Any

    @cached_property
    def numbers(self) -> dict[str, list[float]]:
        return {name: self.data[name].tolist() for name in self.data.names}

    @property
    def model(self) -> Expr:
        x, y, z, w = (Symbol.new_from_name((), name) for name in "xyzw")
        h = Add(x.mul(y), z.scale(self.a), name="h")
        g = Add(z, w.scale(self.c), name="g")
        return Add(h.mul(w), g.mul(g), x.scale(-1.0), name="out")

    @property
    def experiment(self) -> Experiment:
        s = {place: SAMPLERS[name] for place, name in self.samplers.items()}
        root, corr = InterpNode(s["root"], "root", other_inputs_sampler=s["root/other"]), Correspondence()
        corr.add(root, corr_root_matcher)
        h = root.make_descendant(s["h"], "h", other_inputs_sampler=s["h/other"])
        corr.add(h, "h")
        corr.add(h.make_descendant(s["h.x"], "h.x"), rc.IterativeMatcher("h").chain("x"))
        corr.add(root.make_descendant(s["g"], "g"), "g")
        hypothesis = Hypothesis(corr, unimportant=self.unimportant, handed_down=self.handed_down)
        return Experiment(self.model, self.data, hypothesis)

    def allowed(self, place: str, given: int) -> list[int]:
        name = self.samplers[place]
        if name == "exact":
            return [given]
        if name in ("any", "together"):
            return list(range(NUM_ROWS))
        feature = self.numbers[name]
        return [row for row in range(NUM_ROWS) if feature[row] == feature[given]]

    def joint_draws(self, reference: int) -> Iterator[dict[str, int]]:
        """All that the hypothesis allows for a reference."""
        for root in self.allowed("root", reference):
            above = root if self.handed_down == "drawn" else reference
            for other, h, g in itertools.product(
                self.allowed("root/other", root), self.allowed("h", above), self.allowed("g", above)
            ):
                h_others = [other] if self.unimportant == "shared" else self.allowed("h/other", h)
                h_xs = self.allowed("h.x", h if self.handed_down == "drawn" else reference)
                for h_other, h_x in itertools.product(h_others, h_xs):
                    yield {"root": root, "root/other": other, "h": h, "h/other": h_other, "h.x": h_x, "g": g}

    def value(self, rows: dict[str, int]) -> float:
        at = self.numbers
        other, h_other = rows["root/other"], rows["h/other"]
        h = at["x"][rows["h.x"]] * at["y"][h_other] + self.a * at["z"][h_other]
        g = at["z"][rows["g"]] + self.c * at["w"][rows["g"]]
        return h * at["w"][other] + g * g - at["x"][other]


def generated(seed: int, **chosen: str) -> Generated:
    chance = random.Random(seed)

    def numbers() -> torch.Tensor:
        return torch.tensor([chance.gauss(0, 1) for _ in range(NUM_ROWS)], dtype=torch.float64)

    def classes() -> torch.Tensor:
        return torch.tensor([chance.randrange(2) for _ in range(NUM_ROWS)])

    data = Dataset({**{name: numbers() for name in "xyzw"}, "f": classes(), "k": classes()}, inputs=list("xyzw"))
    samplers = {place: chance.choice(["exact", "any", "f", "k"]) for place in PLACES} | chosen
    unimportant, handed_down = chance.choice(["node", "node", "shared"]), chance.choice(["drawn", "drawn", "original"])
    return Generated(data, chance.gauss(0, 1), chance.gauss(0, 1), samplers, unimportant, handed_down)
