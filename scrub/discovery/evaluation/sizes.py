"""Circuits of growing size, their faithfulness, and the two areas of the MIB benchmark under it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from scrub.discovery.ablations import AblationName
from scrub.discovery.circuits import Circuit, top_fraction
from scrub.discovery.circuits.selection import Rule
from scrub.discovery.evaluation.evaluate import evaluate
from scrub.discovery.evaluation.results import Evaluation, html_table
from scrub.discovery.machine import Machine
from scrub.discovery.metrics import Metric
from scrub.discovery.scores import Scores
from scrub.discovery.statistics import MIB_SIZES, Area, Selection, cmd, cpr
from scrub.graph import DiscoveryError
from scrub.hypothesis.statistics.table import Table
from scrub.models import LoadedModel
from scrub.tasks.task import Task


@dataclass(frozen=True, eq=False, repr=False)
class Areas:
    """Faithfulness of circuits of growing size, and the areas under it.

    Attributes:
        cpr: area under faithfulness, of circuits chosen by signed score; higher is better.
        cmd: area under its distance from 1, of circuits chosen by absolute score; lower is better.
        sizes: fractions of edges asked for.
        circuits: selection -> the circuits, one for each size.
        evaluation: metrics of all of them, first those by signed score.
    """

    cpr: Area
    cmd: Area
    sizes: tuple[float, ...]
    circuits: dict[Selection, tuple[Circuit, ...]]
    evaluation: Evaluation

    def table(self) -> Table:
        """One line for each size: asked for, edges kept, faithfulness, by either selection."""
        header = ("asked", *(f"{what} ({by})" for by in self.circuits for what in ("edges", "faithfulness")))
        curves = (self.cpr.curve.value, self.cmd.curve.value)
        rows: list[tuple[str, ...]] = []
        for i, size in enumerate(self.sizes):
            cells = [
                cell
                for circuits, curve in zip(self.circuits.values(), curves, strict=True)
                for cell in (f"{circuits[i].weighted_n_edges:,.5g}", f"{float(curve[i]):.3f}")
            ]
            rows.append((f"{100 * size:g}%", *cells))
        return Table(header, rows)

    def _summary(self) -> str:
        result = self.evaluation
        about = f"{result.metric}, {result.ablation} ablation, task {result.task!r}"
        return f"{self.cpr!r}\n{self.cmd!r}\n{about}"

    def __str__(self) -> str:
        return f"{self._summary()}\n{self.table()}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(self.table(), self._summary())


def areas(
    scores: Scores,
    model: Machine | LoadedModel,
    task: Task,
    metric: str | Metric | Callable[..., torch.Tensor] = "logit_difference",
    ablation: AblationName = "counterfactual",
    *,
    sizes: Sequence[float] = MIB_SIZES,
    rule: Rule = "top_n",
    prune: bool = True,
    over: Task | None = None,
    seed: int = 0,
    batch_size: int = 32,
) -> Areas:
    """CPR and CMD of scores: circuits of each size, chosen by signed score for CPR and by absolute score for CMD.

    Args:
        scores: of edges, nodes or neurons.
        sizes: ascending fractions of edges (nodes, neurons) to ask for; those of the benchmark if left out.
        rule, prune: how circuits are chosen, see `circuits.top_fraction`.
        model, task, metric, ablation, over, seed, batch_size: as for `evaluate`. The benchmark evaluates on other
            examples than those the scores are of.

    Raises:
        DiscoveryError: sizes that are not ascending fractions, scores by position, and as for `evaluate`.
        UndefinedRatioError: the gap between clean and corrupted metric is within its error.

    Source: Mueller et al. 2025, "MIB: A Mechanistic Interpretability Benchmark".
    """
    wanted = tuple(float(size) for size in sizes)
    if not wanted:
        raise DiscoveryError("there are no sizes", expected="two or more fractions", found=())
    by: tuple[Selection, ...] = ("signed", "absolute")
    chosen: dict[Selection, tuple[Circuit, ...]] = {
        each: tuple(top_fraction(scores, size, rule=rule, by=each, prune=prune) for size in wanted) for each in by
    }
    result = evaluate(
        [circuit for circuits in chosen.values() for circuit in circuits],
        model,
        task,
        metric,
        ablation,
        over=over,
        seed=seed,
        batch_size=batch_size,
        names=[f"{100 * size:g}% by {each} score" for each in chosen for size in wanted],
    )
    ends = {"clean": result.clean, "corrupt": result.corrupted, "sizes": wanted}
    n = len(wanted)
    return Areas(
        cpr(result.values[:n], selection="signed", **ends),
        cmd(result.values[n:], selection="absolute", **ends),
        wanted,
        chosen,
        result,
    )
