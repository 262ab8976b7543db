"""The demo: its original row and its whole table on the same draws, beside plain torch forwards of the same model.

The peer computes logits, negative log-likelihood and the mask of candidates, as a row does. The draws are those of
`make demo`, in batches of the same size for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch.nn import functional

import scrub as rc
from benchmarks.setting import Setting, Size, agree
from benchmarks.timing import Row
from scrub.compiler import compile  # noqa: A004
from scrub.demo import HYPOTHESES, build_experiment
from scrub.demo.run import MODEL
from scrub.tasks.induction import heads_under_study
from zoo.attn_only import AttnOnlyConfig, AttnOnlyTransformer

DRAWS, SIZE = 64, Size(8, 128)


def demo(setting: Setting) -> Iterator[Row]:
    """Cost of a row in plain forwards: the original alone, and the table divided by its number of rows."""
    model = rc.load_shipped(MODEL)
    sequences = rc.held_out_sequences(model.tokenizer, SIZE.seq + 1)
    experiment = build_experiment(model, sequences, heads_under_study(model))
    per_draw = [h.rewrite(experiment).update(rc.Cumulant, lambda node: node.children[0]) for h in HYPOTHESES]
    spec = rc.RandomSampleSpec((DRAWS,), seed=0)
    rows = spec.rows(experiment.tokens.probs_and_group, 0, DRAWS)
    plain = plain_losses(model, sequences, rows)
    for what, exprs, target in (("original row", per_draw[:1], None), ("whole table, a row", per_draw, 0.8)):
        ours = table(exprs, spec)
        agree(ours()[0], plain())
        peer = _repeated(plain, len(exprs))
        yield setting.compare(f"demo: {what} / plain torch", str(SIZE), ours, peer, target=target)


def table(exprs: Sequence[rc.Expr], spec: rc.RandomSampleSpec) -> Callable[[], list[torch.Tensor]]:
    """Ours: the values of all rows for every draw, batch by batch."""
    program = compile(exprs)
    drawn = {group: spec.rows(group, 0, DRAWS) for group in program.groups}

    def run() -> list[torch.Tensor]:
        batches = [
            program.run({group: rows[start : start + SIZE.batch] for group, rows in drawn.items()})
            for start in range(0, DRAWS, SIZE.batch)
        ]
        return [torch.cat(values) for values in zip(*batches, strict=True)]

    return run


def plain_losses(model: rc.ShippedModel, sequences: torch.Tensor, rows: torch.Tensor) -> Callable[[], torch.Tensor]:
    """The peer: what the original row computes for every draw."""
    plain = AttnOnlyTransformer(AttnOnlyConfig())
    plain.load_state_dict(model.state_dict)
    candidates = model.induction_candidates.float()

    @torch.inference_mode()
    def run() -> torch.Tensor:
        losses: list[torch.Tensor] = []
        for start in range(0, DRAWS, SIZE.batch):
            batch = sequences[rows[start : start + SIZE.batch]]
            logits = plain(batch[:, :-1])
            nll = functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="none")
            losses.append((nll.view(-1, SIZE.seq) * candidates[batch[:, :-1]]).mean(-1))
        return torch.cat(losses)

    return run


def _repeated(run: Callable[[], object], times: int) -> Callable[[], object]:
    def repeated() -> None:
        for _ in range(times):
            run()

    return repeated
