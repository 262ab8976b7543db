"""Plots as inline SVG, coloured by the page's own variables, so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import torch


@dataclass(frozen=True)
class Interval:
    """One row of an interval plot."""

    label: str
    value: float
    low: float
    high: float


def interval_plot(rows: Sequence[Interval], *, axis: str) -> str:
    """Values as dots with their intervals, one a row.

    Args:
        rows: top to bottom.
        axis: what the numbers are.
    """
    label_width, width, row_height, top = 24 + 7.6 * max(len(row.label) for row in rows), 860.0, 30, 14
    low = min(0.0, *(row.low for row in rows))
    high = max(1.0, *(row.high for row in rows))
    pad = 0.04 * (high - low)
    low, high = low - pad, high + pad
    left, right = label_width, width - 70
    bottom = top + row_height * len(rows)

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    parts: list[str] = []
    for tick in _ticks(low, high):
        kind = "zero" if tick in (0.0, 1.0) else "rule"
        parts.append(f'<line class="{kind}" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{top}" y2="{bottom}"/>')
        parts.append(f'<text class="soft" x="{x(tick):.1f}" y="{bottom + 18}" text-anchor="middle">{tick:g}</text>')
    for i, row in enumerate(rows):
        y = top + row_height * (i + 0.5)
        parts.append(f'<text x="{left - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(row.label)}</text>')
        parts.append(f'<line class="bar" x1="{x(row.low):.1f}" x2="{x(row.high):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<circle class="mark" cx="{x(row.value):.1f}" cy="{y:.1f}" r="4.5"/>')
        parts.append(f'<text x="{right + 10}" y="{y + 4:.1f}">{row.value:.3f}</text>')
    middle = (left + right) / 2
    parts.append(f'<text class="soft" x="{middle:.1f}" y="{bottom + 40}" text-anchor="middle">{escape(axis)}</text>')
    return _svg(width, bottom + 50, parts, axis)


def attention_plot(pattern: torch.Tensor, tokens: Sequence[str], *, title: str) -> str:
    """An attention pattern as a grid: rows are queries, columns keys, darker is more. Hover for the numbers.

    Args:
        pattern: [query, key], rows sum to 1.
        tokens: text of each position.
        title: what is shown, for screen readers.
    """
    cell, count = 14, len(tokens)
    shown = [_visible(token) for token in tokens]
    left = 10 + 7.3 * max(len(text) for text in shown)
    top = left
    parts: list[str] = []
    for q, text in enumerate(shown):
        y = top + cell * q
        parts.append(f'<text x="{left - 6:.1f}" y="{y + 11:.1f}" text-anchor="end">{escape(text)}</text>')
        x = left + cell * q + 11
        parts.append(f'<text transform="translate({x:.1f} {top - 6:.1f}) rotate(-90)">{escape(text)}</text>')
        for k in range(q + 1):
            weight = float(pattern[q, k])
            if weight < 0.01:
                continue
            tip = escape(f"{shown[q]} ({q}) attends to {shown[k]} ({k}): {weight:.2f}")
            parts.append(
                f'<rect x="{left + cell * k:.1f}" y="{y:.1f}" width="{cell - 1}" height="{cell - 1}" '
                f'style="fill:rgba(var(--heat),{0.05 + 0.95 * weight:.2f})"><title>{tip}</title></rect>'
            )
    right, bottom = left + cell * count, top + cell * count
    corner = f"{left:.1f},{top:.1f} {right:.1f},{bottom:.1f} {left:.1f},{bottom:.1f}"
    parts.insert(0, f'<polygon points="{corner}" style="fill:var(--panel)"/>')
    size = left + cell * count + 8
    return _svg(size, size, parts, title)


def _svg(width: float, height: float, parts: Sequence[str], label: str) -> str:
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img" aria-label="{escape(label)}">'
        + "".join(parts)
        + "</svg>"
    )


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers, about six, that always hold 0 and 1 where they are in range."""
    raw = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
    first = math.ceil(low / step)
    return [round(i * step, 10) + 0.0 for i in range(first, math.floor(high / step) + 1)]


def _visible(token: str) -> str:
    """A token with its white space shown, shortened."""
    text = token.replace("\n", "⏎").replace("\t", "⇥").replace(" ", "·") or "∅"
    return text if len(text) <= 12 else text[:11] + "…"
