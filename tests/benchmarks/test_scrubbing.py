"""The peer of the benchmark of hypotheses computes what hypothesis 0a does."""

from __future__ import annotations

import torch

import scrub as rc
from benchmarks import scrubbing
from scrub.tasks.parens.data import parens_data
from scrub.tasks.parens.hypotheses import Roles, parens_dataset, parens_experiment


def test_plain_forwards_are_the_model_as_it_is() -> None:
    model = rc.load_shipped("parens")
    data = parens_dataset(parens_data(scrubbing.REFERENCES, 0), model, Roles.recorded(model.info))
    logits = scrubbing.plain_forwards(model, data)()
    rows = torch.arange(scrubbing.REFERENCES)
    experiment = parens_experiment("0a", model, data, Roles.recorded(model.info))
    losses = experiment.run(len(rows), draws={"reference": rows}).values["loss"]
    expected = torch.nn.functional.cross_entropy(logits, data["label"], reduction="none").double()
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-5)
