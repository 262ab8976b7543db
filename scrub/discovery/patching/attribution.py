"""Attribution patching: a first-order estimate of activation patching, all activations from one gradient.

    AP(a) = sum (a' - a) . dM/da          attention attribution = pattern * dM/dpattern

Sources: Nanda 2023, "Attribution patching: activation patching at industrial scale"; for AtP*, Kramár et al. 2024,
"AtP*: an efficient and scalable method for localizing LLM behaviour to components".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from scrub.discovery.ablations import AblationName, prepare
from scrub.discovery.machine import Machine, Run, Tape, as_machine
from scrub.discovery.metrics import Metric, as_metric
from scrub.discovery.patching.activation import Sweep, sweep_of
from scrub.discovery.patching.effects import (
    Baselines,
    Direction,
    Effects,
    Show,
    baselines_of,
    check_direction,
    check_show,
    quantity_of,
)
from scrub.discovery.patching.gradients import gradients_at, record_places
from scrub.discovery.patching.sites import Place, find_site, places_of, read_site
from scrub.discovery.patching.softmax import ExactPatterns
from scrub.discovery.patching.values import Replacements
from scrub.discovery.tables import Label, Table
from scrub.graph import DiscoveryError
from scrub.models import LoadedModel
from scrub.tasks.task import Task

_EXACT = ("q", "k", "rot_q", "rot_k")


def attribution_patching(
    model: LoadedModel | Machine,
    task: Task,
    activation: str,
    *,
    metric: Metric | str = "logit_difference",
    by: Sequence[str] = ("layer",),
    direction: Direction = "noising",
    ablation: AblationName = "counterfactual",
    over: Task | None = None,
    show: Show = "change",
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    positions: Sequence[Label] | None = None,
    neurons: Sequence[int] | None = None,
    batch_size: int = 8,
    seed: int = 0,
) -> Table:
    """Estimate what `activation_patching` with the same arguments measures: (a' - a) . dM/da, with errors.

    Two runs and one gradient for each batch, however many activations. The table has the same labels, so the two can be
    subtracted.

    Args:
        model, task, activation, metric, by, direction, ablation, over, show, layers, heads, positions, neurons: as of
            `activation_patching`.
        batch_size: examples at a time.
        seed: of what "resample" draws.

    Raises:
        DiscoveryError: as `activation_patching`; a metric without a gradient.

    >>> from scrub.models import load_shipped
    >>> tokens = torch.tensor([[5, 9, 7, 5, 9], [8, 3, 6, 8, 3]])
    >>> task = Task.from_tokens("copy", tokens, counterfactual=tokens.flip(0), answers=[7, 6], wrong=[6, 7])
    >>> attribution_patching(load_shipped("attn_only_2l"), task, "resid_pre", by=("layer", "position")).shape
    (2, 5)
    """
    return _sweep(
        _Asked(as_machine(model), task, activation, as_metric(metric), tuple(by), direction, ablation, over, seed),
        batch_size,
        show,
        _linear,
        layers=layers,
        heads=heads,
        positions=positions,
        neurons=neurons,
        title=f"attribution of {activation}, {direction}, {ablation}",
    )


def attention_attribution(
    model: LoadedModel | Machine,
    task: Task,
    *,
    metric: Metric | str = "logit_difference",
    by: Sequence[str] = ("layer", "head", "query", "key"),
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    positions: Sequence[Label] | None = None,
    batch_size: int = 8,
) -> Table:
    """Attention patterns times the gradient of the metric: how much each weight, as far as it is linear, adds to it.

    No counterfactual is needed. The opposite of the estimate of setting the weight to 0.

    Args:
        model, task, metric, by, layers, heads, positions, batch_size: as of `attribution_patching`; positions are
            queries.
    """
    return _sweep(
        _Asked(as_machine(model), task, "pattern", as_metric(metric), tuple(by), "noising", "zero", None, 0),
        batch_size,
        "change",
        _weighted,
        layers=layers,
        heads=heads,
        positions=positions,
        neurons=None,
        title="pattern x gradient",
    )


def atp_star(
    model: LoadedModel | Machine,
    task: Task,
    activation: str,
    *,
    metric: Metric | str = "logit_difference",
    by: Sequence[str] = ("layer",),
    direction: Direction = "noising",
    ablation: AblationName = "counterfactual",
    over: Task | None = None,
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    positions: Sequence[Label] | None = None,
    drop_gradients: bool = True,
    batch_size: int = 8,
    seed: int = 0,
) -> Table:
    """Attribution patching with its two known failures repaired: saturated softmaxes and effects that cancel.

    For queries and keys, the pattern is computed anew with what is patched, and its change is multiplied by
    dM/dpattern. With `drop_gradients`, a score is, of each example,

        1 / (L - 1)  sum over layers l of |estimate with no gradient through attention and MLP of layer l|

    and the table holds its mean over examples: sizes, without a sign. A node's own layer adds 0 to the sum.

    Args:
        model, task, activation, metric, by, direction, ablation, over, layers, heads, positions, batch_size, seed: as
            of `attribution_patching`.
        drop_gradients: whether to; otherwise estimates keep their sign, and are those of `attribution_patching` but for
            queries and keys.

    Raises:
        DiscoveryError: as `attribution_patching`; gradients dropped in a model of one layer.
    """
    machine = as_machine(model)
    return _sweep(
        _Asked(machine, task, activation, as_metric(metric), tuple(by), direction, ablation, over, seed),
        batch_size,
        "change",
        _exact if activation in _EXACT else _linear,
        layers=layers,
        heads=heads,
        positions=positions,
        neurons=None,
        dropped=_parts_of_layers(machine) if drop_gradients else None,
        title=f"AtP* of {activation}, {direction}, {ablation}",
    )


@dataclass(frozen=True)
class _Asked:
    machine: Machine
    task: Task
    activation: str
    metric: Metric
    by: tuple[str, ...]
    direction: Direction
    ablation: AblationName
    over: Task | None
    seed: int


@dataclass(frozen=True)
class _At:
    """One place in one batch.

    Attributes:
        machine: the model.
        sweep: all units.
        place: which activation.
        batch: the examples.
        run: the run that is patched.
        own, other: the activation there, and what replaces it.
        gradients: dM/da there, or at the pattern; None where it is dropped.
    """

    machine: Machine
    sweep: Sweep
    place: Place
    batch: Task
    run: Run
    own: torch.Tensor
    other: torch.Tensor
    gradients: list[torch.Tensor | None]


_Estimate = Callable[[_At], list["torch.Tensor | None"]]


def _linear(at: _At) -> list[torch.Tensor | None]:
    return _times(at, at.other - at.own)


def _weighted(at: _At) -> list[torch.Tensor | None]:
    return _times(at, at.own)


def _times(at: _At, value: torch.Tensor) -> list[torch.Tensor | None]:
    units = at.sweep.units[at.place.layer]
    return [None if g is None else units.summed(value * g, at.batch) for g in at.gradients]


def _exact(at: _At) -> list[torch.Tensor | None]:
    """The change of the pattern when queries or keys are patched, times the gradient there."""
    units = at.sweep.units[at.place.layer]
    patterns = ExactPatterns(at.machine, at.place, at.run)
    result = [None if g is None else g.new_zeros(len(units.heads), units.n_places, len(at.own)) for g in at.gradients]
    for start, stop in units.blocks(16):
        mask = units.masks(at.batch, at.own.shape[-1], start, stop).to(at.own.device)[:, :, None]
        change = patterns.change(torch.where(mask, at.other, at.own))
        for gradient, found in zip(at.gradients, result, strict=True):
            if gradient is not None and found is not None:
                by_head = torch.einsum("unhqk,nhqk->hun", change, gradient)
                for number, heads in enumerate(units.heads):
                    found[number, start:stop] = by_head[list(heads)].sum(0)
    return [None if found is None else found.flatten(0, 1) for found in result]


def _sweep(
    asked: _Asked,
    batch_size: int,
    show: Show,
    estimate: _Estimate,
    *,
    layers: Sequence[int] | None,
    heads: Sequence[int] | None,
    positions: Sequence[Label] | None,
    neurons: Sequence[int] | None,
    title: str,
    dropped: Sequence[frozenset[str]] | None = None,
) -> Table:
    """Estimates of all units, batch by batch."""
    machine, metric = asked.machine, asked.metric
    _check(metric, show)
    task, ablation = prepare(
        machine, asked.task, asked.ablation, over=asked.over, seed=asked.seed, batch_size=batch_size
    )
    check_direction(asked.direction, ablation)
    site = find_site(asked.activation)
    with torch.no_grad():
        sweep = sweep_of(
            machine, task, site, asked.by, layers=layers, heads=heads, positions=positions, neurons=neurons
        )
        graded = _graded(machine, sweep, estimate)
        replacements = Replacements(machine, ablation, task if asked.over is None else asked.over, batch_size)
        effects = Effects(sweep.n, show, keep="example" in asked.by)
        for batch in task.batches(batch_size):
            tapes: list[Tape] = []

            def recorded(tokens: torch.Tensor, batch: Task = batch, tapes: list[Tape] = tapes) -> Run:
                tapes.append(record_places(machine, tokens, batch, graded))
                return tapes[-1].run

            base = baselines_of(
                machine, batch, metric, ablation, asked.direction, with_corrupt=show == "normalized", run=recorded
            )
            gradients = _gradients(machine, tapes[-1], metric, batch, base, graded, dropped)
            found = torch.zeros(sweep.n, len(batch), dtype=torch.float64)
            for i, place in enumerate(sweep.places):
                own = read_site(machine, place, base.base)
                other = own if estimate is _weighted else replacements.of(place, own, base.source)
                at = _At(machine, sweep, place, batch, base.base, own, other, [of[i] for of in gradients])
                start = sweep.starts[place.layer]
                found[start : start + sweep.units[place.layer].n] = _combined(estimate(at), dropped is not None)
            effects.add(found, base)
    quantity = ("size of " if dropped is not None else "") + quantity_of(metric, show)
    details: dict[str, object] = {"ablation": asked.ablation, "direction": asked.direction, "n": len(task)}
    return sweep.table(effects, task, quantity, title, details)


def _check(metric: Metric, show: Show) -> None:
    check_show(show)
    if not metric.is_differentiable:
        raise DiscoveryError(
            f"metric {metric.name!r} has no gradient",
            expected="a metric whose gradient says something",
            found=metric.name,
            hint="use activation_patching, or logit_difference",
        )


def _graded(machine: Machine, sweep: Sweep, estimate: _Estimate) -> list[Place]:
    """Where gradients are taken, for each place of the sweep."""
    if estimate is not _exact:
        return list(sweep.places)
    patterns = {place.layer: place for place in places_of(machine, find_site("pattern"))}
    return [patterns[place.layer] for place in sweep.places]


def _gradients(
    machine: Machine,
    tape: Tape,
    metric: Metric,
    batch: Task,
    base: Baselines,
    graded: Sequence[Place],
    dropped: Sequence[frozenset[str]] | None,
) -> list[list[torch.Tensor | None]]:
    """For each set of dropped parts, the gradient at each place."""

    def objective(logits: torch.Tensor) -> torch.Tensor:
        return metric(logits, batch, base.original)

    every = [frozenset[str]()] if dropped is None else dropped
    return [
        gradients_at(machine, tape, objective, batch.positions, graded, dropped=parts, keep=parts is not every[-1])
        for parts in every
    ]


def _combined(estimates: list[torch.Tensor | None], is_dropped: bool) -> torch.Tensor:
    """[n_units, n]: the estimate, or the mean size of those with a layer dropped."""
    found = [estimate for estimate in estimates if estimate is not None]
    if not is_dropped:
        return found[0].to("cpu", torch.float64)
    return torch.stack(found).abs().sum(0).to("cpu", torch.float64) / (len(estimates) - 1)


def _parts_of_layers(machine: Machine) -> list[frozenset[str]]:
    """The names of attention and MLP of each layer."""
    layers: dict[int, set[str]] = {}
    for part in machine.anatomy.parts:
        if part.kind in ("heads", "mlp") and part.layer is not None:
            layers.setdefault(part.layer, set()).add(part.name)
    if len(layers) < 2:
        raise DiscoveryError(
            "gradients can be dropped in models of several layers only",
            expected="at least 2 layers",
            found=len(layers),
            hint="drop_gradients=False",
        )
    return [frozenset(names) for names in layers.values()]
