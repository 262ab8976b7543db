"""Path patching: what a sender adds reaches chosen receivers directly, and nothing else.

    1. Everything is as on the prompt, except that receivers read z~_s instead of z_s of each sender s. Between sender
       and receiver nothing is computed anew, or, on request, MLPs are.
    2. Receivers hold what they read in step 1, and all that comes after them is computed anew, without the senders'
       change.

Sources: Wang et al. 2022, "Interpretability in the wild", appendix B; Goldowsky-Dill et al. 2023, "Localizing model
behavior with path patching".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch

from scrub.discovery.ablations import AblationName, prepare
from scrub.discovery.derive.model import component_names, n_heads
from scrub.discovery.machine import Machine, Run, as_machine, writes_of
from scrub.discovery.metrics import Metric, as_metric
from scrub.discovery.patching.activation import measure
from scrub.discovery.patching.effects import Effects, Show, baselines_of, check_show, quantity_of
from scrub.discovery.patching.rerun import Held, Rerun, tail_of
from scrub.discovery.tables import Table
from scrub.graph import DiscoveryError
from scrub.models import LoadedModel
from scrub.tasks.task import Task

Senders = Sequence[str | Sequence[str]] | Literal["all", "heads"]


def path_patching(
    model: LoadedModel | Machine,
    task: Task,
    receivers: str | Sequence[str],
    senders: Senders = "all",
    *,
    metric: Metric | str = "logit_difference",
    through_mlps: bool = False,
    ablation: AblationName = "counterfactual",
    over: Task | None = None,
    show: Show = "change",
    batch_size: int = 8,
    copies: int = 16,
    seed: int = 0,
) -> Table:
    """The effect of each sender on the metric through these receivers alone.

    Args:
        model: the model.
        task: the examples.
        receivers: names of readers, "a3.h1.q", "m2" or "logits"; "a3.h1" is all inputs of the head. Several receive
            at once. Each holds what it read in step 1, so none takes up another's change through that input.
        senders: writers, one at a time; a set of names is patched together; "all" that come before a receiver; "heads":
            all heads, as a table of layer and head.
        metric: what is measured.
        through_mlps: whether MLPs between sender and receiver pass the change on. Heads never do.
        ablation: what replaces what senders write.
        over: the dataset of means and of examples to draw; the task itself if None.
        show: as of `activation_patching`.
        batch_size: examples at a time.
        copies: patched copies of a batch in one pass.
        seed: of what "resample" draws.

    Returns:
        a table with the axis "sender", or "layer" and "head"; means over examples, with standard errors.

    Raises:
        DiscoveryError: no such sender or receiver, or "logits" together with other receivers.

    >>> from scrub.models import load_shipped
    >>> tokens = torch.tensor([[5, 9, 7, 5, 9], [8, 3, 6, 8, 3]])
    >>> task = Task.from_tokens("copy", tokens, counterfactual=tokens.flip(0), answers=[7, 6], wrong=[6, 7])
    >>> table = path_patching(load_shipped("attn_only_2l"), task, ["a1.h0.k", "a1.h6.k"], "heads")
    >>> table.shape, int((table.values[1] == 0).sum())
    ((2, 8), 8)
    """
    machine, chosen = as_machine(model), as_metric(metric)
    check_show(show)
    ports = _ports(machine, [receivers] if isinstance(receivers, str) else receivers)
    sets, labels = _senders(machine, senders, ports)
    task, prepared = prepare(machine, task, ablation, over=over, seed=seed, batch_size=batch_size)
    arriving = [i for i, names in enumerate(sets) if _arrives(machine, names, ports, through_mlps=through_mlps)]
    effects, tail = Effects(len(sets), show), tail_of(machine)
    with torch.no_grad():
        for batch in task.batches(batch_size):
            baselines = baselines_of(machine, batch, chosen, prepared, "noising", with_corrupt=show == "normalized")
            rerun = Rerun(machine, baselines.base, batch.positions, tail)
            replacement = prepared.replacement(machine, batch, baselines.source)
            difference = replacement.writes - writes_of(machine, baselines.base)
            found = torch.zeros(len(sets), len(batch), dtype=torch.float64)
            for start in range(0, len(arriving), copies):
                some = arriving[start : start + copies]
                totals = _sent(machine, [sets[i] for i in some], baselines.base, difference)
                logits = _received(machine, rerun, len(some), totals, ports, through_mlps=through_mlps)
                found[some] = measure(chosen, logits, batch, baselines)
            effects.add(found, baselines)
    title = f"paths to {receivers if isinstance(receivers, str) else ', '.join(receivers)}, {ablation}"
    details = {"method": "path patching", "ablation": ablation, "through_mlps": through_mlps, "n": len(task)}
    means, errors = effects.means()
    table = Table(means, [("sender", labels)], quantity_of(chosen, show), title, errors=errors, details=details)
    return _by_layer(machine, table) if senders == "heads" else table


def _arrives(
    machine: Machine, names: Sequence[str], ports: Mapping[tuple[str, str], torch.Tensor], *, through_mlps: bool
) -> bool:
    """Whether a sender has an edge to a receiver, or to an MLP that may pass it on; of others the effect is 0."""
    graph = machine.graph
    rows = [machine.anatomy.rows[port].start for port in ports]
    if through_mlps:
        rows += [row for row, owner in enumerate(graph.owners) if graph.component_of[owner].kind == "mlp"]
    return bool(graph.exists[rows][:, [graph.writer_index[name] for name in names]].any())


def _received(
    machine: Machine,
    rerun: Rerun,
    copies: int,
    totals: Mapping[str, torch.Tensor],
    ports: Mapping[tuple[str, str], torch.Tensor],
    *,
    through_mlps: bool,
) -> torch.Tensor:
    """Both steps: what receivers read, held in a run from there on."""
    state_of = {(part.name, port.label): port.state for part in machine.anatomy.parts for port in part.ports}
    wanted = [state_of[port] for port in ports]
    states = rerun.states(copies, totals, wanted, ("mlp",) if through_mlps else ())
    held = {port: Held(states[state_of[port]], heads) for port, heads in ports.items()}
    return rerun.logits(copies, held=held)


def _sent(
    machine: Machine, sets: Sequence[Sequence[str]], run: Run, difference: torch.Tensor
) -> dict[str, torch.Tensor]:
    """What the senders' parts add in each copy, with what each sender's set changes, [copies, n, *stream]."""
    index, columns = machine.graph.writer_index, machine.anatomy.columns
    of_sets = [[index[name] for name in names] for names in sets]
    found: dict[str, torch.Tensor] = {}
    for part, range_ in columns.items():
        own = [[column for column in chosen if column in range_] for chosen in of_sets]
        if any(own):
            found[part] = torch.stack([run.totals[part] + difference[:, chosen].sum(1) for chosen in own])
    return found


def _ports(machine: Machine, receivers: Sequence[str]) -> dict[tuple[str, str], torch.Tensor]:
    """(part, label of a port) -> bool [heads], those that receive."""
    graph = machine.graph
    rows: list[int] = []
    for name in receivers:
        own = [row for row, owner in enumerate(graph.owners) if owner == name or graph.readers[row] == name]
        if not own:
            raise DiscoveryError(
                f"there is no receiver {name!r}",
                expected=f"a reader such as {graph.readers[0]!r}, or a component such as {graph.owners[0]!r}",
                found=name,
                hint="machine.graph.readers has them all",
            )
        rows += own
    found: dict[tuple[str, str], torch.Tensor] = {}
    for (part, label), range_ in machine.anatomy.rows.items():
        chosen = [row - range_.start for row in rows if row in range_]
        if chosen:
            heads = torch.zeros(n_heads(machine.parts[part]), dtype=torch.bool)
            heads[chosen] = True
            found[part, label] = heads
    if machine.readout.name in {part for part, _ in found} and len({part for part, _ in found}) > 1:
        raise DiscoveryError(
            "the logits receive together with other components, whose change they would then not read",
            expected="'logits' alone, or other receivers",
            found=tuple(receivers),
            hint="patch paths to the logits and to the others apart",
        )
    return found


def _senders(
    machine: Machine, senders: Senders, ports: Mapping[tuple[str, str], torch.Tensor]
) -> tuple[list[tuple[str, ...]], list[str]]:
    """The sets that send, and their labels."""
    graph = machine.graph
    if isinstance(senders, str):
        if senders not in ("all", "heads"):
            raise DiscoveryError(f"there are no senders {senders!r}", expected=("all", "heads", "names"), found=senders)
        rows = [machine.anatomy.rows[port].start for port in ports]
        before = graph.exists[rows].any(0)
        chosen = [
            name
            for name, is_before in zip(graph.writers, before, strict=True)
            if (bool(is_before) if senders == "all" else graph.component_of[name].kind == "head")
        ]
        return [(name,) for name in chosen], chosen
    sets = [(one,) if isinstance(one, str) else tuple(one) for one in senders]
    for name in (name for names in sets for name in names):
        if name not in graph.writer_index:
            raise DiscoveryError(
                f"there is no sender {name!r}",
                expected=f"one of {', '.join(graph.writers[:4])}, ...",
                found=name,
                hint="machine.graph.writers has them all",
            )
    return sets, ["+".join(names) for names in sets]


def _by_layer(machine: Machine, table: Table) -> Table:
    """The table of heads with axes layer and head; NaN where a layer has fewer heads."""
    parts = [part for part in machine.anatomy.parts if part.kind == "heads"]
    most = max(n_heads(part) for part in parts)
    place = {name: (row, i) for row, part in enumerate(parts) for i, name in enumerate(component_names(part))}
    values, errors = (torch.full((len(parts), most), float("nan"), dtype=torch.float64) for _ in range(2))
    for number, name in enumerate(table.labels("sender")):
        values[place[str(name)]] = table.values[number]
        if table.errors is not None:
            errors[place[str(name)]] = table.errors[number]
    layers = tuple(part.layer if part.layer is not None else row for row, part in enumerate(parts))
    axes = [("layer", layers), ("head", tuple(range(most)))]
    shown = errors if table.errors is not None else None
    return Table(values, axes, table.quantity, table.title, errors=shown, details=table.details)
