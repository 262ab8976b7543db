"""Tiny models of every family, taken apart, with clean and corrupted prompts."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from scrub.discovery.machine import Given, Machine, Replacement, Run, machine_of, writes_of
from scrub.models import LoadedModel, load
from tests.models.families.tiny import Variant, build, variants

QUICK = ("gpt2", "gpt_neox", "gemma2", "bert")
OF_TEXT = [variant for variant in variants() if variant.family != "vit"]
FIRST = [variant for variant in OF_TEXT if variant.name == "base"]


def marked(chosen: list[Variant], quick: tuple[str, ...] = QUICK) -> list[Any]:
    """As parameters: one variant each of some families, the others slow."""
    return [
        pytest.param(v, id=str(v), marks=() if v.family in quick and v.name == "base" else pytest.mark.slow)
        for v in chosen
    ]


@dataclass(frozen=True)
class Case:
    """A model in float64, and three prompts of six tokens, clean and corrupted, read at their last token."""

    theirs: Any
    model: LoadedModel
    machine: Machine
    clean: Given
    corrupted: Given
    tokens: Tensor
    corrupted_tokens: Tensor

    @property
    def positions(self) -> Tensor:
        return torch.full((len(self.tokens), 1), self.tokens.shape[1] - 1)

    def run(self, given: Given) -> Run:
        return self.machine.run(given, keep_writes=True)

    def logits(self, run: Run, positions: Tensor | None = None) -> Tensor:
        machine = self.machine
        return machine.logits(machine.read(machine.readout, run), run.given, positions)

    def counterfactual(self) -> Replacement:
        return Replacement(writes_of(self.machine, self.run(self.corrupted)), "counterfactual")


@functools.cache
def case(variant: Variant) -> Case:
    theirs = build(variant.config(), dtype=torch.float64)
    for parameter in theirs.parameters():
        parameter.requires_grad_(False)
    model = load(theirs)
    machine = machine_of(model)
    generator = torch.Generator().manual_seed(0)
    tokens, corrupted = (torch.randint(3, 20, (3, 6), generator=generator) for _ in range(2))
    return Case(
        theirs, model, machine, machine.source.given(tokens), machine.source.given(corrupted), tokens, corrupted
    )


def score(logits: Tensor) -> Tensor:
    """Of logits [n, k, V], a number for each example that is not linear in them."""
    return (logits.log_softmax(-1)[..., 3] + 0.1 * logits[..., 5].square()).sum(1)
