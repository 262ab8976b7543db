"""Tables of results: as plain text, and as pandas frames."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scrub.graph import ScrubError
from scrub.hypothesis.result import Result
from scrub.hypothesis.statistics.intervals import RecoveredEstimate

if TYPE_CHECKING:
    import pandas as pd

LOSS_RECOVERED = "loss recovered"


@dataclass(frozen=True)
class Table:
    """A table of text; printing it aligns its columns.

    >>> print(Table(("hypothesis", "loss"), [("full", "0.1"), ("coarse", "0.25")]))
    hypothesis  loss
    ----------  ----
    full         0.1
    coarse      0.25
    """

    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def __str__(self) -> str:
        every = [self.header, *self.rows]
        widths = [max(len(row[i]) for row in every) for i in range(len(self.header))]
        lines = [self._line(row, widths) for row in every]
        lines.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join(lines)

    __repr__ = __str__

    @staticmethod
    def _line(row: tuple[str, ...], widths: Sequence[int]) -> str:
        """The first column to the left, numbers to the right."""
        return "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()


def text_table(
    results: Mapping[str, Result], recovered: Mapping[str, RecoveredEstimate | None] | None, *, level: float
) -> Table:
    """One line for each result: metrics, loss recovered (None: undefined) and number of references."""
    metrics = _metrics(results)
    header = ("hypothesis", *metrics, *([] if recovered is None else [LOSS_RECOVERED]), "n")
    rows: list[tuple[str, ...]] = []
    for name, result in results.items():
        cells = [result.shown(metric, level=level) if metric in result.values else "" for metric in metrics]
        if recovered is not None:
            cells.append(_percent(recovered[name], level))
        rows.append((name, *cells, str(result.n)))
    return Table(header, rows)


def summary_frame(
    results: Mapping[str, Result], recovered: Mapping[str, RecoveredEstimate | None] | None, *, level: float
) -> pd.DataFrame:
    """The same as numbers: for each metric its mean, standard error and the ends of its interval."""
    records: list[dict[str, Any]] = []
    for name, result in results.items():
        record: dict[str, Any] = {"hypothesis": name}
        for metric in result.metrics:
            low, high = result.interval(metric, level=level)
            mean, stderr = float(result.estimate(metric)), float(result.estimate(metric).stderr)
            record |= _columns(metric, mean, stderr, low, high)
        if recovered is not None:
            found = recovered[name]
            ends = (math.nan,) * 4
            if found is not None:
                ends = (float(found), float(found.stderr), *map(float, found.interval(level)))
            record |= _columns(LOSS_RECOVERED, *ends)
        records.append({**record, "n": result.n, "seed": result.info.get("seed")})
    return _pandas().DataFrame.from_records(records, index="hypothesis")


def reference_frame(result: Result) -> pd.DataFrame:
    """One line for each reference: its row, its metrics, and its draws if they were kept."""
    columns: dict[str, Any] = {"reference": result.references.numpy()}
    columns |= {metric: values.numpy() for metric, values in result.values.items()}
    columns |= {f"draw {label}": rows.numpy() for label, rows in (result.draws or {}).items()}
    return _pandas().DataFrame(columns)


def _columns(name: str, mean: float, stderr: float, low: float, high: float) -> dict[str, float]:
    return {name: mean, f"{name} stderr": stderr, f"{name} low": low, f"{name} high": high}


def _metrics(results: Mapping[str, Result]) -> list[str]:
    return list(dict.fromkeys(metric for result in results.values() for metric in result.metrics))


def _percent(recovered: RecoveredEstimate | None, level: float) -> str:
    if recovered is None:
        return "undefined"
    return f"{100 * float(recovered):.1f}% ± {100 * float(recovered.half_width(level)):.2g}"


def _pandas() -> Any:
    try:
        return importlib.import_module("pandas")
    except ImportError as error:
        raise ScrubError("pandas is not installed", expected="pandas", hint="pip install pandas") from error
