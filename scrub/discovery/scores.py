"""`Scores`: what an attribution method gave every edge, node or neuron, and how it was obtained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch

from scrub.discovery.components import ComponentGraph, Edge
from scrub.discovery.stored import graph_facts, graph_from, read, write
from scrub.graph import DiscoveryError, FileError, ScrubError
from scrub.hypothesis.statistics.table import Table

if TYPE_CHECKING:
    import pandas as pd

Level = Literal["edge", "node", "neuron"]
By = Literal["absolute", "signed", "per_example"]

_AXES: dict[Level, tuple[str, ...]] = {
    "edge": ("n_readers", "n_writers"),
    "node": ("n_writers",),
    "neuron": ("n_writers", "d"),
}
_FACTS = ("level", "method", "metric", "larger_is_better", "ablation", "n_examples", "per_position", "details")


@dataclass(frozen=True, eq=False)
class Scores:
    """Estimated effects of corrupting each edge, node or neuron: means over examples.

    Positive means that corrupting raises the metric as it is given. Source: Syed et al. 2023, "Attribution patching
    outperforms automated circuit discovery".

    Args:
        graph: the component graph.
        values: float [n_readers, n_writers] of edges, [n_writers] of nodes, [n_writers, d] of neurons (dimensions of
            what each writer writes); with positions one more axis at the end, [..., seq]. In units of the metric.
            Kept as float64 on the CPU, and 0 where there is no edge.
        level: "edge", "node" or "neuron".
        method: "EAP", "EAP-IG-inputs", "exact", ...
        metric: what was measured.
        larger_is_better: the direction of the metric.
        ablation: what replaced an activation: "zero", "mean", "counterfactual", ...
        n_examples: how many examples the means are over.
        per_position: whether the last axis is positions.
        errors: standard error of each mean, of the same shape; NaN where there is none.
        absolute: mean over examples of the absolute value of one example's score, of the same shape.
        details: what else tells how they were obtained: steps, rule, seed.

    Raises:
        DiscoveryError: a shape that does not fit the graph, or values that are not finite.

    >>> from scrub.discovery.components import Component
    >>> parts = (Component("input", "input"), Component("m0", "mlp", 0), Component("logits", "logits"))
    >>> exists = torch.tensor([[True, False], [True, True]])
    >>> graph = ComponentGraph(parts, ("input", "m0"), ("m0", "logits"), ("m0", "logits"), exists)
    >>> scores = Scores(graph, torch.tensor([[0.5, 0.0], [0.1, -2.0]]), level="edge", method="EAP", metric="loss",
    ...                 larger_is_better=False, ablation="zero", n_examples=8)
    >>> scores
    EAP: 3 edge scores of loss, zero ablation, n=8
    >>> scores["m0->logits"], scores["input"]
    (tensor(-2., dtype=torch.float64), tensor(0.6000, dtype=torch.float64))
    >>> print(scores.table(2))
    edge        score
    ----------  -----
    m0->logits     -2
    input->m0     0.5
    """

    graph: ComponentGraph
    values: torch.Tensor
    _: KW_ONLY
    level: Level
    method: str
    metric: str
    larger_is_better: bool
    ablation: str
    n_examples: int
    per_position: bool = False
    errors: torch.Tensor | None = None
    absolute: torch.Tensor | None = None
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        if self.level not in _AXES:
            raise DiscoveryError(f"there is no level {self.level!r}", expected=tuple(_AXES), found=self.level)
        for name in ("values", "errors", "absolute"):
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, self._checked(name, given))

    def _checked(self, name: str, given: torch.Tensor) -> torch.Tensor:
        """float64, on the CPU, of its own memory, 0 where there is nothing."""
        axes = (*_AXES[self.level], *(("seq",) if self.per_position else ()))
        sizes = {"n_readers": len(self.graph.readers), "n_writers": len(self.graph.writers)}
        expected = tuple(sizes.get(axis, axis) for axis in axes)
        if name != "values":
            expected = tuple(self.values.shape)
        found = tuple(given.shape)
        fits = len(found) == len(expected) and all(
            isinstance(size, str) or size == n for size, n in zip(expected, found, strict=True)
        )
        if not fits:
            raise DiscoveryError(
                f"{name} of {self.level} scores are [{', '.join(axes)}] = {list(expected)}, not {list(found)}",
                axis=axes,
                expected=expected,
                found=found,
                hint="set per_position=True if the last axis is positions"
                if len(found) == len(expected) + 1
                else "scores of edges are [reader, writer]",
            )
        tensor = given.detach().to("cpu", torch.float64, copy=True)
        if self.level == "edge":
            tensor[~self.graph.exists.cpu()] = 0.0
        broken = tensor.isinf() if name == "errors" else ~tensor.isfinite()
        if broken.any():
            first = self._name_of(index_rows(broken.nonzero())[0])
            raise DiscoveryError(
                f"{int(broken.sum())} of {tensor.numel()} {name} are not finite, the first is that of {first}",
                nodes=[first],
                expected="finite numbers",
                found=int(broken.sum()),
                hint="look for NaN or infinity in the gradients: a metric of a probability of 0, or half precision",
            )
        return tensor

    # ---- reading ----

    def __getitem__(self, key: Edge | str | Sequence[str]) -> torch.Tensor:
        """The score of an edge, given as a pair or as "a0.h1->m2", or of a component, given by name.

        The score of a component among scores of edges is the sum over its outgoing edges. The result is float64, [] or,
        of neurons and positions, with their axes: [d], [seq], [d, seq].

        Raises:
            DiscoveryError: there is no such edge or component, or an edge is asked of scores of nodes.
        """
        if not isinstance(key, str) or "->" in key:
            row, column = self.graph.index(key)
            if self.level != "edge":
                raise DiscoveryError(
                    f"these are scores of {self.level}s, there is none of the edge {key}",
                    expected="the name of a component",
                    found=key,
                    hint=f"ask for {self.graph.writers[column]!r}",
                )
            return self.values[row, column].clone()
        if key not in self.graph.writer_index:
            raise DiscoveryError(
                f"no component {key!r} writes, so it has no score",
                expected=f"one of {', '.join(self.graph.writers[:4])}, ...",
                found=key,
            )
        column = self.graph.writer_index[key]
        return (self.values[:, column].sum(0) if self.level == "edge" else self.values[column]).clone()

    def ranking(self, by: By = "absolute") -> torch.Tensor:
        """What circuits are chosen by, larger first, of the shape of `values`.

        Args:
            by: "absolute": |score|. "signed": how much worse corrupting makes the metric: the score, its sign turned
                where larger is better. What helps comes first, what harms last. "per_example": the mean of
                the examples' absolute scores, so that effects of both signs do not cancel.

        Raises:
            DiscoveryError: no such order, or the scores have no `absolute`.
        """
        match by:
            case "absolute":
                return self.values.abs()
            case "signed":
                return 0.0 - self.values if self.larger_is_better else self.values.clone()
            case "per_example" if self.absolute is not None:
                return self.absolute.clone()
            case "per_example":
                raise DiscoveryError(
                    f"these scores ({self.method}) do not hold the examples' absolute scores",
                    expected="`absolute`",
                    found=None,
                    hint='rank by "absolute" or "signed", or attribute again with the absolute scores kept',
                )
            case _:
                raise DiscoveryError(f"scores have no order {by!r}", expected=By.__args__, found=by)

    def summed(self) -> Scores:
        """The same summed over positions; without errors and absolute scores, which do not follow from the parts."""
        if not self.per_position:
            return self
        return replace(self, values=self.values.sum(-1), per_position=False, errors=None, absolute=None)

    def nodes(self) -> Scores:
        """Scores of nodes: the sum over a writer's outgoing edges, or over its neurons.

        For EAP that is the score of the node itself.
        """
        if self.level == "node":
            return self
        values = self.values.sum(0 if self.level == "edge" else 1)
        return replace(self, values=values, level="node", errors=None, absolute=None)

    # ---- showing ----

    def entries(self) -> torch.Tensor:
        """Where scores are, int64 [n, axes], in order of the axes of `values`."""
        if self.level == "edge":
            there = self.graph.exists.cpu()
            if self.per_position:
                there = there.unsqueeze(-1).expand(self.values.shape)
            return there.nonzero()
        return torch.ones_like(self.values, dtype=torch.bool).nonzero()

    def table(self, n: int = 20) -> Table:
        """The n largest by absolute value, largest first; of equal ones the earlier."""
        entries = self.entries()
        sizes = self.values[tuple(entries.T)].abs()
        largest = index_rows(entries[torch.argsort(sizes, descending=True, stable=True)[:n]])
        extra = [name for name in ("errors", "absolute") if getattr(self, name) is not None]
        titles = {"errors": "standard error", "absolute": "mean of |example|"}
        rows = [
            (self._name_of(at), *(f"{float(getattr(self, name)[tuple(at)]):.4g}" for name in ("values", *extra)))
            for at in largest
        ]
        return Table((self.level, "score", *(titles[name] for name in extra)), rows)

    def to_pandas(self) -> pd.DataFrame:
        """A frame with one line for each score, in order of the axes of `values`.

        Columns: writer, reader (of edges), neuron, position, score, and error and absolute where there are such.

        Raises:
            ScrubError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ScrubError("pandas is not installed", hint="pip install scrub-interp[tables]") from error
        at = self.entries().T
        axes: dict[str, Any] = {}
        for name, where in zip(self._axis_names, index_rows(at), strict=True):
            names = {"reader": self.graph.readers, "writer": self.graph.writers}.get(name)
            axes[name] = where if names is None else [names[i] for i in where]
        first = {"writer": axes.pop("writer")}
        numbers = {"score": self.values, "error": self.errors, "absolute": self.absolute}
        return pd.DataFrame(first | axes | {name: t[tuple(at)].numpy() for name, t in numbers.items() if t is not None})

    @property
    def _axis_names(self) -> tuple[str, ...]:
        axes = {"edge": ("reader", "writer"), "node": ("writer",), "neuron": ("writer", "neuron")}[self.level]
        return (*axes, "position") if self.per_position else axes

    def _name_of(self, at: Sequence[int]) -> str:
        """Name of an entry: "m0->a1.h2.q", "m0", "m0[17]", "m0->a1.h2.q at 3"."""
        position = f" at {at[-1]}" if self.per_position else ""
        match self.level:
            case "edge":
                return f"{Edge(self.graph.writers[at[1]], self.graph.readers[at[0]])}{position}"
            case "node":
                return f"{self.graph.writers[at[0]]}{position}"
            case "neuron":
                return f"{self.graph.writers[at[0]]}[{at[1]}]{position}"

    def __repr__(self) -> str:
        where = " by position" if self.per_position else ""
        what = f"{len(self.entries()):,} {self.level} scores{where} of {self.metric}"
        return f"{self.method}: {what}, {self.ablation} ablation, n={self.n_examples}"

    # ---- files ----

    def save(self, path: str | Path) -> None:
        """Write graph, scores and how they were obtained to a `.safetensors` file (see `scrub.discovery.stored`).

        Raises:
            DiscoveryError: `details` hold what JSON has no words for.
        """
        write(path, "scores", self.facts(), self.tensors() | {"exists": self.graph.exists})

    @classmethod
    def load(cls, path: str | Path) -> Scores:
        """What `save` wrote; every number is the same.

        Raises:
            FileError: it is no such file.
        """
        facts, tensors = read(path, "scores")
        try:
            return cls.restored(graph_from(facts["graph"], tensors["exists"]), facts, tensors)
        except (LookupError, TypeError) as error:
            raise FileError(f"{path} lacks something that scores have: {error}", found=path) from error

    def facts(self) -> dict[str, Any]:
        """Everything but tensors, for files."""
        stated = {name: getattr(self, name) for name in _FACTS}
        return stated | {"details": dict(self.details), "graph": graph_facts(self.graph)}

    def tensors(self) -> dict[str, torch.Tensor]:
        """The tensors by name, for files."""
        named = {"values": self.values, "errors": self.errors, "absolute": self.absolute}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    @classmethod
    def restored(cls, graph: ComponentGraph, facts: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Scores:
        """From what `facts` and `tensors` gave."""
        stated: dict[str, Any] = {name: facts[name] for name in _FACTS}
        return cls(graph, tensors["values"], errors=tensors.get("errors"), absolute=tensors.get("absolute"), **stated)


def index_rows(entries: torch.Tensor) -> list[list[int]]:
    """A matrix of indices, as `nonzero` gives it, as lists."""
    return cast("list[list[int]]", entries.tolist())
