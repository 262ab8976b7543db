"""What every benchmark is given: the model in each library, inputs, and how much to run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch

import scrub as rc
from benchmarks.expressions import Expressions, expressions
from benchmarks.peers import (
    GPT2_SMALL,
    Hooked,
    HuggingFace,
    gpt2_config,
    hugging_face,
    transformer_lens,
)
from benchmarks.timing import Row, compare
from scrub.compiler import compile  # noqa: A004

Bindings = Mapping[rc.Symbol, torch.Tensor]


@dataclass(frozen=True)
class Size:
    """Of one batch of inputs."""

    batch: int
    seq: int

    def __str__(self) -> str:
        return f"{self.batch} x {self.seq} tokens"


SIZES = (Size(8, 64), Size(8, 15), Size(1, 15))


class Setting:
    """Models are made when first asked for, once.

    Args:
        rounds: of each comparison.
        clock: that of `timing.CLOCKS`.
        sizes: of GPT-2; the published ones unless given.
    """

    def __init__(self, *, rounds: int, clock: str = "wall", sizes: Mapping[str, int] = GPT2_SMALL) -> None:
        self.rounds, self.clock, self.sizes = rounds, clock, dict(sizes)
        self._expressions: dict[int, Expressions] = {}

    @cached_property
    def hugging_face(self) -> HuggingFace:
        return hugging_face(gpt2_config(self.sizes))

    @cached_property
    def transformer_lens(self) -> Hooked:
        return transformer_lens(self.hugging_face)

    def expressions(self, seq: int) -> Expressions:
        """The model as expressions, for sequences of one length."""
        if seq not in self._expressions:
            self._expressions[seq] = expressions(self.hugging_face, seq)
        return self._expressions[seq]

    def draw(self, size: Size, *, seed: int = 0) -> torch.Tensor:
        """Random tokens [batch, seq]."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(0, self.sizes["vocab_size"], (size.batch, size.seq), generator=generator)

    def compare(
        self,
        what: str,
        size: str,
        ours: Callable[[], object],
        peer: Callable[[], object],
        *,
        target: float | None = None,
        rounds: int | None = None,
        warm_ups: int = 1,
    ) -> Row:
        """`timing.compare` with the rounds and the clock of this setting."""
        rounds = self.rounds if rounds is None else rounds
        return compare(what, size, ours, peer, rounds=rounds, target=target, warm_ups=warm_ups, clock=self.clock)


def prepared(
    exprs: Sequence[rc.Expr], bindings: Bindings, *, batched: Collection[rc.Symbol]
) -> Callable[[], list[torch.Tensor]]:
    """Ours: the compiled program on these inputs; what is done once per program is done before the first run."""
    program = compile(exprs, batched=batched)
    given: dict[rc.Expr, torch.Tensor] = {**bindings}
    program.compiled(given)
    return partial(program.run, given)


def agree(ours: torch.Tensor, peer: torch.Tensor, *, tolerance: float = 2e-4) -> None:
    """Stop the benchmark where ours computes something else than the peer.

    >>> agree(torch.tensor([1.0]), torch.tensor([1.1]))
    Traceback (most recent call last):
        ...
    AssertionError: Tensor-likes are not close!...
    """
    torch.testing.assert_close(ours, peer, rtol=tolerance, atol=tolerance)
