"""`Table`: a tensor of results with the name and the labels of each axis."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from scrub.discovery.tables.svg import heatmap
from scrub.graph import DiscoveryError, ScrubError
from scrub.hypothesis.statistics.table import Table as TextTable

if TYPE_CHECKING:
    import pandas as pd

Label = int | str


class Axis(NamedTuple):
    """One axis of a table.

    Attributes:
        name: "layer", "head", "position", ...
        labels: one for each index, all different.
    """

    name: str
    labels: tuple[Label, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """Numbers with labelled axes.

    Args:
        values: float, of any number of axes; kept on the CPU. NaN where there is nothing.
        axes: name and labels of each axis.
        quantity: what the numbers are, with their unit: "change of logit_difference".
        title: what was done.
        errors: standard errors, of the same shape.
        details: how the numbers were obtained.

    Raises:
        DiscoveryError: axes, labels or errors that do not fit the values.

    >>> table = Table(torch.tensor([[0.5, -2.0], [0.0, 1.0]]), [("layer", (0, 1)), ("head", (0, 1))], "change")
    >>> print(table)
    change: layer x head
    layer    0   1
    -----  ---  --
    0      0.5  -2
    1        0   1
    >>> table.select(layer=0, head=1).item()
    -2.0
    >>> print(table.largest(2))
    layer  head  change
    -----  ----  ------
    0         1      -2
    1         1       1
    """

    values: torch.Tensor
    axes: Sequence[Axis | tuple[str, Sequence[Label]]]
    quantity: str
    title: str = ""
    errors: torch.Tensor | None = None
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        axes = tuple(Axis(name, tuple(labels)) for name, labels in self.axes)
        object.__setattr__(self, "axes", axes)
        object.__setattr__(self, "values", self.values.detach().cpu())
        self._check(axes)
        if self.errors is not None:
            object.__setattr__(self, "errors", self.errors.detach().cpu())

    def _check(self, axes: tuple[Axis, ...]) -> None:
        expected = tuple(len(axis.labels) for axis in axes)
        for what, tensor in (("values", self.values), ("errors", self.errors)):
            if tensor is not None and tuple(tensor.shape) != expected:
                raise DiscoveryError(
                    f"{what} of shape {list(tensor.shape)} do not fit axes of {list(expected)} labels",
                    axis=tuple(axis.name for axis in axes),
                    expected=expected,
                    found=tuple(tensor.shape),
                    hint="one label for each index of each axis",
                )
        names = [axis.name for axis in axes]
        for axis in axes:
            if len(set(axis.labels)) < len(axis.labels) or names.count(axis.name) > 1:
                raise DiscoveryError(
                    f"axis {axis.name!r} of a table has the same label or name twice",
                    axis=axis.name,
                    expected="names and labels that differ",
                    found=axis.labels,
                )

    # ---- reading ----

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its axes."""
        return tuple(axis.name for axis in self._axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of labels of each axis."""
        return tuple(self.values.shape)

    def labels(self, name: str) -> tuple[Label, ...]:
        """The labels of one axis.

        Raises:
            DiscoveryError: there is no such axis.
        """
        return self._axes[self._index(name)].labels

    def select(self, **chosen: Label | Sequence[Label]) -> Table:
        """The part with these labels. A single label takes its axis away; a sequence keeps the axis.

        Raises:
            DiscoveryError: there is no such axis or label.

        >>> table = Table(torch.arange(4.0).view(2, 2), [("layer", (0, 1)), ("head", ("q", "k"))], "score")
        >>> table.select(head="k").values.tolist(), table.select(layer=[1]).shape
        ([1.0, 3.0], (1, 2))
        """
        values, errors, axes = self.values, self.errors, list(self._axes)
        for name, labels in chosen.items():
            self._index(name)
            at = [axis.name for axis in axes].index(name)
            single = isinstance(labels, int | str)
            wanted = (labels,) if isinstance(labels, int | str) else tuple(labels)
            index = torch.tensor([self._place(axes[at], label) for label in wanted], dtype=torch.int64)
            values = _taken(values, at, index, single)
            errors = None if errors is None else _taken(errors, at, index, single)
            axes[at : at + 1] = [] if single else [Axis(name, wanted)]
        return replace(self, values=values, errors=errors, axes=axes)

    def item(self) -> float:
        """The number of a table without axes, or with one number.

        Raises:
            DiscoveryError: it has several.
        """
        if self.values.numel() != 1:
            raise DiscoveryError(
                f"a table of {self._size} has no single number",
                expected=1,
                found=self.values.numel(),
                hint="table.select(layer=..., ...) with a label for every axis",
            )
        return float(self.values)

    def summed(self, *names: str) -> Table:
        """Summed over axes; without errors, which do not follow from those of the parts."""
        at = [self._index(name) for name in names]
        axes = [axis for i, axis in enumerate(self._axes) if i not in at]
        return replace(self, values=self.values.nansum(at) if at else self.values, errors=None, axes=axes)

    def largest(self, n: int = 10) -> TextTable:
        """The n largest numbers by absolute value, with their labels, as text."""
        flat = self.values.flatten().nan_to_num(0.0).abs()
        order = [int(i) for i in torch.argsort(flat, descending=True, stable=True)[:n]]
        rows = [(*map(str, self._labels_at(i)), _shown(float(self.values.flatten()[i]))) for i in order]
        return TextTable((*self.names, self.quantity), rows)

    def __sub__(self, other: Table) -> Table:
        """The difference of two tables with the same axes.

        Raises:
            DiscoveryError: their axes differ.
        """
        if self._axes != other._axes:
            raise DiscoveryError(
                "two tables with different axes cannot be compared",
                expected=[(axis.name, len(axis.labels)) for axis in self._axes],
                found=[(axis.name, len(axis.labels)) for axis in other._axes],
                hint="make both with the same `by`, layers, heads and positions",
            )
        quantity = self.quantity if self.quantity == other.quantity else f"{self.quantity} - {other.quantity}"
        title = " - ".join(title for title in (self.title, other.title) if title)
        return replace(self, values=self.values - other.values, errors=None, quantity=quantity, title=title)

    def map(self, function: Callable[[torch.Tensor], torch.Tensor], quantity: str) -> Table:
        """The same axes, with a function of the values; without errors."""
        return replace(self, values=function(self.values), errors=None, quantity=quantity)

    # ---- showing ----

    def to_pandas(self) -> pd.DataFrame:
        """One line for each number, a column for each axis; "value", and "error" where there are errors.

        Raises:
            ScrubError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ScrubError("pandas is not installed", hint="pip install scrub-interp[tables]") from error
        rows = [self._labels_at(i) for i in range(self.values.numel())]
        columns: dict[str, Any] = {name: [row[i] for row in rows] for i, name in enumerate(self.names)}
        columns["value"] = self.values.flatten().numpy()
        if self.errors is not None:
            columns["error"] = self.errors.flatten().numpy()
        return pd.DataFrame(columns)

    def svg(self, *, scale: float | None = None) -> str:
        """One axis as bars, two as a heatmap (rows are the first), more as a heatmap for each label of the others.

        Args:
            scale: the absolute value of the strongest colour; the largest in the table if left out.
        """
        panels: list[tuple[str, torch.Tensor]] = []
        outer, inner = self._axes[:-2], self._axes[-2:]
        flat = self.values.reshape(-1, *(len(axis.labels) for axis in inner))
        for i, values in enumerate(flat):
            at = torch.unravel_index(torch.tensor(i), [len(axis.labels) for axis in outer]) if outer else ()
            names = [f"{axis.name} {axis.labels[int(k)]}" for axis, k in zip(outer, at, strict=True)]
            panels.append((" ".join(names), values))
        return heatmap(panels, inner, quantity=self.quantity, title=self.title, scale=scale)

    def _repr_html_(self) -> str:
        return self.svg() if self.axes else str(self)

    def __repr__(self) -> str:
        return str(self) if self.values.numel() <= 1 else f"{self.title or 'Table'} ({self.quantity}): {self._size}"

    def __str__(self) -> str:
        if not self.axes:
            return f"{self.quantity}: {_shown(float(self.values))}"
        head = f"{self.quantity}: {' x '.join(self.names)}" + (f" ({self.title})" if self.title else "")
        if len(self.axes) > 2:
            return f"{head}\n{self.largest()}"
        rows = self.values if len(self.axes) == 2 else self.values[:, None]
        columns = self._axes[1].labels if len(self.axes) == 2 else ("value",)
        lines = [
            (str(label), *(_shown(float(value)) for value in row))
            for label, row in zip(self._axes[0].labels, rows, strict=True)
        ]
        return f"{head}\n{TextTable((self.names[0], *map(str, columns)), lines)}"

    # ---- helpers ----

    @property
    def _axes(self) -> tuple[Axis, ...]:
        return tuple(Axis(name, tuple(labels)) for name, labels in self.axes)

    @property
    def _size(self) -> str:
        return " x ".join(f"{len(axis.labels)} {axis.name}" for axis in self._axes) or "one number"

    def _index(self, name: str) -> int:
        if name not in self.names:
            raise DiscoveryError(
                f"the table has no axis {name!r}", expected=self.names, found=name, hint=f"its axes are {self.names}"
            )
        return self.names.index(name)

    @staticmethod
    def _place(axis: Axis, label: Label) -> int:
        if label not in axis.labels:
            close = difflib.get_close_matches(str(label), map(str, axis.labels), n=1)
            raise DiscoveryError(
                f"axis {axis.name!r} has no label {label!r}",
                axis=axis.name,
                expected=axis.labels,
                found=label,
                hint=f"did you mean {close[0]!r}?" if close else f"there are {axis.labels[:8]}",
            )
        return axis.labels.index(label)

    def _labels_at(self, flat: int) -> tuple[Label, ...]:
        labels: list[Label] = []
        for axis in reversed(self._axes):
            flat, at = divmod(flat, len(axis.labels))
            labels.append(axis.labels[at])
        return tuple(reversed(labels))


def _taken(tensor: torch.Tensor, at: int, index: torch.Tensor, single: bool) -> torch.Tensor:
    taken = tensor.index_select(at, index)
    return taken.squeeze(at) if single else taken


def _shown(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3g}"
