"""The demo: tests the textbook account of induction heads by causal scrubbing, on the shipped model and real text."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from scrub.demo.experiment import Experiment, build_experiment
from scrub.demo.hypotheses import BASELINE, HYPOTHESES, ORIGINAL, Hypothesis
from scrub.graph import Expr
from scrub.models import ShippedModel, load_shipped
from scrub.models.stdlib_text import held_out_note, held_out_sequences
from scrub.sampling import Estimate, Estimates, estimate, loss_recovered
from scrub.tasks.induction import heads_under_study

MODEL = "attn_only_2l"


@dataclass(frozen=True)
class Row:
    """One hypothesis with its results.

    Attributes:
        hypothesis: what was tested.
        expr: the rewritten loss.
        loss: its estimate, nats, with its part of the seconds that evaluating all rows took.
        recovered: loss recovered, against the baseline.
    """

    hypothesis: Hypothesis
    expr: Expr
    loss: Estimate
    recovered: Estimate


@dataclass(frozen=True)
class DemoResult:
    """Everything the report shows.

    Attributes:
        model, experiment: what was tested.
        rows: one per hypothesis.
        n, seed, seq_len: draws, their seed, predictions per draw.
        seconds: wall time of the estimation.
        note: a sentence for the reader where the text is not the one the recorded numbers come from, or None.
    """

    model: ShippedModel
    experiment: Experiment
    rows: tuple[Row, ...]
    n: int
    seed: int
    seq_len: int
    seconds: float
    note: str | None

    @property
    def tokens_per_second(self) -> float:
        """Tokens of all rows together, by wall time."""
        return len(self.rows) * self.n * self.seq_len / self.seconds


def run_demo(
    *,
    n: int = 2048,
    seed: int = 0,
    seq_len: int = 128,
    batch_size: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> DemoResult:
    """Estimate the loss under every hypothesis, all from the same draws.

    Args:
        n: draws; each is a reference text and an independent other text of `seq_len` predictions.
        seed: of the draws.
        seq_len: predictions per text.
        batch_size: texts evaluated at a time.
        progress: called with (draws made, draws in all).

    >>> result = run_demo(n=64, seq_len=32)
    >>> [row.hypothesis.name for row in result.rows][:3]
    ['original', 'all inputs scrubbed', 'baseline']
    """
    model = load_shipped(MODEL)
    sequences = held_out_sequences(model.tokenizer, seq_len + 1)
    experiment = build_experiment(model, sequences, heads_under_study(model))
    exprs = {hypothesis.name: hypothesis.rewrite(experiment) for hypothesis in HYPOTHESES}
    started = time.perf_counter()
    losses = estimate(exprs, n=n, seed=seed, batch_size=batch_size, progress=progress)
    seconds = time.perf_counter() - started
    rows = tuple(_row(hypothesis, exprs[hypothesis.name], losses) for hypothesis in HYPOTHESES)
    note = held_out_note(model.info["corpus_digest_held_out"])
    return DemoResult(model, experiment, rows, losses[ORIGINAL].n, seed, seq_len, seconds, note)


def _row(hypothesis: Hypothesis, expr: Expr, losses: Estimates) -> Row:
    loss = losses[hypothesis.name]
    recovered = loss_recovered(loss, original=losses[ORIGINAL], baseline=losses[BASELINE])
    return Row(hypothesis, expr, loss, recovered)
