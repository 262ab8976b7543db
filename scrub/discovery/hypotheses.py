"""Circuits as hypotheses of causal scrubbing, and as matchers of paths.

A circuit of edges says: what the logits read along the paths of the circuit matters, all else does not. As a hypothesis
it has one node below the root, the input on every path from the logits that runs along kept edges alone, and that reads
the reference. Everything else reads one other datum, the same for all of it. So at each edge that is not kept, what is
below is computed on the other datum: a run of the circuit under resample ablation, where the datum that is drawn is the
counterfactual. The two agree (docs/evaluation.md says where they do not).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch

from scrub.discovery.circuits import Circuit
from scrub.discovery.components import ComponentGraph
from scrub.discovery.machine import Machine, as_machine, at_positions
from scrub.discovery.metrics import Metric, as_metric
from scrub.graph import DiscoveryError, Expr, Symbol
from scrub.hypothesis import (
    CondSampler,
    Correspondence,
    Dataset,
    ExactSampler,
    Experiment,
    Hypothesis,
    InterpNode,
    Source,
    Stream,
    corr_root_matcher,
)
from scrub.hypothesis.paths import Part, input_of, straight
from scrub.models import LoadedModel, configure_transformer
from scrub.rewrite import IterativeMatcher, restrict
from scrub.tasks.task import Task

Measure: TypeAlias = "str | Metric | Callable[..., torch.Tensor]"

_HERE = restrict(True, end_depth=1)
_INPUTS = {"input": "t.input", "input.tokens": "t.input"}
"""What writes the tokens -> its name in a lowered model. Positions are the same for every datum of one length."""
_PORTS: dict[str, Part] = {"q": "q", "k": "k", "v": "v"}


def circuit_matcher(circuit: Circuit, component: str | None = None) -> IterativeMatcher:
    """What a component writes, on every path from the logits along kept edges; the input if none is named.

    It is for a lowered transformer split by head, as `configure_transformer(..., split_by_head_config="full",
    use_pull_up_head_split=True)` gives it, seen through its modules: what it is chained to, or the root, is the logits.

    Args:
        circuit: of edges or nodes.
        component: a component that writes.

    Raises:
        DiscoveryError: a circuit of neurons; no such component; or no path of the circuit leads to it.

    >>> from scrub.discovery.circuits import Circuit
    >>> from scrub.discovery.machine import machine_of
    >>> from scrub.models import load_shipped
    >>> model = load_shipped("attn_only_2l")
    >>> circuit = Circuit.of_edges(machine_of(model).graph, ["input->a0.h3.v", "a0.h3->a1.h5.k", "a1.h5->logits"])
    >>> split = configure_transformer(
    ...     model.lower(seq_len=4)["t.bind_w"], split_by_head_config="full", use_pull_up_head_split=True
    ... )
    >>> [node.name for node in split.get(circuit_matcher(circuit, "a1.h5"), see_through=True)]
    ['a1.h5']
    """
    if circuit.level == "neuron":
        raise DiscoveryError(
            "paths pass whole components, and this circuit keeps parts of what they write",
            expected="a circuit of edges or nodes",
            found="neuron",
            hint="circuit.as_edges()",
        )
    graph = circuit.graph
    wanted = component or next((name for name in graph.writers if name in _INPUTS), graph.writers[0])
    if wanted not in graph.writer_index:
        raise DiscoveryError(f"no component {wanted!r} writes", expected=graph.writers, found=wanted)
    found = _paths_down_to(circuit, wanted)
    if found is None:
        raise DiscoveryError(
            f"no path of the circuit leads from the logits to {wanted!r}",
            expected="a path of kept edges",
            found=repr(circuit),
            hint="nothing of such a circuit reads the reference: look at prune(circuit)",
        )
    return found


def circuit_hypothesis(
    circuit: Circuit, *, sampler: CondSampler | None = None, name: str = "circuit", by: str = "logits"
) -> Hypothesis:
    """The hypothesis that only what the circuit's paths carry matters.

    Args:
        circuit: of edges or nodes.
        sampler: draws what everything else reads, given the reference; any datum if None.
        name: of the hypothesis and of its node.
        by: name of the root.

    Raises:
        DiscoveryError: as for `circuit_matcher`.
    """
    root = InterpNode(ExactSampler(), by, other_inputs_sampler=sampler)
    corr = Correspondence()
    corr.add(root, corr_root_matcher)
    corr.add(root.make_descendant(ExactSampler(), name), circuit_matcher(circuit))
    return Hypothesis(corr, name=name)


@dataclass(frozen=True)
class CounterfactualSampler(CondSampler):
    """The counterfactual of a reference: the row of the same number, in the dataset that is drawn from.

    A row of that dataset is its own.
    """

    def draw(self, given: torch.Tensor, source: Source, stream: Stream) -> torch.Tensor:
        """Rows of the dataset, for references given."""
        first, last = source.reference_rows.start, source.reference_rows.stop
        return torch.where((given >= first) & (given < last), given - first, given)

    def probabilities(self, given: torch.Tensor, source: Source) -> torch.Tensor:
        """1 for that row."""
        rows = self.draw(given, source, Stream(0, "", 0, len(given)))
        return torch.nn.functional.one_hot(rows, source.data.num_rows).to(torch.float64)


def circuit_experiment(
    circuit: Circuit,
    model: LoadedModel,
    task: Task,
    metric: Measure = "logit_difference",
    *,
    sampler: CondSampler | None = None,
    name: str = "circuit",
) -> Experiment:
    """The hypothesis of a circuit on a task: references are its prompts, other data its counterfactuals.

    Run it on every example once with `draws={"reference": torch.arange(n)}`, counted from the first prompt:
    `experiment.run(n, draws=...)`.

    Args:
        circuit: of edges or nodes, of this model.
        model: a loaded model.
        task: prompts of one length, with counterfactuals.
        metric: as for `evaluate`; the result holds it under its name.
        sampler: draws what everything outside of the circuit reads; that of the counterfactuals if None. With
            `UncondSampler()` each reference is given any counterfactual of the task.
        name: of the hypothesis.

    Raises:
        DiscoveryError: no counterfactuals, prompts of several lengths, or as for `circuit_matcher`.
    """
    if task.counterfactual is None or not task.is_aligned:
        raise DiscoveryError(
            f"task {task.name!r} cannot be scrubbed",
            expected="prompts of one length, with counterfactuals",
            found="no counterfactuals" if task.counterfactual is None else "prompts of several lengths",
            hint="ablations.prepare(machine, task, 'resample') draws counterfactuals among the prompts",
        )
    tokens = Symbol.new_from_name((task.tokens.shape[1],), "tokens")
    rows = torch.arange(len(task))
    references, others = (
        Dataset({"tokens": given, "row": rows}, inputs=["tokens"]) for given in (task.tokens, task.counterfactual)
    )
    measured_by = as_metric(metric)
    original = _original(as_machine(model), task) if "original" in measured_by.needs else None

    def measured(logits: torch.Tensor, data: Dataset) -> torch.Tensor:
        batch = task[data["row"]]
        at = at_positions(logits, batch.positions)
        return measured_by(at, batch, None if original is None else original[data["row"]].to(at))

    return Experiment(
        _split_call(model, tokens),
        others,
        circuit_hypothesis(circuit, sampler=CounterfactualSampler() if sampler is None else sampler, name=name),
        references=references,
        metrics={measured_by.name: measured},
    )


def _split_call(model: LoadedModel, tokens: Symbol) -> Expr:
    """The logits of tokens, with every head by itself."""
    bound = model.lower(seq_len=int(tokens.shape[0]))["t.bind_w"]
    split = configure_transformer(bound, split_by_head_config="full", use_pull_up_head_split=True)
    return model.call(tokens, model=split)


def _original(machine: Machine, task: Task) -> torch.Tensor:
    """The model's own logits, [n, k, V]."""
    found: list[torch.Tensor] = []
    with torch.no_grad():
        for batch in task.batches(32):
            given = machine.source.given(batch.tokens, batch.mask)
            run = machine.run(given)
            found.append(machine.logits(machine.read(machine.readout, run), given, batch.positions))
    return torch.cat(found)


def _paths_down_to(circuit: Circuit, wanted: str) -> IterativeMatcher | None:
    """From the logits down to a writer; None where no path leads there.

    below[u] finds it below what u writes, and is made once for each writer, those first that compute first.
    """
    graph = circuit.graph
    below: dict[str, IterativeMatcher] = {wanted: _HERE}
    rows_of: dict[str, list[int]] = {}
    for row, owner in enumerate(graph.owners):
        rows_of.setdefault(owner, []).append(row)
    for name in graph.writers[graph.writer_index[wanted] + 1 :]:
        paths = [_from_reader(circuit, row, below) for row in rows_of.get(name, [])]
        reached = [path for path in paths if path is not None]
        if reached:
            below[name] = IterativeMatcher(*reached)
    sinks = [row for row, owner in enumerate(graph.owners) if owner not in graph.writer_index]
    found = [path for row in sinks if (path := _from_reader(circuit, row, below)) is not None]
    return IterativeMatcher(*found) if found else None


def _from_reader(circuit: Circuit, row: int, below: dict[str, IterativeMatcher]) -> IterativeMatcher | None:
    """From what a reader belongs to, along its kept edges, to what is below their writers."""
    graph = circuit.graph
    writers = [graph.writers[column] for column in circuit.kept[row].nonzero()[:, 0]]
    found = [straight(_node_name(name)).chain(below[name]) for name in writers if name in below]
    if not found:
        return None
    if graph.component_of[graph.owners[row]].kind not in ("head", "mlp"):  # the logits, norms on the stream
        return IterativeMatcher(*found)
    return input_of(None, _part(graph, row)).chain(IterativeMatcher(*found))


def _part(graph: ComponentGraph, row: int) -> Part:
    """Which input of its component a reader is."""
    suffix = graph.readers[row].removeprefix(graph.owners[row]).removeprefix(".")
    return _PORTS.get(suffix, "all")


def _node_name(writer: str) -> str:
    return _INPUTS.get(writer, writer)
