"""Hypotheses on expressions that are no transformers: a module's own export, a convolution, one written by hand."""

from __future__ import annotations

import torch
from torch import nn

import scrub as rc
from scrub import IterativeMatcher, Symbol
from scrub.graph import Concat, Einsum, elementwise
from scrub.hypothesis import (
    Correspondence,
    Dataset,
    ExactSampler,
    Experiment,
    FuncSampler,
    Hypothesis,
    InterpNode,
    UncondSampler,
)
from scrub.hypothesis import corr_root_matcher as whole
from scrub.hypothesis.paths import by_any_route
from scrub.models.splits import split_axis, split_neurons
from tests.scrubbing.outputs import outputs

ROWS, N = 30, 16


def random_rows(*labels: str) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    return {label: torch.randint(ROWS, (N,), generator=generator) for label in labels}


def random_inputs(*shape: int) -> torch.Tensor:
    return torch.randn(ROWS, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def two_levels(top: object, below: object) -> Hypothesis:
    """`top` {exact}, in which `below` matters; all else in it reads another datum, and all else the reference."""
    corr, root = Correspondence(), InterpNode(ExactSampler(), "root", other_inputs_sampler=ExactSampler())
    corr.add(root, whole)
    node = root.make_descendant(ExactSampler(), "node", other_inputs_sampler=UncondSampler())
    corr.add(node, IterativeMatcher(top))  # pyright: ignore[reportArgumentType]
    corr.add(node.make_descendant(UncondSampler(), "below"), IterativeMatcher(top).chain(below))  # pyright: ignore[reportArgumentType]
    return Hypothesis(corr)


def test_neurons_of_an_exported_mlp() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    exported = rc.from_torch(module, (torch.zeros(4, dtype=torch.float64),), hierarchy=False)
    model = exported.output.update("2.linear.product", split_neurons({"half": [0, 2, 5], "rest": [1, 3, 4]}))
    data, draws = Dataset({"input": random_inputs(4)}), random_rows("reference", "below", "node/other")
    found = outputs(model, two_levels("2.linear.product", "2.linear.product.half"), data, draws)
    with torch.no_grad():
        hidden = {label: module[:2](data["input"][rows]) for label, rows in draws.items()}
        mixed = hidden["node/other"].clone()
        mixed[:, [0, 2, 5]] = hidden["below"][:, [0, 2, 5]]
        expected = module[2:](mixed)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


def test_calls_of_submodules_in_an_export() -> None:
    torch.manual_seed(0)

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x + self.first(x).relu()
            return self.out(x + self.second(x).tanh())

    module = Residual().double()
    model = rc.from_torch(module, (torch.zeros(4, dtype=torch.float64),)).output
    data, draws = Dataset({"x": random_inputs(4)}), random_rows("reference", "below", "node/other")
    # the second layer reads the first's output from one datum, and what goes around the first from another
    found = outputs(model, two_levels("second", by_any_route("first")), data, draws)
    with torch.no_grad():
        x = {label: data["x"][rows] for label, rows in draws.items()}
        stream = x["reference"] + module.first(x["reference"]).relu()
        read = x["node/other"] + module.first(x["below"]).relu()
        expected = module.out(stream + module.second(read).tanh())
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


def test_channels_of_a_convolution() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten()]
    module = nn.Sequential(*layers, nn.Linear(4, 2)).double()
    exported = rc.from_torch(module, (torch.zeros(1, 1, 6, 6, dtype=torch.float64),), hierarchy=False)
    model = exported.output.update("1.relu", split_axis({"edges": 0, "rest": [1, 2]}, axis=1, noun="channel"))
    data, draws = Dataset({"input": random_inputs(1, 1, 6, 6)}), random_rows("reference", "below", "node/other")
    found = outputs(model, two_levels("3.convolution", "1.relu.edges"), data, draws)
    with torch.no_grad():
        channels = {label: module[:2](data["input"][rows, 0]) for label, rows in draws.items()}
        mixed = channels["node/other"].clone()
        mixed[:, 0] = channels["below"][:, 0]
        expected = module[2:](mixed)
    torch.testing.assert_close(found[:, 0], expected, atol=1e-10, rtol=0)


def test_an_expression_written_by_hand_by_enumeration() -> None:
    x, y = (Symbol.new_from_name((2,), name) for name in "xy")
    both = elementwise("tanh", Concat(x, y, axis=0), name="both")
    gate = elementwise("sigmoid", Einsum((x, (0,)), (y, (0,)), out_axes=()), name="gate")
    model = Einsum((both, (0,)), (gate, ()), out_axes=(), name="out")
    values = torch.tensor([[0.0, 1.0], [2.0, -1.0], [0.5, 0.5]], dtype=torch.float64)
    data = Dataset({"x": values, "y": values.flip(0) - 1, "sign": torch.tensor([0, 1, 0])}, inputs=["x", "y"])
    corr, root = Correspondence(), InterpNode(ExactSampler(), "root")
    corr.add(root, whole)
    corr.add(root.make_descendant(FuncSampler("sign", few=1), "both's x"), IterativeMatcher("both").chain("x"))
    corr.add(root.make_descendant(ExactSampler(), "gate"), "gate")
    experiment = Experiment(model, data, corr)
    rows = [(r, s, o) for r in range(3) for s in range(3) for o in range(3) if (r == 1) == (s == 1)]
    columns = torch.tensor(rows).T
    labels = ("reference", "both's x", "root/other")
    found = experiment.run(len(rows), draws=dict(zip(labels, columns, strict=True))).values["loss"]
    expected = [
        (data["x"][s].tanh().sum() + data["y"][o].tanh().sum()) * (data["x"][r] @ data["y"][r]).sigmoid()
        for r, s, o in rows
    ]
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-12, rtol=0)
