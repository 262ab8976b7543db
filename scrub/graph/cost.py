"""`cost`: operations, sizes and devices of an expression, by node and in total, before anything is computed.

Conventions, those of Chowdhery et al. 2022 ("PaLM", appendix B), Hoffmann et al. 2022 (appendix F) and
`torch.utils.flop_counter`:

- a multiply-add counts as two operations, so a product of matrices (n, k) and (k, m) is 2 n k m;
- an einsum is counted along the path it is contracted in; a `Conv` like the matrix product it amounts to;
- an elementwise function is one operation for each element, a sum of t terms t - 1, a softmax three; torch's counter
  leaves these out;
- moving values (indexing, rearranging, concatenating, gathering, casting) is none.

Modules are counted as if they were inlined: their bodies once for every call, on the batch axes it brings; what does
not depend on a call's arguments once for all (`scrub.graph.calls`). What two calls share only because they are given
the same argument is counted for each, and the views that inlining inserts to line up batch axes are not values. Nothing
is counted twice for being used twice, as evaluation remembers it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import torch

from scrub.graph.array import Array
from scrub.graph.calls import Facts, Occurrence, occurrences
from scrub.graph.contract import contraction_flops
from scrub.graph.einsum import Einsum
from scrub.graph.expr import Expr
from scrub.graph.fluent import provide
from scrub.graph.module import Module
from scrub.graph.scalar import Scalar
from scrub.graph.symbol import Symbol
from scrub.graph.tag import Tag
from scrub.graph.text import display_name

K = TypeVar("K")


@dataclass(frozen=True)
class Total:
    """Sums over nodes.

    Attributes:
        flops: operations.
        value_bytes: bytes of all computed values together (evaluation frees a value after its last use, so that it
            needs less at a time).
        num_parameters, parameter_bytes: elements and bytes of the distinct arrays.
    """

    flops: int = 0
    value_bytes: int = 0
    num_parameters: int = 0
    parameter_bytes: int = 0

    def __add__(self, other: Total) -> Total:
        return Total(
            self.flops + other.flops,
            self.value_bytes + other.value_bytes,
            self.num_parameters + other.num_parameters,
            self.parameter_bytes + other.parameter_bytes,
        )


@dataclass
class CostRow:
    """One distinct node, in all the calls that compute it.

    Attributes:
        node: the node.
        num_calls: how many calls compute it.
        flops: operations in all of them.
        bytes: of its values in all of them.
        dtypes, devices: of its values; None where no leaf decides.
    """

    node: Expr
    num_calls: int = 0
    flops: int = 0
    bytes: int = 0
    dtypes: dict[torch.dtype | None, None] = field(default_factory=dict[torch.dtype | None, None])
    devices: dict[torch.device | None, None] = field(default_factory=dict[torch.device | None, None])


@dataclass(frozen=True)
class Cost:
    """What evaluating an expression takes; `print` it for a table.

    Attributes:
        rows: the distinct nodes, those of most operations first, then those of most bytes.
        total: over all of them.
        by_name: over the nodes of each given name.
        by_dtype, by_device: over the values of each dtype ("float32") and device ("cpu"); "undecided" for what takes
            that of its neighbours.
    """

    rows: tuple[CostRow, ...]
    total: Total
    by_name: dict[str, Total]
    by_dtype: dict[str, Total]
    by_device: dict[str, Total]

    def table(self, *, num_rows: int = 20) -> str:
        """The totals and the first rows as text."""
        total = self.total
        lines = [
            f"{amount(total.flops)} operations, {amount(total.value_bytes)}B of values, "
            f"{amount(total.num_parameters)} parameters in {amount(total.parameter_bytes)}B"
        ]
        for kind, parts in (("dtype", self.by_dtype), ("device", self.by_device)):
            lines += [
                f"{kind} {key}: {amount(part.flops)} operations, {amount(part.value_bytes)}B of values, "
                f"{amount(part.num_parameters)} parameters"
                for key, part in parts.items()
            ]
        lines.append(f"{'operations':>12} {'share':>6} {'bytes':>12} {'calls':>8}  node")
        for row in self.rows[:num_rows]:
            share = _share(row.flops, total.flops)
            cells = f"{amount(row.flops):>12} {share:>6} {amount(row.bytes):>12} {row.num_calls:>8}"
            lines.append(f"{cells}  {display_name(row.node)} {list(row.node.shape)} {type(row.node).__name__}")
        if len(self.rows) > num_rows:
            lines.append(f"... and {len(self.rows) - num_rows} more nodes")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        return self.table()


@provide
def cost(expr: Expr) -> Cost:
    """Operations, bytes, parameters and devices of an expression, by node and in total.

    Linear in distinct nodes, and in the distinct batch axes that module bodies are called on. Sizes may be symbolic;
    the counts are then expressions in them.

    Args:
        expr: any expression; its symbols and random variables need not be bound.

    >>> x, w = Array(torch.ones(5, 3), "x"), Array(torch.ones(3, 4), "w")
    >>> product = Einsum.from_string("ab,bc->ac", x, w, name="product")
    >>> cost(product).total
    Total(flops=120, value_bytes=80, num_parameters=27, parameter_bytes=108)
    >>> cost(product).by_name["product"].flops
    120
    """
    rows: dict[Expr, CostRow] = {}
    names: dict[str, list[int]] = {}
    values: dict[tuple[torch.dtype | None, torch.device | None], list[int]] = {}
    arrays: set[object] = set()
    for at in occurrences(expr):
        if isinstance(at.node, Module | Symbol):  # their values are those of the body, and of what is bound
            continue
        part, size = _count(at, arrays)
        row = rows.setdefault(at.node, CostRow(at.node))
        row.num_calls += at.num_calls
        row.flops += part[0]
        row.bytes += size
        row.dtypes[at.facts.dtype] = row.devices[at.facts.device] = None
        _add(values, (at.facts.dtype, at.facts.device), part)
        if at.node.name is not None:
            _add(names, at.node.name, part)
    overall = Total()
    dtypes: dict[str, Total] = {}
    devices: dict[str, Total] = {}
    for (dtype, device), sums in values.items():
        part = Total(*sums)
        overall += part
        for totals, key in ((dtypes, dtype), (devices, device)):
            text = "undecided" if key is None else str(key).removeprefix("torch.")
            totals[text] = totals.get(text, Total()) + part
    by_name = {name: Total(*sums) for name, sums in names.items()}
    return Cost(_largest_first(rows.values()), overall, by_name, dtypes, devices)


def _count(at: Occurrence, arrays: set[object]) -> tuple[tuple[int, int, int, int], int]:
    """What a node costs in a context, as in `Total`, and the bytes of its value there."""
    node = at.node
    bytes_each = (at.facts.dtype or torch.float64).itemsize  # scalars are computed in float64
    size = at.num_calls * _batch_size(at.facts) * node.numel * bytes_each
    if isinstance(node, Array):
        key = (node.frozen.digest, node.device)
        is_new = key not in arrays
        arrays.add(key)
        own = node.numel * bytes_each
        return (0, 0, node.numel, own) if is_new else (0, 0, 0, 0), own
    if isinstance(node, Tag | Scalar):  # the value of another node, and one number
        return (0, 0, 0, 0), 0
    return (at.num_calls * _flops(at), size, 0, 0), size


def _add(sums: dict[K, list[int]], key: K, part: tuple[int, int, int, int]) -> None:
    known = sums.setdefault(key, [0, 0, 0, 0])
    for i, count in enumerate(part):
        known[i] += count


def _flops(at: Occurrence) -> int:
    """Operations in one call. The path of an einsum depends on which of its operands are batched."""
    node = at.node
    if not at.facts.batch or not isinstance(node, Einsum):
        return node.flops() * _batch_size(at.facts)
    first = 1 + max((axis for axes in node.in_axes for axis in axes), default=-1)
    number = {axis: first + i for i, (axis, _) in enumerate(at.facts.batch)}
    shapes = [
        (*(size for _, size in facts.batch), *child.shape)
        for child, facts in zip(node.children, at.children, strict=True)
    ]
    in_axes = [
        (*(number[axis] for axis, _ in facts.batch), *axes)
        for axes, facts in zip(node.in_axes, at.children, strict=True)
    ]
    return contraction_flops(shapes, in_axes, (*number.values(), *node.out_axes))


def _batch_size(facts: Facts) -> int:
    total = 1
    for _, size in facts.batch:
        total *= size
    return total


def _largest_first(rows: Iterable[CostRow]) -> tuple[CostRow, ...]:
    """Numbers in descending order, after expressions in the order they came, which cannot be compared."""

    def key(row: CostRow) -> tuple[float, float]:
        parts = (row.flops, row.bytes)
        return tuple(-part if isinstance(part, int) else float("-inf") for part in parts)  # type: ignore[return-value]

    return tuple(sorted(rows, key=key))


def amount(count: int) -> str:
    """A number with a decimal prefix: "1.50 G" for 1500000000; an expression as it is.

    >>> amount(999), amount(1_500_000_000)
    ('999 ', '1.50 G')
    """
    if not isinstance(count, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        return f"{count} "
    value = float(count)
    for prefix in ("", "k", "M", "G", "T", "P", "E"):
        if value < 1000 or prefix == "E":
            return f"{count} " if not prefix else f"{value:.2f} {prefix}"
        value /= 1000
    raise AssertionError("the last prefix ends the loop")


def _share(part: int, total: int) -> str:
    if not (isinstance(part, int) and isinstance(total, int)) or total == 0:  # pyright: ignore[reportUnnecessaryIsInstance]
        return ""
    return f"{part / total:.0%}"
