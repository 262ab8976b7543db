"""`evaluate`: how well circuits account for what a model does on a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from scrub.discovery.ablations import AblationName, prepare
from scrub.discovery.evaluation.masks import Kept, circuits_of, complement_of, mask_of, size_of
from scrub.discovery.evaluation.results import Evaluation
from scrub.discovery.evaluation.run import measure
from scrub.discovery.machine import Machine, as_machine
from scrub.discovery.metrics import Metric, as_metric
from scrub.graph import DiscoveryError
from scrub.models import LoadedModel
from scrub.tasks.task import Task


def evaluate(
    circuits: Kept | Sequence[Kept],
    model: Machine | LoadedModel,
    task: Task,
    metric: str | Metric | Callable[..., torch.Tensor] = "logit_difference",
    ablation: AblationName = "counterfactual",
    *,
    completeness: bool = False,
    over: Task | None = None,
    seed: int = 0,
    batch_size: int = 32,
    names: Sequence[str] | None = None,
) -> Evaluation:
    """Run a model with everything outside of circuits patched, and measure every example.

    The clean and the corrupted run of a batch are shared by all circuits. A circuit of nodes or neurons is run as such:
    all readers of a writer are given the same.

    Args:
        circuits: one or several; or masks of edges, [n_readers, n_writers] or at positions
            [n_readers, n_writers, seq], 1 kept and 0 patched.
        model: the model, or its machine.
        task: the examples. A circuit found on them looks better on them than it is: use others.
        metric: name of a metric, a metric, or a callable with its direction stated (`as_metric`).
        ablation: what patched edges carry: "zero", "mean", "mean-positional", "resample" or "counterfactual".
        completeness: evaluate complements too, for `Evaluation.completeness`.
        over: the dataset of means and of examples to draw; the task itself if None.
        seed: of what is drawn.
        batch_size: examples at a time.
        names: of the circuits; their numbers if None.

    Raises:
        DiscoveryError: circuits of another graph, masks that do not fit, names that are not one for each circuit; or
            what the ablation or the metric needs is missing.

    >>> from scrub.discovery.circuits import Circuit
    >>> from scrub.models import load_shipped
    >>> from scrub.tasks.task import Task
    >>> machine = as_machine(load_shipped("attn_only_2l"))
    >>> tokens = torch.tensor([[7, 9, 8, 7], [5, 6, 4, 5], [6, 4, 9, 6], [8, 5, 3, 8]])
    >>> task = Task.from_tokens("copy", tokens, answers=tokens[:, 1], wrong=tokens[:, 2], counterfactual=tokens.flip(0))
    >>> every, none = Circuit.full(machine.graph), Circuit.empty(machine.graph)
    >>> result = evaluate([every, none], machine, task, names=["every", "none"])
    >>> bool(torch.allclose(result.values, torch.stack([result.clean, result.corrupted]), atol=1e-4))
    True
    """
    machine = as_machine(model)
    chosen = circuits_of(circuits)
    labels = _labels(chosen, names)
    measured_by = as_metric(metric)
    if machine.model is not None:
        task = task.to(machine.model.device)
    task, prepared = prepare(machine, task, ablation, over=over, seed=seed, batch_size=batch_size)
    graph = machine.graph
    every = [*chosen, *([complement_of(kept, graph) for kept in chosen] if completeness else [])]
    found = measure(
        machine, task, measured_by, prepared, [mask_of(kept, graph) for kept in every], batch_size=batch_size
    )
    n = len(chosen)
    return Evaluation(
        names=labels,
        values=found.circuits[:n],
        clean=found.clean,
        corrupted=found.corrupted,
        complements=found.circuits[n:] if completeness else None,
        n_edges=tuple(size_of(kept, graph) for kept in chosen),
        of_edges=graph.n_edges,
        metric=measured_by.name,
        larger_is_better=measured_by.larger_is_better,
        ablation=ablation,
        task=task.name,
    )


def _labels(circuits: Sequence[Kept], names: Sequence[str] | None) -> tuple[str, ...]:
    if names is None:
        return ("circuit",) if len(circuits) == 1 else tuple(f"circuit {i}" for i in range(len(circuits)))
    labels = (names,) if isinstance(names, str) else tuple(names)
    if len(labels) != len(circuits):
        raise DiscoveryError(
            f"there are {len(labels)} names for {len(circuits)} circuits",
            expected=len(circuits),
            found=len(labels),
            hint="one name for each circuit, or none",
        )
    return labels
