"""How well attribution finds circuits that are known: `python -m zoo.known_circuits` writes docs/known_circuits.md.

Programs compiled to transformers, whose every edge was intervened on: scores of each method against the edges that
matter under the ablation used. And trained models of which the effect of removing a head is known.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch

from scrub.discovery.ablations import AblationName, prepare
from scrub.discovery.attribution import attribute
from scrub.discovery.evaluation import Mask, measure
from scrub.discovery.machine import Machine, machine_of
from scrub.discovery.metrics import metric
from scrub.discovery.statistics import roc_auc
from scrub.models import LoadedModel
from scrub.tasks.task import Task
from zoo.known_heads import heads_table
from zoo.known_models import COMPILED, DATA, load_compiled

METHODS = ("EAP", "EAP-IG-inputs", "EAP-IG-activations", "clean-corrupted", "exact")
ABLATIONS: dict[str, AblationName] = {"zero": "zero", "mean": "mean-positional", "resample": "resample"}
"""Ablation of the truth -> ours: means are those of a position, among inputs of one length."""

_PAGE = Path(__file__).parents[1] / "docs" / "known_circuits.md"
_METRIC = "logit_difference"


@dataclass(frozen=True)
class Found:
    """Scores of one method against the truth.

    Attributes:
        program, ablation, method: what was scored.
        n_true, n_edges: how many edges matter, of how many.
        area: ROC AUC; NaN where no edge matters or the method cannot be had.
        decided: the same without edges whose effect is not zero but below the tolerance of the truth.
        weakest, strongest: the smallest score of an edge that matters, and the largest of one that does not.
    """

    program: str
    ablation: str
    method: str
    n_true: int
    n_edges: int
    area: float
    decided: float
    weakest: float
    strongest: float


def tasks_of(model: LoadedModel, inputs: dict[int, torch.Tensor]) -> list[Task]:
    """One task for each length: the model's own answer at every letter, against all others."""
    tasks: list[Task] = []
    for length, tokens in inputs.items():
        logits = model.call(tokens).evaluate()[:, 1:]
        right = logits.argmax(-1)
        every = torch.arange(logits.shape[-1]).expand(*right.shape, -1)
        wrong = every[every != right[..., None]].reshape(*right.shape, -1)
        places = torch.arange(1, length).expand(len(tokens), -1)
        tasks.append(Task.from_tokens(f"length {length - 1}", tokens, positions=places, answers=right, wrong=wrong))
    return tasks


def exact_effects(machine: Machine, task: Task, ablation: AblationName, *, seed: int = 0) -> torch.Tensor:
    """Mean over examples of |M with an edge patched - M clean|, float64 [n_readers, n_writers]."""
    exists = machine.graph.exists
    task, prepared = prepare(machine, task, ablation, seed=seed)
    places = exists.nonzero()
    keep = exists.double().repeat(len(places), 1, 1)
    keep[torch.arange(len(places)), places[:, 0], places[:, 1]] = 0
    found = measure(machine, task, metric(_METRIC), prepared, [Mask("edge", each) for each in keep], batch_size=256)
    effects = torch.zeros(exists.shape, dtype=torch.float64)
    effects[exists] = (found.circuits - found.clean).abs().mean(-1)
    return effects


def scores_of(
    machine: Machine, tasks: list[Task], method: str, ablation: AblationName, *, steps: int = 5, n_draws: int = 3
) -> torch.Tensor:
    """Mean over all examples of each example's absolute score, float64 [n_readers, n_writers].

    Resampling is done several times, with other draws.
    """
    seeds = range(n_draws if ablation == "resample" else 1)
    total, n = torch.zeros(machine.graph.exists.shape, dtype=torch.float64), 0
    for task in tasks:
        for seed in seeds:
            total += len(task) * _absolute(machine, task, method, ablation, steps, seed)
            n += len(task)
    return total / n


def _absolute(machine: Machine, task: Task, method: str, ablation: AblationName, steps: int, seed: int) -> torch.Tensor:
    if method == "exact":
        return exact_effects(machine, task, ablation, seed=seed)
    found = attribute(machine, task, method, metric=_METRIC, ablation=ablation, steps=steps, seed=seed).absolute
    assert found is not None
    return found


def study(
    program: str, folder: Path = DATA, *, methods: tuple[str, ...] = METHODS, dtype: torch.dtype = torch.float32
) -> list[Found]:
    """Every method under every ablation, on one program."""
    compiled = load_compiled(program, folder, dtype=dtype)
    machine = machine_of(compiled.model, split_input=True)
    graph, tasks = machine.graph, tasks_of(compiled.model, compiled.inputs)
    results: list[Found] = []
    for name, ablation in ABLATIONS.items():
        truth, undecided = compiled.truth(graph, name), compiled.below_tolerance(graph, name)
        for method in methods:
            has_areas = bool(truth.any()) and not (method == "clean-corrupted" and ablation != "resample")
            numbers = (float("nan"),) * 4
            if has_areas:
                scores = scores_of(machine, tasks, method, ablation)
                others = graph.exists & ~truth
                numbers = (
                    float(roc_auc(scores, truth, where=graph.exists)),
                    float(roc_auc(scores, truth, where=graph.exists & ~undecided)),
                    float(scores[truth].min()),
                    float(scores[others].max()),
                )
            results.append(Found(program, name, method, int(truth.sum()), graph.n_edges, *numbers))
    return results


def _rows(results: list[Found]) -> list[str]:
    """Lines of the table of areas: one for each program and ablation."""
    lines = [f"| program | ablation | edges that matter | {' | '.join(METHODS)} |", "|" + "---|" * (3 + len(METHODS))]
    for start in range(0, len(results), len(METHODS)):
        group = results[start : start + len(METHODS)]
        first = group[0]
        cells = [_area(found) for found in group]
        lines.append(
            f"| {first.program} | {first.ablation} | {first.n_true} of {first.n_edges} | {' | '.join(cells)} |"
        )
    return lines


def _area(found: Found) -> str:
    if found.area != found.area:
        return ""
    return f"{found.area:.3f}" + (f" ({found.decided:.3f})" if found.decided != found.area else "")


def _gaps(results: list[Found]) -> list[str]:
    """Lines of the table of how far apart scores are."""
    lines = ["| program | ablation | method | smallest that matters | largest of the others |", "|---|---|---|---|---|"]
    for found in results:
        if found.area == found.area and found.method != "exact":
            lines.append(
                f"| {found.program} | {found.ablation} | {found.method} | {found.weakest:.1e} | {found.strongest:.1e} |"
            )
    return lines


def page(single: list[Found], double: list[Found], heads: list[str]) -> str:
    """The page, of results in single and in double precision."""
    text = (Path(__file__).parent / "known_circuits.txt").read_text()
    parts = {"areas": _rows(single), "areas64": _rows(double), "gaps": _gaps(single), "heads": heads}
    for name, lines in parts.items():
        text = text.replace(f"{{{name}}}", "\n".join(lines))
    return text


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="the folder with tracr/ and trained/")
    parser.add_argument("--output", type=Path, default=_PAGE)
    args = parser.parse_args()
    single, double = (
        [found for program in COMPILED for found in study(program, args.data, dtype=dtype)]
        for dtype in (torch.float32, torch.float64)
    )
    args.output.write_text(page(single, double, heads_table(args.data)))


if __name__ == "__main__":
    main()
