"""Activation patching: replace one activation at a time, and measure.

    effect(a) = M(run with a replaced) - M(run)

Sources: Meng et al. 2022, "Locating and editing factual associations in GPT"; Wang et al. 2022, "Interpretability in
the wild"; Heimersheim and Nanda 2024, "How to use and interpret activation patching".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from scrub.discovery.ablations import AblationName, prepare
from scrub.discovery.derive.model import n_heads
from scrub.discovery.machine import Machine, as_machine
from scrub.discovery.metrics import Metric, as_metric
from scrub.discovery.patching.changes import changes_of
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
from scrub.discovery.patching.rerun import Rerun, apart, repeated, tail_of
from scrub.discovery.patching.sites import Place, Site, find_site, places_of, read_site
from scrub.discovery.patching.units import Units, units_of
from scrub.discovery.patching.values import Replacements
from scrub.discovery.tables import Axis, Label, Table
from scrub.graph import DiscoveryError
from scrub.models import LoadedModel
from scrub.tasks.task import Task


def activation_patching(
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
    copies: int = 16,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Table:
    """Replace one activation at a time and measure: means over examples, with standard errors.

    Only what comes after the activation is computed, for several patched copies of the batch in one pass. Activations
    are those of `SITES`: "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "head_out", "z", "q", "k", "v",
    "rot_q", "rot_k", "scores", "pattern", "mlp_pre", "mlp_post". "q" and "k" are before rotary rotation, as
    TransformerLens has them; where keys are shared by several heads, each head's own copy is patched.

    Args:
        model: the model.
        task: the examples.
        activation: which kind.
        metric: what is measured.
        by: axes of the table: "layer" and any of those the activation has: "head", "position" (of patterns also called
            "query"), "key", "neuron", and "example". Along those left out everything is patched at once.
        direction: "noising" replaces what the prompt gives, "denoising" puts what the prompt gives into the run on its
            counterfactual.
        ablation: what replaces it: "counterfactual", "resample", "zero", "mean", "mean-positional"; means are of the
            activation itself.
        over: the dataset of means and of examples to draw; the task itself if None.
        show: "change", M - M_base in units of the metric; "metric", M itself; "normalized",
            (M - M_corrupt) / (M_clean - M_corrupt), a ratio of means.
        layers, heads, neurons: only these, by number; of patterns and scores, `neurons` are keys.
        positions: only these, by number or by name in `task.token_positions`, which may differ between prompts.
        batch_size: examples at a time.
        copies: patched copies of a batch in one pass.
        seed: of what "resample" draws.
        progress: called with the number of patches done and of all.

    Returns:
        a table with the axes of `by`; NaN where a layer has no such activation.

    Raises:
        DiscoveryError: no such activation, axis, layer or position, or prompts that do not correspond.

    >>> from scrub.models import load_shipped
    >>> tokens = torch.tensor([[5, 9, 7, 5, 9], [8, 3, 6, 8, 3]])
    >>> task = Task.from_tokens("copy", tokens, counterfactual=tokens.flip(0), answers=[7, 6], wrong=[6, 7])
    >>> table = activation_patching(load_shipped("attn_only_2l"), task, "z", by=("layer", "head"))
    >>> table.names, table.shape
    (('layer', 'head'), (2, 8))
    """
    machine, chosen = as_machine(model), as_metric(metric)
    check_show(show)
    task, prepared = prepare(machine, task, ablation, over=over, seed=seed, batch_size=batch_size)
    check_direction(direction, prepared)
    site = find_site(activation)
    with torch.no_grad():
        sweep = sweep_of(machine, task, site, by, layers=layers, heads=heads, positions=positions, neurons=neurons)
        replacements = Replacements(machine, prepared, task if over is None else over, batch_size)
        effects = Effects(sweep.n, show, keep="example" in by)
        tail, done = tail_of(machine), 0
        for batch in task.batches(batch_size):
            baselines = baselines_of(
                machine,
                batch,
                chosen,
                prepared,
                direction,
                with_corrupt=show == "normalized",
                with_writes=site.where == "writes",
            )
            rerun = Rerun(machine, baselines.base, batch.positions, tail)
            found = torch.zeros(sweep.n, len(batch), dtype=torch.float64)
            for place in sweep.places:
                own = read_site(machine, place, baselines.base)
                values = (own, replacements.of(place, own, baselines.source))
                units, start = sweep.units[place.layer], sweep.starts[place.layer]
                for change in changes_of(machine, place, units, batch, baselines.base, values, copies):
                    logits = rerun.logits(len(change.units), totals=change.totals, states=change.states)
                    found[[start + unit for unit in change.units]] = measure(chosen, logits, batch, baselines)
                    done += len(change.units)
                    if progress is not None:
                        progress(done, sweep.n * -(-len(task) // batch_size))
            effects.add(found, baselines)
    title = f"{activation}, {direction}, {ablation}"
    details = {"method": "activation patching", "ablation": ablation, "direction": direction, "n": len(task)}
    return sweep.table(effects, task, quantity_of(chosen, show), title, details)


def measure(metric: Metric, logits: torch.Tensor, batch: Task, baselines: Baselines) -> torch.Tensor:
    """The change of the metric, [copies, n], of logits [copies, n, k, n_logits]."""
    copies, n = logits.shape[:2]
    rows = batch[torch.arange(n).repeat(copies)]
    original = repeated(baselines.original, copies) if "original" in metric.needs else None
    measured = apart(metric(logits.flatten(0, 1), rows, original), copies)
    return (measured - baselines.at_base).to("cpu", torch.float64)


@dataclass(frozen=True)
class Sweep:
    """The units of every layer, numbered one after the other.

    Attributes:
        places: where the activation is.
        units: layer -> its units.
        starts: layer -> the number of its first unit.
        layers: labels of layers in the table.
    """

    places: tuple[Place, ...]
    units: dict[int, Units]
    starts: dict[int, int]
    layers: tuple[int, ...]

    @property
    def n(self) -> int:
        """How many units there are."""
        return sum(units.n for units in self.units.values())

    def table(self, effects: Effects, task: Task, quantity: str, title: str, details: Mapping[str, object]) -> Table:
        """What was measured, along the axes asked for, in their order."""
        means, errors = effects.means()
        by = next(iter(self.units.values())).by
        axes = [Axis("layer", self.layers), *self._longest.axes]
        if "example" in by:
            axes.append(Axis("example", tuple(range(len(task)))))
        order = [[axis.name for axis in axes].index(name) for name in by]
        shaped = [None if v is None else self._shaped(v, axes).permute(order) for v in (means, errors)]
        assert shaped[0] is not None
        named = [axes[i] for i in order]
        return Table(shaped[0], named, quantity, title, errors=shaped[1], details=details)

    @property
    def _longest(self) -> Units:
        """Of the layer with the most units, whose labels are those of the table."""
        return max(self.units.values(), key=lambda units: units.n)

    def _shaped(self, values: torch.Tensor, axes: Sequence[Axis]) -> torch.Tensor:
        result = values.new_full([len(axis.labels) for axis in axes], float("nan"))
        for row, layer in enumerate(self.layers):
            if layer in self.units:
                units = self.units[layer]
                own = values[self.starts[layer] : self.starts[layer] + units.n]
                sizes = [len(axis.labels) for axis in units.axes]
                own = own.reshape([*sizes, *values.shape[1:]])
                result[row][tuple(slice(size) for size in sizes)] = own
        return result


def sweep_of(
    machine: Machine,
    task: Task,
    site: Site,
    by: Sequence[str],
    *,
    layers: Sequence[int] | None,
    heads: Sequence[int] | None,
    positions: Sequence[Label] | None,
    neurons: Sequence[int] | None,
) -> Sweep:
    """The units asked for, in each layer that has the activation.

    Raises:
        DiscoveryError: no layer that is asked for has it.
    """
    places = [place for place in places_of(machine, site) if layers is None or place.layer in layers]
    if not places:
        raise DiscoveryError(
            f"no layer of {list(layers or [])} has {site.name}",
            expected=[place.layer for place in places_of(machine, site)],
            found=layers,
        )
    first = task[:1]
    run = machine.run(machine.source.given(first.tokens, first.mask), keep_writes=True)
    units: dict[int, Units] = {}
    starts: dict[int, int] = {}
    start = 0
    for place in places:
        n_last = read_site(machine, place, run).shape[-1]
        of_heads = n_heads(place.part) if "head" in site.axes else 1
        units[place.layer] = units_of(
            task, site, by, n_heads=of_heads, n_last=n_last, heads=heads, positions=positions, neurons=neurons
        )
        starts[place.layer] = start
        start += units[place.layer].n
    labels = tuple(sorted(layers)) if layers is not None else tuple(place.layer for place in places)
    return Sweep(tuple(places), units, starts, labels)
