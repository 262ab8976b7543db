"""`attribute`: scores of all edges, nodes or neurons of a model on a task, by any registered method."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import torch
import xxhash

from scrub.discovery.ablations import ABLATIONS, AblationName, prepare
from scrub.discovery.attribution.chunk import Chunk, Setting, stream_width
from scrub.discovery.attribution.layout import score_axes
from scrub.discovery.attribution.registry import Method
from scrub.discovery.attribution.registry import method as method_of
from scrub.discovery.attribution.rules import points
from scrub.discovery.attribution.streaming import Checkpoint, PartialScoresWarning, Progress, summed, text_bar
from scrub.discovery.machine import Machine, as_machine
from scrub.discovery.metrics import Metric, as_metric
from scrub.discovery.scores import Level, Scores
from scrub.graph import DiscoveryError, Expr
from scrub.graph.frozen_tensor import tensor_digest
from scrub.models import LoadedModel
from scrub.tasks.task import Task

_BYTES = 2**26  # of differences and scores at a time


def attribute(
    model: LoadedModel | Machine,
    task: Task,
    method: str = "EAP",
    *,
    metric: Metric | str | Callable[..., torch.Tensor] = "logit_difference",
    ablation: AblationName = "counterfactual",
    level: Level = "edge",
    per_position: bool = False,
    steps: int = 5,
    rule: str = "midpoint",
    over: Task | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    progress: Progress | bool | None = None,
    checkpoint: str | Path | None = None,
) -> Scores:
    """Scores of every edge, node or neuron: how patching it changes the metric, estimated or exact.

    Scores are means over examples of each example's own score, whatever the batches. Positive means that corrupting
    raises the metric. They hold standard errors and the mean absolute score of an example as well.

    Args:
        model: a loaded model, or its machine, which saves taking it apart again.
        task: the examples.
        method: "EAP", "EAP-IG-inputs", "EAP-IG-activations", "EAP-IG-activations-all-groups",
            "clean-corrupted", "exact"; those in `METHODS`.
        metric: its name, or a metric; see `scrub.discovery.metrics`.
        ablation: what patched edges carry: "counterfactual", "resample", "zero", "mean", "mean-positional".
        level: "edge"; "node", all outgoing edges of a writer at once; "neuron", a dimension of what a writer writes.
        per_position: keep positions apart; needs prompts of one length.
        steps, rule: of methods that follow a path: how many steps, and where they are: "midpoint", "left", "right",
            "gauss-legendre" (see `points`).
        over: the dataset of means, and of examples to draw; the task itself if None.
        seed: of examples that are drawn.
        batch_size: most examples at a time; fewer where their tensors take much memory. No number depends on it.
        progress: called with (examples done, examples); True for a bar of text.
        checkpoint: a file that keeps the sums after each batch. The same call goes on from it.

    Returns:
        Scores; if interrupted, those of the examples so far, with a `PartialScoresWarning`.

    Raises:
        DiscoveryError: an unknown name, a combination that does not exist, prompts of several lengths with
            per_position, no counterfactuals, a metric that returns something else or has no gradient, NaN.

    >>> from scrub.models import load_shipped
    >>> task = Task.from_tokens("t", [[5, 6, 5]], counterfactual=[[5, 9, 5]], answers=[6], wrong=[9])
    >>> attribute(load_shipped("attn_only_2l"), task, "EAP-IG-inputs", steps=3)
    EAP-IG-inputs: 257 edge scores of logit_difference, counterfactual ablation, n=1
    """
    chosen = method_of(method)
    measured = as_metric(metric)
    _check(chosen, measured, task, ablation, level, per_position, batch_size)
    details: dict[str, Any] = {}
    if chosen.has_steps:
        details = {"steps": len(points(rule, steps)), "rule": rule}
    if ablation == "resample":
        details["seed"] = seed
    machine = as_machine(model)
    if machine.model is not None:
        task = task.to(machine.model.device)
        over = None if over is None else over.to(machine.model.device)
    with torch.no_grad():
        task, prepared = prepare(machine, task, ablation, over=over, seed=seed)
        setting = Setting(machine, measured, prepared, level, per_position, steps, rule)
        sums = summed(
            task,
            min(batch_size or len(task), examples_at_a_time(setting, task)),
            lambda batch: _scores_of(chosen, setting, batch),
            progress=text_bar if progress is True else progress or None,
            checkpoint=None if checkpoint is None else _checkpoint(Path(checkpoint), chosen, setting, task, details),
        )
    if sums.n < len(task):
        warnings.warn(PartialScoresWarning(sums.n, len(task)), stacklevel=2)
    means = [sums.mean, sums.errors, sums.absolute]
    values, errors, absolute = (mean.movedim(0, -1) for mean in means) if per_position else means
    return Scores(
        machine.graph,
        values,
        level=level,
        method=method,
        metric=measured.name,
        larger_is_better=measured.larger_is_better,
        ablation=ablation,
        n_examples=sums.n,
        per_position=per_position,
        errors=errors,
        absolute=absolute,
        details=details,
    )


def _scores_of(method: Method, setting: Setting, batch: Task) -> torch.Tensor:
    """The scores of each of some examples, [n, *score_axes]."""
    chunk = Chunk(setting, batch if setting.per_position else batch.trimmed())
    method.function(chunk)
    return chunk.scores


def _checkpoint(path: Path, method: Method, setting: Setting, task: Task, details: Mapping[str, Any]) -> Checkpoint:
    """Where sums are kept, with all that they depend on."""
    asked = {
        "method": method.name,
        "metric": setting.metric.name,
        "ablation": setting.ablation.name,
        "level": setting.level,
        "per position": str(setting.per_position),
        "options": str(dict(details)),
        "task": task.digest,
        "model": _model_digest(setting.machine),
    }
    if setting.ablation.fixed is not None:
        asked["mean"] = tensor_digest(setting.ablation.fixed)
    return Checkpoint(path, asked)


def examples_at_a_time(setting: Setting, task: Task) -> int:
    """As many examples as fit in a fixed amount of memory with what all writers write, and their scores; at least 1."""
    machine, seq = setting.machine, task.tokens.shape[1]
    width = stream_width(machine)
    scores = 1
    for size in score_axes(machine.graph, setting.level, seq if setting.per_position else None, width):
        scores *= size
    item = machine.source.given(task.tokens[:1], task.mask[:1]).embeds.element_size()
    return max(1, _BYTES // (item * max(scores, len(machine.graph.writers) * seq * width)))


def _check(
    chosen: Method, metric: Metric, task: Task, ablation: str, level: str, per_position: bool, batch_size: int | None
) -> None:
    _known("ablation", ablation, ABLATIONS)
    _known("level", level, get_args(Level))
    if batch_size is not None and batch_size < 1:
        raise DiscoveryError(f"batches of {batch_size} examples", expected="at least 1", found=batch_size)
    if ablation in chosen.not_with:
        raise DiscoveryError(
            f"{chosen.name} cannot be had with {ablation} ablation: {chosen.not_with[ablation]}",
            expected=[known for known in ABLATIONS if known not in chosen.not_with],
            found=ablation,
            hint="use 'EAP', 'EAP-IG-inputs' or 'exact' with this ablation",
        )
    if chosen.needs_gradient and not metric.is_differentiable:
        raise DiscoveryError(
            f"{chosen.name} takes gradients, and metric {metric.name!r} has none: it counts",
            expected="a metric with a gradient",
            found=metric.name,
            hint="use 'logit_difference' or another smooth metric, or the method 'exact'",
        )
    if per_position and not task.is_aligned:
        raise DiscoveryError(
            f"scores per position need prompts of one length, and task {task.name!r} has padding",
            axis="seq",
            expected="prompts of one length",
            found=sorted({int(n) for n in task.mask.sum(1)}),
            hint="use prompts of one length, or per_position=False",
        )


def _known(what: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        close = difflib.get_close_matches(str(given), known, n=1)
        raise DiscoveryError(
            f"there is no {what} {given!r}",
            expected=known,
            found=given,
            hint=f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}",
        )


def _model_digest(machine: Machine) -> str:
    """Of the expression, and of a loaded model the bytes of its weights."""
    parts = [machine.anatomy.stream.root.digest]
    for key, value in machine.model.weights.items() if machine.model is not None else ():
        parts.append(f"{key} {repr(value) if isinstance(value, Expr) else tensor_digest(value)}")
    return xxhash.xxh3_128("\n".join(parts).encode()).hexdigest()
