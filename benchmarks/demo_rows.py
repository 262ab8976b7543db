"""Cost of the demo's rows as a ratio to a plain torch forward of the same model, measured side by side.

    python -m benchmarks.demo_rows

Each round times the peer (plain torch: logits, negative log-likelihood, candidate mask), the original row, and the
whole table on the same draws; ratios are taken within a round. Reported: median, and the range over rounds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional

import scrub as rc
from scrub.demo import HYPOTHESES, build_experiment
from scrub.demo.run import MODEL, demo_heads
from scrub.sampling.program import BatchProgram
from zoo.attn_only import AttnOnlyConfig, AttnOnlyTransformer

ROUNDS, DRAWS, BATCH, SEQ_LEN = 7, 128, 8, 128


def seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def main() -> None:
    model = rc.load_shipped(MODEL)
    sequences = rc.held_out_sequences(model.tokenizer, SEQ_LEN + 1)
    experiment = build_experiment(model, sequences, demo_heads(model))
    spec = rc.RandomSampleSpec((DRAWS,), seed=0)
    per_draw = [h.rewrite(experiment).update(rc.Cumulant, lambda node: node.children[0]) for h in HYPOTHESES]
    programs = {"original row": BatchProgram(per_draw[:1], spec), "whole table": BatchProgram(per_draw, spec)}
    plain = AttnOnlyTransformer(AttnOnlyConfig())
    plain.load_state_dict(model.weights)
    rows = spec.rows(experiment.tokens.probs_and_group, 0, DRAWS)
    candidates = model.induction_candidates.float()

    @torch.no_grad()
    def run_plain() -> None:
        for start in range(0, DRAWS, BATCH):
            batch = sequences[rows[start : start + BATCH]]
            logits = plain(batch[:, :-1])
            nll = functional.cross_entropy(logits.transpose(1, 2), batch[:, 1:], reduction="none")
            (nll * candidates[batch[:, :-1]]).mean(-1)

    def run(program: BatchProgram) -> None:
        for start in range(0, DRAWS, BATCH):
            program.run(start, start + BATCH)

    ratios: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(ROUNDS):
        peer = seconds(run_plain)
        for name, program in programs.items():
            ratios[name].append(seconds(lambda program=program: run(program)) / peer)
    print(f"in plain torch forwards with loss, {torch.get_num_threads()} threads, median (range of {ROUNDS} rounds)")
    for name, values in ratios.items():
        count = 1 if name == "original row" else len(HYPOTHESES)
        median, low, high = (f(values) / count for f in (statistics.median, min, max))
        print(f"{name:<14} {median:.2f} a row ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
