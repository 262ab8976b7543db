"""Tables as SVG: bars and heatmaps, one self-contained file, legible on light and dark pages.

Blue is positive, red negative, no colour zero; hovering shows labels and number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from scrub.discovery.tables.table import Axis

_STYLE = (
    "<style>.tb text{font:11px ui-monospace,'DejaVu Sans Mono',Menlo,monospace;fill:var(--text,#222)}"
    ".tb .soft{fill:var(--soft,#666)}.tb .title{font-size:13px;font-weight:600}"
    ".tb .frame{fill:none;stroke:var(--line,#bbb)}.tb .p{fill:var(--positive,#1c6fb8)}"
    ".tb .n{fill:var(--negative,#c22f2f)}.tb .none{fill:var(--line,#bbb);fill-opacity:.35}"
    "@media (prefers-color-scheme:dark){.tb text{fill:var(--text,#ddd)}.tb .soft{fill:var(--soft,#999)}"
    ".tb .frame{stroke:var(--line,#555)}.tb .p{fill:var(--positive,#58a6f0)}.tb .n{fill:var(--negative,#f07070)}}"
    "</style>"
)
_CHAR = 6.8
_GAP = 22.0
_WIDTH = 980.0


def heatmap(
    panels: Sequence[tuple[str, torch.Tensor]],
    axes: Sequence[Axis],
    *,
    quantity: str,
    title: str = "",
    scale: float | None = None,
) -> str:
    """Panels of numbers with the same axes, on one scale of colours.

    Args:
        panels: title and values of each, [rows, columns], or [rows], which become bars.
        axes: of the panels: rows, then columns.
        quantity: what the numbers are.
        title: of the whole.
        scale: the absolute value of the strongest colour; the largest one if left out.

    Returns:
        an `<svg>` element.
    """
    every = torch.stack([values for _, values in panels]).double()
    finite = every[every.isfinite()]
    largest = float(finite.abs().max()) if finite.numel() else 0.0
    top = (largest if scale is None else scale) or 1.0
    if len(axes) == 1:
        return _bars(every[0], axes[0], quantity, title, top)
    return _grids([name for name, _ in panels], every, axes[0], axes[1], quantity, title, top)


def _grids(
    names: Sequence[str], values: torch.Tensor, rows: Axis, columns: Axis, quantity: str, title: str, scale: float
) -> str:
    n_rows, n_columns = len(rows.labels), len(columns.labels)
    several = len(names) > 1
    cell = max(4.0, min(24.0, (_WIDTH / (2.5 if several else 1) - 80) / max(n_columns, 1)))
    across = [_text(label) for label in columns.labels]
    down = [_text(label) for label in rows.labels]
    is_steep = max(map(len, across)) * _CHAR > cell - 2
    label_height = (max(map(len, across)) * _CHAR if is_steep else 11) + 24
    left = max(map(len, down)) * _CHAR + 26
    width = left + n_columns * cell + _GAP
    height = n_rows * cell + label_height + (18 if several else 0) + 8
    per_row = max(1, min(len(names), int(_WIDTH // width)))
    header = 26.0 if title else 6.0
    body: list[str] = []
    for i, name in enumerate(names):
        x, y = (i % per_row) * width + left, header + (i // per_row) * height + (18 if several else 0)
        if several:
            body.append(f'<text x="{x:.1f}" y="{y - 6:.1f}">{escape(name)}</text>')
        body += _grid(values[i], rows.name, columns.name, down, across, x, y, cell, scale, is_steep, name)
    bottom = header + math.ceil(len(names) / per_row) * height
    body += _legend(left, bottom + 4, scale, quantity)
    total_width = max(per_row * width + 8, left + 200 + _CHAR * len(quantity), 20 + 8 * len(title))
    return _svg(total_width, bottom + 40, body, title, quantity)


def _grid(
    values: torch.Tensor,
    row_name: str,
    column_name: str,
    down: Sequence[str],
    across: Sequence[str],
    x: float,
    y: float,
    cell: float,
    scale: float,
    is_steep: bool,
    name: str,
) -> list[str]:
    n_rows, n_columns = values.shape
    parts: list[str] = []
    every_row, every_column = _every(cell, 11), _every(cell, 11 if is_steep else 9)
    for r, label in enumerate(down):
        middle = y + (r + 0.5) * cell + 4
        if r % every_row == 0:
            parts.append(f'<text x="{x - 5:.1f}" y="{middle:.1f}" text-anchor="end">{escape(label)}</text>')
        for c in range(n_columns):
            tip = f"{name}, " if name else ""
            tip += f"{row_name} {label}, {column_name} {across[c]}: {float(values[r, c]):.4g}"
            parts.append(_cell(float(values[r, c]), x + c * cell, y + r * cell, cell, scale, tip))
    bottom = y + n_rows * cell
    for c, label in enumerate(across):
        at = x + (c + 0.5) * cell
        if c % every_column:
            continue
        if is_steep:
            turn = f"translate({at + 4:.1f} {bottom + 5:.1f}) rotate(-90)"
            parts.append(f'<text transform="{turn}" text-anchor="end">{escape(label)}</text>')
        else:
            parts.append(f'<text x="{at:.1f}" y="{bottom + 13:.1f}" text-anchor="middle">{escape(label)}</text>')
    width, height = n_columns * cell, n_rows * cell
    parts.append(f'<rect class="frame" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>')
    below = bottom + (max(map(len, across)) * _CHAR if is_steep else 11) + 16
    middle = f'x="{x + width / 2:.1f}" y="{below:.1f}"'
    parts.append(f'<text class="soft" {middle} text-anchor="middle">{escape(column_name)}</text>')
    turn = f"translate({x - max(map(len, down)) * _CHAR - 12:.1f} {y + height / 2:.1f}) rotate(-90)"
    parts.append(f'<text class="soft" transform="{turn}" text-anchor="middle">{escape(row_name)}</text>')
    return parts


def _cell(value: float, x: float, y: float, size: float, scale: float, tip: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{size - 0.6:.1f}" height="{size - 0.6:.1f}"'
    if math.isnan(value):
        return f'<rect class="none" {place}><title>{escape(tip)}</title></rect>'
    strength = min(abs(value) / scale, 1.0)
    kind = "p" if value >= 0 else "n"
    return f'<rect class="{kind}" {place} fill-opacity="{strength:.3f}"><title>{escape(tip)}</title></rect>'


def _bars(values: torch.Tensor, axis: Axis, quantity: str, title: str, scale: float) -> str:
    labels = [_text(label) for label in axis.labels]
    left, row, width = max(*map(len, labels), len(axis.name)) * _CHAR + 14, 18.0, 420.0
    header = 26.0 if title else 6.0
    finite = values[values.isfinite()]
    low = min(0.0, float(finite.min())) if finite.numel() else 0.0
    high = max(0.0, float(finite.max())) if finite.numel() else 0.0
    span = max(high - low, 1e-300) if high > low else scale
    zero = left + 60 - low / span * width
    bottom = header + row * len(labels)
    body = [f'<line class="frame" x1="{zero:.1f}" x2="{zero:.1f}" y1="{header}" y2="{bottom:.1f}"/>']
    for i, label in enumerate(labels):
        y, value = header + i * row, float(values[i])
        body.append(f'<text x="{left:.1f}" y="{y + 13:.1f}" text-anchor="end">{escape(label)}</text>')
        if math.isnan(value):
            continue
        length = abs(value) / span * width
        x = zero if value >= 0 else zero - length
        kind, side, at = ("p", "start", x + length + 5) if value >= 0 else ("n", "end", x - 5)
        tip = f"{axis.name} {label}: {value:.4g}"
        place = f'x="{x:.1f}" y="{y + 2:.1f}" width="{length:.1f}" height="{row - 4}"'
        body.append(f'<rect class="{kind}" {place}><title>{escape(tip)}</title></rect>')
        body.append(f'<text class="soft" x="{at:.1f}" y="{y + 13:.1f}" text-anchor="{side}">{value:.3g}</text>')
    body.append(f'<text class="soft" x="{left:.1f}" y="{bottom + 16:.1f}" text-anchor="end">{escape(axis.name)}</text>')
    body.append(f'<text class="soft" x="{zero:.1f}" y="{bottom + 16:.1f}">{escape(quantity)}</text>')
    total = max(left + width + 130, 20 + 8 * len(title), zero + _CHAR * len(quantity))
    return _svg(total, bottom + 26, body, title, quantity)


def _legend(x: float, y: float, scale: float, quantity: str) -> list[str]:
    steps, width = 20, 6.0
    parts: list[str] = []
    for i in range(-steps, steps + 1, 2):
        at = x + 50 + (i + steps) / 2 * width
        kind = "p" if i >= 0 else "n"
        place = f'x="{at:.1f}" y="{y}" width="{width}" height="10"'
        parts.append(f'<rect class="{kind}" {place} fill-opacity="{abs(i) / steps:.2f}"/>')
    parts.append(f'<text class="soft" x="{x + 45:.1f}" y="{y + 9}" text-anchor="end">{-scale:.3g}</text>')
    right = x + 55 + (steps + 1) * width
    parts.append(f'<text class="soft" x="{right:.1f}" y="{y + 9}">{scale:.3g}</text>')
    parts.append(f'<text x="{x + 50:.1f}" y="{y + 25}">{escape(quantity)}</text>')
    return parts


def _svg(width: float, height: float, body: Sequence[str], title: str, quantity: str) -> str:
    head = f'<text class="title" x="8" y="16">{escape(title)}</text>' if title else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="tb" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" role="img" aria-label="{escape(title or quantity)}">{_STYLE}{head}{"".join(body)}</svg>'
    )


def _every(cell: float, needed: float) -> int:
    """Every how many labels fit."""
    return max(1, math.ceil(needed / cell))


def _text(label: int | str) -> str:
    """A label with its white space shown, shortened."""
    text = str(label).replace("\n", "⏎").replace("\t", "⇥").strip() or "∅"
    return text if len(text) <= 14 else text[:13] + "…"
