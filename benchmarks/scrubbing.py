"""Hypotheses about the parentheses classifier, beside plain forward passes of the model.

Ours is a whole run: drawing, making the program, computing, metrics. The peer is the torch module on as many sequences
as there are references, in batches of the same size.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

import scrub as rc
from benchmarks.setting import Setting
from benchmarks.timing import Row
from scrub.hypothesis import Dataset, FewRowsWarning
from scrub.tasks.parens.data import parens_data
from scrub.tasks.parens.hypotheses import HYPOTHESES, Roles, parens_dataset, parens_experiment
from zoo.parens_model import ParensConfig, ParensTransformer

REFERENCES, ROWS, BATCH = 2_000, 10_000, 256


def scrubbing(setting: Setting) -> Iterator[Row]:
    """Cost of a reference under each hypothesis, in plain forward passes of the model on one sequence."""
    model = rc.load_shipped("parens")
    roles = Roles.recorded(model.info)
    data = parens_dataset(parens_data(ROWS, 0, split="test"), model, roles)
    plain = plain_forwards(model, data)
    for which in HYPOTHESES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FewRowsWarning)
            experiment = parens_experiment(which, model, data, roles)
        ours = _run(experiment)
        size = f"{REFERENCES} references of {ROWS} rows"
        row = setting.compare(f"parentheses, hypothesis {which} / plain forwards", size, ours, plain)
        yield replace(row, note=f"{row.note}; {_per_second(row)} references/s")


def plain_forwards(model: rc.ShippedModel, data: Dataset) -> Callable[[], torch.Tensor]:
    """The peer: logits of as many sequences as there are references."""
    module = ParensTransformer(ParensConfig())
    module.load_state_dict(model.state_dict)
    tokens, mask = data["tokens"][:REFERENCES], data["mask"][:REFERENCES]

    @torch.inference_mode()
    def run() -> torch.Tensor:
        starts = range(0, REFERENCES, BATCH)
        return torch.cat([module(tokens[at : at + BATCH], mask[at : at + BATCH]) for at in starts])

    return run


def _run(experiment: rc.Experiment) -> Callable[[], object]:
    return lambda: experiment.run(REFERENCES, batch_size=BATCH)


def _per_second(row: Row) -> str:
    ours = float(row.note.split(" / ")[0])
    return f"{REFERENCES / ours:.3g}"
