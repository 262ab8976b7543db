"""The output of a scrubbed model for draws that a test supplies."""

from __future__ import annotations

import torch

from scrub import Expr
from scrub.hypothesis import Correspondence, Dataset, Experiment, Hypothesis
from scrub.hypothesis.evaluation.evaluator import Evaluator


def outputs(
    model: Expr, hypothesis: Hypothesis | Correspondence, data: Dataset, draws: dict[str, torch.Tensor]
) -> torch.Tensor:
    """[n, *shape]: the output for each reference, where `draws` has the rows of "reference" and of every other draw."""
    experiment = Experiment(model, data, hypothesis, metrics={"unused": lambda values, _: values.flatten(1).sum(1)})
    assert {slot.label for slot in experiment.slots} <= set(draws)
    rows = experiment.draw(draws["reference"], seed=0, supplied=draws)
    n = len(draws["reference"])
    return Evaluator(experiment.scrubbed, experiment.source.data, rows, num_references=n).run(rows)
