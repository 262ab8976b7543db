"""`Evaluation`: metrics of each example for circuits, and what they say about them, with intervals over examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import torch

from scrub.discovery.statistics import Convention, Faithfulness, completeness, faithfulness
from scrub.graph import DiscoveryError, ScrubError
from scrub.hypothesis.statistics.table import Table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """Metrics of each example, for circuits and for the runs they are compared with.

    Attributes:
        names: of the circuits.
        values: float64 [n_circuits, n], the metric with everything outside of a circuit patched.
        clean, corrupted: float64 [n], the metric with nothing and with everything patched.
        complements: float64 [n_circuits, n], the metric with the circuit patched and nothing else; None where it was
            not asked for.
        n_edges: weighted number of edges of each circuit, see `Circuit.weighted_n_edges`.
        of_edges: number of edges of the graph.
        metric, larger_is_better: what was measured, and its direction.
        ablation: what patched edges carried.
        task: name of the task.
    """

    names: tuple[str, ...]
    values: torch.Tensor
    clean: torch.Tensor
    corrupted: torch.Tensor
    complements: torch.Tensor | None
    n_edges: tuple[float, ...]
    of_edges: int
    metric: str
    larger_is_better: bool
    ablation: str
    task: str

    @property
    def n(self) -> int:
        """Number of examples."""
        return len(self.clean)

    def faithfulness(self, convention: Convention = "ratio of means", **options: Any) -> Faithfulness:
        """Share of the gap between corrupted and clean metric that each circuit keeps, [n_circuits].

        Args:
            convention: "ratio of means", or "mean of ratios" over examples; the result says which.
            options: `level`, `n_resamples`, `method`, `seed`, as for `statistics.faithfulness`. Where the gap is within
                its error the result is NaN and says why; `undefined="error"` raises instead.

        Raises:
            UndefinedRatioError: as said.
        """
        return self._share(faithfulness, self.values, convention, options)

    def completeness(self, convention: Convention = "ratio of means", **options: Any) -> Faithfulness:
        """Faithfulness of what is outside of each circuit: near 0 where it is complete, [n_circuits].

        Args: as for `faithfulness`.

        Raises:
            DiscoveryError: complements were not evaluated.
            UndefinedRatioError: as for `faithfulness`.
        """
        if self.complements is None:
            raise DiscoveryError(
                "completeness needs the metric of what is outside of the circuits, which was not evaluated",
                expected="complements",
                found=None,
                hint="evaluate(..., completeness=True)",
            )
        return self._share(completeness, self.complements, convention, options)

    def _share(
        self, function: Callable[..., Faithfulness], values: torch.Tensor, convention: Convention, options: Any
    ) -> Faithfulness:
        options = {"undefined": "nan"} | options
        return function(values, clean=self.clean, corrupt=self.corrupted, convention=convention, **options)

    # ---- showing ----

    def table(self, *, level: float = 0.95) -> Table:
        """One line for each circuit: edges kept, mean metric, faithfulness and completeness with intervals."""
        shares = [self.faithfulness(), *([] if self.complements is None else [self.completeness()])]
        header = ("circuit", "edges", self.metric, *(share.name for share in shares))
        rows: list[tuple[str, ...]] = [
            ("clean", f"{self.of_edges:,}", f"{self.clean.mean():.4g}", *["" for _ in shares])
        ]
        for i, name in enumerate(self.names):
            cells = [_with_interval(share, i, level) for share in shares]
            rows.append((name, f"{self.n_edges[i]:,.5g}", f"{self.values[i].mean():.4g}", *cells))
        rows.append(("corrupted", "0", f"{self.corrupted.mean():.4g}", *["" for _ in shares]))
        return Table(header, rows)

    def to_pandas(self) -> pd.DataFrame:
        """A frame with one line for each circuit: edges, metric, faithfulness and completeness, ends of intervals.

        Raises:
            ScrubError: pandas is not installed.
        """
        columns: dict[str, Any] = {
            "edges": list(self.n_edges),
            "metric": self.values.mean(-1).numpy(),
            "clean": float(self.clean.mean()),
            "corrupted": float(self.corrupted.mean()),
        }
        for share in [self.faithfulness(), *([] if self.complements is None else [self.completeness()])]:
            low, high = share.interval()
            ends = {"": share.value, " low": low, " high": high}
            columns |= {f"{share.name}{suffix}": end.numpy() for suffix, end in ends.items()}
        try:
            import pandas as pd
        except ImportError as error:
            raise ScrubError("pandas is not installed", hint="pip install scrub-interp[tables]") from error
        return pd.DataFrame(columns, index=pd.Index(self.names, name="circuit"))

    def _summary(self) -> str:
        better = "larger" if self.larger_is_better else "smaller"
        about = f"{self.metric} ({better} is better), {self.ablation} ablation, task {self.task!r}, n={self.n}"
        reason = self.faithfulness().reason
        return about + ("" if reason is None else f"\nfaithfulness is undefined: {reason}")

    def __str__(self) -> str:
        return f"{self._summary()}\n{self.table()}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(self.table(), self._summary())


def html_table(table: Table, caption: str) -> str:
    """A table with a caption, as HTML."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return f"<table><caption>{escape(caption)}</caption><tr>{head}</tr>{body}</table>"


def _with_interval(share: Faithfulness, i: int, level: float) -> str:
    if share.reason is not None:
        return "undefined"
    low, high = share.interval(level)
    return f"{float(share.value[i]):.3f} [{float(low[i]):.3f}, {float(high[i]):.3f}]"
