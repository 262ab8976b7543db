"""A small experiment whose answers are sums over its rows: `copy` is y with noise, the loss is (copy - y)^2.

The hypotheses keep y as it is, and let the copy be read from the same row, from any row, or from one of equal group.
"""

from __future__ import annotations

import torch

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
    Metric,
    UncondSampler,
    corr_root_matcher,
)
from scrub.hypothesis.metrics import output

NUM_ROWS = 60


def rows(num_rows: int = NUM_ROWS) -> dict[str, torch.Tensor]:
    """y, its noisy copy, and the group: which third y lies in."""
    generator = torch.Generator().manual_seed(7)
    y = torch.randn(num_rows, generator=generator, dtype=torch.float64)
    copy = y + 0.5 * torch.randn(num_rows, generator=generator, dtype=torch.float64)
    group = torch.zeros(num_rows, dtype=torch.int64)
    group[y.argsort()] = torch.arange(num_rows) * 3 // num_rows
    return {"copy": copy, "y": y, "group": group}


def model() -> Expr:
    """(copy - y)^2."""
    copy, y = (Symbol.new_from_name((), name) for name in ("copy", "y"))
    error = Add(copy, y.scale(-1.0), name="error")
    return error.mul(error, name="loss")


SAMPLERS: dict[str, CondSampler] = {
    "original": ExactSampler(),
    "baseline": UncondSampler(),
    "group": FuncSampler("group"),
}


def is_large(values: torch.Tensor, references: Dataset) -> torch.Tensor:
    """A metric that is 0 or 1: whether the loss is above 1."""
    return (values > 1).double()


def experiment(
    name: str, *, metrics: dict[str, Metric] | None = None, sampler: CondSampler | None = None, num_rows: int = NUM_ROWS
) -> Experiment:
    """Of one of the hypotheses."""
    corr = Correspondence()
    root = InterpNode(ExactSampler(), "loss")
    corr.add(root, corr_root_matcher)
    corr.add(root.make_descendant(ExactSampler(), "y"), "y")
    corr.add(root.make_descendant(sampler or SAMPLERS[name], "copy"), "copy")
    data = Dataset(rows(num_rows), inputs=["copy", "y"])
    metrics = metrics or {"loss": output, "large": is_large}
    return Experiment(model(), data, Hypothesis(corr, name=name), metrics=metrics)


def loss_table(num_rows: int = NUM_ROWS) -> torch.Tensor:
    """[row of y, row of the copy]: the loss."""
    columns = rows(num_rows)
    return (columns["copy"][None, :] - columns["y"][:, None]) ** 2


def chances(name: str, num_rows: int = NUM_ROWS) -> torch.Tensor:
    """[row of y, row of the copy]: how likely the two are read together."""
    group = rows(num_rows)["group"]
    allowed = {
        "original": torch.eye(num_rows),
        "baseline": torch.ones(num_rows, num_rows),
        "group": (group[:, None] == group[None, :]).double(),
    }[name].double()
    return allowed / allowed.sum(1, keepdim=True) / num_rows


def expected(name: str, values: torch.Tensor) -> float:
    """Expectation of a function of the two rows, by its table."""
    return float((chances(name, len(values)) * values).sum())
